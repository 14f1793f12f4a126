"""Encoded audio files: what they are and hold, checked before it is believed, and decoded block by block.

libsndfile decodes. It passes over what makes a recording shorter than it is: a second one in the same file, an end
that was cut off, a length that was never written or is wrong. That is looked for here, in the bytes.
"""

import io
import mmap
import os
import re
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .errors_drkf import AudioError

Content: TypeAlias = Any
"""All bytes of a file, or a memory map of it."""

READ = "WAV, FLAC, OGG and MP3 are read, convert other formats (ffmpeg -i IN OUT.wav)"
WAVES = ("WAV", "WAVEX", "RF64")  # as libsndfile names formats
WAVE_MARKS = (b"RIFF", b"RIFX", b"RF64")
DECODED = (*WAVES, "FLAC", "OGG", "MP3")
OTHERS = (  # offset, mark, name
    (0, b"FORM", "AIFF"),
    (4, b"ftyp", "MP4 or M4A"),
    (0, b"\x1aE\xdf\xa3", "Matroska or WebM"),
    (0, b"caff", "CAF"),
    (0, b".snd", "AU"),
    (0, b"NIST_1A", "NIST Sphere"),
    (0, b"#!AMR", "AMR"),
    (0, b"0&\xb2u", "WMA"),
    (8, b"AVI ", "AVI"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
)
WEB_PAGE = re.compile(rb"\s*<(!doctype|html|head|body|\?xml)", re.IGNORECASE)
HEAD = 64  # bytes that tell the format
DECODED_VALUES = 1 << 18  # values decoded at once; a corrupt header that announces hours then allocates nothing
UNKNOWN_FRAMES = 1 << 62  # what libsndfile announces where a file does not tell its length is beyond this
STREAMED_SIZE = 0x7FFFFF00  # bytes; sizes from here on are the placeholders of streamed WAV files
WHOLE_SHARE = 0.95  # of the frames that are announced; MP3 encoders add some, and players leave them out
UNREAD_SHARE = 0.05  # of a WAV's sound, from which on it is refused


class SoundFile:
    """One audio file, open until `close`. What it holds is the same for a path and for its bytes.

    Args:
        source: a path, or the bytes of a file.

    Attributes:
        rate: Hz.
        channels: how many there are.
        frames: how many it holds, as far as that is known before it is decoded; None if not.

    Raises:
        AudioError: a file that is missing, of another format, damaged, or that holds several recordings.
        ImportError: soundfile is not installed.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes | bytearray | memoryview):
        content = _content(source)
        with _bytes_of(content) as data:
            _refuse_other_formats(data)
            self._file = _opened(content)
            try:
                self._check(data)
            except AudioError:
                self.close()
                raise
        self.rate, self.channels = self._file.samplerate, self._file.channels
        self.frames = self._file.frames if self._file.frames < UNKNOWN_FRAMES else None
        self.frames_read = 0

    def _check(self, data: Content) -> None:
        kind = self._file.format
        if kind not in DECODED:
            raise AudioError(f"cannot be decoded (it is {kind}); {READ}")
        if kind in WAVES:
            _check_wave(data, self._file.extra_info)
        elif kind == "OGG":
            _check_ogg(data)
        elif kind == "FLAC" and len(FLAC_BEGINNING.findall(data)) > 1:
            raise AudioError(_several("FLAC"))
        elif kind == "MP3" and (mp3 := count_frames(data)) is not None:
            if mp3.announced is None:  # libsndfile would guess the length, and read no further
                self.close()
                self._file = _opened(_length_header(mp3, data) + bytes(data[mp3.first.start :]))
            elif mp3.frames > mp3.announced / WHOLE_SHARE + 1:
                raise AudioError(_several("MP3"))
            elif mp3.frames < WHOLE_SHARE * mp3.announced - 1:
                seconds = mp3.first.samples / self._file.samplerate
                raise AudioError(_truncated(mp3.frames * seconds, mp3.announced * seconds))

    def close(self) -> None:
        self._file.close()

    def blocks(self, first: int = 0, last: int | None = None) -> Iterator[np.ndarray]:
        """Frames from `first` up to `last`, or the end, as (frames, channels) float32; none where there are none.

        Raises:
            AudioError: they cannot be decoded, or end long before the end that is announced.
        """
        soundfile, position = _soundfile(), 0
        size = max(1, DECODED_VALUES // self.channels)
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
        return bytes(source)
    path = os.path.expanduser(os.fspath(source))
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        raise AudioError("no such file; check the path (relative paths start at the working directory)") from None
    if stat.S_ISDIR(mode):
        raise AudioError("is a directory, not an audio file")
    try:
        with open(path, "rb") as file:
            return file.read() if stat.S_ISFIFO(mode) else path
    except OSError as error:
        raise AudioError(f"cannot be opened ({error.strerror})") from error


@contextmanager
def _bytes_of(content: str | bytes) -> Iterator[Content]:
    """All bytes of a file, without reading them into memory."""
    if isinstance(content, bytes) or not os.path.getsize(content):
        yield content if isinstance(content, bytes) else b""
        return
    with open(content, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def _opened(content: str | bytes) -> Any:
    soundfile = _soundfile()
    try:
        return soundfile.SoundFile(content if isinstance(content, str) else io.BytesIO(content))
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: headerless .raw files
        raise AudioError(_decoding_failure(error)) from error


def _soundfile() -> ModuleType:
    try:
        import soundfile
    except ImportError as error:
        raise ImportError("decoding audio needs soundfile: pip install soundfile") from error
    return soundfile


def _decoding_failure(error: Exception) -> str:
    return f"cannot be decoded ({str(getattr(error, 'error_string', error)).rstrip('.')}); {READ}"


def _truncated(held: float, announced: float) -> str:
    return f"truncated: {held:.2f} s of sound where the header announces {announced:.2f} s; fetch it again"


def _several(kind: str) -> str:
    return f"holds several {kind} recordings, of which only the first would be read; give each as a file of its own"


def _refuse_other_formats(data: Content) -> None:
    """Raises `AudioError` unless the bytes are those of WAV, FLAC, OGG or MP3; says what they are, where it can."""
    head = bytes(data[:HEAD])
    if not head:
        raise AudioError("the file is empty (0 bytes); record or fetch it again")
    is_wave = head[:4] in WAVE_MARKS and head[8:12] == b"WAVE"
    is_mp3 = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2
    if is_wave or is_mp3 or head[:4] in (b"fLaC", b"OggS"):
        return
    is_tagged = head[:3] == b"ID3"
    if is_tagged:
        tag = _id3_size(head)
        head = bytes(data[tag : tag + HEAD])
    if WEB_PAGE.match(head):
        raise AudioError("cannot be decoded (it is a web page); download the recording itself")
    if head.startswith(b"version https://git-lfs"):
        raise AudioError("cannot be decoded (it is a pointer to a Git LFS file); fetch it with: git lfs pull")
    name = next((name for offset, mark, name in OTHERS if head[offset:].startswith(mark)), None)
    if is_tagged and name is None:  # an MP3 may have anything between the tag and its frames
        return
    raise AudioError(f"cannot be decoded ({f'it is {name}' if name else 'its format is not recognised'}); {READ}")


def _id3_size(tag: bytes) -> int:
    """Of a tag of at least ten bytes: how many it takes."""
    return 10 + sum(byte << 7 * place for place, byte in enumerate(reversed(tag[6:10])))


# ---- WAV, FLAC and OGG ----------------------------------------------------------------------------------------------

CHUNK_NAME = re.compile(rb"[A-Za-z0-9_ ]{4}")
CHUNKS = 1000  # that are looked at
LONG_SIZE = 0xFFFFFFFF  # of a chunk of RF64 whose size stands in its chunk ds64
DS64_DATA = 8  # where in it the size of the sound stands
TAGS = (b"TAG", b"ID3")
FLAC_BEGINNING = re.compile(rb"fLaC[\x00\x80]\0\0\x22")
OGG_FIRST_PAGE = re.compile(rb"OggS\0[\x02\x06]\0{8}")
OGG_LATER_PAGE = re.compile(rb"OggS\0[\x00\x01\x04\x05]")
OGG_SIZES = 27  # from the start of a page to the sizes of its segments, whose number is the byte before


def _check_wave(data: Content, libsndfile_log: str) -> None:
    """Raises `AudioError` if a WAV holds less sound than it announces, or more."""
    sizes = re.search(r"data : (\d+) \(should be (\d+)\)", libsndfile_log)
    announced, present = (int(size) for size in sizes.groups()) if sizes else (0, 0)
    if present < announced < STREAMED_SIZE:
        raise AudioError(f"truncated: {present} bytes of audio where the header announces {announced}; fetch it again")
    announced, rest = _wave_sizes(data)
    if rest[:4] in WAVE_MARKS and rest[8:12] == b"WAVE":
        raise AudioError(_several("WAV"))
    if len(rest) > UNREAD_SHARE * (announced + len(rest)):
        what = f"{announced} bytes of sound" if announced else "no sound"
        raise AudioError(
            f"the header announces {what}, but {len(rest)} more bytes follow: the recorder was stopped before it "
            "wrote the length; repair it: ffmpeg -ignore_length 1 -i IN OUT.wav"
        )


def _wave_sizes(data: Content) -> tuple[int, bytes]:
    """Of a WAV: how many bytes its data chunk announces, and those that follow and are no chunks, tags or zeros."""
    announced, long_size, position = 0, 0, 12
    size_of = struct.Struct(">I" if bytes(data[:4]) == b"RIFX" else "<I")
    for _ in range(CHUNKS):
        if position + 8 > len(data):
            break
        name, size = bytes(data[position : position + 4]), size_of.unpack_from(data, position + 4)[0]
        position += 8
        if name == b"ds64":
            long_size = int.from_bytes(data[position + DS64_DATA : position + DS64_DATA + 8], "little")
        elif name == b"data":
            announced = size = long_size if size == LONG_SIZE and long_size else size
        elif name in WAVE_MARKS or not CHUNK_NAME.fullmatch(name) or position + size > len(data):
            position -= 8
            break
        position += size + size % 2
    rest = bytes(data[position:])
    return announced, b"" if rest.startswith(TAGS) or not rest.strip(b"\0") else rest


def _check_ogg(data: Content) -> None:
    """Raises `AudioError` for several recordings in one file, and for one that is cut within a page."""
    later = OGG_LATER_PAGE.search(data)
    if later and OGG_FIRST_PAGE.search(data, later.end()):
        raise AudioError(_several("OGG"))
    sizes_at = data.rfind(b"OggS") + OGG_SIZES
    count = data[sizes_at - 1] if sizes_at <= len(data) else 255
    if sizes_at + count + sum(data[sizes_at : sizes_at + count]) > len(data):
        raise AudioError("truncated: the file ends within a page; fetch it again")


# ---- MP3: headers are wrong about its length, or say nothing of it, so its frames are counted -----------------------

BITRATES = {  # kbit/s by index; MPEG-1, and MPEG-2 and 2.5
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES = (44_100, 48_000, 32_000)
HALVED = {3: 0, 2: 1, 0: 2}  # how often, by version
LENGTH_MARKS = (b"Xing", b"Info")
VBRI_AT = 36
HAS_FRAMES = 1  # flag of a length header


class Frame(NamedTuple):
    """Where a frame lies, and what its header says."""

    start: int
    length: int  # bytes
    samples: int  # a channel
    kind: tuple[int, int]  # what all frames of a recording share
    mark: int  # where a length header has its mark and its flags


@dataclass(frozen=True)
class Mp3:
    """What the bytes of an MP3 file hold.

    Attributes:
        frames: how many frames of sound are there.
        announced: how many the length header announces; None without one.
        first: the first frame.
    """

    frames: int
    announced: int | None
    first: Frame


def count_frames(data: Content) -> Mp3 | None:
    """What the bytes of an MP3 file hold; None where no frame is found."""
    frames = _frames(data)
    first = next(frames, None)
    if first is None:
        return None
    announced = _announced(data, first)
    rest = sum(not _is_length_header(data, frame) for frame in frames)
    return Mp3(rest + (announced is None), announced, first)


def _length_header(mp3: Mp3, data: Content) -> bytes:
    """A frame to put before the first one of an MP3 without a length; it announces the frames that were counted."""
    sync, version, rate, mode = data[mp3.first.start : mp3.first.start + 4]
    # At the highest bitrate and without padding or a checksum, it has room for the mark.
    header = bytes([sync, version | 1, (rate & 0x0D) | 0xE0, mode])
    frame = _frame(header, 0)
    assert frame is not None
    length = LENGTH_MARKS[0] + HAS_FRAMES.to_bytes(4, "big") + mp3.frames.to_bytes(4, "big")
    return (header.ljust(frame.mark, b"\0") + length).ljust(frame.length, b"\0")


def _frames(data: Content) -> Iterator[Frame]:
    """Frames that follow each other; what lies between them is passed over."""
    position, kind = 0, None
    while position + 4 <= len(data):
        frame = _frame(data[position : position + 4], position)
        if frame is not None and kind is None:  # the first is believed if another one follows
            following = position + frame.length
            after = _frame(data[following : following + 4], following)
            frame = frame if following + 4 > len(data) or (after and after.kind == frame.kind) else None
        if frame is not None and kind in (None, frame.kind):
            kind = frame.kind
            if position + frame.length <= len(data):
                yield frame
            position += frame.length
        elif data[position : position + 3] == b"ID3" and len(data) >= position + 10:
            position += _id3_size(data[position : position + 10])
        else:
            found = data.find(b"\xff", position + 1), data.find(b"ID3", position + 1)
            position = min((place for place in found if place >= 0), default=len(data))


def _frame(header: bytes, start: int) -> Frame | None:
    """The frame of MPEG layer III that begins so."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, bitrate, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version not in HALVED or bitrate in (0, 15) or rate == 3:
        return None
    is_first, is_mono = version == 3, header[3] >> 6 == 3
    samples = 1152 if is_first else 576
    hertz = RATES[rate] >> HALVED[version]
    length = samples // 8 * BITRATES[is_first][bitrate] * 1000 // hertz + (header[2] >> 1 & 1)
    side = (17 if is_mono else 32) if is_first else (9 if is_mono else 17)
    return Frame(start, length, samples, (header[1] & 0xFE, header[2] & 0x0C), start + 4 + side)


def _is_length_header(data: Content, frame: Frame) -> bool:
    vbri = frame.start + VBRI_AT
    return data[frame.mark : frame.mark + 4] in LENGTH_MARKS or data[vbri : vbri + 4] == b"VBRI"


def _announced(data: Content, frame: Frame) -> int | None:
    mark, vbri = frame.mark, frame.start + VBRI_AT
    if data[mark : mark + 4] in LENGTH_MARKS and int.from_bytes(data[mark + 4 : mark + 8], "big") & HAS_FRAMES:
        return int.from_bytes(data[mark + 8 : mark + 12], "big")
    if data[vbri : vbri + 4] == b"VBRI":
        return int.from_bytes(data[vbri + 14 : vbri + 18], "big")
    return None
