"""Conversations: a recording and its transcript, answered a segment at a time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import soundfile

from processing.segment_keys_drkf import BY_CHANNEL
from processing.speakers import summarise_speakers
from processing.transcripts.segments import Segment, read_segments

from .clips import ClipError, check_clip
from .limits import Limits
from .recordings import PIECE_SECONDS, clock, longest_clip
from .turns import Steps

AS_WRITTEN, BY_NAME = "as-written", "by-name"
SPEAKERS = [
    ("The transcript says so", AS_WRITTEN),
    ("Names stand before the words (Anna: ...)", BY_NAME),
    ("Each has a channel of the recording", BY_CHANNEL),
]
NO_TRANSCRIPT = (
    "Add the transcript: it says who speaks when. Without one, a call is answered whose speakers have a channel each "
    "(choose that below), and a recording of one speaker under “A clip”."
)
ONE_CHANNEL = "The recording has one channel, so nothing tells its speakers apart but the transcript."


def recognise_conversation(
    recogniser: Any, audio: str | None, transcript: str | None, speakers: str | None, limits: Limits
) -> Steps:
    """The timeline of a conversation, see the pipeline, with a summary of each speaker under `speakers`.

    Args:
        audio: the path of the recording. transcript: the path of a file in any format of `processing.transcripts`;
            without one, a recording by channel is cut evenly.
        speakers: how the speakers are known, see `SPEAKERS`.

    Yields: after each segment. Interrupted there, it returns what is answered by then, which is `stopped`.

    Raises:
        ClipError: the recording or its transcript cannot be used, or no segment can be answered.
    """
    if audio is None:
        raise ClipError("Add the recording of the conversation.")
    check_clip(audio, limits)
    if speakers == BY_CHANNEL and soundfile.info(audio).channels < 2:
        raise ClipError(ONE_CHANNEL)
    if transcript is None and speakers != BY_CHANNEL:
        raise ClipError(NO_TRANSCRIPT)
    given: dict[str, Any] = {"audio": audio}
    options: dict[str, Any] = {"batch_size": 1, "max_recording_s": limits.recording_seconds}
    if transcript is None:
        options["chunk_length_s"] = min(PIECE_SECONDS, longest_clip(recogniser, limits))
    else:
        given["segments"] = read_transcript(transcript, Path(audio).stem, speakers == BY_NAME, limits)
    if speakers == BY_CHANNEL:
        options["speakers"] = BY_CHANNEL
    found = yield from _answered(getattr(recogniser, "recognizer", recogniser), given, options)
    answers = [piece for piece in found["timeline"] if piece.get("scores")]
    summary = summarise_speakers({**found, "timeline": answers}, recogniser.label_names)
    return {**found, "speakers": summary} if summary else found


def read_transcript(path: str, recording: str, names: bool, limits: Limits) -> list[Segment]:
    """The segments of an upload.

    Args:
        recording: the name of the recording, for files that hold several.
        names: whether names before the words say who speaks.

    Raises:
        ClipError: it is too large, holds too many segments, or cannot be read.
    """
    try:
        if Path(path).stat().st_size > limits.transcript_bytes:
            raise ClipError(
                f"The transcript has more than {limits.transcript_bytes / 2**20:g} MB, and no words need so much."
            )
        segments = read_segments(path, recording, names)
    except FileNotFoundError as error:
        raise ClipError(
            "The transcript is no longer on the server: files are deleted after a while. Add it again."
        ) from error
    except ClipError:
        raise
    except ValueError as error:
        raise ClipError(f"The transcript cannot be read: {str(error).replace(path, Path(path).name)}") from error
    if len(segments) > limits.transcript_segments:
        raise ClipError(
            f"The transcript has {len(segments)} segments; at most {limits.transcript_segments} are answered. Cut it."
        )
    return segments


def _answered(recognizer: Any, given: Mapping[str, Any], options: Mapping[str, Any]) -> Steps:
    """The timeline of one input, a piece a step."""
    item, stopped = None, None
    try:
        for unit in recognizer.answered([given], ["the recording"], **options):
            item = unit.item
            try:
                yield
            except ClipError as stop:
                stopped = stop
                break
    except ValueError as error:
        what = getattr(error, "reason", str(error)).partition(";")[0]  # what follows is for programmers
        late, is_late, _ = what.partition("after the end of the recording")
        if is_late:
            what = f"{late}{is_late}. Is it the transcript of another one?"
        raise ClipError(f"The conversation cannot be answered: {what}") from error
    if item is None or not any(piece.get("scores") for piece in item.answers):
        first = next((piece["error"] for piece in item.answers if "error" in piece), None) if item else None
        raise stopped or ClipError(f"No segment can be answered: {first or 'nothing is said in them'}.")
    if stopped is None:
        return item.whole_answer()
    end = max(piece["end"] for piece in item.answers if piece.get("scores"))
    return {
        "audio_seconds": end,
        "timeline": item.answers,
        "stopped": True,
        "warning": f"{stopped} What is answered by then, up to {clock(end)}, is kept.",
    }
