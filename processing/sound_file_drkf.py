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
from typing import Any, BinaryIO, TypeAlias

import numpy as np

from .errors_drkf import AudioError, needed

Content: TypeAlias = Any
"""All bytes of a file, or a memory map of it."""

READ = "WAV, FLAC, OGG and MP3 are read, convert other formats (ffmpeg -i IN OUT.wav)"
MP3_FRAME = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]")
KNOWN = re.compile(rb"(RIFF|RIFX|RF64).{4}WAVE|fLaC|OggS|ID3|" + MP3_FRAME.pattern, re.DOTALL)
OTHERS = {
    "it is AIFF": rb"FORM",
    "it is CAF": rb"caff",
    "it is AU": rb"\.snd",
    "it is MP4 or M4A": rb".{4}ftyp",
    "it is Matroska or WebM": rb"\x1aE\xdf\xa3",
    "it is NIST Sphere": rb"NIST_1A",
    "it is AMR": rb"#!AMR",
    "it is WMA": rb"0&\xb2u",
    "it is AVI": rb".{8}AVI ",
    "it is AAC": rb"\xff[\xf1\xf9]",
    "it is a ZIP archive": rb"PK\x03\x04",
    "it is a gzip archive": rb"\x1f\x8b",
    "it is a web page, not the recording itself": rb"(?i)\s*<(!doctype|html|head|body|\?xml)",
    "it is a pointer to a Git LFS file: git lfs pull fetches it": rb"version https://git-lfs",
}
HEAD = 64  # bytes that tell the format
WAVES = ("WAV", "WAVEX", "RF64")  # as libsndfile names formats
DECODED_VALUES = 1 << 18  # values decoded at once; a corrupt header that announces hours then allocates nothing
UNKNOWN_FRAMES = 1 << 40  # from here on a file does not tell how many it has
WHOLE_SHARE = 0.95  # of the frames that are announced; MP3 encoders add some, and players leave them out


