"""What clients send and what examples hold: read within limits."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

MAX_SECONDS = 60
MAX_UPLOAD_BYTES = 25 * 2**20
MAX_TEXT_CHARACTERS = 1000
MAX_EXAMPLES = 8
DELETED_AFTER = 300  # seconds: when a client's file is deleted
CLEANED_EVERY = 30  # seconds: how often that is looked at
BLOCK = 1 << 16  # frames


class ClipError(ValueError):
    """A clip or text that the page refuses, or an invalid example; the message is for who sent it."""


def read_clip(path: str | None) -> bytes | None:
    """The encoded clip, if it is short enough; what cannot be decoded is left to the recogniser to tell.

    Raises:
        ClipError: the clip is no longer there, too large, or longer than `MAX_SECONDS` (by its header, and, since a
            header may lie, by what is in it).
    """
    if path is None:
        return None
    try:
        with Path(path).open("rb") as file:
            encoded = file.read(MAX_UPLOAD_BYTES + 1)
    except FileNotFoundError as error:
        raise ClipError(
            "The clip is no longer on the server: clips are deleted after a while. Add it again."
        ) from error
    if not encoded:
        raise ClipError("The file is empty (0 bytes). Record or upload a clip with sound in it.")
    if len(encoded) > MAX_UPLOAD_BYTES:
        raise ClipError(f"The clip has more than {MAX_UPLOAD_BYTES / 2**20:.0f} MB. Shorten or compress it.")
    if _is_longer(path, MAX_SECONDS):
        raise ClipError(
            f"The clip lasts longer than {MAX_SECONDS} seconds. Cut out the part that you want to ask about."
        )
    return encoded


def read_text(text: str | None) -> str | None:
    """The words, or None where there are none.

    Raises:
        ClipError: more than `MAX_TEXT_CHARACTERS`.
    """
    text = (text or "").strip()
    if len(text) > MAX_TEXT_CHARACTERS:
        raise ClipError(f"The text has {len(text)} characters; at most {MAX_TEXT_CHARACTERS} are read. Shorten it.")
    return text or None


def _is_longer(path: str, seconds: float) -> bool:
    try:
        with soundfile.SoundFile(path) as audio:
            limit = seconds * audio.samplerate
            if audio.frames > limit:
                return True
            block, decoded = np.empty((BLOCK, audio.channels), dtype=np.float32), 0
            while decoded <= limit and (count := len(audio.read(out=block))):
                decoded += count
            return decoded > limit
    except (soundfile.SoundFileError, TypeError):  # TypeError: headerless .raw files
        return False


@dataclass(frozen=True)
class Example:
    """A clip (sampling rate in Hz, PCM samples (samples,) or (samples, channels)) and what is said in it."""

    title: str
    audio: tuple[int, np.ndarray]
    text: str


def read_examples(manifest: Path) -> list[Example]:
    """Up to `MAX_EXAMPLES` rows, evenly spaced, of a CSV file with the columns audio (relative to it) and text.

    Raises:
        ClipError: a column is missing, there are no rows, or a clip cannot be read.
        OSError: the file cannot be read.
    """
    with manifest.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"audio", "text"} <= rows[0].keys():
        raise ClipError(f"{manifest}: examples need a CSV file with the columns audio and text, and at least one row")
    spaced = [rows[i * len(rows) // MAX_EXAMPLES] for i in range(MAX_EXAMPLES)] if len(rows) > MAX_EXAMPLES else rows
    return [
        _example(number, manifest.parent / (row["audio"] or ""), row["text"] or "")
        for number, row in enumerate(spaced, 1)
    ]


def _example(number: int, path: Path, text: str) -> Example:
    try:
        samples, rate = soundfile.read(path, dtype="int16")
    except (soundfile.SoundFileError, TypeError) as error:
        raise ClipError(f"example {number} ({path}) cannot be read: {error}") from error
    return Example(f"{number}: {text}" if text else f"{number}: {path.name}", (rate, samples), text)
