"""Raw samples of any type and layout -> channels -> mono float32; sampling rates that can be trusted."""

import math
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np

from .errors_drkf import AudioError

PLAUSIBLE_RATES = (1_000, 1_000_000)  # Hz
SILENT_PEAK = 1e-4  # 80 dB below full scale: the dither of a muted recording
CANCELLED = 0.1  # of the energy that the mean of unrelated channels has


FRAME = 1024  # samples of which energies are compared
FAINT = 1e-3  # of the energy of the louder channel: its echo, or noise
UNLIKE = 0.5  # correlation of samples below which two channels may hold different voices
UNEVEN = 0.9  # cosine of their energies over time below which they do: one scene is loud on both at once


class Downmix:
    """Blocks of (samples, channels) -> (samples,), float32: the mean, or the loudest channel where they cancel.

    The first block that is not silent decides for all. A mean that is not finite stays so; the caller reports it.

    Attributes:
        channel: the one that is taken alone; None where the mean is.
        differs: whether the mean is that of two channels that hold different voices, as far as they have been seen.
    """

    def __init__(self) -> None:
        self.channel: int | None = None
        self._decided = False
        self._samples, self._energies = np.zeros((2, 2)), np.zeros((2, 2))  # products of both channels, summed

    @property
    def differs(self) -> bool:
        first, second = np.diag(self._samples)
        if self.channel is not None or not min(first, second) > FAINT * max(first, second):
            return False
        alike, even = (
            np.abs(sums[0, 1]) / np.sqrt(sums[0, 0] * sums[1, 1]) for sums in (self._samples, self._energies)
        )
        return bool(alike < UNLIKE and even < UNEVEN)

    def __call__(self, block: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", over="ignore"):  # inf - inf, and beyond float32
            mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float64)
            if block.shape[1] > 1 and not (self._decided or is_silent(block)):
                self._decided = True
                energies = np.square(block, dtype=np.float64).mean(axis=0)
                if np.square(mono).mean() < CANCELLED * energies.mean() / len(energies):
                    self.channel = int(energies.argmax())
            if self.channel is not None:
                mono = block[:, self.channel]
            elif block.shape[1] == 2:
                self._compare(block)
            return np.ascontiguousarray(mono, dtype=np.float32)

    def _compare(self, block: np.ndarray) -> None:
        block = block.astype(np.float64)
        self._samples += block.T @ block
        frames = block[: len(block) // FRAME * FRAME].reshape(-1, FRAME, 2)
        energies = np.square(frames).mean(axis=1)
        self._energies += energies.T @ energies


def is_silent(samples: np.ndarray) -> bool:
    """Whether no sample is above 80 dB below full scale."""
    return bool(np.abs(samples).max(initial=0.0) < SILENT_PEAK)


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


def _scale_pcm(array: np.ndarray) -> np.ndarray:
    if array.dtype.itemsize == 8:
        raise AudioError(f"{array.dtype} is no PCM type; give floats in [-1, 1] or PCM of at most 32 bits (int16)")
    full_scale = 2.0 ** (8 * array.dtype.itemsize - 1)
    centre = full_scale if array.dtype.kind == "u" else 0.0
    return (array.astype(np.float64) - centre) / full_scale


def raw_samples(source: Any) -> Mapping[str, Any] | None:
    """Raw samples that come with their rate, as `{"array", "sampling_rate"}`; None for anything else.

    These are such mappings (with "raw" in place of "array", too), `(rate, samples)` and `(samples, rate)`, and what
    rows of `datasets` hold: torchcodec's AudioDecoder and AudioSamples.

    Raises:
        AudioError: a decoder fails.
    """
    if hasattr(source, "get_all_samples"):
        try:
            source = source.get_all_samples()
        except Exception as error:  # of torchcodec, whose errors share no other base
            raise AudioError(f"cannot be decoded ({error})") from error
    if is_decoded(source):
        return {"array": source.data, "sampling_rate": source.sample_rate}
    if isinstance(source, Mapping):
        array = source.get("array") if source.get("raw") is None else source["raw"]
        return None if array is None else {**source, "array": array}
    if not isinstance(source, tuple) or len(source) != 2:
        return None
    rate, array = source if isinstance(source[0], numbers.Real) else source[::-1]
    if not isinstance(rate, numbers.Real) or not hasattr(array, "__len__") or isinstance(array, (str, bytes)):
        return None
    return {"array": array, "sampling_rate": rate}


def is_decoded(source: Any) -> bool:
    """Whether `source` is an AudioDecoder or AudioSamples of torchcodec, which need not be installed."""
    return hasattr(source, "get_all_samples") or (hasattr(source, "sample_rate") and hasattr(source, "data"))


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
    """A sampling rate in Hz. AudioError: no number, or an implausible one."""
    try:
        value = math.nan if isinstance(rate, (bool, str, bytes)) else float(rate)
    except (TypeError, ValueError):
        value = math.nan
    low, high = PLAUSIBLE_RATES
    if not low <= value <= high:
        raise AudioError(f"implausible sampling rate {rate!r}; expected a number of Hz from {low} to {high}")
    return value
