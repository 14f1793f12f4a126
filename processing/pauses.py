"""Where somebody speaks in a long recording, by Silero's voice activity detector (the extra `pauses`)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from .audio_drkf import AudioSource, AudioStream
from .errors_drkf import DependencyError
from .windows_drkf import LITTLE_S

RATE, FRAME = 16_000, 512  # Hz and samples that the detector reads at once
PAUSE_MS = 500  # a shorter pause cuts nothing
MARGIN_MS = 100  # kept before and after what is spoken
NEAR_S = 1.0  # pieces of less than `LITTLE_S` are joined with a neighbour across a pause of up to so long

Stretch = tuple[float, float]


def find_speech(
    audio: AudioSource, longest_s: float = math.inf, name: str = "the recording", max_seconds: float | None = None
) -> tuple[list[Stretch], float]:
    """Stretches of a recording in which somebody speaks, cut at pauses of half a second and more.

    The recording is read as a stream; a number for each frame of 32 ms is kept. Stretches of less than a second are
    joined with a neighbour where the pause between is no longer than a second. What is spoken for longer than
    `longest_s` without such a pause is cut at its longest shorter one, if there is any.

    Args:
        longest_s: seconds that no stretch exceeds. name, max_seconds: see [`AudioStream`].

    Returns: (start, end) of each stretch in seconds, in order and apart; and the length of the recording in seconds.

    Raises:
        AudioError: as [`AudioStream`].
        DependencyError: silero-vad is not installed.

    Source: https://github.com/snakers4/silero-vad (MIT), whose model comes with the package.
    """
    silero = _load_silero()
    with AudioStream(audio, RATE, name=name, max_seconds=max_seconds) as stream:
        probabilities = list(_probabilities(stream, silero.load_silero_vad()))
        samples = round(stream.seconds_read * RATE)
    found = silero.get_speech_timestamps_from_probs(
        probabilities,
        sampling_rate=RATE,
        min_silence_duration_ms=PAUSE_MS,
        speech_pad_ms=MARGIN_MS,
        max_speech_duration_s=longest_s,
        audio_length_samples=samples,
    )
    stretches = [(one["start"] / RATE, min(one["end"], samples) / RATE) for one in found]
    return join_short(stretches, longest_s), samples / RATE


def join_short(stretches: Iterable[Stretch], longest_s: float = math.inf) -> list[Stretch]:
    """Stretches of which those shorter than `LITTLE_S` are joined with a neighbour, if one is near enough."""
    joined: list[Stretch] = []
    for start, end in stretches:
        if joined:
            first, last = joined[-1]
            is_short = min(last - first, end - start) < LITTLE_S
            if is_short and start - last <= NEAR_S and end - first <= longest_s:
                joined[-1] = first, end
                continue
        joined.append((start, end))
    return joined


def _load_silero() -> Any:
    """The library; its import sets the number of torch's threads, which is put back."""
    threads = torch.get_num_threads()
    try:
        import silero_vad
    except ImportError as error:
        raise DependencyError("cutting at pauses needs silero-vad: pip install 'drkf[pauses]'") from error
    finally:
        torch.set_num_threads(threads)
    return silero_vad


def _probabilities(blocks: Iterable[np.ndarray], model: Any) -> Iterator[float]:
    """That somebody speaks, of each frame; the last one is filled with zeros."""
    with torch.inference_mode():
        for frame in _frames(blocks):
            yield model(torch.from_numpy(frame), RATE).item()


def _frames(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    rest = np.zeros(0, dtype=np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block])
        whole = len(rest) // FRAME * FRAME
        yield from rest[:whole].reshape(-1, FRAME)
        rest = rest[whole:]
    if len(rest):
        yield np.pad(rest, (0, FRAME - len(rest)))
