"""A long recording as pieces: windows of one length, or the segments of a transcript; read as a stream."""

import math
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import numpy as np

from .audio_drkf import AudioStream, is_index
from .errors_drkf import InputError, is_number
from .segment_keys_drkf import WORD_KEYS, WORDLESS_KEYS

SHORTEST_REST = 0.1  # s; a recording's end that is shorter than this adds no window of its own
LITTLE_S = 1.0  # a shorter piece is little to judge by
LONGEST = 1e9  # s; beyond any recording
FAR = 30.0  # s; recognisers fill their last window, which is as long, beyond the end of a recording


@dataclass(frozen=True)
class Piece:
    """A part of a recording: start and end in seconds, its waveform (samples,), and its words where they are known.

    One that cannot be used says why in `error`; its waveform is empty, and it lacks the times that are no numbers.
    `speaker` is who speaks, `channel` where, as far as that is known; one of `is_segment` is of a transcript.
    """

    start: float | None
    end: float | None
    waveform: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    text: str | None = None
    error: str | None = None
    speaker: str | None = None
    channel: int | None = None
    is_segment: bool = False


class _Tape:
    """The samples of a stream by their number; those before the last that were read are forgotten.

    Attributes:
        end: how many samples have been decoded.
    """

    def __init__(self, stream: AudioStream):
        self.end = 0
        self._blocks, self._kept = iter(stream), np.zeros(0, dtype=np.float32)

    def __call__(self, first: int, last: int) -> np.ndarray:
        """Samples from `first` to `last`, fewer at the recording's end; `first` never goes back."""
        self._kept = self._kept[max(0, first - self.end + len(self._kept)) :]
        while self.end < last and (block := next(self._blocks, None)) is not None:
            self.end += len(block)
            self._kept = np.concatenate([self._kept, block[max(0, len(block) - self.end + first) :]])
        return self._kept[: max(0, last - first)].copy()


def cut_windows(stream: AudioStream, length_s: float, step_s: float) -> Iterator[Piece]:
    """Windows of `length_s` seconds, one every `step_s` seconds.

    The last window ends with the recording and reaches back over the one before it, so that every window is equally
    long; a rest of less than 0.1 s adds none. A recording shorter than one window is one window. No more of the
    recording is kept in memory than two windows and a block.
    """
    rate, tape = stream.target_rate, _Tape(stream)
    length, step = max(1, round(length_s * rate)), max(1, round(step_s * rate))
    covered = 0
    for start in count(0, step):
        before = max(0, start - step)
        samples = tape(before, start + length)
        if tape.end < start + length:
            break
        covered = start + length
        yield Piece(start / rate, covered / rate, samples[start - before :])
    if not covered or tape.end - covered >= SHORTEST_REST * rate:
        first = max(0, tape.end - length)
        yield Piece(first / rate, tape.end / rate, samples[first - before :])


def cut_segments(stream: AudioStream, segments: Sequence[Mapping[str, Any]]) -> Iterator[Piece]:
    """The given segments in the order of their start; they may overlap, and gaps between them are left out.

    Args:
        segments: `{"start", "end", "text"}`, seconds, perhaps with `speaker` and `channel`; `text` may have another of
            the names in `WORD_KEYS`, be missing or None. An end up to half a minute beyond the recording's is moved
            there, and so is an end of None. A segment of the wrong type, one that is empty, one that lies outside the
            recording and one whose words are under an unknown key is a piece with an `error`.

    Raises:
        InputError: no list, no segment that can be used, or most of them start after the end of the recording.
    """
    if not isinstance(segments, Sequence) or isinstance(segments, (str, bytes)):
        raise InputError(f'segments must be a list of {{"start", "end", "text"}}, not {type(segments).__name__}')
    pieces = [(number, _piece(number, segment, stream.seconds)) for number, segment in enumerate(segments, start=1)]
    if stream.seconds is not None:
        _refuse_other_recording([piece for _, piece in pieces], stream.seconds)
    if all(piece.error for _, piece in pieces):
        raise InputError(pieces[0][1].error or "" if pieces else "segments=[] holds no segment")
    rate, tape = stream.target_rate, _Tape(stream)
    for number, piece in sorted(pieces, key=lambda pair: (pair[1].start or 0.0, pair[1].end or 0.0)):
        if piece.error is not None or piece.start is None or piece.end is None:
            yield piece
            continue
        first = round(piece.start * rate)
        waveform = tape(first, max(first + 1, round(piece.end * rate)))
        if first >= tape.end:
            yield replace(piece, error=_outside(number, piece.start, tape.end / rate))
        elif tape.end / rate + FAR < piece.end < LONGEST:
            yield replace(piece, error=_beyond(number, piece.end, tape.end / rate))
        else:
            yield replace(piece, end=min(piece.end, tape.end / rate), waveform=waveform)


