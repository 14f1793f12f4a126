"""How many utterances a copy of a corpus has, beside the numbers that its authors publish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from .report import ProblemKind, Report
from .utterance import CorpusSpec, Utterance

AXES = ("split", "session", "speaker", "class", "total")
EXAMPLES = 12


def values_of(utterance: Utterance, axis: str) -> tuple[str, ...]:
    """The parts along an axis in which the utterance counts."""
    if axis == "total":
        return ("all",)
    if axis == "class":
        return utterance.labels[:1] if utterance.weights else utterance.labels
    value = getattr(utterance, axis)
    return (value,) if value else ()


def check_published(spec: CorpusSpec, utterances: Iterable[Utterance], report: Report) -> None:
    """Names the parts that the copy has more or fewer of than its authors count, once for each axis."""
    utterances = list(utterances)
    for axis in AXES:
        published = spec.published.get(axis, {})
        found = Counter(value for utterance in utterances for value in values_of(utterance, axis))
        unlike = [
            f"{value} {found[value]:,} of {count:,}" for value, count in published.items() if found[value] != count
        ]
        if unlike:
            shown = ", ".join(unlike[:EXAMPLES]) + (", ..." if len(unlike) > EXAMPLES else "")
            where = f" ({spec.published_source})" if spec.published_source else ""
            detail = f"utterances here of those published{where}, by {axis}: {shown}"
            report.add(ProblemKind.UNLIKE_PUBLISHED, detail)
