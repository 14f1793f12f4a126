"""Units judged beside what else their speakers say."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from .errors_drkf import InputError
from .recognition_inputs_drkf import Unit
from .recognition_options_drkf import RecognitionOptions
from .speaker_sums_drkf import ENOUGH_SEGMENTS, SpeakerSums, Voices

BUCKETED_BATCHES = 16  # how many batches of clips are read ahead, so that clips of like length share one

Features = dict[str, Any]


class Listener:
    """Finds out how speakers sound.

    Args:
        features: from units to one batch of the processor's features.
    """

    def __init__(self, voices: Voices, features: Callable[[Sequence[Unit]], Features]):
        self.voices, self._features = voices, features

    def listening(self, options: RecognitionOptions) -> Callable[[Callable[[], Iterator[Unit]]], SpeakerSums] | None:
        """From a function that reads the pieces of a conversation to what is normal for its speakers: with "before"
        nothing yet. None where that is not asked for."""
        if options.speaker is not None or options.speaker_statistics == "off":
            return None

        def listen(pieces: Callable[[], Iterator[Unit]]) -> SpeakerSums:
            sums = SpeakerSums(self.voices.moments, ENOUGH_SEGMENTS)
            if options.speaker_statistics == "others":
                self.hear(pieces(), sums, options.batch_size)
            return sums

        return listen

    def hear(self, units: Iterator[Unit], sums: SpeakerSums, batch_size: int) -> None:
        """Adds each unit whose speaker is known."""
        known = (unit for unit in units if unit.is_waiting and unit.speaker is not None and unit.has_audio)
        while window := list(islice(known, batch_size * BUCKETED_BATCHES)):
            for batch in batches_of(window, batch_size):
                self._add(batch, sums)

    def _add(self, units: list[Unit], sums: SpeakerSums) -> None:
        try:
            _, statistics = self.voices.encode(self._features(units))
        except InputError:
            for unit in units if len(units) > 1 else ():  # all but the one, which gets its error when it is answered
                self._add([unit], sums)
            return
        for unit, own in zip(units, statistics, strict=True):
            sums.add(unit.speaker, own)  # type: ignore[arg-type]

    def by_speaker(self, features: Features, units: Sequence[Unit], causal: bool) -> Features:
        """The features of units with how their speakers sound: of other units, or, `causal`, of those before."""
        encoded, statistics = self.voices.encode(features)
        for unit, own in zip(units, statistics, strict=True):
            sums = unit.item.voices
            if sums is None or unit.speaker is None or not unit.has_audio or unit.is_heard:
                continue
            unit.voice, unit.is_heard = sums.known(unit.speaker, None if causal else own), True
            if causal:
                sums.add(unit.speaker, own)
        found = [self.voices.usual if unit.voice is None else unit.voice for unit in units]
        return {**encoded, "speaker_statistics": np.stack(found)}


def batches_of(units: list[Unit], size: int, in_order: bool = False) -> Iterator[list[Unit]]:
    """Units, `size` at a time: those of like length share a batch, or those that follow each other."""
    if not in_order:
        units = sorted(units, key=lambda unit: (len(unit.waveform), len(unit.words or "")))
    for start in range(0, len(units), size):
        yield units[start : start + size]
