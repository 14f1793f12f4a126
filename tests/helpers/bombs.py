"""Small files that decode to much."""

import struct

OPUS_RATE = 48_000
PACKET = b"\x19"  # two empty SILK frames of 60 ms: silence
PACKET_FRAMES = OPUS_RATE * 120 // 1000
PACKETS = 250  # a page


def silent_opus(channels: int, pages: int) -> bytes:
    """30 s of silence a page, at one byte for 120 ms of all channels."""
    head = b"OpusHead" + struct.pack("<BBHIhB", 1, channels, 0, OPUS_RATE, 0, 255) + bytes([1, 0, *[0] * channels])
    tags = b"OpusTags" + struct.pack("<II", 0, 0)
    content = _page([head], number=0, frames=0, flags=2) + _page([tags], number=1, frames=0)
    for number in range(1, pages + 1):
        flags = 4 if number == pages else 0
        content += _page([PACKET] * PACKETS, number + 1, number * PACKETS * PACKET_FRAMES, flags)
    return content


def _page(packets: list[bytes], number: int, frames: int, flags: int = 0) -> bytes:
    """One Ogg page (RFC 3533) of whole packets; `frames` are those up to its end."""
    sizes = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
    page = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, frames, 1, number, 0, len(sizes)) + sizes + b"".join(packets)
    return page[:22] + struct.pack("<I", _checksum(page)) + page[26:]


def _checksum(page: bytes) -> int:
    remainder = 0
    for byte in page:
        remainder ^= byte << 24
        for _ in range(8):
            remainder = (remainder << 1) ^ (0x104C11DB7 if remainder & 0x80000000 else 0)
    return remainder
