"""Praat's TextGrid, as long and as short text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from .transcript import SegmentError, Transcript, segment

TOKEN = re.compile(r'"((?:[^"]|"")*)"|(?<![^\s])(-?\d{1,12}(?:\.\d{1,20})?(?:[eE][-+]?\d{1,2})?)(?![^\s%])|(<exists>)')
KINDS = ("IntervalTier", "TextTier")
PHONES = ("phone", "phones", "phoneme", "phonemes", "syllable", "syllables", "mau", "kan", "phons", "sonority")
WORDS = ("word", "words", "ort", "ort-mau", "tokens")
UTTERANCES = ("utterance", "utterances", "sentence", "sentences", "transcript", "transcription", "text", "trn", "ipus")
PAUSES = ("", "sil", "sp", "<sil>", "<p:>", "<p>", "#", "_")


class Tier(NamedTuple):
    """A tier of intervals: what it holds ("words", "utterances" or "phones"), whose it is, and its labels."""

    holds: str
    speaker: str | None
    intervals: list[tuple[float, float, str]]


def parse_textgrid(text: str, name: str) -> Transcript:
    """The labels of the tiers of intervals. A tier is a speaker's, by its name; those that are called after what they
    hold (utterances, words) are nobody's, and "Anna - words" is Anna's. Phones, points and pauses are left out, and
    words where there are utterances."""
    tiers = [tier for tier in _tiers(text, name) if tier.holds != "phones"]
    are_words = all(tier.holds == "words" for tier in tiers)
    segments = [
        segment(start, end, label, tier.speaker)
        for tier in tiers
        if are_words or tier.holds != "words"
        for start, end, label in tier.intervals
        if label.strip().casefold() not in PAUSES
    ]
    return Transcript(sorted(segments, key=lambda found: (found["start"], found["end"])), are_words)


def _tiers(text: str, name: str) -> Iterator[Tier]:
    """Praat reads strings and numbers, whatever stands between them; so does this."""
    tokens = _tokens(text)
    try:
        if next(tokens) != "ooTextFile" or next(tokens) != "TextGrid":
            raise SegmentError(f'{name}: no TextGrid; one begins with File type = "ooTextFile"')
        _numbers(tokens, 2)
        if not next(tokens):
            return
        (count,) = _numbers(tokens, 1)
        for _ in range(int(count)):
            kind, title = next(tokens), next(tokens)
            if kind not in KINDS or not isinstance(title, str):
                raise SegmentError(f"{name}: a tier of the kind {str(kind)[:40]!r}; there are {', '.join(KINDS)}")
            *_, size = _numbers(tokens, 3)
            intervals = []
            for _ in range(int(size)):
                times = _numbers(tokens, 2 if kind == KINDS[0] else 1)
                label = next(tokens)
                if not isinstance(label, str):
                    raise SegmentError(f"{name}, tier {title[:40]!r}: a label is missing at {times[0]:g} s")
                intervals.append((times[0], times[-1], label))
            if kind == KINDS[0]:
                yield Tier(*_owner(title), intervals)
    except (StopIteration, RuntimeError):
        raise SegmentError(f"{name}: the TextGrid ends too early; save it in Praat again") from None
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, SegmentError):
            raise
        raise SegmentError(f"{name}: the TextGrid has a text where a number is due, or is damaged") from error


def _tokens(text: str) -> Iterator[str | float]:
    """Strings, numbers, and 1.0 for the flag that there are tiers."""
    for match in TOKEN.finditer(text):
        if match[1] is not None:
            yield match[1].replace('""', '"')
        else:
            yield float(match[2]) if match[2] else 1.0


def _numbers(tokens: Iterator[str | float], count: int) -> list[float]:
    found = [next(tokens) for _ in range(count)]
    if any(isinstance(token, str) for token in found):
        raise TypeError
    return found  # type: ignore[return-value]


def _owner(title: str) -> tuple[str, str | None]:
    """What a tier holds, and whose it is, by its title."""
    speaker, _, last = title.strip().rpartition(" - ")
    for holds, titles in (("phones", PHONES), ("words", WORDS), ("utterances", UTTERANCES)):
        if last.strip().casefold() in titles:
            return holds, speaker.strip() or None
    return "utterances", title
