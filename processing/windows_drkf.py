"""A long recording as pieces: windows of one length, or the segments of a transcript; read as a stream."""

import math
import numbers
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from .audio_drkf import AudioStream
from .errors_drkf import InputError

SHORTEST_REST = 0.1  # s; a recording's end that is shorter than this adds no window of its own
LONGEST = 1e9  # s; beyond any recording


@dataclass(frozen=True)
class Piece:
    """A part of a recording: start and end in seconds, its waveform (samples,), and its words where they are known.

    One that cannot be used says why in `error`; its waveform is empty, and it lacks the times that are no numbers.
    """

    start: float | None
    end: float | None
    waveform: np.ndarray
    text: str | None = None
    error: str | None = None


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
            the recording's is moved there, and so is an end of None. A segment of the wrong type, one that is empty,
            and one that lies outside the recording is a piece with an `error`.

    Raises:
        InputError: no list, or no segment that can be used.
    """
    rate = stream.target_rate
    buffer, total, blocks = np.zeros(0, dtype=np.float32), 0, iter(stream)
    for number, piece in _checked_segments(segments, stream.seconds):
        if piece.error is not None:
            yield piece
            continue
        start, end = cast(float, piece.start), cast(float, piece.end)
        first, last = round(start * rate), round(end * rate)
        dropped = max(0, first - (total - len(buffer)))
        buffer = buffer[dropped:]
        while total < last and (block := next(blocks, None)) is not None:
            total += len(block)
            buffer = np.concatenate([buffer, block[max(0, len(block) - (total - first)) :]])
        if first >= total:
            yield replace(piece, error=_outside(number, start, total / rate))
            continue
        begin = first - (total - len(buffer))
        waveform = buffer[begin : begin + max(1, last - first)].copy()
        yield replace(piece, end=min(end, total / rate), waveform=waveform)


def _checked_segments(segments: Any, seconds: float | None) -> list[tuple[int, Piece]]:
    """The number of each segment, from 1, and the piece without its waveform, by start."""
    if not isinstance(segments, Sequence) or isinstance(segments, (str, bytes)):
        raise InputError(f'segments must be a list of {{"start", "end", "text"}}, not {type(segments).__name__}')
    if not segments:
        raise InputError("segments=[] holds no segment")
    pieces = [(number, _piece(number, segment, seconds)) for number, segment in enumerate(segments, start=1)]
    errors = [piece.error for _, piece in pieces if piece.error is not None]
    if len(errors) == len(pieces):
        raise InputError(errors[0])
    return sorted(pieces, key=lambda pair: (pair[1].start or 0.0, pair[1].end or 0.0))


def _piece(number: int, segment: Any, seconds: float | None) -> Piece:
    nothing = np.zeros(0, dtype=np.float32)
    if not isinstance(segment, Mapping):
        error = f'segment {number} must be {{"start", "end", "text"}}, not {type(segment).__name__}'
        return Piece(None, None, nothing, error=error)
    is_open = "end" in segment and segment["end"] is None
    start, end = _seconds(segment.get("start")), LONGEST if is_open else _seconds(segment.get("end"))
    text = segment.get("word") if segment.get("text") is None else segment["text"]
    piece = Piece(start, None if is_open else end, nothing, text if isinstance(text, str) else None)
    for name, value in (("start", start), ("end", end)):
        if value is None:
            return replace(
                piece, error=f'segment {number}: "{name}" must be a number of seconds, not {segment.get(name)!r}'
            )
    if text is not None and not isinstance(text, str):
        return replace(piece, error=f"segment {number}: the text must be a str or None, not {type(text).__name__}")
    if start < 0 or end <= start:  # type: ignore[operator]
        what = f"segment {number} ({start:g} to {end:g} s) is empty or starts before the recording"
        return replace(piece, error=what)
    if seconds is not None and start >= seconds:  # type: ignore[operator]
        return replace(piece, error=_outside(number, start, seconds))  # type: ignore[arg-type]
    return replace(piece, end=end)


def _seconds(value: Any) -> float | None:
    try:
        seconds = float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
    except OverflowError:  # an int beyond all floats
        seconds = LONGEST if value > 0 else -LONGEST
    return min(seconds, LONGEST) if math.isfinite(seconds) else None


def _outside(number: int, start: float, seconds: float) -> str:
    return f"segment {number} starts at {start:g} s, after the end of the recording ({seconds:.2f} s)"
