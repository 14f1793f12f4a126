"""Any recording -> mono float32 waveform at the rate that the speech encoder expects.

`load_audio` is the only way audio enters the project. It accepts files, encoded bytes and raw arrays of any sampling
rate, sample type and channel count, and either returns a finite, non-empty waveform or raises an `AudioError` that
names the sample.
"""

import io
import math
import os
import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import torch
from transformers.utils import logging

logger = logging.get_logger(__name__)

AudioSource: TypeAlias = Any
"""A path (str or path-like), encoded bytes, a binary file object, a 1-D or 2-D array, tensor or list of floats,
`{"array", "sampling_rate"}`, or `{"path", "bytes"}` (the rows of `datasets.Audio(decode=False)`)."""

PLAUSIBLE_RATES = (1_000, 1_000_000)  # Hz
STREAMED_SIZE = 0x7FFFFF00  # bytes; sizes from here on are the placeholders of streamed WAV files
DECODING_BLOCK = 1 << 16  # frames; a corrupt header that announces hours then allocates nothing


class AudioError(ValueError):
    """A recording that cannot be used. The message names the sample, what is wrong and what to do."""


def load_audio(
    source: AudioSource, target_rate: float, sampling_rate: float | None = None, name: str = "sample 0"
) -> np.ndarray:
    """Decode, downmix, check and resample one recording.

    Channels are averaged. Of a 2-D array the shorter axis is the channels (the first axis if both are equal). Integer
    arrays are PCM: they are scaled to [-1, 1] by the range of their type, unsigned ones after centring. A str is
    always a path (`~` is expanded) and bytes are always encoded audio.

    Args:
        source: one recording, see `AudioSource`.
        target_rate: sampling rate of the result, Hz.
        sampling_rate: sampling rate of a raw array, Hz. Sources that know their own rate must agree with it.
        name: what error messages call this recording.

    Returns:
        waveform (samples,), float32, at least one sample, every sample finite.

    Raises:
        AudioError: missing, unreadable, truncated or empty audio, NaN or infinite samples, arrays that are not 1-D or
            2-D numbers, a missing, implausible or conflicting sampling rate.
        ImportError: soundfile (to decode) or soxr (to resample) is needed and not installed.
    """
    label = audio_label(source, name)
    try:
        waveform, rate = _read(source, sampling_rate, label)
        if not waveform.size:
            raise AudioError("the audio is empty (no samples)")
        if not np.isfinite(waveform).all():
            first_bad = int(np.argmin(np.isfinite(waveform)))
            raise AudioError(f"NaN or infinite samples, the first at {first_bad / rate:.3f} s; repair the recording")
        return _resample(waveform, rate, _checked_rate(target_rate))
    except AudioError as error:
        raise AudioError(f"{label}: {error}") from error


def audio_duration(path: str | os.PathLike[str]) -> float:
    """Length of an audio file in seconds, read from its header (nothing is decoded).

    Raises:
        AudioError: the file is missing or libsndfile cannot read its header.
    """
    soundfile = _soundfile()
    try:
        return soundfile.info(_existing_file(path)).duration
    except AudioError as error:
        raise AudioError(f"{os.fspath(path)}: {error}") from error
    except (soundfile.SoundFileError, TypeError) as error:
        raise AudioError(f"{os.fspath(path)}: {_decoding_failure(error)}") from error


def audio_label(source: AudioSource, name: str) -> str:
    """`name`, followed by the path of the recording where it has one: "sample 3 (clip.wav)"."""
    path = source.get("path") if isinstance(source, Mapping) else source
    if not isinstance(path, (str, os.PathLike)):
        path = getattr(source, "name", None)
    return f"{name} ({os.fspath(path)})" if isinstance(path, (str, os.PathLike)) else name


def _read(source: AudioSource, sampling_rate: float | None, label: str) -> tuple[np.ndarray, float]:
    """Mono waveform (samples,), float32, and its own sampling rate in Hz."""
    if isinstance(source, Mapping):
        if source.get("array") is not None:
            own_rate = source.get("sampling_rate")
            return _to_mono(source["array"]), _agreed_rate(
                sampling_rate if own_rate is None else own_rate, sampling_rate
            )
        encoded, path = source.get("bytes"), source.get("path")
        if encoded is None and path is None:
            raise AudioError(f'a dict needs a value for "array", "bytes" or "path"; it has the keys {list(source)}')
        source = path if encoded is None else encoded
        if encoded is not None and not isinstance(encoded, (bytes, bytearray, memoryview)):
            raise AudioError(f'"bytes" must be the bytes of an audio file, not {type(encoded).__name__}')
    if hasattr(source, "read"):
        source = source.read()
        if not isinstance(source, bytes):
            raise AudioError('the file object gives no bytes; open it in binary mode ("rb")')
    if isinstance(source, (str, os.PathLike)):
        waveform, own_rate = _decode(_existing_file(source), label)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        waveform, own_rate = _decode(io.BytesIO(source), label)
    else:
        return _to_mono(source), _agreed_rate(sampling_rate, sampling_rate)
    return waveform, _agreed_rate(own_rate, sampling_rate)


