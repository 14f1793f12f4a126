"""What the parts of a corpus share: a model tested on one part should not have met its speakers in training."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .utterance import Utterance

NOT_WORDS = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Overlap:
    """How many of a part's `utterances` have a speaker, a session or a text that also occurs in another part."""

    part: str
    utterances: int
    same_speaker: int
    same_session: int
    same_text: int


def find_overlaps(utterances: Sequence[Utterance]) -> tuple[str, list[Overlap]]:
    """The axis along which the corpus is divided ("split", else "session", else "speaker") and its parts' overlaps.

    Texts are the same when they agree without case and punctuation; empty ones do not count.
    """
    for axis in ("split", "session", "speaker"):
        parts: dict[str, list[Utterance]] = defaultdict(list)
        for utterance in utterances:
            parts[getattr(utterance, axis) or "unknown"].append(utterance)
        if len(parts) > 1:
            return axis, _overlaps(parts)
    return "split", []


def fold_text(text: str) -> str:
    """The words alone, case-folded: what two transcripts of the same sentence have in common."""
    return NOT_WORDS.sub(" ", text.casefold()).strip()


def _overlaps(parts: dict[str, list[Utterance]]) -> list[Overlap]:
    keys: tuple[Callable[[Utterance], str | None], ...] = (
        lambda utterance: utterance.speaker,
        lambda utterance: utterance.session,
        lambda utterance: fold_text(utterance.text),
    )
    shared = [_shared_counts(parts, key) for key in keys]
    return [
        Overlap(part, len(members), *(counts[part] for counts in shared)) for part, members in sorted(parts.items())
    ]


def _shared_counts(parts: dict[str, list[Utterance]], key: Callable[[Utterance], str | None]) -> dict[str, int]:
    found_in: dict[str, set[str]] = defaultdict(set)
    for part, members in parts.items():
        for utterance in members:
            if value := key(utterance):
                found_in[value].add(part)
    return {
        part: sum(len(found_in.get(key(utterance) or "", ())) > 1 for utterance in members)
        for part, members in parts.items()
    }
