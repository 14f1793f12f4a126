"""Conditions under which a clip is heard, such as `noise:10`, and what a model hears of a row that has one."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .audio_drkf import AudioSource, excerpt, is_blank, load_audio
from .errors_drkf import OptionError
from .suggestions import did_you_mean

CLIP_COLUMNS = ("start", "end", "speed", "channel")  # in the order of `excerpt`


class Kind(NamedTuple):
    """What the level of a condition is, where it may lie, and where it lies unless an option says."""

    level: str
    limits: tuple[float, float]
    usual: tuple[float, float]


KINDS = {
    "noise": Kind("signal-to-noise ratio in dB", (-30, 60), (0, 20)),
    "babble": Kind("signal-to-noise ratio in dB", (-30, 60), (0, 20)),
    "reverb": Kind("reverberation time in seconds", (0.05, 5), (0.2, 0.6)),
    "telephone": Kind("", (0, 0), (0, 0)),
    "silence": Kind("number of seconds before and after", (0, 60), (0.2, 1.5)),
    "gain": Kind("number of dB", (-60, 60), (-20, 0)),
}


@dataclass(frozen=True)
class Condition:
    """A kind of `KINDS`, and the levels between which that of a clip is drawn.

    Example:

    ```python
    >>> from processing.conditions import Condition
    >>> Condition.parse("noise:5:15")
    Condition(kind='noise', low=5.0, high=15.0)
    >>> str(Condition.parse("reverb:0.35")), str(Condition.parse("reverb"))
    ('reverb:0.35', 'reverb:0.2:0.6')

    ```
    """

    kind: str
    low: float
    high: float

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """`KIND`, `KIND:LEVEL` or `KIND:LOWEST:HIGHEST`.

        Raises:
            OptionError: no such kind, or a level that it cannot have.
        """
        name, *levels = str(text).strip().split(":")
        if name not in KINDS:
            raise OptionError(f"{text!r} is none of the conditions {', '.join(KINDS)}{did_you_mean(name, KINDS)}")
        kind = KINDS[name]
        if not levels:
            return cls(name, *map(float, kind.usual))
        if not kind.level:
            raise OptionError(f"{text!r}: {name} takes no level")
        try:
            low, high = float(levels[0]), float(levels[-1])
        except ValueError:
            low = high = np.nan
        lowest, highest = kind.limits
        if len(levels) > 2 or not lowest <= low <= high <= highest:
            raise OptionError(
                f"{text!r}: {name} takes a {kind.level} from {lowest:g} to {highest:g}, or two to draw between, as in "
                f"{name}:{kind.usual[0]:g}:{kind.usual[1]:g}"
            )
        return cls(name, low, high)

    def __str__(self) -> str:
        levels = [self.low, self.high][: 1 + (self.low != self.high)] if KINDS[self.kind].level else []
        return ":".join([self.kind, *(f"{level:g}" for level in levels)])

    def apply(
        self, wave: np.ndarray, rate: float, rng: np.random.Generator, voices: Sequence[np.ndarray] = ()
    ) -> np.ndarray:
        """A clip under this condition.

        Args:
            wave: (samples,), float32. rate: its sampling rate and that of the voices, Hz.
            rng: draws the level and what else there is to draw.
            voices: clips that babble beside it.
        """
        from . import augmentation as sounds  # loads scipy.signal, which takes a while

        level = rng.uniform(self.low, self.high)
        match self.kind:
            case "noise":
                return sounds.add_at_snr(wave, rng.standard_normal(len(wave)), rate, level)
            case "babble":
                return sounds.add_at_snr(wave, sounds.babble(voices, rate, len(wave), rng), rate, level)
            case "reverb":
                return sounds.reverberate(wave, sounds.room_response(level, rate, rng), rate)
            case "telephone":
                return sounds.telephone(wave, rate)
            case "silence":
                return sounds.surround_with_silence(wave, level, rate)
            case _:
                return sounds.amplify(wave, level)


def drawn_by(*names: Any) -> np.random.Generator:
    """A generator that is seeded by names: it draws the same on any machine."""
    digest = hashlib.sha256("\n".join(map(str, names)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def cut_of(row: Mapping[str, Any]) -> Any:
    """A row's recording, cut and played as its `CLIP_COLUMNS` say."""
    return excerpt(row["audio"], *(row.get(name) for name in CLIP_COLUMNS))


def clip_of(row: Mapping[str, Any], rate: float) -> AudioSource:
    """What a model hears of a row: its recording, cut and played as [`cut_of`] does, under its `condition`, with the
    clips that its `babble` names, as far as the row has them. What is drawn depends on condition and `utterance_id`
    alone.

    Args:
        rate: sampling rate of a clip under a condition, Hz.

    Raises:
        AudioError: a recording is unusable. OptionError: the condition is none.
    """
    clip = cut_of(row)
    if is_blank(row.get("condition")):
        return clip
    condition, name = Condition.parse(row["condition"]), row["utterance_id"]
    wave = load_audio(clip, rate, name=f"utterance {name}")
    voices = [
        load_audio(cut_of(voice), rate, name=f"babble beside utterance {name}") for voice in row.get("babble") or ()
    ]
    return {"array": condition.apply(wave, rate, drawn_by(name, condition), voices), "sampling_rate": rate}
