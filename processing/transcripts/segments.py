"""Who says what when: subtitles and transcripts as lists of segments `{"start", "end", "text"}`, times in seconds."""

from __future__ import annotations

import html
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors_drkf import DRKFError

Segment = dict[str, Any]
"""`start` and `end` in seconds from the beginning of the recording (floats; an `end` of None is the recording's), and
`text` (str, "" for no words)."""

ARROW = "-->"
TIME = r"(?:([0-9]{1,5}):)?([0-5]?[0-9]):([0-5]?[0-9])[.,]([0-9]{1,3})"
TIMING = re.compile(rf"\s*{TIME}\s*{ARROW}\s*{TIME}(?:\s.*)?")  # what follows the times are cue settings
TAGS = re.compile(r"</?[a-zA-Z][^<>]*>|</?[0-9][0-9:.,]*>|\{\\[^{}]*\}")
VTT_ASIDES = ("NOTE", "STYLE", "REGION")


class SegmentError(DRKFError, ValueError):
    """Subtitles or a transcript that cannot be read. The message names the file, the line or item, and what to do."""


def read_segments(path: str | os.PathLike[str]) -> list[Segment]:
    """Reads a file as `parse_segments` does; UTF-8, or UTF-16 with a byte order mark.

    Raises:
        SegmentError: the file is missing, in another encoding, or as `parse_segments`.
    """
    try:
        raw = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise SegmentError(f"{os.fspath(path)}: {error.strerror or error}") from error
    try:
        text = raw.decode("utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise SegmentError(f"{os.fspath(path)}, line {line}: not UTF-8; save the file as UTF-8") from error
    return parse_segments(text, os.fspath(path))


def parse_segments(text: str, name: str = "segments") -> list[Segment]:
    """Segments in the order of the text; the format is recognised from the text itself.

    SubRip (SRT), WebVTT, and JSON: of openai-whisper (`segments` with `start`, `end`), of the transformers ASR
    pipeline (`chunks` with `timestamp`; an open end is closed by the next start, the last one stays open), of
    whisper.cpp (`transcription` with `offsets` in milliseconds), or a bare list of segments. Tags, cue settings and
    notes are left out; an empty text stays, for somebody may be heard there.

    Args:
        name: what messages call the text, usually its path.

    Raises:
        SegmentError: no such format, a broken cue or item, an end before its start, or no segment at all.
    """
    text = text.removeprefix("\ufeff")
    parse = _parse_json if text.lstrip()[:1] in ("{", "[") else _parse_cues
    segments = parse(text, name)
    if not segments:
        raise SegmentError(f"{name}: no segment in it; SRT, WebVTT and Whisper's JSON are read")
    return segments


def format_srt(segments: Iterable[Mapping[str, Any]]) -> str:
    """SubRip text of segments; times are rounded to milliseconds, white space within a text becomes one space."""
    cues = []
    for number, segment in enumerate(segments, start=1):
        times = f"{_srt_time(segment['start'])} {ARROW} {_srt_time(segment['end'])}"
        cues.append(f"{number}\n{times}\n{' '.join(segment['text'].split())}\n")
    return "\n".join(cues)


def _srt_time(seconds: float) -> str:
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02},{milliseconds % 1000:03}"


def _parse_cues(text: str, name: str) -> list[Segment]:
    is_vtt = re.match(r"WEBVTT(\s|$)", text) is not None
    segments = []
    for first_line, block in _blocks(text):
        at = next((index for index, line in enumerate(block) if ARROW in line), None)
        is_header = is_vtt and first_line == 1
        if at is None:
            if is_header or (is_vtt and block[0].split()[0] in VTT_ASIDES):
                continue
            raise SegmentError(
                f"{name}, line {first_line}: no times; a cue is a line such as 00:01:02,500 {ARROW} 00:01:04,000 and "
                "its words, and ends at the first empty line"
            )
        where = f"{name}, line {first_line + at}"
        if (timing := TIMING.fullmatch(block[at])) is None:
            raise SegmentError(f"{where}: {block[at]!r} is not of the form 00:01:02,500 {ARROW} 00:01:04,000")
        if at > 1 and not is_header:
            raise SegmentError(f"{where}: {at} lines before the times; one (the cue's number) is expected")
        words = TAGS.sub("", " ".join(block[at + 1 :]))
        words = " ".join((html.unescape(words) if is_vtt else words).split())
        segments.append(_segment(_seconds(timing.groups()[:4]), _seconds(timing.groups()[4:]), words, where))
    return segments


def _blocks(text: str) -> list[tuple[int, list[str]]]:
    """Lines between empty ones, with the number of the first."""
    blocks: list[tuple[int, list[str]]] = []
    open_block = False
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        if not line.strip():
            open_block = False
            continue
        if not open_block:
            blocks.append((number, []))
            open_block = True
        blocks[-1][1].append(line)
    return blocks


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = (part or "0" for part in parts)
    return ((int(hours) * 60 + int(minutes)) * 60_000 + int(seconds) * 1000 + int(fraction.ljust(3, "0"))) / 1000


def _parse_json(text: str, name: str) -> list[Segment]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise SegmentError(f"{name}, line {error.lineno}: no valid JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:  # a number or a nesting beyond what Python reads
        raise SegmentError(f"{name}: no JSON that can be read ({error})") from error
    keys = ("segments", "chunks", "transcription")
    key = next((key for key in keys if isinstance(content, dict) and key in content), "")
    items = content[key] if key else content
    if not isinstance(items, list):
        raise SegmentError(f"{name}: a list of segments is expected, alone or under one of {', '.join(keys)}")
    places = [f"{name}, {key or 'item'}[{index}]" for index in range(len(items))]
    spans = [_json_span(item, place) for item, place in zip(items, places, strict=True)]
    segments = []
    for index, (item, place) in enumerate(zip(items, places, strict=True)):
        start, end = spans[index]
        if end is None and index + 1 < len(spans):
            end = spans[index + 1][0]
        words = item.get("text", "")
        if not isinstance(words, str):
            raise SegmentError(f"{place}: the text must be a string, not {type(words).__name__}")
        end = None if end is None else _number(end, place)
        segments.append(_segment(_number(start, place), end, " ".join(words.split()), place))
    return segments


def _json_span(item: Any, place: str) -> tuple[Any, Any]:
    """Start and end in seconds, unchecked."""
    if isinstance(item, dict):
        if "start" in item and "end" in item:
            return item["start"], item["end"]
        if isinstance(item.get("timestamp"), list) and len(item["timestamp"]) == 2:
            return tuple(item["timestamp"])
        offsets = item.get("offsets")
        if isinstance(offsets, dict) and "from" in offsets and "to" in offsets:
            return tuple(_number(offsets[key], place) / 1000 for key in ("from", "to"))  # type: ignore[return-value]
    raise SegmentError(f"{place}: no times; expected start and end, timestamp: [start, end], or offsets: from, to")


def _number(value: Any, place: str) -> float:
    try:
        seconds = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds):
        raise SegmentError(f"{place}: a time must be a number of seconds, not {str(value)[:40]}")
    return seconds


def _segment(start: float, end: float | None, text: str, place: str) -> Segment:
    if start < 0 or (end is not None and end < start):
        raise SegmentError(
            f"{place}: {start:g} s to {end or 0:g} s; a segment starts at 0 or later and ends after that"
        )
    return {"start": start, "end": end, "text": text}
