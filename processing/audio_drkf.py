"""Any recording -> mono float32 waveform at the rate that the speech encoder expects.

`AudioStream` is the only way audio enters the project, and `load_audio` reads one to its end. Both accept files,
encoded bytes and raw arrays of any sampling rate, sample type and channel count, and either give a finite, non-empty
waveform or raise an `AudioError` that names the sample. Files are decoded, downmixed and resampled block by block: the
memory needed is that of the result, whatever rate and number of channels the file has.
"""

import math
import os
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from .excerpt_drkf import Excerpt
from .sound_file_drkf import DECODED_VALUES, SoundFile
from .waveform_drkf import AudioError, Downmix, agreed_rate, checked_rate, rate_and_samples, to_channels

AudioSource: TypeAlias = Any
"""A path (str or path-like), encoded bytes, a binary file object, a 1-D or 2-D array, tensor or list of floats,
`{"array", "sampling_rate"}` (and `cancels`, where it was made of channels), `(rate, array)`, `{"path", "bytes"}` (the
rows of `datasets.Audio(decode=False)`), or an [`Excerpt`] of any of them."""

LOUDEST = 1e12  # samples are of [-1, 1], or integers as floats; squares of larger ones overflow in extractors


def load_audio(
    source: AudioSource,
    target_rate: float,
    sampling_rate: float | None = None,
    name: str = "sample 1",
    max_seconds: float | None = None,
) -> np.ndarray:
    """Decode, downmix, check and resample one recording; see [`AudioStream`] for arguments and errors.

    Returns:
        waveform (samples,), float32, at least one sample, every sample finite.
    """
    with AudioStream(source, target_rate, sampling_rate, name, max_seconds) as stream:
        return stream.read()


