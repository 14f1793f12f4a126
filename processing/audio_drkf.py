"""Any recording -> mono float32 waveform at the rate that the speech encoder expects.

`AudioStream` is the only way audio enters the project, and `load_audio` reads one to its end. Both accept files,
encoded bytes and raw arrays of any sampling rate, sample type and channel count, and either give a finite, non-empty
waveform or raise an `AudioError` that names the sample. Files are decoded, downmixed and resampled block by block: the
memory needed is that of the result, whatever rate and number of channels the file has.
"""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from .errors_drkf import AudioError, needed
from .sound_file_drkf import DECODED_VALUES, SoundFile
from .waveform_drkf import Downmix, agreed_rate, checked_rate, raw_samples, to_channels

AudioSource: TypeAlias = Any
"""A path (str or path-like), encoded bytes, a binary file object, a 1-D or 2-D array, tensor or list of floats,
`{"array", "sampling_rate"}` (and `cancels` and `differs`, where it was made of channels), `(rate, array)`,
`{"path", "bytes"}` (the rows of `datasets.Audio(decode=False)`), a torchcodec AudioDecoder (the rows of
`datasets.Audio()`) or AudioSamples, or an [`Excerpt`] of any of them."""

LOUDEST = 1e12  # samples are of [-1, 1], or integers as floats; squares of larger ones overflow in extractors
SLACK = 0.05  # s; ends in tables are rounded
MOST_CHANNELS = 8  # of a file under a limit of seconds: as many as surround sound has
LIMITED_VALUES = 96_000  # samples of all channels that a second of that limit stands for: stereo at 48 kHz


@dataclass(frozen=True)
class Excerpt:
    """A part of a recording, as rows of a table name it, and how fast it is played.

    Attributes:
        audio: the recording, see `AudioSource`.
        start, end: seconds from its beginning, numbers or their text; None or "" is the beginning and the end.
        speed: at which it is played; 1.1 is shorter by a tenth, and higher.
        channel: the one that is read, from 0; None is the mean of all.
    """

    audio: Any
    start: Any = None
    end: Any = None
    speed: float = 1.0
    channel: int | None = None

    def bounds(self) -> tuple[float, float | None]:
        """Start and end in seconds.

        Raises:
            AudioError: no numbers, a start before the recording, or an end that is not after the start.
        """
        start, end = _seconds(self.start, "start") or 0.0, _seconds(self.end, "end")
        if start < 0 or (end is not None and end <= start):
            upto = "the end" if end is None else f"{end:g} s"
            raise AudioError(f"start and end, {start:g} s to {upto}, hold nothing: start is 0 or later, end after it")
        return start, end

    def check(self, seconds: float) -> None:
        """Raises `AudioError` unless a recording of so many seconds holds the excerpt."""
        start, end = self.bounds()
        if start > 0 and start >= seconds:
            raise AudioError(f"start ({start:g} s) is after the end of the recording ({seconds:.2f} s)")
        if end is not None and end > seconds + SLACK:
            raise AudioError(f"end ({end:g} s) is after the end of the recording ({seconds:.2f} s)")


def excerpt(audio: Any, start: Any, end: Any, speed: float | None = None, channel: int | None = None) -> Any:
    """`audio` from `start` to `end`, played at `speed`, one `channel` of it; `audio` itself where none says anything,
    or there is none."""
    if audio is None or all(map(is_blank, (start, end, speed, channel))):
        return audio
    return Excerpt(audio, start, end, 1.0 if is_blank(speed) else float(speed), channel)  # type: ignore[arg-type]


def is_index(value: Any) -> bool:
    """Whether it is an int from 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_blank(value: Any) -> bool:
    """Whether a cell of a table says nothing: None, NaN or white space."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _seconds(value: Any, name: str) -> float | None:
    if is_blank(value):
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise AudioError(f"{name} must be a number of seconds, not {str(value)[:40]!r}")
    return seconds


