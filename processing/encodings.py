"""Which of Unicode's encodings a text file has, by its first bytes."""

import codecs

BYTE_ORDER_MARKS = {  # the longer ones first
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def marked_encoding(raw: bytes) -> str | None:
    """The encoding that a byte order mark names; None without one that does."""
    return next((encoding for mark, encoding in BYTE_ORDER_MARKS.items() if raw.startswith(mark)), None)
