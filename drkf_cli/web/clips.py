"""What clients send and what examples hold: read within limits."""

import csv
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import soundfile

from .limits import Limits

MAX_EXAMPLES, LONGEST_TITLE = 8, 60  # characters
ENDINGS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3")
FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "MPEG")  # as libsndfile calls them
UNKNOWN_FRAMES = 1 << 62  # what it announces where a file has no length is beyond this


class ClipError(ValueError):
    """A clip or text that the page refuses, or an invalid example; the message is for who sent it."""


def check_clip(path: str, limits: Limits) -> float:
    """Refuses a clip whose header announces more than is allowed; nothing is decoded.

    Returns: the seconds that the header announces; the most that is allowed where it announces none.

    Raises:
        ClipError: the clip is no longer there, too large, too long, or of a format that the page does not take.
    """
    try:
        size = Path(path).stat().st_size
    except FileNotFoundError as error:
        raise ClipError(
            "The clip is no longer on the server: clips are deleted after a while. Add it again."
        ) from error
    if not size:
        raise ClipError("The file is empty (0 bytes). Record or upload a clip with sound in it.")
    if size > limits.upload_bytes:
        raise ClipError(f"The clip has more than {limits.upload_bytes / 2**20:.0f} MB. Shorten or compress it.")
    try:
        header = soundfile.info(path)
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: headerless .raw files
        raise ClipError("The file cannot be decoded. WAV, FLAC, OGG and MP3 are read.") from error
    if header.format not in FORMATS:
        raise ClipError(f"Files of the format {header.format} are not read; WAV, FLAC, OGG and MP3 are.")
    most = ceil(limits.recording_seconds * header.samplerate)
    frames = most if header.frames > UNKNOWN_FRAMES else header.frames
    if frames > most:
        raise ClipError(
            f"The recording lasts longer than {limits.recording_seconds:g} seconds. Cut out the part that you want to "
            "ask about."
        )
    if header.channels > limits.clip_channels or frames * header.channels > limits.clip_values:
        raise ClipError("The clip has too many channels or too high a rate. Convert it to mono, 16 kHz.")
    return float(frames / header.samplerate)


def read_text(text: str | None, limits: Limits) -> str | None:
    """The words, or None where there are none.

    Raises:
        ClipError: more than `limits.text_characters`.
    """
    text = (text or "").strip()
    if len(text) > limits.text_characters:
        raise ClipError(f"The text has {len(text)} characters; at most {limits.text_characters} are read. Shorten it.")
    return text or None


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
    examples = []
    for number, row in enumerate(spaced, 1):
        try:
            examples.append(read_example(manifest.parent / (row["audio"] or ""), row["text"] or ""))
        except ClipError as error:
            raise ClipError(f"example {number} {error}") from error
    return examples


def read_example(path: Path, text: str) -> Example:
    """A clip and its words. ClipError: it cannot be read."""
    try:
        samples, rate = soundfile.read(path, dtype="int16")
    except (soundfile.SoundFileError, TypeError) as error:
        raise ClipError(f"({path}) cannot be read: {error}") from error
    title = text if len(text) <= LONGEST_TITLE else f"{text[:LONGEST_TITLE]} ..."
    return Example(title or path.name, (rate, samples), text)
