"""What a file is, and whether it is whole: judged by its bytes, where decoders would pass over it."""

import re
import struct
from typing import Any

from .waveform_drkf import AudioError

READ = "WAV, FLAC, OGG and MP3 are read, convert other formats (ffmpeg -i IN OUT.wav)"
DECODED = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3")  # as libsndfile names them
HEAD = 64  # bytes that tell the format
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
OGG_FIRST_PAGE = re.compile(rb"OggS\0[\x02\x06]\0{8}")
OGG_LATER_PAGE = re.compile(rb"OggS\0[\x00\x01\x04\x05]")
OGG_SIZES = 27  # from the start of a page to the sizes of its segments, whose number is the byte before
CHUNK_NAME = re.compile(rb"[A-Za-z0-9_ ]{4}")
TAGS = (b"TAG", b"ID3")
CHUNKS = 1000  # that are looked at
UNHEARD_SHARE = 0.05  # of a WAV's sound, from which on it is refused
FLAC_BEGINNING = re.compile(rb"fLaC[\x00\x80]\0\0\x22")


def refuse_other_formats(data: Any) -> None:
    """Raises `AudioError` unless the bytes are those of WAV, FLAC, OGG or MP3; says what they are, where it can."""
    head = bytes(data[:HEAD])
    if not head:
        raise AudioError("the file is empty (0 bytes); record or fetch it again")
    is_wave = head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE"
    is_mp3 = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2
    if is_wave or is_mp3 or head[:4] in (b"fLaC", b"OggS"):
        return
    is_tagged = head[:3] == b"ID3"
    if is_tagged:
        tag = id3_size(head)
        head = bytes(data[tag : tag + HEAD])
    if WEB_PAGE.match(head):
        raise AudioError("cannot be decoded (it is a web page); download the recording itself")
    if head.startswith(b"version https://git-lfs"):
        raise AudioError("cannot be decoded (it is a pointer to a Git LFS file); fetch it with: git lfs pull")
    name = next((name for offset, mark, name in OTHERS if head[offset:].startswith(mark)), None)
    if is_tagged and name is None:  # an MP3 may have anything between the tag and its frames
        return
    raise AudioError(f"cannot be decoded ({f'it is {name}' if name else 'its format is not recognised'}); {READ}")


def id3_size(tag: bytes) -> int:
    """Of a tag of at least ten bytes: how many it takes."""
    return 10 + sum(byte << 7 * place for place, byte in enumerate(reversed(tag[6:10])))


def refuse_damage(data: Any, kind: str) -> None:
    """Raises `AudioError` for what libsndfile reads as a shorter recording: several in one file, an OGG cut within a
    page, a WAV whose length was never written.

    Args:
        data: all bytes of the file, or a memory map. kind: libsndfile's name of the format.
    """
    if kind == "OGG":
        later = OGG_LATER_PAGE.search(data)
        if later and OGG_FIRST_PAGE.search(data, later.end()):
            raise AudioError(several("OGG"))
        if _ends_within_page(data):
            raise AudioError("truncated: the file ends within a page; fetch it again")
    elif kind == "FLAC" and len(FLAC_BEGINNING.findall(data)) > 1:
        raise AudioError(several("FLAC"))
    elif kind in ("WAV", "WAVEX"):
        announced, unannounced = _unannounced(data)
        if unannounced > UNHEARD_SHARE * (announced + unannounced):
            what = f"{announced} bytes of sound" if announced else "no sound"
            raise AudioError(
                f"the header announces {what}, but {unannounced} more bytes follow: the recorder was stopped before "
                "it wrote the length; repair it: ffmpeg -ignore_length 1 -i IN OUT.wav"
            )


def several(kind: str) -> str:
    """The message on a file of several recordings."""
    return f"holds several {kind} recordings, of which the first alone would be heard; give each as a file of its own"


def _ends_within_page(data: Any) -> bool:
    sizes_at = data.rfind(b"OggS") + OGG_SIZES
    count = data[sizes_at - 1] if sizes_at <= len(data) else 255
    sizes = data[sizes_at : sizes_at + count]
    return sizes_at + count + sum(sizes) > len(data)


def _unannounced(data: Any) -> tuple[int, int]:
    """Of a WAV: bytes that its data chunk announces, and those that follow and are no chunks, tags or zeros."""
    announced, position, size_of = 0, 12, struct.Struct(">I" if bytes(data[:4]) == b"RIFX" else "<I")
    for _ in range(CHUNKS):
        if position + 8 > len(data):
            break
        name, size = bytes(data[position : position + 4]), size_of.unpack_from(data, position + 4)[0]
        is_data = name == b"data"
        is_other = CHUNK_NAME.fullmatch(name) and position + 8 + size <= len(data)
        if not (is_data or is_other):
            break
        announced = size if is_data else announced
        position += 8 + size + size % 2
    rest = bytes(data[position:])
    return announced, 0 if rest.startswith(TAGS) or not rest.strip(b"\0") else len(rest)
