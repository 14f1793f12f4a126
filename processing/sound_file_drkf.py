"""Encoded audio files: opened, checked for damage that their header shows, and decoded block by block."""

import io
import os
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from .waveform_drkf import AudioError

STREAMED_SIZE = 0x7FFFFF00  # bytes; sizes from here on are the placeholders of streamed WAV files
UNKNOWN_FRAMES = 1 << 62  # what libsndfile announces where a file does not tell its length is beyond this
DECODED_VALUES = 1 << 18  # values decoded at once; a corrupt header that announces hours then allocates nothing


class SoundFile:
    """One audio file, open until `close`.

    Args:
        source: a path, or the bytes of a file.

    Attributes:
        rate: Hz.
        frames: how many the header announces (an estimate for MP3); None if not stated.

    Raises:
        AudioError: a file that is missing, cannot be decoded, or is truncated.
        ImportError: soundfile is not installed.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes | bytearray | memoryview):
        is_path = isinstance(source, (str, os.PathLike))
        file: Any = _existing_file(source) if is_path else io.BytesIO(source)  # type: ignore[arg-type]
        soundfile = _soundfile()
        try:
            self._file = soundfile.SoundFile(file)
        except (soundfile.SoundFileError, TypeError) as error:  # TypeError: headerless .raw files
            raise AudioError(_decoding_failure(error)) from error
        _refuse_truncated(self._file)
        self.rate = self._file.samplerate
        self.frames = self._file.frames if self._file.frames < UNKNOWN_FRAMES else None

    def close(self) -> None:
        self._file.close()

    def blocks(self, first: int = 0, last: int | None = None) -> Iterator[np.ndarray]:
        """Frames from `first` up to `last`, or the end, as (frames, channels) float32; none where there are none."""
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


def _existing_file(path: str | os.PathLike[str]) -> str:
    expanded = os.path.expanduser(os.fspath(path))
    if os.path.isdir(expanded):
        raise AudioError("is a directory, not an audio file")
    if not os.path.isfile(expanded):
        raise AudioError("no such file; check the path (relative paths start at the working directory)")
    return expanded


def _refuse_truncated(audio: Any) -> None:
    """Raise if a WAV or AIFF file holds less audio than its header announces; libsndfile would return what is left.

    OGG and NIST files without their last part are indistinguishable from shorter ones. For FLAC and CAF libsndfile
    itself raises.
    """
    chunk = re.search(r"(?:data|SSND) : (\d+) \(should be (\d+)\)", audio.extra_info)
    announced, present = (int(size) for size in chunk.groups()) if chunk else (0, 0)
    if present < announced < STREAMED_SIZE:
        raise AudioError(f"truncated: {present} bytes of audio where the header announces {announced}; fetch it again")


def _decoding_failure(error: Exception) -> str:
    reason = str(getattr(error, "error_string", error)).rstrip(".")
    return (
        f"cannot be decoded ({reason}); WAV, FLAC, OGG and MP3 are read, convert other formats (ffmpeg -i IN OUT.wav)"
    )


def _soundfile() -> ModuleType:
    try:
        import soundfile
    except ImportError as error:
        raise ImportError("decoding audio needs soundfile: pip install soundfile") from error
    return soundfile
