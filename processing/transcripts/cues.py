"""Subtitles: the cues of SubRip and WebVTT, however sloppily they are set apart, and the events of ASS."""

from __future__ import annotations

import contextlib
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from .transcript import Segment, SegmentError, Transcript, clock_seconds, lines_of, segment

ARROW = "-->"
TIME = r"(?:([0-9]{1,5}):)?([0-5]?[0-9]):([0-5]?[0-9])[.,]([0-9]{1,3})"
TIMING = re.compile(rf"\s*{TIME}\s*{ARROW}\s*{TIME}(?:\s.*)?")  # what follows the times are cue settings
TAGS = re.compile(r"</?[a-zA-Z][^<>]*>|</?[0-9][0-9:.,]*>|\{\\[^{}]*\}")
WORD_TIME = re.compile(r"<[0-9][0-9:.,]*>")
VOICE = re.compile(r"<(?:v(?:\.[^\s<>]*)?\s+([^<>]*)|/v)>")
LONGEST_WORD_GAP = 2.0  # s; between two words of one sentence
VTT_ASIDES = ("NOTE", "STYLE", "REGION")


Line = tuple[str | None, str]
"""Who speaks, where a tag says so, and the words without tags."""


@dataclass
class Cue:
    """Start and end in seconds, its lines, and what its lines were before their tags were taken out."""

    start: float
    end: float
    lines: list[Line]
    written: list[str] = field(default_factory=list)

    @property
    def segments(self) -> list[Segment]:
        """A segment for each speaker in turn, at the times of the cue."""
        turns = groupby(self.lines, key=lambda line: line[0])
        found = [
            segment(self.start, self.end, "\n".join(words for _, words in lines), speaker) for speaker, lines in turns
        ]
        return found or [segment(self.start, self.end)]


def parse_subtitles(text: str, name: str) -> Transcript:
    """SubRip and WebVTT, see `parse_cues`; `<v Anna>` is who speaks."""
    return Transcript([found for cue in parse_cues(text, name) for found in cue.segments])


def parse_cues(text: str, name: str) -> list[Cue]:
    """The cues in their order.

    A cue ends at an empty line or at the times of the next one. A line of white space alone is neither words nor an
    end. Rolling captions show each line in several cues: it stays in the first, see `_unrolled`. Cues that mark one
    word after the other of a sentence become one, see `_unmarked`.

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
            written = [line for line in block[at + 1 : end] if line.strip()]
            lines = list(_voices(written, is_vtt))
            cues.append(Cue(_seconds(timing.groups()[:4]), _seconds(timing.groups()[4:]), lines, written))
    has_word_times = is_vtt and WORD_TIME.search(text) is not None
    return _unrolled(cues if has_word_times else _unmarked(cues), has_word_times)


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


def _voices(written: list[str], is_vtt: bool) -> Iterator[Line]:
    """The lines that say something, cut where another voice (`<v Anna>`) sets in; one lasts until it is closed."""
    speaker = None
    for line in written:
        parts = VOICE.split(line) if is_vtt else [line]
        for index, part in enumerate(parts):
            if index % 2:  # what is between them is the name, or None of a closing tag
                speaker = _words(part, is_vtt) or None if part else None
            elif words := _words(part, is_vtt):
                yield speaker, words


def _unmarked(cues: list[Cue]) -> list[Cue]:
    """Karaoke, in which a sentence is shown once for each word, with that word marked, with every sentence once.

    Cues are of one sentence where they say the same, follow each other, and only their tags differ.
    """
    kept: list[Cue] = []
    for cue in cues:
        before = kept[-1] if kept else None
        is_same = before is not None and before.lines == cue.lines != [] and before.written != cue.written
        if before is not None and is_same and 0 <= cue.start - before.end <= LONGEST_WORD_GAP:
            before.end, before.written = max(before.end, cue.end), cue.written
        else:
            kept.append(cue)
    return kept


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


def _repeated(earlier: list[Line], lines: list[Line]) -> int:
    """How many of the first lines are the last ones of the cue before."""
    return next(
        (count for count in range(min(len(earlier), len(lines)), 0, -1) if earlier[-count:] == lines[:count]), 0
    )


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = (part or "0" for part in parts)
    return ((int(hours) * 60 + int(minutes)) * 60_000 + int(seconds) * 1000 + int(fraction.ljust(3, "0"))) / 1000


# ---- ASS ------------------------------------------------------------------------------------------------------------

ASS_FIELDS = "Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text"
ASS_BREAK = re.compile(r"\\[Nn]")
ASS_DRAWING = re.compile(r"\{[^{}]*\\p[1-9]")


def parse_ass(text: str, name: str) -> Transcript:
    """SubStation Alpha (.ass, .ssa): its dialogue, with the actors' names; comments and drawings are left out."""
    section, columns, segments = "", [part.strip().casefold() for part in ASS_FIELDS.split(",")], []
    for number, line in lines_of(text):
        if line.startswith("["):
            section = line.strip().casefold()
        kind, _, content = line.partition(":")
        if section != "[events]" or kind not in ("Format", "Dialogue"):
            continue
        if kind == "Format":
            columns = [part.strip().casefold() for part in content.split(",")]
            continue
        cells = dict(zip(columns, content.strip().split(",", len(columns) - 1), strict=False))
        start, end = (clock_seconds(cells.get(key, "").strip()) for key in ("start", "end"))
        if start is None or end is None or "text" not in cells:
            form = "Dialogue: 0,0:00:00.50,0:00:02.50,Default,,0,0,0,,words"
            raise SegmentError(f"{name}, line {number}: {line.strip()[:60]!r} is not of the form {form}")
        if not ASS_DRAWING.search(cells["text"]):
            words = ASS_BREAK.sub("\n", re.sub(r"\{[^{}]*\}", "", cells["text"])).replace("\\h", " ")
            segments.append(segment(start, end, words, cells.get("name") or cells.get("actor")))
    return Transcript(segments)