def _refuse_other_recording(pieces: Sequence[Piece], seconds: float) -> None:
    """Raises `InputError` where most segments start after the end of the recording."""
    starts = [piece.start for piece in pieces if piece.start is not None]
    late = [start for start in starts if start >= seconds]
    if len(starts) > 1 and 2 * len(late) > len(starts):
        remedy = (
            "milliseconds? Divide start and end by 1000"
            if max(late) / 1000 < seconds
            else "check that these are the segments of this recording"
        )
        raise InputError(
            f"{len(late)} of {len(starts)} segments start after the end of the recording ({seconds:.2f} s), the last "
            f"at {max(late):g} s: {remedy}"
        )


def _piece(number: int, segment: Any, seconds: float | None) -> Piece:
    """A segment without its waveform, or with what is wrong with it."""
    if not isinstance(segment, Mapping):
        error = f'segment {number} must be {{"start", "end", "text"}}, not {type(segment).__name__}'
        return Piece(None, None, error=error, is_segment=True)
    start, end = _seconds(segment.get("start")), _seconds(segment.get("end"))
    text = next((segment[key] for key in WORD_KEYS if segment.get(key) is not None), None)
    said, speaker = text if isinstance(text, str) else None, segment.get("speaker")
    name, channel = None if speaker is None else str(speaker), segment.get("channel")
    piece = Piece(start, end, text=said, speaker=name, is_segment=True, channel=channel if is_index(channel) else None)
    unread = [str(key)[:40] for key, value in segment.items() if isinstance(value, str) and key not in WORDLESS_KEYS]
    if end is None and "end" in segment and segment["end"] is None:
        end = LONGEST
    if start is None or end is None:
        name = "start" if start is None else "end"
        error = f'segment {number}: "{name}" must be a number of seconds, not {reprlib.repr(segment.get(name))}'
    elif text is not None and not isinstance(text, str):
        error = f"segment {number}: the text must be a str or None, not {type(text).__name__}"
    elif unread and not any(key in segment for key in WORD_KEYS):
        error = (
            f"segment {number}: its words are under none of {', '.join(WORD_KEYS)}, and there is text under "
            f"{', '.join(map(repr, unread[:5]))}"
        )
    elif channel is not None and not is_index(channel):
        error = f"segment {number}: the channel must be a whole number from 0, not {reprlib.repr(channel)}"
    elif start < 0 or end <= start:
        error = f"segment {number} ({start:g} to {end:g} s) is empty or starts before the recording"
    elif seconds is not None and start >= seconds:
        error = _outside(number, start, seconds)
    elif seconds is not None and seconds + FAR < end < LONGEST:
        error = _beyond(number, end, seconds)
    else:
        return replace(piece, end=end)
    return replace(piece, error=error)


def _seconds(value: Any) -> float | None:
    """A number of seconds, at most `LONGEST`, however large an int is; None for anything else."""
    is_finite = is_number(value) and (isinstance(value, int) or math.isfinite(value))
    return float(max(-LONGEST, min(value, LONGEST))) if is_finite else None


def _outside(number: int, start: float, seconds: float) -> str:
    return f"segment {number} starts at {start:g} s, after the end of the recording ({seconds:.2f} s)"


def _beyond(number: int, end: float, seconds: float) -> str:
    return (
        f"segment {number} ends at {end:g} s, far beyond the end of the recording ({seconds:.2f} s): milliseconds? "
        "Divide start and end by 1000"
    )
