"""Recordings that are too long for one answer: cut into pieces, answered a few at a time, shown as a timeline."""

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np

from .clips import ClipError
from .drawing import peaks, wave
from .limits import Limits
from .rendering import percent, render_notes

PIECE_SECONDS = 10.0
TOGETHER = 4  # pieces that are answered in one step, between those of other questions
SLICES = 300
WORDS_LEFT_OUT = "the words were left out, for nothing says which of them belong to which part of the recording"


def longest_clip(recogniser: Any, limits: Limits) -> float:
    """Seconds up to which a recording has one answer: the page's limit, or the model's."""
    known = recogniser.processor.max_audio_samples
    rate = recogniser.processor.feature_extractor.sampling_rate
    return limits.clip_seconds if known is None else min(limits.clip_seconds, known / rate)


def recognise_pieces(
    recogniser: Any, audio: Mapping[str, Any], longest: float, words: str | None
) -> Generator[None, None, dict[str, Any]]:
    """The timeline of a recording, see the pipeline: even pieces of less than `longest` and `PIECE_SECONDS` seconds.

    Args:
        audio: what `read_audio` gives. words: what was typed; it is left out, and a warning says so.

    Yields: after each step. Returns: the timeline.

    Raises:
        ClipError: no piece can be answered.
    """
    seconds = len(audio["array"]) / audio["sampling_rate"]
    count = int(seconds // min(PIECE_SECONDS, longest)) + 1
    borders = np.linspace(0, seconds, count + 1).tolist()
    pieces = [{"start": start, "end": end} for start, end in pairwise(borders)]
    timeline: list[dict[str, Any]] = []
    for first in range(0, len(pieces), TOGETHER):
        yield
        given = {"audio": audio, "segments": pieces[first : first + TOGETHER]}
        timeline += recogniser(given, batch_size=TOGETHER)["timeline"]
    if not any(piece.get("scores") for piece in timeline):
        raise ClipError(f"No part of the recording can be used: {timeline[0].get('error', 'nothing is said in it')}.")
    found: dict[str, Any] = {"audio_seconds": seconds, "timeline": timeline}
    return found if words is None else {**found, "warning": WORDS_LEFT_OUT}


def render_timeline(found: Mapping[str, Any], waveform: np.ndarray) -> tuple[str, str]:
    """A timeline as a summary with the table of its pieces, and as a picture: the sound, and a band an emotion."""
    seconds, pieces = found["audio_seconds"], [piece for piece in found["timeline"] if piece.get("scores")]
    best = [piece["scores"][0]["label"] for piece in pieces]
    counts = Counter(best).most_common()
    most, times = counts[0]
    rest = "".join(f", {escape(label)} in {number}" for label, number in counts[1:])
    lead, rest = ("mostly ", "") if 2 * times > len(pieces) else ("", rest)
    notes = filter(None, [found.get("warning"), *(piece.get("warning") for piece in pieces)])
    summary = (
        f'<p class="lead">{lead}<strong>{escape(most)}</strong>, in {times} of {len(pieces)} parts{rest}</p>'
        f"<p>{clock(seconds)} minutes of voice</p>"
        f"{render_notes(notes)}"
    )
    width = min(len(waveform), SLICES)
    bands = "".join(
        f'<span>{escape(label)}</span><svg viewBox="0 0 {seconds:g} 1" preserveAspectRatio="none">'
        f"{_band(label, pieces)}</svg>"
        for label in sorted({entry["label"] for piece in pieces for entry in piece["scores"]})
    )
    picture = (
        '<h2>The recording over time</h2><div class="bands" aria-hidden="true">'
        f'<span>sound</span><svg class="sound" viewBox="0 -1 {width} 2" preserveAspectRatio="none">'
        f"{wave(peaks(waveform, width))}</svg>{bands}"
        f'<span></span><div class="scale"><span>0:00</span><span>{clock(seconds)}</span></div></div>'
        '<p class="note">Height: probability. Full colour: the emotion that is recognised.</p>'
    )
    return f'<div class="drkf">{summary}{_table(found["timeline"])}</div>', f'<div class="drkf">{picture}</div>'


def _band(label: str, pieces: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for piece in pieces:
        score = next(entry["score"] for entry in piece["scores"] if entry["label"] == label)
        strong = "strong" if piece["scores"][0]["label"] == label else "weak"
        width = piece["end"] - piece["start"]
        parts.append(
            f'<rect class="{strong}" x="{piece["start"]:.3f}" y="{1 - score:.4f}" width="{width:.3f}" '
            f'height="{score:.4f}"/>'
        )
    return "".join(parts)


def _table(timeline: Sequence[Mapping[str, Any]]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{clock(piece["start"])} to {clock(piece["end"])}</th>{_cells(piece)}</tr>'
        for piece in timeline
    )
    return (
        '<div class="pieces" role="region" aria-label="The parts of the recording" tabindex="0"><table>'
        f"<caption>The parts of the recording</caption><tbody>{rows}</tbody></table></div>"
    )


def _cells(piece: Mapping[str, Any]) -> str:
    if "error" in piece:
        return f'<td class="said" colspan="3">{escape(piece["error"])}</td>'
    if not piece.get("scores"):
        return '<td>none</td><td></td><td class="said"></td>'
    best = piece["scores"][0]
    return (
        f'<td>{escape(best["label"])}</td><td class="number">{percent(best["score"])}</td>'
        f'<td class="said">{escape(piece["text"] or "")}</td>'
    )


def clock(seconds: float) -> str:
    """Minutes and seconds: 75 -> "1:15"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"
