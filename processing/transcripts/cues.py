"""The cues of SubRip and WebVTT files, however sloppily they are set apart."""

from __future__ import annotations

import contextlib
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from ..errors_drkf import DRKFError

ARROW = "-->"
TIME = r"(?:([0-9]{1,5}):)?([0-5]?[0-9]):([0-5]?[0-9])[.,]([0-9]{1,3})"
TIMING = re.compile(rf"\s*{TIME}\s*{ARROW}\s*{TIME}(?:\s.*)?")  # what follows the times are cue settings
TAGS = re.compile(r"</?[a-zA-Z][^<>]*>|</?[0-9][0-9:.,]*>|\{\\[^{}]*\}")
WORD_TIME = re.compile(r"<[0-9][0-9:.,]*>")
VTT_ASIDES = ("NOTE", "STYLE", "REGION")


class SegmentError(DRKFError, ValueError):
    """Subtitles or a transcript that cannot be read. The message names the file, the line or item, and what to do."""


@dataclass
class Cue:
    """Start and end in seconds, and its lines of words without tags."""

    start: float
    end: float
    lines: list[str]


def parse_cues(text: str, name: str) -> list[Cue]:
    """The cues in their order.

    A cue ends at an empty line or at the times of the next one. A line of white space alone is neither words nor an
    end. Rolling captions show each line in several cues: it stays in the first, see `_unrolled`.

    Raises:
        SegmentError: words without times, or times that are none.
    """
    is_vtt = re.match(r"WEBVTT(\s|$)", text) is not None
    cues = []
    for first_line, block in _blocks(text):
        times = [index for index, line in enumerate(block) if ARROW in line]
        is_header = is_vtt and first_line == 1
        if not times:
            if is_header or (is_vtt and block[0].split()[0] in VTT_ASIDES):
                continue
            raise SegmentError(
                f"{name}, line {first_line}: no times; a cue is a line such as 00:01:02,500 {ARROW} 00:01:04,000 and "
                "its words, and ends at the first empty line"
            )
        before = sum(bool(line.strip()) for line in block[: times[0]])
        if before > 1 and not is_header:
            raise SegmentError(
                f"{name}, line {first_line + times[0]}: {before} lines before the times; one (the cue's number) is "
                "expected"
            )
        for at, following in zip(times, [*times[1:], None], strict=True):
            end = len(block) if following is None else following - _is_name(block, at, following)
            if (timing := TIMING.fullmatch(block[at])) is None:
                place, form = f"{name}, line {first_line + at}", f"00:01:02,500 {ARROW} 00:01:04,000"
                raise SegmentError(f"{place}: {block[at]!r} is not of the form {form}")
            lines = [words for line in block[at + 1 : end] if (words := _words(line, is_vtt))]
            cues.append(Cue(_seconds(timing.groups()[:4]), _seconds(timing.groups()[4:]), lines))
    return _unrolled(cues, is_vtt and WORD_TIME.search(text) is not None)


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """Lines between empty ones, with the number of the first."""
    block: list[str] = []
    for number, line in enumerate([*re.split(r"\r\n|\r|\n", text), ""], start=1):
        if line and (block or line.strip()):
            block.append(line)
        elif not line and block:
            yield number - len(block), block
            block = []


def _is_name(block: list[str], at: int, following: int) -> bool:
    """Whether the line before the times at `following` is their cue's number or name, not words of the cue at `at`.

    It is where it is a number and the cue at `at` has one too, and where a line of white space sets it apart.
    """
    if following - at < 2:
        return False
    numbered = at > 0 and block[at - 1].strip().isdecimal()
    return (numbered and block[following - 1].strip().isdecimal()) or (
        bool(block[following - 1].strip()) and following - at > 2 and not block[following - 2].strip()
    )


def _words(line: str, is_vtt: bool) -> str:
    words = TAGS.sub("", line)
    if is_vtt:
        with contextlib.suppress(ValueError):  # a character's number of more digits than Python reads
            words = html.unescape(words)
    return " ".join(words.split())


def _unrolled(cues: list[Cue], has_word_times: bool) -> list[Cue]:
    """Rolling captions, as speech recognisers of video sites write them, with every line once.

    Captions roll where words have times of their own, or every third cue begins with the line that ended the one
    before and adds another. The repeated lines are taken out, and cues that then say nothing.
    """
    repeated = [0, *(_repeated(earlier.lines, cue.lines) for earlier, cue in pairwise(cues))][: len(cues)]
    continued = sum(0 < count < len(cue.lines) for cue, count in zip(cues, repeated, strict=True))
    if not has_word_times and (continued < 2 or 3 * continued < len(cues) - 1):
        return cues
    fresh = [Cue(cue.start, cue.end, cue.lines[count:]) for cue, count in zip(cues, repeated, strict=True)]
    return [cue for cue, count in zip(fresh, repeated, strict=True) if cue.lines or not count]


def _repeated(earlier: list[str], lines: list[str]) -> int:
    """How many of the first lines are the last ones of the cue before."""
    return next(
        (count for count in range(min(len(earlier), len(lines)), 0, -1) if earlier[-count:] == lines[:count]), 0
    )


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = (part or "0" for part in parts)
    return ((int(hours) * 60 + int(minutes)) * 60_000 + int(seconds) * 1000 + int(fraction.ljust(3, "0"))) / 1000