def load_audio(
    source: AudioSource,
    target_rate: float | None,
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

    Channels are averaged; where they cancel each other, the loudest alone is taken ([`Downmix`]). Of a 2-D array the
    shorter axis is the channels (the first axis if both are equal). Integer arrays are PCM: they are scaled to [-1, 1]
    by the range of their type, unsigned ones after centring. A str is always a path (`~` is expanded) and bytes are
    always encoded audio.

    Args:
        source: one recording, see `AudioSource`.
        target_rate: sampling rate of the blocks, Hz; None keeps the recording's own.
        sampling_rate: sampling rate of a raw array, Hz. Sources that know their own rate must agree with it.
        name: what error messages call this recording.
        max_seconds: a longer recording is refused: from its header, before anything is decoded, and again while it is
            decoded, should it hold more than its header says. So is a file of more than eight channels, or of more
            samples than a stereo recording of that length at 48 kHz has.

    Attributes:
        rate: the recording's own sampling rate, Hz.
        seconds: length that the file or the array has, of an excerpt its own; None if a file does not tell.
        seconds_read: length of what has been read so far.
        channels: how many the recording has.
        cancels: whether channels cancel each other, as far as they have been read, or did when the array was made.
        differs: whether two channels hold different voices and were averaged, as far as they have been read, or did
            when the array was made.

    Raises:
        AudioError: missing, unreadable, truncated, empty or too long audio, NaN, infinite or absurdly large samples,
            arrays that are not 1-D or 2-D numbers, a missing, implausible or conflicting sampling rate, an excerpt
            or a channel that the recording does not hold.
        ImportError: soundfile (to decode) or soxr (to resample) is needed and not installed.
    """

    def __init__(
        self,
        source: AudioSource,
        target_rate: float | None,
        sampling_rate: float | None = None,
        name: str = "sample 1",
        max_seconds: float | None = None,
    ):
        self.label = audio_label(source, name)
        self.max_seconds = math.inf if max_seconds is None else max_seconds
        self.seconds_read = 0.0
        self._file: SoundFile | None = None
        self._channels = np.zeros((0, 1), dtype=np.float32)
        self._downmix, self._cancelled, self._differed = Downmix(), False, False
        self._excerpt = source if isinstance(source, Excerpt) else Excerpt(source)
        try:
            self._open(self._excerpt.audio, sampling_rate)
            self.target_rate = self.rate if target_rate is None else checked_rate(target_rate)
            self._find_bounds()
            self._refuse_too_long()
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

    @property
    def differs(self) -> bool:
        return self._differed or self._downmix.differs

    def __iter__(self) -> Iterator[np.ndarray]:
        """Non-empty blocks (samples,), float32, at `target_rate`; at least one."""
        samples, limit = 0, self.max_seconds * self.target_rate + 2
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
        raw, own_rate = raw_samples(source), sampling_rate
        if raw is not None:
            own_rate = sampling_rate if raw.get("sampling_rate") is None else raw["sampling_rate"]
            self._channels = to_channels(raw["array"])
            self._cancelled, self._differed = bool(raw.get("cancels")), bool(raw.get("differs"))
        else:
            source = _encoded(source)
            if isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview)):
                self._file = SoundFile(source)
                own_rate = self._file.rate
            else:
                self._channels = to_channels(source)
        self.channels = self._channels.shape[1] if self._file is None else self._file.channels
        self.rate = agreed_rate(own_rate, sampling_rate)
        frames = len(self._channels) if self._file is None else self._file.frames
        self.seconds = None if frames is None else frames / self.rate

    def _find_bounds(self) -> None:
        """What is decoded, in samples, and how long it is."""
        channel = self._excerpt.channel
        if channel is not None and not (is_index(channel) and channel < self.channels):
            raise AudioError(f"channel {channel!r}: the recording has {self.channels}, counted from 0")
        start, end = self._excerpt.bounds()
        self._first, self._last = round(start * self.rate), None if end is None else round(end * self.rate)
        if self.seconds is not None:
            self._excerpt.check(self.seconds)
            self.seconds = (min(self.seconds, math.inf if end is None else end) - start) / self._excerpt.speed

    def _refuse_too_long(self) -> None:
        if self.max_seconds == math.inf:
            return
        audio, longest = "audio", self.max_seconds
        if self._file is not None:
            channels = self._file.channels
            if channels > MOST_CHANNELS:
                raise AudioError(f"{channels} channels, more than {MOST_CHANNELS}; convert it to mono")
            self.max_seconds = min(longest, longest * LIMITED_VALUES / (channels * self.rate))
            audio = "audio" if self.max_seconds == longest else f"{channels} channels at {self.rate:g} Hz"
        if self.seconds is not None and self.seconds > self.max_seconds:
            raise AudioError(f"{self.seconds:.2f} s of {audio}, longer than the limit of {self.max_seconds:g} s")

    def _resampled(self) -> Iterator[np.ndarray]:
        played_rate = self.rate * self._excerpt.speed
        if played_rate == self.target_rate:
            yield from self._checked()
            return
        soxr = needed("soxr", f"resampling {played_rate:g} Hz to {self.target_rate:g} Hz")
        resampler = soxr.ResampleStream(played_rate, self.target_rate, 1, dtype="float32", quality="HQ")
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
        for block in map(self._downmix, self._decoded()):
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
        chosen = (
            slice(None) if self._excerpt.channel is None else slice(self._excerpt.channel, self._excerpt.channel + 1)
        )
        if self._file is not None:
            yield from (block[:, chosen] for block in self._file.blocks(self._first, self._last))
            self._excerpt.check(self._file.frames_read / self.rate)
            return
        channels = self._channels[self._first : self._last, chosen]
        size = max(1, DECODED_VALUES // channels.shape[1])
        yield from (channels[i : i + size] for i in range(0, len(channels), size))


def audio_label(source: AudioSource, name: str) -> str:
    """`name`, followed by the path of the recording where it has another one: "sample 3 (clip.wav)"."""
    source = source.audio if isinstance(source, Excerpt) else source
    path = source.get("path") if isinstance(source, Mapping) else source
    if not isinstance(path, (str, os.PathLike)):
        path = getattr(source, "name", None)
    if not isinstance(path, (str, os.PathLike)) or os.fspath(path) == name:
        return name
    return f"{name} ({os.fspath(path)})"


def repeatable(audio: AudioSource) -> AudioSource:
    """The bytes of what can be read once, a file object or a pipe; anything else as it is."""
    given = audio if isinstance(audio, Excerpt) else Excerpt(audio)
    source = given.audio
    if isinstance(source, (str, os.PathLike)) and (path := Path(source).expanduser()).is_fifo():
        return replace(given, audio=path.read_bytes())
    return replace(given, audio=_encoded(source)) if hasattr(source, "read") else audio


def _encoded(source: Any) -> Any:
    """The path or the bytes of a file, of a mapping or a file object; anything else as it is."""
    if isinstance(source, Mapping):
        encoded, path = source.get("bytes"), source.get("path")
        if encoded is None and path is None:
            raise AudioError(f'a dict needs a value for "array", "bytes" or "path"; it has the keys {list(source)}')
        if encoded is not None and not isinstance(encoded, (bytes, bytearray, memoryview)):
            raise AudioError(f'"bytes" must be the bytes of an audio file, not {type(encoded).__name__}')
        return path if encoded is None else encoded
    if hasattr(source, "read"):
        source = source.read()
        if not isinstance(source, bytes):
            raise AudioError('the file object gives no bytes; open it in binary mode ("rb")')
    return source
