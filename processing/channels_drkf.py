"""Recordings with a speaker on each channel, such as calls: the pieces of all channels in the order of time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np

from .audio_drkf import AudioStream, Excerpt, repeatable
from .errors_drkf import InputError
from .waveform_drkf import is_silent
from .windows_drkf import Piece

AUDIBLE = 1e-3  # of the energy of the loudest channel; what is quieter is its echo, or the noise of the line


def name_channels(segments: Any) -> bool:
    """Whether one of the segments says of which channel it is."""
    return isinstance(segments, Sequence) and any(
        isinstance(segment, Mapping) and segment.get("channel") is not None for segment in segments
    )


def name_speakers(segments: Any) -> bool:
    """Whether one of the segments says who speaks."""
    return isinstance(segments, Sequence) and any(
        isinstance(segment, Mapping) and segment.get("speaker") is not None for segment in segments
    )


def open_channels(opened: ExitStack, audio: Any, **options: Any) -> list[AudioStream]:
    """A stream of each channel of a recording, closed with `opened`.

    Args:
        options: of `AudioStream`.

    Raises:
        AudioError: as `AudioStream`.
        InputError: one channel of the recording is chosen already.
    """
    audio = repeatable(audio)
    given = audio if isinstance(audio, Excerpt) else Excerpt(audio)
    if given.channel is not None:
        raise InputError('"channel" reads one channel: leave it out where all of them are read')
    streams = [opened.enter_context(AudioStream(replace(given, channel=0), **options))]
    for channel in range(1, streams[0].channels):
        streams.append(opened.enter_context(AudioStream(replace(given, channel=channel), **options)))
    return streams


def cut_channels(streams: Sequence[AudioStream], cut: Callable[[AudioStream], Iterator[Piece]]) -> Iterator[Piece]:
    """The pieces of all channels, by time.

    A segment is cut from its own channel, and from the one where it is loudest if it names none. A window is a piece
    of each channel on which something is said: not of those that are silent or carry an echo of the loudest. `speaker`
    is "channel 0" and so on where nothing else is known.

    Args:
        cut: from a stream to its pieces: windows or segments, the same for every channel.
    """
    for pieces in zip(*(cut(stream) for stream in streams), strict=True):
        named = [replace(piece, speaker=piece.speaker or f"channel {n}") for n, piece in enumerate(pieces)]
        chosen = pieces[0].channel
        if pieces[0].error is not None:
            yield pieces[0]
        elif chosen is not None and not 0 <= chosen < len(pieces):
            error = f"channel {chosen}: the recording has {len(pieces)}, counted from 0"
            yield replace(pieces[0], waveform=pieces[0].waveform[:0], error=error)
        elif chosen is not None:
            yield named[chosen]
        else:
            energies = [float(np.square(piece.waveform, dtype=np.float64).mean()) for piece in pieces]
            loudest = int(np.argmax(energies))
            for number, piece in enumerate(named):
                is_audible = energies[number] >= AUDIBLE * energies[loudest] and not is_silent(piece.waveform)
                if number == loudest or (is_audible and not piece.is_segment):
                    yield piece
