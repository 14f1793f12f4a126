"""A long recording as pieces: windows of one length, or the segments of a transcript; read as a stream."""

import math
import numbers
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .audio_drkf import AudioStream
from .errors_drkf import InputError

SHORTEST_REST = 0.1  # s; a recording's end that is shorter than this adds no window of its own
LONGEST = 1e9  # s; beyond any recording


@dataclass(frozen=True)
class Piece:
    """A part of a recording: start and end in seconds, its waveform (samples,), and its words where they are known."""

    start: float
    end: float
    waveform: np.ndarray
    text: str | None = None


def cut_windows(stream: AudioStream, length_s: float, step_s: float) -> Iterator[Piece]:
    """Windows of `length_s` seconds, one every `step_s` seconds.

    The last window ends with the recording and reaches back over the one before it, so that every window is equally
    long; a rest of less than 0.1 s adds none. A recording shorter than one window is one window. No more of the
    recording is kept in memory than a window and a block.
    """
    rate = stream.target_rate
    length, step = max(1, round(length_s * rate)), max(1, round(step_s * rate))
    buffer, total, start = np.zeros(0, dtype=np.float32), 0, 0

    def piece(first: int) -> Piece:
        begin = first - (total - len(buffer))
        waveform = buffer[begin : begin + length].copy()
        return Piece(first / rate, (first + len(waveform)) / rate, waveform)

    for block in stream:
        buffer, total = np.concatenate([buffer, block]), total + len(block)
        while total >= start + length:
            yield piece(start)
            start += step
        keep_from = min(start, max(0, total - length))
        buffer = buffer[keep_from - (total - len(buffer)) :]
    covered = start - step + length if start else 0
    if not covered or total - covered >= SHORTEST_REST * rate:
        yield piece(max(0, total - length))


def cut_segments(stream: AudioStream, segments: Sequence[Mapping[str, Any]]) -> Iterator[Piece]:
    """The given segments in the order of their start; they may overlap, and gaps between them are left out.

    Args:
        segments: `{"start", "end", "text"}`, seconds; `text` may be called `word`, be missing or None. An end beyond
            the recording's is moved there, and so is an end of None.

    Raises:
        InputError: no segment, or one of the wrong type, that is empty, or that lies outside the recording.
    """
    rate = stream.target_rate
    buffer, total, blocks = np.zeros(0, dtype=np.float32), 0, iter(stream)
    for number, start, end, text in _checked_segments(segments, stream.seconds):
        first, last = round(start * rate), round(end * rate)
        dropped = max(0, first - (total - len(buffer)))
        buffer = buffer[dropped:]
        while total < last and (block := next(blocks, None)) is not None:
            total += len(block)
            buffer = np.concatenate([buffer, block[max(0, len(block) - (total - first)) :]])
        if first >= total:
            raise InputError(_outside(number, start, total / rate))
        begin = first - (total - len(buffer))
        waveform = buffer[begin : begin + max(1, last - first)].copy()
        yield Piece(start, min(end, total / rate), waveform, text)


def _checked_segments(segments: Any, seconds: float | None) -> list[tuple[int, float, float, str | None]]:
    """(number, start, end, text) by start."""
    if not isinstance(segments, Sequence) or isinstance(segments, (str, bytes)):
        raise InputError(f'segments must be a list of {{"start", "end", "text"}}, not {type(segments).__name__}')
    if not segments:
        raise InputError("segments=[] holds no segment")
    checked = []
    for number, segment in enumerate(segments):
        if not isinstance(segment, Mapping):
            raise InputError(f'segment {number} must be {{"start", "end", "text"}}, not {type(segment).__name__}')
        is_open = "end" in segment and segment["end"] is None
        start = _seconds(segment.get("start"), f'segment {number}: "start"')
        end = LONGEST if is_open else _seconds(segment.get("end"), f'segment {number}: "end"')
        text = segment.get("word") if segment.get("text") is None else segment["text"]
        if text is not None and not isinstance(text, str):
            raise InputError(f"segment {number}: the text must be a str or None, not {type(text).__name__}")
        if start < 0 or end <= start:
            raise InputError(f"segment {number} ({start:g} to {end:g} s) is empty or starts before the recording")
        if seconds is not None and start >= seconds:
            raise InputError(_outside(number, start, seconds))
        checked.append((number, start, end, text))
    return sorted(checked, key=lambda segment: segment[1:3])


def _seconds(value: Any, name: str) -> float:
    try:
        seconds = float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
    except OverflowError:  # an int beyond all floats
        seconds = LONGEST if value > 0 else -LONGEST
    if not math.isfinite(seconds):
        raise InputError(f"{name} must be a number of seconds, not {value!r}")
    return min(seconds, LONGEST)


def _outside(number: int, start: float, seconds: float) -> str:
    return f"segment {number} starts at {start:g} s, after the end of the recording ({seconds:.2f} s)"