def _existing_file(path: str | os.PathLike[str]) -> str:
    expanded = os.path.expanduser(os.fspath(path))
    if os.path.isdir(expanded):
        raise AudioError("is a directory, not an audio file")
    if not os.path.isfile(expanded):
        raise AudioError("no such file; check the path (relative paths start at the working directory)")
    return expanded


def _decode(file: str | BinaryIO, label: str) -> tuple[np.ndarray, int]:
    """Downmixed float32 waveform (samples,) and sampling rate of an encoded file."""
    soundfile = _soundfile()
    try:
        with soundfile.SoundFile(file) as audio:
            blocks = [np.zeros(0, dtype=np.float32)]
            while len(block := audio.read(DECODING_BLOCK, dtype="float32", always_2d=True)):
                blocks.append(_average(block, axis=1))
            waveform = np.concatenate(blocks)
            _refuse_truncated(audio, len(waveform), label)
            return waveform, audio.samplerate
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: headerless .raw files
        raise AudioError(_decoding_failure(error)) from error


def _refuse_truncated(audio: Any, decoded: int, label: str) -> None:
    """Raise if a WAV or AIFF file holds less audio than its header announces; libsndfile would return what is left.

    An MP3 header announces an estimate, so a shortfall is only logged. OGG and NIST files without their last part are
    indistinguishable from shorter ones. For FLAC and CAF libsndfile itself raises.
    """
    chunk = re.search(r"(?:data|SSND) : (\d+) \(should be (\d+)\)", audio.extra_info)
    announced, present = (int(size) for size in chunk.groups()) if chunk else (0, 0)
    if present < announced < STREAMED_SIZE:
        raise AudioError(f"truncated: {present} bytes of audio where the header announces {announced}; fetch it again")
    if decoded < 0.95 * audio.frames:
        logger.warning(f"{label}: only {decoded} of about {audio.frames} frames could be decoded; is it truncated?")


def _decoding_failure(error: Exception) -> str:
    reason = str(getattr(error, "error_string", error)).rstrip(".")
    return (
        f"cannot be decoded ({reason}); WAV, FLAC, OGG and MP3 are read, convert other formats (ffmpeg -i IN OUT.wav)"
    )


def _to_mono(values: Any) -> np.ndarray:
    """Raw samples (samples,), (channels, samples) or (samples, channels) -> (samples,), float32."""
    if isinstance(values, torch.Tensor):
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
    return _average(array, axis=int(np.argmin(array.shape))) if array.ndim == 2 else _to_float32(array)


def _scale_pcm(array: np.ndarray) -> np.ndarray:
    if array.dtype.itemsize == 8:
        raise AudioError(f"{array.dtype} is no PCM type; give floats in [-1, 1] or PCM of at most 32 bits (int16)")
    half_range = 2.0 ** (8 * array.dtype.itemsize - 1)
    centre = half_range if array.dtype.kind == "u" else 0.0
    return (array.astype(np.float64) - centre) / half_range


def _average(array: np.ndarray, axis: int) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # inf - inf; NaN is reported by the caller
        return _to_float32(array.mean(axis=axis, dtype=np.float64))


def _to_float32(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # infinities are reported by the caller
        return np.ascontiguousarray(array, dtype=np.float32)


def _agreed_rate(own_rate: Any, sampling_rate: Any) -> float:
    if own_rate is None:
        raise AudioError(
            "a raw array needs its sampling rate; pass sampling_rate or {'array': .., 'sampling_rate': ..}"
        )
    rate = _checked_rate(own_rate)
    if sampling_rate is not None and _checked_rate(sampling_rate) != rate:
        raise AudioError(
            f"the audio has {rate:g} Hz but sampling_rate={sampling_rate} was passed; pass only one of them"
        )
    return rate


def _checked_rate(rate: Any) -> float:
    try:
        value = math.nan if isinstance(rate, (bool, str, bytes)) else float(rate)
    except (TypeError, ValueError):
        value = math.nan
    low, high = PLAUSIBLE_RATES
    if not low <= value <= high:
        raise AudioError(f"implausible sampling rate {rate!r}; expected a number of Hz from {low} to {high}")
    return value


def _resample(waveform: np.ndarray, rate: float, target_rate: float) -> np.ndarray:
    if rate == target_rate:
        return waveform
    try:
        import soxr
    except ImportError as error:
        raise ImportError(f"resampling {rate:g} Hz to {target_rate:g} Hz needs soxr: pip install soxr") from error
    resampled = soxr.resample(waveform, rate, target_rate, quality="HQ")
    return resampled if resampled.size else waveform[:1]  # shorter than one output sample


def _soundfile() -> ModuleType:
    try:
        import soundfile
    except ImportError as error:
        raise ImportError("decoding audio needs soundfile: pip install soundfile") from error
    return soundfile