class AudioStream:
    """One recording as blocks of mono float32 samples; to be read once, and closed by `with` or by reading to its end.

    Channels are averaged; where they cancel each other, the loudest alone is heard ([`Downmix`]). Of a 2-D array the
    shorter axis is the channels (the first axis if both are equal). Integer arrays are PCM: they are scaled to [-1, 1]
    by the range of their type, unsigned ones after centring. A str is always a path (`~` is expanded) and bytes are
    always encoded audio.

    Args:
        source: one recording, see `AudioSource`.
        target_rate: sampling rate of the blocks, Hz.
        sampling_rate: sampling rate of a raw array, Hz. Sources that know their own rate must agree with it.
        name: what error messages call this recording.
        max_seconds: a longer recording is refused: from its header, before anything is decoded, and again while it is
            decoded, should it hold more than its header says.

    Attributes:
        seconds: length that the file or the array has, of an excerpt its own; None if a file does not tell.
        seconds_read: length of what has been read so far.
        cancels: whether channels cancel each other, as far as they have been read, or did when the array was made.

    Raises:
        AudioError: missing, unreadable, truncated, empty or too long audio, NaN, infinite or absurdly large samples,
            arrays that are not 1-D or 2-D numbers, a missing, implausible or conflicting sampling rate, an excerpt
            that the recording does not hold.
        ImportError: soundfile (to decode) or soxr (to resample) is needed and not installed.
    """

    def __init__(
        self,
        source: AudioSource,
        target_rate: float,
        sampling_rate: float | None = None,
        name: str = "sample 1",
        max_seconds: float | None = None,
    ):
        self.label = audio_label(source, name)
        self.max_seconds = max_seconds
        self.seconds: float | None = None
        self.seconds_read = 0.0
        self._file: SoundFile | None = None
        self._channels: np.ndarray | None = None
        self._downmix, self._cancelled = Downmix(), False
        self._excerpt = source if isinstance(source, Excerpt) else None
        try:
            self._open(source.audio if isinstance(source, Excerpt) else source, sampling_rate)
            self._find_excerpt()
            self.target_rate = checked_rate(target_rate)
            if max_seconds is not None and self.seconds is not None and self.seconds > max_seconds:
                raise AudioError(f"{self.seconds:.2f} s of audio, longer than the limit of {max_seconds:g} s")
        except AudioError as error:
            self.close()
            raise AudioError(error.reason, self.label) from error

    def __enter__(self) -> "AudioStream":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def cancels(self) -> bool:
        return self._cancelled or self._downmix.channel is not None

    def __iter__(self) -> Iterator[np.ndarray]:
        """Non-empty blocks (samples,), float32, at `target_rate`; at least one."""
        limit = math.inf if self.max_seconds is None else math.ceil(self.max_seconds * self.target_rate) + 1
        samples = 0
        try:
            for block in self._resampled():
                samples += len(block)
                if samples > limit:
                    raise AudioError(
                        f"more audio than its header announces, and than the limit of {self.max_seconds:g} s"
                    )
                self.seconds_read = samples / self.target_rate
                yield block
        except AudioError as error:
            raise AudioError(error.reason, self.label) from error
        finally:
            self.close()

    def read(self, samples: int | None = None) -> np.ndarray:
        """The waveform (samples,), or no more than its first `samples`; what follows is not decoded."""
        blocks, length = [], 0
        for block in self:
            blocks.append(block)
            length += len(block)
            if samples is not None and length >= samples:
                break
        return np.concatenate(blocks)[:samples]

    def _open(self, source: AudioSource, sampling_rate: float | None) -> None:
        own_rate: Any = sampling_rate
        source = rate_and_samples(source) or source
        if isinstance(source, Mapping) and source.get("raw") is not None:  # as transformers' audio pipelines take it
            source = {**source, "array": source["raw"]}
        if isinstance(source, Mapping) and source.get("array") is not None:
            own_rate = sampling_rate if source.get("sampling_rate") is None else source["sampling_rate"]
            self._channels, self._cancelled = to_channels(source["array"]), bool(source.get("cancels"))
        elif isinstance(source, Mapping):
            source = _encoded_source(source)
        elif hasattr(source, "read"):
            source = source.read()
            if not isinstance(source, bytes):
                raise AudioError('the file object gives no bytes; open it in binary mode ("rb")')
        if isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview)):
            self._file = SoundFile(source)
        elif self._channels is None:
            self._channels = to_channels(source)
        self.rate = agreed_rate(own_rate if self._file is None else self._file.rate, sampling_rate)
        frames = self._file.frames if self._file is not None else len(self._channels)  # type: ignore[arg-type]
        self.seconds = None if frames is None else frames / self.rate

    def _find_excerpt(self) -> None:
        self._first, self._last, self._played_rate = 0, None, self.rate
        if self._excerpt is None:
            return
        self._played_rate = self.rate * self._excerpt.speed
        start, end = self._excerpt.bounds()
        self._first, self._last = round(start * self.rate), None if end is None else round(end * self.rate)
        if self.seconds is not None:
            self._excerpt.check(self.seconds)
            self.seconds = (min(self.seconds, math.inf if end is None else end) - start) / self._excerpt.speed

    def _resampled(self) -> Iterator[np.ndarray]:
        if self._played_rate == self.target_rate:
            yield from self._checked()
            return
        resampler = _soxr(self._played_rate, self.target_rate).ResampleStream(
            self._played_rate, self.target_rate, 1, dtype="float32", quality="HQ"
        )
        first, given = None, False
        for block in self._checked():
            first = block[:1] if first is None else first
            if len(resampled := resampler.resample_chunk(block)):
                given = True
                yield resampled
        rest = resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True)
        if len(rest) or not given:
            yield rest if len(rest) else first  # type: ignore[misc]  # shorter than one output sample

    def _checked(self) -> Iterator[np.ndarray]:
        """Non-empty blocks of samples below `LOUDEST` at the recording's own rate."""
        position = self._first
        for block in self._decoded():
            usable = np.abs(block) < LOUDEST
            if not usable.all():
                first = int(np.argmin(usable))
                what = f"samples of {block[first]:.3g}" if np.isfinite(block[first]) else "NaN or infinite samples"
                at = (position + first) / self.rate
                raise AudioError(f"{what}, the first at {at:.3f} s; repair the recording")
            position += len(block)
            yield block
        if position == self._first:
            raise AudioError("the audio is empty (no samples)")

    def _decoded(self) -> Iterator[np.ndarray]:
        if self._file is None:
            channels = self._channels[self._first : self._last]  # type: ignore[index]
            size = max(1, DECODED_VALUES // channels.shape[1])
            yield from (self._downmix(channels[i : i + size]) for i in range(0, len(channels), size))
            return
        yield from map(self._downmix, self._file.blocks(self._first, self._last))
        if self._excerpt is not None:
            self._excerpt.check(self._file.frames_read / self.rate)


def audio_label(source: AudioSource, name: str) -> str:
    """`name`, followed by the path of the recording where it has another one: "sample 3 (clip.wav)"."""
    source = source.audio if isinstance(source, Excerpt) else source
    path = source.get("path") if isinstance(source, Mapping) else source
    if not isinstance(path, (str, os.PathLike)):
        path = getattr(source, "name", None)
    if not isinstance(path, (str, os.PathLike)) or os.fspath(path) == name:
        return name
    return f"{name} ({os.fspath(path)})"


def _encoded_source(source: Mapping[str, Any]) -> Any:
    encoded, path = source.get("bytes"), source.get("path")
    if encoded is None and path is None:
        raise AudioError(f'a dict needs a value for "array", "bytes" or "path"; it has the keys {list(source)}')
    if encoded is None:
        return path
    if not isinstance(encoded, (bytes, bytearray, memoryview)):
        raise AudioError(f'"bytes" must be the bytes of an audio file, not {type(encoded).__name__}')
    return encoded


def _soxr(rate: float, target_rate: float) -> ModuleType:
    try:
        import soxr
    except ImportError as error:
        raise ImportError(f"resampling {rate:g} Hz to {target_rate:g} Hz needs soxr: pip install soxr") from error
    return soxr
