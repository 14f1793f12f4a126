"""Who says what when: subtitles and transcripts as lists of segments `{"start", "end", "text"}`, times in seconds."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from ..encodings import marked_encoding
from .cues import SegmentError, parse_cues

Segment = dict[str, Any]
"""`start` and `end` in seconds from the beginning of the recording (floats; an `end` of None is the recording's), and
`text` (str, "" for no words)."""

ASS_HEAD = "[script info]"


def read_segments(path: str | os.PathLike[str]) -> list[Segment]:
    """Reads a file as `parse_segments` does; UTF-8, or UTF-16 and UTF-32 with a byte order mark.

    Raises:
        SegmentError: the file is missing, in another encoding, or as `parse_segments`.
    """
    try:
        raw = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise SegmentError(f"{os.fspath(path)}: {error.strerror or error}") from error
    try:
        text = raw.decode(marked_encoding(raw) or "utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise SegmentError(f"{os.fspath(path)}, line {line}: not UTF-8; save the file as UTF-8") from error
    return parse_segments(text, os.fspath(path))


def parse_segments(text: str, name: str = "segments") -> list[Segment]:
    """Segments in the order of the text; the format is recognised from the text itself.

    SubRip (SRT), WebVTT, and JSON: of openai-whisper (`segments` with `start`, `end`), of the transformers ASR
    pipeline (`chunks` with `timestamp`; an open end is closed by the next start, the last one stays open), of
    whisper.cpp (`transcription` with `offsets` in milliseconds), or a bare list of segments. Tags, cue settings and
    notes are left out; an empty text stays, for somebody may speak there. Rolling captions, in which a line comes
    back in the cues that follow, give each line once, at the time of the first.

    Args:
        name: what messages call the text, usually its path.

    A segment whose times or words are no such thing is passed on as it stands: `cut_segments` reports it, and answers
    the others.

    Raises:
        SegmentError: no such format, a broken cue, or no segment at all.
    """
    text = text.removeprefix("\ufeff")
    is_json = text.lstrip()[:1] in ("{", "[") and not text.lstrip().lower().startswith(ASS_HEAD)
    parse = _parse_json if is_json else _parse_cues
    segments = parse(text, name)
    if not segments:
        raise SegmentError(f"{name}: no segment in it; SRT, WebVTT and Whisper's JSON are read")
    return segments


def _parse_cues(text: str, name: str) -> list[Segment]:
    if text.lstrip().lower().startswith(ASS_HEAD):
        raise SegmentError(f"{name}: ASS subtitles are not read; convert them: ffmpeg -i IN.ass OUT.srt")
    return [{"start": cue.start, "end": cue.end, "text": " ".join(cue.lines)} for cue in parse_cues(text, name)]


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
    spans = [_json_span(item) for item in items]
    if items and not any(spans):
        raise SegmentError(
            f"{name}: no times; an item has start and end, timestamp: [start, end], or offsets: from, to (ms)"
        )
    following = [span[0] if span else None for span in [*spans[1:], None]]
    segments: list[Segment] = []
    for item, span, next_start in zip(items, spans, following, strict=False):
        start, end = span or (math.nan, math.nan)
        words = item.get("text", "") if isinstance(item, dict) else ""
        words = " ".join(words.split()) if isinstance(words, str) else words
        segments.append({"start": start, "end": next_start if end is None else end, "text": words})
    return segments


def _json_span(item: Any) -> tuple[Any, Any] | None:
    """Start and end in seconds, unchecked; None where the item has no times."""
    if not isinstance(item, dict):
        return None
    if "start" in item and "end" in item:
        return item["start"], item["end"]
    if isinstance(item.get("timestamp"), list) and len(item["timestamp"]) == 2:
        return item["timestamp"][0], item["timestamp"][1]
    offsets = item.get("offsets")
    if isinstance(offsets, dict) and "from" in offsets and "to" in offsets:
        return _from_milliseconds(offsets["from"]), _from_milliseconds(offsets["to"])
    return None


def _from_milliseconds(value: Any) -> Any:
    try:
        return value / 1000
    except (TypeError, OverflowError):
        return math.nan
