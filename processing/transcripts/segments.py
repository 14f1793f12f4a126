"""Who says what when: transcripts of any format as lists of segments, times in seconds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..encodings import marked_encoding
from .formats import TITLES, parse_any
from .speakers import assign_speakers, joined_words, with_speakers
from .transcript import Segment, SegmentError, Transcript

__all__ = ["LARGEST", "Segment", "SegmentError", "parse_segments", "read_segments"]

LARGEST = 64 * 2**20  # bytes of a transcript


def read_segments(
    path: str | os.PathLike[str],
    recording: str | None = None,
    names: bool = False,
    turns: str | os.PathLike[str] | None = None,
) -> list[Segment]:
    """Reads a file as `parse_segments` does; UTF-8, or UTF-16 and UTF-32 with a byte order mark.

    Args:
        turns: a file that says who speaks when, such as RTTM.

    Raises:
        SegmentError: a file is missing, too large, in another encoding, or as `parse_segments`.
    """
    known = None
    if turns is not None:
        known = read_segments(turns, recording)
        if not any("speaker" in turn for turn in known):
            raise SegmentError(f"{os.fspath(turns)}: it names no speaker; RTTM says who speaks when")
    return parse_segments(_read(path), os.fspath(path), recording, names, known)


def _read(path: str | os.PathLike[str]) -> str:
    name = os.fspath(path)
    try:
        with Path(path).expanduser().open("rb") as file:
            raw = file.read(LARGEST + 1)
    except OSError as error:
        raise SegmentError(f"{name}: {error.strerror or error}") from error
    if len(raw) > LARGEST:
        raise SegmentError(f"{name}: larger than {LARGEST >> 20} MiB, which no transcript is; check the file")
    if raw.startswith(b"ooBinaryFile"):
        raise SegmentError(f"{name}: a binary TextGrid; save it in Praat as text")
    try:
        return raw.decode(marked_encoding(raw) or "utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise SegmentError(f"{name}, line {line}: not UTF-8; save the file as UTF-8") from error


def parse_segments(
    text: str,
    name: str = "segments",
    recording: str | None = None,
    names: bool = False,
    turns: Sequence[Segment] | None = None,
) -> list[Segment]:
    """Segments in the order of the text; `formats.FORMATS` lists what is read.

    Tags, cue settings and notes are left out; an empty text stays, for somebody may speak there. Rolling captions
    and karaoke, in which words come back in the cues that follow, give each line once. Words alone become segments
    up to a pause, the end of a sentence or another speaker.

    Args:
        name: what messages call the text, usually its path, whose ending tells the format where the text does not.
        recording: the name of the recording, without its ending, for formats that hold several.
        names: whether a short text and a colon (`Anna: ...`) says who speaks; `[SPEAKER_00]:` always does.
        turns: segments with the speakers of a diarisation, which replace those of the text.

    A segment whose times or words are no such thing is passed on as it stands: `cut_segments` reports it, and answers
    the others.

    Raises:
        SegmentError: a format that is not read, a broken line or item, or no segment at all.
    """
    found = parse_any(text.removeprefix("\ufeff"), name)
    segments = list(with_speakers(_of_recording(found, name, recording), names))
    if turns is not None:
        segments = assign_speakers(segments, turns)
    if found.are_words:
        segments = joined_words(segments)
    if not segments:
        raise SegmentError(f"{name}: no segment in it; what is read: {TITLES}")
    return segments


def _of_recording(found: Transcript, name: str, recording: str | None) -> list[Segment]:
    """The segments of one recording.

    Raises:
        SegmentError: there are several, and none has the name.
    """
    if found.recordings is None or len(set(found.recordings)) <= 1:
        return found.segments
    stems = [
        Path(label).stem if "/" in label or label.lower().endswith(".wav") else label for label in found.recordings
    ]
    chosen = [segment for segment, stem in zip(found.segments, stems, strict=True) if stem == recording]
    if not chosen:
        known = list(dict.fromkeys(stems))
        some = ", ".join([*known[:5], "..."] if len(known) > 5 else known)
        raise SegmentError(
            f"{name}: segments of {len(known)} recordings ({some}), none of which is called {recording!r}: name the "
            "audio file after one of them"
        )
    return chosen
