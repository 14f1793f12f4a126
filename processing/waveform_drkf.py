"""Raw samples of any type and layout -> channels -> mono float32; sampling rates that can be trusted."""

import math
import numbers
from typing import Any

import numpy as np

from .errors_drkf import InputError

PLAUSIBLE_RATES = (1_000, 1_000_000)  # Hz
SILENT_PEAK = 1e-4  # 80 dB below full scale: the dither of a muted recording
CANCELLED = 0.1  # of the energy that the mean of unrelated channels has


class AudioError(InputError):
    """A recording that cannot be used. The message names the sample, what is wrong and what to do."""


def to_channels(values: Any) -> np.ndarray:
    """Raw samples (samples,), (channels, samples) or (samples, channels) -> (samples, channels), floats.

    Raises:
        AudioError: no numbers, not one or two axes, no samples, or integers that are no PCM.
    """
    if hasattr(values, "detach"):  # a torch tensor; torch itself need not be there
        values = values.detach().cpu()
        values = (values.float() if values.is_floating_point() else values).numpy()
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise AudioError(f"not a rectangular array of numbers ({error})") from error
    if array.dtype.kind not in "iuf":
        raise AudioError(
            f"{type(values).__name__} holds no audio samples; give a path, bytes, floats in [-1, 1] or integer PCM "
            '(for a column of `datasets`, cast_column("audio", Audio(decode=False)))'
        )
    if array.ndim not in (1, 2):
        raise AudioError(f"an array of shape {array.shape}; expected (samples,), (channels, samples) or its transpose")
    if not array.size:
        raise AudioError("the audio is empty (no samples)")
    if array.dtype.kind in "iu":
        array = _scale_pcm(array)
    if array.ndim == 1:
        return array[:, None]
    return array.T if array.shape[0] <= array.shape[1] else array


class Downmix:
    """Blocks of (samples, channels) -> (samples,), float32: the mean, or the loudest channel where they cancel.

    The first block that is not silent decides for all. A mean that is not finite stays so; the caller reports it.

    Attributes:
        channel: the one that is heard alone; None where the mean is.
    """

    def __init__(self) -> None:
        self.channel: int | None = None
        self._decided = False

    def __call__(self, block: np.ndarray) -> np.ndarray:
        if block.shape[1] == 1:
            return _to_float32(block[:, 0])
        with np.errstate(invalid="ignore", over="ignore"):  # inf - inf
            mean = block.mean(axis=1, dtype=np.float64)
            if not self._decided:
                self._decide(block, mean)
        return _to_float32(mean if self.channel is None else block[:, self.channel])

    def _decide(self, block: np.ndarray, mean: np.ndarray) -> None:
        if is_silent(block):
            return
        energies = np.square(block, dtype=np.float64).mean(axis=0)
        self._decided = True
        if np.square(mean).mean() < CANCELLED * energies.mean() / len(energies):
            self.channel = int(energies.argmax())


def is_silent(samples: np.ndarray) -> bool:
    """Whether no sample is above 80 dB below full scale."""
    return bool(np.abs(samples).max(initial=0.0) < SILENT_PEAK)


def rate_and_samples(source: Any) -> dict[str, Any] | None:
    """`(rate, samples)`, or `(samples, rate)`, as `{"array", "sampling_rate"}`; None for anything else."""
    if not isinstance(source, tuple) or len(source) != 2:
        return None
    rate, array = source if isinstance(source[0], numbers.Real) else source[::-1]
    if not isinstance(rate, numbers.Real) or not hasattr(array, "__len__") or isinstance(array, (str, bytes)):
        return None
    return {"array": array, "sampling_rate": rate}


def agreed_rate(own_rate: Any, sampling_rate: Any) -> float:
    """The rate that a recording states, Hz, checked against the one that was passed beside it, if any."""
    if own_rate is None:
        raise AudioError(
            "a raw array needs its sampling rate; pass sampling_rate or {'array': .., 'sampling_rate': ..}"
        )
    rate = checked_rate(own_rate)
    if sampling_rate is not None and checked_rate(sampling_rate) != rate:
        raise AudioError(
            f"the audio has {rate:g} Hz but sampling_rate={sampling_rate} was passed; pass only one of them"
        )
    return rate


def checked_rate(rate: Any) -> float:
    try:
        value = math.nan if isinstance(rate, (bool, str, bytes)) else float(rate)
    except (TypeError, ValueError):
        value = math.nan
    low, high = PLAUSIBLE_RATES
    if not low <= value <= high:
        raise AudioError(f"implausible sampling rate {rate!r}; expected a number of Hz from {low} to {high}")
    return value


def _scale_pcm(array: np.ndarray) -> np.ndarray:
    if array.dtype.itemsize == 8:
        raise AudioError(f"{array.dtype} is no PCM type; give floats in [-1, 1] or PCM of at most 32 bits (int16)")
    half_range = 2.0 ** (8 * array.dtype.itemsize - 1)
    centre = half_range if array.dtype.kind == "u" else 0.0
    return (array.astype(np.float64) - centre) / half_range


def _to_float32(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # infinities are reported by the caller
        return np.ascontiguousarray(array, dtype=np.float32)
