"""What every format of transcripts gives: segments with times, words and speakers, and the error of a broken one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..errors_drkf import DRKFError

Segment: TypeAlias = dict[str, Any]
"""`start` and `end` in seconds from the beginning of the recording (floats; an `end` of None is the recording's),
`text` (str, "" for no words), and, where the transcript states them, `speaker` (str) and `channel` (int, from 0)."""

CLOCK = re.compile(r"(?:(\d{1,5}):)?(\d{1,3}):(\d{1,2})(?:[.,](\d{1,9}))?", re.ASCII)
DIGITS = re.compile(r"\d{1,9}", re.ASCII)


class SegmentError(DRKFError, ValueError):
    """A transcript that cannot be read. The message names the file, the line or item, and what to do."""


@dataclass
class Transcript:
    """What a file holds.

    Attributes:
        segments: in the order of the file; `text` may have several lines.
        are_words: each segment is one word, without its sentence.
        recordings: for each segment the recording that its line names; empty where a format names none.
    """

    segments: list[Segment]
    are_words: bool = False
    recordings: list[str] | None = None


Parse: TypeAlias = Callable[[str, str], Transcript]
"""From a text and what messages call it to a transcript; SegmentError where it is broken."""


def segment(start: Any, end: Any, text: Any = "", speaker: Any = None, channel: int | None = None) -> Segment:
    """A segment without what it does not state; speakers that are numbers become "speaker 0"."""
    found: Segment = {"start": start, "end": end, "text": text}
    if (name := speaker_name(speaker)) is not None:
        found["speaker"] = name
    if channel is not None:
        found["channel"] = channel
    return found


def speaker_name(value: Any) -> str | None:
    """`value` as a name on one line; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    name = " ".join(str(value).split()) if isinstance(value, str) else str(value) if abs(value) < 10**9 else ""
    if not name or name in ("?", "<NA>", "UNKNOWN"):
        return None
    return f"speaker {int(name)}" if DIGITS.fullmatch(name) else name


def clock_seconds(written: str) -> float | None:
    """Seconds of `1:02:03.5`, `02:03,500` or `02:03`; None for anything else."""
    match = CLOCK.fullmatch(written)
    if match is None:
        return None
    hours, minutes, seconds, fraction = match.groups(default="0")
    nanoseconds = int(fraction.ljust(9, "0"))
    return ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) + nanoseconds / 1e9


def lines_of(text: str) -> list[tuple[int, str]]:
    """The lines that hold anything, with their numbers from 1."""
    return [(number, line) for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1) if line.strip()]
