"""Which encoding a text file has: Unicode's by its first bytes, older ones by what their bytes would say."""

import codecs
import re
from collections.abc import Callable

BYTE_ORDER_MARKS = {  # the longer ones first
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
FEW = 6  # characters, below which nothing can be known
ORDINARY = 0.88  # share of a text's characters that everyday words are written with
LATIN = "cp1252"
OTHERS = ("gb18030", "big5", "cp949", "cp932", "euc_jp", "cp1251", "koi8_r", "cp1253", "cp1255", "cp1256", "cp874")

RUNS = re.compile(rb"[\x80-\xff]+")
KANA = re.compile("[\u3041-\u30ff]")
HANGUL = re.compile("[\uac00-\ud7a3]")
CYRILLIC = re.compile("[\u0400-\u04ff]")
COMMON = re.compile("[оеаинтсрвл]")  # six of ten letters in Russian, Ukrainian and Bulgarian
NOT_HEBREW = re.compile("[ыьэюяА-Я]")  # its letters, read as Cyrillic, are never these


def marked_encoding(raw: bytes) -> str | None:
    """The encoding that a byte order mark names; None without one that does."""
    return next((encoding for mark, encoding in BYTE_ORDER_MARKS.items() if raw.startswith(mark)), None)


def likely_encodings(raw: bytes) -> list[str]:
    """The encodings that text which is not in UTF-8 may have: a single one where its characters leave no doubt.

    Chinese, Japanese, Korean and Cyrillic text is known by the characters that everyday words are written with.
    `cp1252` stands for any text in Latin letters, whose accents are then to be checked. Otherwise all encodings are
    returned in which the bytes can be read at all.
    """
    found = [encoding for encoding, is_likely in LIKELY.items() if is_likely(raw)]
    for encoding in ("euc_jp", "cp949"):
        if encoding in found:
            return [encoding]  # Chinese could be read in the same bytes, but is not written so
    runs = [len(run) for run in RUNS.findall(raw)]
    has_accents = sum(run for run in runs if run <= 2) >= 0.7 * sum(runs)  # single letters among those of ASCII
    if has_accents and "cp932" not in found:
        return [LATIN]
    return found or [encoding for encoding in OTHERS if _decoded(raw, encoding)]


def _decoded(raw: bytes, encoding: str) -> str:
    """The text; empty where the bytes are none in that encoding."""
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return ""


def _written_with(
    encoding: str,
    *leads: range,
    second: range = range(0xA1, 0xFF),
    letters: re.Pattern[str] | None = None,
    share: float = 0.0,
) -> Callable[[bytes], bool]:
    """Whether nearly all characters beyond ASCII begin with a byte of `leads` and end with one of `second`, and at
    least a `share` of them are of those `letters`."""

    def is_likely(raw: bytes) -> bool:
        text = _decoded(raw, encoding)
        written = [character.encode(encoding) for character in text if ord(character) > 127]
        ordinary = sum(
            len(code) == 2 and code[1] in second and any(code[0] in lead for lead in leads) for code in written
        )
        has_letters = letters is None or _share(letters, text) >= share
        return len(written) >= FEW and ordinary >= ORDINARY * len(written) and has_letters

    return is_likely


def _cyrillic(encoding: str) -> Callable[[bytes], bool]:
    """Whether it reads as words of Cyrillic letters, the common ones as frequent as they are."""

    def is_likely(raw: bytes) -> bool:
        text = _decoded(raw, encoding)
        letters = "".join(CYRILLIC.findall(text))
        is_frequent = _share(COMMON, letters) >= 0.45 and bool(NOT_HEBREW.search(letters))
        return len(letters) >= FEW and _share(CYRILLIC, text) >= ORDINARY and is_frequent

    return is_likely


def _share(pattern: re.Pattern[str], text: str) -> float:
    """Of the letters beyond ASCII, those that match."""
    letters = [character for character in text if ord(character) > 127 and character.isalpha()]
    return sum(bool(pattern.match(letter)) for letter in letters) / max(1, len(letters))


ANY = range(0x40, 0xFF)
LIKELY = {
    "gb18030": _written_with("gb18030", range(0xA1, 0xA4), range(0xB0, 0xD8)),
    "big5": _written_with("big5", range(0xA1, 0xC7), second=ANY),
    "cp949": _written_with("cp949", range(0xA1, 0xA4), range(0xB0, 0xC9), letters=HANGUL, share=ORDINARY),
    "cp932": _written_with("cp932", range(0x81, 0x84), range(0x88, 0x98), second=ANY, letters=KANA, share=0.2),
    "euc_jp": _written_with("euc_jp", range(0xA1, 0xD0), letters=KANA, share=0.3),
    "cp1251": _cyrillic("cp1251"),
    "koi8_r": _cyrillic("koi8_r"),
}
