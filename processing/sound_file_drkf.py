"""Encoded audio files: what they hold, checked before it is believed, and decoded block by block."""

import io
import mmap
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from .mp3_drkf import count_frames, length_header
from .sound_formats_drkf import DECODED, READ, refuse_damage, refuse_other_formats, several
from .waveform_drkf import AudioError

STREAMED_SIZE = 0x7FFFFF00  # bytes; sizes from here on are the placeholders of streamed WAV files
UNKNOWN_FRAMES = 1 << 62  # what libsndfile announces where a file does not tell its length is beyond this
WHOLE_SHARE = 0.95  # of the frames that are announced; MP3 encoders add some, and players leave them out
DECODED_VALUES = 1 << 18  # values decoded at once; a corrupt header that announces hours then allocates nothing


class SoundFile:
    """One audio file, open until `close`. What it holds is told alike of a path and of its bytes.

    Args:
        source: a path, or the bytes of a file.

    Attributes:
        rate: Hz.
        frames: how many it holds, as far as that is known before it is decoded; None if not.

    Raises:
        AudioError: a file that is missing, of another format, damaged, or that holds several recordings.
        ImportError: soundfile is not installed.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes | bytearray | memoryview):
        content = _content(source)
        with _bytes_of(content) as data:
            refuse_other_formats(data)
            self._file = _opened(content)
            try:
                self._check(data)
            except AudioError:
                self.close()
                raise
        self.rate = self._file.samplerate
        self.frames = self._file.frames if self._file.frames < UNKNOWN_FRAMES else None

    def _check(self, data: Any) -> None:
        kind = self._file.format
        if kind not in DECODED:
            raise AudioError(f"cannot be decoded (it is {kind}); {READ}")
        _refuse_truncated(self._file)
        refuse_damage(data, kind)
        mp3 = count_frames(data) if kind == "MP3" else None
        if mp3 is None:
            return
        if mp3.announced is None:  # libsndfile would guess the length, and read no further
            self.close()
            self._file = _opened(length_header(mp3) + bytes(data[mp3.start :]))
            return
        seconds = mp3.samples / self._file.samplerate
        if mp3.frames > mp3.announced / WHOLE_SHARE + 1:
            raise AudioError(several("MP3"))
        if mp3.frames < WHOLE_SHARE * mp3.announced - 1:
            raise AudioError(_truncated(mp3.frames * seconds, mp3.announced * seconds))

    def close(self) -> None:
        self._file.close()

    def blocks(self, first: int = 0, last: int | None = None) -> Iterator[np.ndarray]:
        """Frames from `first` up to `last`, or the end, as (frames, channels) float32; none where there are none.

        Raises:
            AudioError: they cannot be decoded, or end long before the end that is announced.
        """
        soundfile, position = _soundfile(), 0
        size = max(1, DECODED_VALUES // self._file.channels)
        try:
            if first and self._file.format != "MP3":  # whose seeking is inexact
                position = self._file.seek(first)
            while last is None or position < last:
                count = size if last is None else min(size, last - position)
                block = self._file.read(count, dtype="float32", always_2d=True)
                if not len(block):
                    break
                position += len(block)
                if position > first:
                    yield block[max(0, len(block) - (position - first)) :]
        except (soundfile.SoundFileError, TypeError) as error:
            raise AudioError(_decoding_failure(error)) from error
        self.frames_read = position
        if last is None and position < WHOLE_SHARE * (self.frames or 0):
            raise AudioError(_truncated(position / self.rate, (self.frames or 0) / self.rate))


def _content(source: Any) -> Any:
    """The path of a file that is there, or bytes; those of a pipe are read."""
    if not isinstance(source, (str, os.PathLike)):
        return source
    path = os.path.expanduser(os.fspath(source))
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        raise AudioError("no such file; check the path (relative paths start at the working directory)") from None
    if stat.S_ISDIR(mode):
        raise AudioError("is a directory, not an audio file")
    try:
        if stat.S_ISFIFO(mode):
            with open(path, "rb") as pipe:
                return pipe.read()
        with open(path, "rb"):
            return path
    except OSError as error:
        raise AudioError(f"cannot be opened ({error.strerror})") from error


@contextmanager
def _bytes_of(content: Any) -> Iterator[Any]:
    """All bytes of a file, without reading them into memory."""
    if not isinstance(content, str):
        yield bytes(content)
    elif not os.path.getsize(content):
        yield b""
    else:
        with open(content, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def _opened(content: Any) -> Any:
    soundfile = _soundfile()
    try:
        return soundfile.SoundFile(content if isinstance(content, str) else io.BytesIO(content))
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: headerless .raw files
        raise AudioError(_decoding_failure(error)) from error


def _refuse_truncated(audio: Any) -> None:
    """Raise if a WAV file holds less audio than its header announces; libsndfile would return what is left.

    For FLAC libsndfile itself raises.
    """
    chunk = re.search(r"data : (\d+) \(should be (\d+)\)", audio.extra_info)
    announced, present = (int(size) for size in chunk.groups()) if chunk else (0, 0)
    if present < announced < STREAMED_SIZE:
        raise AudioError(f"truncated: {present} bytes of audio where the header announces {announced}; fetch it again")


def _truncated(held: float, announced: float) -> str:
    return f"truncated: {held:.2f} s of sound where the header announces {announced:.2f} s; fetch it again"


def _decoding_failure(error: Exception) -> str:
    return f"cannot be decoded ({str(getattr(error, 'error_string', error)).rstrip('.')}); {READ}"


def _soundfile() -> ModuleType:
    try:
        import soundfile
    except ImportError as error:
        raise ImportError("decoding audio needs soundfile: pip install soundfile") from error
    return soundfile
