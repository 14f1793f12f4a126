"""The frames of an MP3, counted: headers lie about its length, or say nothing of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .sound_formats_drkf import id3_size

BITRATES = {  # kbit/s by index; MPEG-1, and MPEG-2 and 2.5
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES = (44_100, 48_000, 32_000)
LENGTH_MARKS = (b"Xing", b"Info")
HAS_FRAMES = 1  # flag of a length header


@dataclass(frozen=True)
class Frame:
    """Where a frame lies, and what its header says; `length` in bytes, `samples` a channel."""

    start: int
    length: int
    samples: int
    kind: int
    is_mono: bool

    @property
    def marks(self) -> slice:
        """Where a length header has its mark and its flags."""
        side = (17 if self.is_mono else 32) if self.samples == 1152 else (9 if self.is_mono else 17)
        return slice(self.start + 4 + side, self.start + 12 + side)


@dataclass(frozen=True)
class Mp3:
    """
    Attributes:
        frames: how many frames of sound are there.
        announced: how many the length header announces; None without one.
        samples: of a frame.
        start: where the first frame lies.
        first: its header.
    """

    frames: int
    announced: int | None
    samples: int
    start: int
    first: bytes


def count_frames(data: Any) -> Mp3 | None:
    """What the bytes of an MP3 file hold; None where no frame can be told.

    Args:
        data: bytes, or a memory map.
    """
    frames = _frames(data)
    first = next(frames, None)
    if first is None:
        return None
    announced = _announced(data, first)
    rest = sum(not _is_length_header(data, frame) for frame in frames)
    header = bytes(data[first.start : first.start + 4])
    return Mp3(rest + (announced is None), announced, first.samples, first.start, header)


def length_header(mp3: Mp3) -> bytes:
    """A frame to put before the first one of an MP3 without a length; it announces the frames that were counted."""
    # At the highest bitrate and without padding or a checksum, it has room for the mark.
    header = bytes([mp3.first[0], mp3.first[1] | 1, (mp3.first[2] & 0x0D) | 0xE0, mp3.first[3]])
    frame = _frame(header, 0)
    assert frame is not None
    body = bytearray(header.ljust(frame.length, b"\0"))
    body[frame.marks] = LENGTH_MARKS[0] + HAS_FRAMES.to_bytes(4, "big")
    body[frame.marks.stop : frame.marks.stop + 4] = mp3.frames.to_bytes(4, "big")
    return bytes(body)


def _frames(data: Any) -> Iterator[Frame]:
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
            position += id3_size(data[position : position + 10])
        else:
            found = data.find(b"\xff", position + 1), data.find(b"ID3", position + 1)
            position = min((place for place in found if place >= 0), default=len(data))


def _frame(header: bytes, start: int) -> Frame | None:
    """The frame of MPEG layer III that begins so."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, bitrate, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or bitrate in (0, 15) or rate == 3:
        return None
    is_first = version == 3
    hertz = RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    kilobits = BITRATES[3 if is_first else 2][bitrate]
    length = (144 if is_first else 72) * kilobits * 1000 // hertz + (header[2] >> 1 & 1)
    kind = header[1] & 0xFE, header[2] & 0x0C
    return Frame(start, length, 1152 if is_first else 576, kind[0] << 8 | kind[1], header[3] >> 6 == 3)


def _is_length_header(data: Any, frame: Frame) -> bool:
    return data[frame.marks][:4] in LENGTH_MARKS or data[frame.start + 36 : frame.start + 40] == b"VBRI"


def _announced(data: Any, frame: Frame) -> int | None:
    marks = data[frame.marks]
    if marks[:4] in LENGTH_MARKS and int.from_bytes(marks[4:], "big") & HAS_FRAMES:
        return int.from_bytes(data[frame.marks.stop : frame.marks.stop + 4], "big")
    if data[frame.start + 36 : frame.start + 40] == b"VBRI":
        return int.from_bytes(data[frame.start + 50 : frame.start + 54], "big")
    return None
