"""What is normal for each speaker of a recording: sums over what the speech encoder says of their segments.

A segment is judged beside the speaker's other segments: their mean and deviation are the sums less its own part, so
that memory does not grow with the recording.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from .audio_drkf import AudioSource

ENOUGH_SEGMENTS = 4
"""Other segments of a speaker that are worth more than the training part; `python -m study.conversation` finds it."""

Moments = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""Mean and deviation over so many segments, (3, width) each, to `speaker_statistics`, (2, 3, width)."""


class Voices(Protocol):
    """What a backend offers whose model standardises speech by speaker."""

    @property
    def usual(self) -> np.ndarray:
        """Mean and deviation of the training part, (2, 3, width), float32."""

    def of_clips(self, clips: Sequence[AudioSource]) -> np.ndarray:
        """`speaker_statistics` of some recordings of one speaker, (2, 3, width)."""

    def encode(self, features: dict[str, np.ndarray]) -> tuple[dict[str, Any], np.ndarray]:
        """Features with states in place of recordings, and the statistics of those, (batch, 3, width)."""

    def moments(self, mean: np.ndarray, deviation: np.ndarray, clips: int) -> np.ndarray:
        """See [`Moments`]."""


class Sums(NamedTuple):
    """Of some segments' statistics, (3, width), float64: how many there are, their sum, and that of their squares."""

    segments: int
    total: np.ndarray
    squares: np.ndarray


class SpeakerSums:
    """The sums of each speaker of one recording.

    Args:
        moments: of a [`Voices`].
        least: how many segments are enough.
    """

    def __init__(self, moments: Moments, least: int = ENOUGH_SEGMENTS):
        self._moments, self._least = moments, least
        self._sums: dict[str, Sums] = {}

    def add(self, speaker: str, statistics: np.ndarray) -> None:
        """One more segment, (3, width)."""
        wide = statistics.astype(np.float64)
        known = self._sums.get(speaker, Sums(0, np.zeros_like(wide), np.zeros_like(wide)))
        self._sums[speaker] = Sums(known.segments + 1, known.total + wide, known.squares + wide**2)

    def known(self, speaker: str, own: np.ndarray | None = None) -> np.ndarray | None:
        """How the speaker sounds, (2, 3, width), float32; None where there are too few segments.

        Args:
            own: the statistics of a segment that was added and is to be left out, (3, width).
        """
        sums = self._sums.get(speaker)
        if sums is not None and own is not None:
            wide = own.astype(np.float64)
            sums = Sums(sums.segments - 1, sums.total - wide, sums.squares - wide**2)
        if sums is None or sums.segments < self._least:
            return None
        mean = sums.total / sums.segments
        deviation = np.sqrt(np.maximum(sums.squares / sums.segments - mean**2, 0.0))
        return self._moments(mean, deviation, sums.segments).astype(np.float32)
