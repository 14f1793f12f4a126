"""From the labels of a source to the classes of a corpus."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from ..errors_drkf import OptionError
from ..printable import plural
from ..suggestions import did_you_mean
from .checks import add_problem
from .report import ProblemKind, Report, some
from .utterance import Utterance, is_absent

NO_CLASS = "-1"  # as datasets number what has no label
MANY_UTTERANCES = 12  # of which every second one having a label of its own means that these are no classes
PATH = re.compile(r"\.(wav|flac|ogg|opus|mp3|mp4|m4a|avi|webm|mkv)$", re.IGNORECASE)
NUMBER = re.compile(r"-?\d+(\.0+)?")  # pandas writes whole numbers with a point where one is missing
FEW = 2
MANY_TIMES = 10


def class_names(
    labels: Sequence[str], corpus_map: Mapping[str, str], label_map: Mapping[str, str]
) -> tuple[list[str], Callable[[str], str]]:
    """The classes after both maps, in order, and the translation of a source label.

    Order: each of the corpus' `labels` in turn, translated; then the further targets of `label_map` as it names them.
    The caller's `label_map` goes before the corpus' own, and also applies to what the corpus' own one yields.
    """

    def translate(source: str) -> str:
        if source in label_map:
            return label_map[source]
        merged = corpus_map.get(source, source)
        return label_map.get(merged, merged)

    return list(dict.fromkeys([*map(translate, labels), *label_map.values()])), translate


def check_labels(
    utterances: Sequence[Utterance],
    report: Report,
    *,
    labels: Sequence[str] | None,
    corpus_map: Mapping[str, str],
    left_out: frozenset[str],
    label_map: Mapping[str, str],
    label_names: Sequence[str] | None,
) -> list[str]:
    """Translates every utterance's labels and returns the classes in order.

    Labels in `left_out` that no map takes in exclude their utterance by protocol; others outside the classes are
    errors. Where the `labels` are fixed, case makes no difference. Raises `OptionError` for an invalid `label_map` or
    `label_names`.
    """
    known = {*(labels or ()), *corpus_map, *left_out}
    if labels is not None:
        _unify_case(utterances, known, report)
    occurring = {label for utterance in utterances for label in utterance.labels if label}
    label_map = _found_sources(label_map, known | occurring)
    if labels is None:
        named = {*label_map, *(label_names or ())}
        absent = {label for label in occurring - named if is_absent(label) or label.casefold() == "na"}
        if NO_CLASS in occurring - {*label_map} and all(
            label.isdecimal() for label in occurring - absent - {NO_CLASS}
        ):
            absent.add(NO_CLASS)
        _mark_absent(utterances, absent, report)
        occurring -= absent
    names, translate = class_names(sorted(occurring) if labels is None else labels, corpus_map, label_map)
    if labels is None:
        names.sort()
        _check_spellings(names, report)
        if label_names is None:
            _check_classes(utterances, names, report)
    if label_names is not None:
        if len(set(label_names)) != len(label_names):
            raise OptionError(f"label_names: {list(label_names)} names a class twice")
        names = list(label_names)
    outside = known - {source for source in known if translate(source) in names}
    for utterance in utterances:
        _translate_labels(utterance, translate, names, outside, report)
    return names


def _check_classes(utterances: Sequence[Utterance], names: Sequence[str], report: Report) -> None:
    """Whether what stands in the column of the labels can be classes at all, not numbers of a scale, ids or paths."""
    fractions = [name for name in names if _is_fraction(name)]
    paths = [name for name in names if PATH.search(name)]
    file = utterances[0].file if utterances else None
    if 2 * len(fractions) > len(names):
        detail = f"the labels are numbers on a scale, such as {some(fractions, 3)}"
    elif 2 * len(paths) > len(names):
        detail = f"the labels are paths, such as {some(paths, 3)}"
    elif len(utterances) >= MANY_UTTERANCES and 2 * len(names) > len(utterances):
        detail = (
            f"{plural(len(utterances), 'utterance')} have {len(names):,} different labels, such as {some(names, 3)}"
        )
    else:
        if names and all(NUMBER.fullmatch(name) for name in names):
            detail = f"the classes are numbers, {some(names)}: answers will name them so"
            remedy = f"""name them: --label-map '{{"{names[0]}": "anger", ...}}'"""
            report.add(ProblemKind.SUSPICIOUS_LABEL, detail, file=file, remedy=remedy)
        return
    report.add(ProblemKind.NO_LABELS, detail, file=file)


def _is_fraction(name: str) -> bool:
    try:
        number = float(name)
    except ValueError:
        return False
    return math.isfinite(number) and not number.is_integer()


def check_rare_classes(utterances: Iterable[Utterance], names: Sequence[str], report: Report) -> None:
    """Names the classes that have next to no usable clip beside the others."""
    counts = Counter(label for utterance in utterances if not utterance.is_broken for label in utterance.labels)
    for name in names:
        if counts[name] <= FEW and max(counts.values(), default=0) >= MANY_TIMES * max(1, counts[name]):
            clips = plural(counts[name], "usable clip") if counts[name] else "no usable clip"
            report.add(ProblemKind.RARE_CLASS, f"the class {name!r} has {clips}; the largest {max(counts.values()):,}")


def _found_sources(label_map: Mapping[str, str], sources: set[str]) -> dict[str, str]:
    """The map by the labels that the corpus has, which may differ from the given ones in case."""
    folded = {source.casefold(): source for source in sorted(sources)}
    found = {}
    for source, target in label_map.items():
        if source not in sources and source.casefold() not in folded:
            raise OptionError(
                f"label_map: the corpus has no label {source!r}{did_you_mean(source, sources)}; "
                f"its labels: {', '.join(sorted(sources))}"
            )
        found[source if source in sources else folded[source.casefold()]] = target
    return found


def _unify_case(utterances: Iterable[Utterance], known: set[str], report: Report) -> None:
    spelling = {name.casefold(): name for name in known}
    others: dict[str, str] = {}
    for utterance in utterances:
        for label in utterance.labels:
            if label not in known and label.casefold() in spelling:
                others[label] = spelling[label.casefold()]
        utterance.labels = tuple(others.get(label, label) for label in utterance.labels)
    for label, name in others.items():
        report.add(ProblemKind.SUSPICIOUS_LABEL, f"{label!r} is taken for {name!r}", remedy="none needed")


def _mark_absent(utterances: Iterable[Utterance], absent: set[str], report: Report) -> None:
    for utterance in utterances:
        if written := next((label for label in utterance.labels if label in absent), None):
            detail = f"{written!r} is what tables write for no label"
            remedy = f'fill in the label; if it is a class, name that with label_map: {{"{written}": "..."}}'
            add_problem(report, utterance, ProblemKind.MISSING_LABEL, detail, remedy)


def _translate_labels(
    utterance: Utterance, translate: Callable[[str], str], names: list[str], outside: set[str], report: Report
) -> None:
    if ProblemKind.MISSING_LABEL in utterance.kinds:
        return
    if not utterance.labels or "" in utterance.labels:
        add_problem(report, utterance, ProblemKind.MISSING_LABEL, "the label is empty")
        return
    translated = tuple(dict.fromkeys(map(translate, utterance.labels)))
    unknown_sources = [source for source in utterance.labels if translate(source) not in names]
    unknown = [source for source in unknown_sources if source not in outside]
    if unknown:
        detail = f"{unknown[0]!r} is none of the classes {', '.join(names)}{did_you_mean(unknown[0], names)}"
        add_problem(report, utterance, ProblemKind.UNKNOWN_LABEL, detail)
    elif unknown_sources:
        add_problem(report, utterance, ProblemKind.OUTSIDE_CLASSES, f"{unknown_sources[0]!r} is not among the classes")
    else:
        utterance.labels = translated
        if utterance.weights:
            _merge_weights(utterance, translate)


def _merge_weights(utterance: Utterance, translate: Callable[[str], str]) -> None:
    merged: dict[str, float] = defaultdict(float)
    for source, weight in (utterance.weights or {}).items():
        merged[translate(source)] += weight
    utterance.labels = tuple(sorted(merged, key=merged.__getitem__, reverse=True))
    utterance.weights = dict(merged)


def _check_spellings(names: Iterable[str], report: Report) -> None:
    spellings: dict[str, list[str]] = defaultdict(list)
    for name in names:
        spellings[name.casefold()].append(name)
    for variants in spellings.values():
        if len(variants) > 1:
            detail = f"{' and '.join(map(repr, variants))} differ only in case and count as different classes"
            report.add(ProblemKind.SUSPICIOUS_LABEL, detail)