class SoundFile:
    """One audio file, open until `close`. What it holds is the same for a path and for its bytes.

    Args:
        source: a path, or the bytes of a file.

    Attributes:
        rate: Hz.
        channels: how many there are.
        frames: how many it holds, as far as that is known before it is decoded; None if not.
        frames_read: how many have been decoded by a `blocks` that came to its end.

    Raises:
        AudioError: a file that is missing, of another format, damaged, or that holds several recordings.
        ImportError: soundfile is not installed.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes | bytearray | memoryview):
        self._source = _opened(source)
        try:
            with _bytes_of(self._source) as data:
                _refuse_other_formats(data)
                self._decoder = _decoder(self._source)
                self._check(data)
        except AudioError:
            self.close()
            raise
        self.rate, self.channels = self._decoder.samplerate, self._decoder.channels
        self.frames = self._decoder.frames if self._decoder.frames < UNKNOWN_FRAMES else None
        self.frames_read = 0

    def _check(self, data: Content) -> None:
        kind = self._decoder.format
        if kind in WAVES:
            _check_wave(data)
        elif kind == "FLAC":
            _refuse_several(kind, len(FLAC_BEGINNING.findall(data)) > 1)
        elif kind == "OGG":
            _check_ogg(data)
        elif kind != "MP3":
            raise AudioError(f"cannot be decoded (it is {kind}); {READ}")
        elif (start := _check_mp3(data)) is not None:
            header = _endless_header(self._decoder.samplerate, self._decoder.channels)
            self._decoder = _decoder(io.BytesIO(header + bytes(data[start:])))
        elif (seconds := self._decoder.frames / self._decoder.samplerate) > len(data) / LOWEST_RATE:
            raise AudioError(f"truncated: {len(data)} bytes cannot hold the {seconds:.2f} s that the header announces")

    def close(self) -> None:
        self._source.close()

    def blocks(self, first: int = 0, last: int | None = None) -> Iterator[np.ndarray]:
        """Frames from `first` up to `last`, or the end, as (frames, channels) float32; none where there are none.

        Raises:
            AudioError: they cannot be decoded, or end long before the end that is announced.
        """
        soundfile, position = needed("soundfile", "decoding audio"), 0
        size = max(1, DECODED_VALUES // self.channels)
        try:
            if first and self._decoder.format != "MP3":  # whose seeking is inexact
                position = self._decoder.seek(first)
            while last is None or position < last:
                count = size if last is None else min(size, last - position)
                block = self._decoder.read(count, dtype="float32", always_2d=True)
                if not len(block):
                    break
                position += len(block)
                if position > first:
                    yield block[max(0, len(block) - (position - first)) :]
        except soundfile.SoundFileError as error:
            raise AudioError(_decoding_failure(error)) from error
        self.frames_read = position
        if last is None:
            _refuse_truncated(position / self.rate, (self.frames or 0) / self.rate)


def _opened(source: str | os.PathLike[str] | bytes | bytearray | memoryview) -> BinaryIO:
    if not isinstance(source, (str, os.PathLike)):
        return io.BytesIO(source)
    path = os.path.expanduser(os.fspath(source))
    try:
        file = open(path, "rb")  # noqa: SIM115  (closed with the SoundFile)
    except IsADirectoryError:
        raise AudioError("is a directory, not an audio file") from None
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise AudioError("no such file; check the path (relative paths start at the working directory)") from None
    except OSError as error:
        raise AudioError(f"cannot be opened ({error.strerror})") from error
    if not stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
        return file
    with file:
        return io.BytesIO(file.read())


@contextmanager
def _bytes_of(file: BinaryIO) -> Iterator[Content]:
    """All bytes of a file, without reading them into memory."""
    if isinstance(file, io.BytesIO):
        yield file.getvalue()
    elif not os.fstat(file.fileno()).st_size:
        yield b""
    else:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def _decoder(file: BinaryIO) -> Any:
    soundfile = needed("soundfile", "decoding audio")
    try:
        return soundfile.SoundFile(file)
    except soundfile.SoundFileError as error:
        raise AudioError(_decoding_failure(error)) from error


def _decoding_failure(error: Exception) -> str:
    return f"cannot be decoded ({str(getattr(error, 'error_string', error)).rstrip('.')}); {READ}"


def _refuse_other_formats(data: Content) -> None:
    """Raises `AudioError` unless the bytes are those of WAV, FLAC, OGG or MP3; says what they are, where it can."""
    head = bytes(data[:HEAD])
    if not head:
        raise AudioError("the file is empty (0 bytes); record or fetch it again")
    is_known = KNOWN.match(head) is not None
    if head.startswith(b"ID3"):  # an MP3 may have anything between the tag and its frames
        start = _id3_size(head)
        head = bytes(data[start : start + HEAD])
    elif is_known:
        return
    for name, beginning in OTHERS.items():
        if re.match(beginning, head, re.DOTALL):
            raise AudioError(f"cannot be decoded ({name}); {READ}")
    if not is_known:
        raise AudioError(f"cannot be decoded (its format is not recognised); {READ}")


def _id3_size(tag: bytes) -> int:
    """Of a tag of at least ten bytes: how many it takes."""
    return 10 + sum(byte << 7 * place for place, byte in enumerate(reversed(tag[6:10])))


def _refuse_several(kind: str, several: bool) -> None:
    if several:
        raise AudioError(
            f"holds several {kind} recordings, of which only the first would be read; give each as a file of its own"
        )


def _refuse_truncated(held: float, announced: float) -> None:
    if held < WHOLE_SHARE * announced:
        raise AudioError(
            f"truncated: {held:.2f} s of sound where the header announces {announced:.2f} s; fetch it again"
        )


# ---- WAV, FLAC and OGG ----------------------------------------------------------------------------------------------

CHUNK_NAME = re.compile(rb"[A-Za-z0-9_ ]{4}")
CHUNKS = 1000  # that are looked at
STREAMED_SIZE = 0x7FFFFF00  # bytes; sizes from here on are placeholders: of streams, and of RF64, which has a ds64
TAGS = (b"TAG", b"ID3")
UNREAD_SHARE = 0.05  # of a WAV's sound, from which on it is refused
FLAC_BEGINNING = re.compile(rb"fLaC[\x00\x80]\0\0\x22")
OGG_FIRST_PAGE = re.compile(rb"OggS\0[\x02\x06]\0{8}")
OGG_LATER_PAGE = re.compile(rb"OggS\0[\x00\x01\x04\x05]")
OGG_SIZES = 27  # from the start of a page to the sizes of its segments, whose number is the byte before


def _check_wave(data: Content) -> None:
    """Raises `AudioError` if a WAV holds less sound than it announces, or more that is no chunk, tag or zeros."""
    announced, sound, end, long_size = 0, 0, 12, None
    size_of = struct.Struct(">I" if data[:4] == b"RIFX" else "<I")
    for _ in range(CHUNKS):
        if end + 8 > len(data):
            break
        name, size, start = bytes(data[end : end + 4]), size_of.unpack_from(data, end + 4)[0], end + 8
        if name == b"ds64":  # of RF64: 64-bit sizes, of the file, then of the sound
            long_size = int.from_bytes(data[start + 8 : start + 16], "little")
        elif name == b"data":
            announced = size = long_size if size >= STREAMED_SIZE and long_size else size
            sound = min(size, len(data) - start)
        elif not CHUNK_NAME.fullmatch(name) or start + size > len(data):
            break
        end = start + size + size % 2
    if sound < announced < STREAMED_SIZE:
        raise AudioError(f"truncated: {sound} bytes of audio where the header announces {announced}; fetch it again")
    rest = bytes(data[end:])
    _refuse_several("WAV", KNOWN.match(rest) is not None and rest[8:12] == b"WAVE")
    if not rest.startswith(TAGS) and rest.strip(b"\0") and len(rest) > UNREAD_SHARE * (announced + len(rest)):
        what = f"{announced} bytes of sound" if announced else "no sound"
        raise AudioError(
            f"the header announces {what}, but {len(rest)} more bytes follow: the recorder was stopped before it "
            "wrote the length; repair it: ffmpeg -ignore_length 1 -i IN OUT.wav"
        )


def _check_ogg(data: Content) -> None:
    """Raises `AudioError` for several recordings in one file, and for one that is cut within a page."""
    later = OGG_LATER_PAGE.search(data)
    _refuse_several("OGG", later is not None and OGG_FIRST_PAGE.search(data, later.end()) is not None)
    sizes_at = data.rfind(b"OggS") + OGG_SIZES
    count = data[sizes_at - 1] if sizes_at <= len(data) else 255
    if sizes_at + count + sum(data[sizes_at : sizes_at + count]) > len(data):
        raise AudioError("truncated: the file ends within a page; fetch it again")


# ---- MP3 ------------------------------------------------------------------------------------------------------------

LENGTH_HEADER = re.compile(
    rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb].{2}(?:..)?\0{9,32}(?:(?:Xing|Info)(....)(....)(....)|VBRI.{6}(....)(....))",
    re.DOTALL,
)
"""A frame that says how many frames and bytes the recording has, in place of sound: the first one, if any."""
FIRST_FRAME = 8192  # bytes from the end of the tags up to which it is looked for
LOWEST_RATE = 1000  # bytes of sound a second, of 8 kbit/s
HAS_FRAMES, HAS_BYTES = 1, 2  # flags of such a header
ENDLESS = 0x7FFFFFFF  # frames
RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # Hz, by MPEG version


def _check_mp3(data: Content) -> int | None:
    """Where the sound of an MP3 begins if no header says how long it is; libsndfile would guess, and read no further.

    Raises:
        AudioError: there are fewer bytes than the header announces, or another recording follows them.
    """
    start = 0
    while data[start : start + 3] == b"ID3":
        start += _id3_size(data[start : start + 10])
    header = LENGTH_HEADER.search(data, start, start + FIRST_FRAME)
    if header is None:
        return start
    flags, frames, size, vbri_size, vbri_frames = (
        None if value is None else int.from_bytes(value, "big") for value in header.groups()
    )
    if flags is None:
        flags, frames, size = HAS_FRAMES | HAS_BYTES, vbri_frames, vbri_size
    elif not flags & HAS_FRAMES:
        size = frames
    if flags & HAS_BYTES and size:
        held = len(data) - header.start()
        if held < WHOLE_SHARE * size:
            raise AudioError(f"truncated: {held} bytes of sound where the header announces {size}; fetch it again")
        rest = bytes(data[header.start() + size :])
        while rest.startswith(b"ID3"):
            rest = rest[_id3_size(rest[:10]) :]
        is_another = MP3_FRAME.match(rest) is not None or LENGTH_HEADER.search(rest) is not None
        _refuse_several("MP3", is_another and len(rest) > UNREAD_SHARE * size)
    return None if flags & HAS_FRAMES and frames else start


def _endless_header(rate: int, channels: int) -> bytes:
    """A first frame that announces more frames than there can be, so that an MP3 is read to its end."""
    version, index = next((key, rates.index(rate)) for key, rates in RATES.items() if rate in rates)
    is_first, is_mono = version == 3, channels == 1
    # Layer III at the highest bitrate, without padding or a checksum, has room for the length.
    header = bytes([0xFF, 0xE3 | version << 3, 0xE0 | index << 2, 0xC0 if is_mono else 0])
    size = 144 * 320_000 // rate if is_first else 72 * 160_000 // rate
    side = (17 if is_mono else 32) if is_first else (9 if is_mono else 17)
    length = b"Xing" + HAS_FRAMES.to_bytes(4, "big") + ENDLESS.to_bytes(4, "big")
    return (header.ljust(4 + side, b"\0") + length).ljust(size, b"\0")
