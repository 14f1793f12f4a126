"""A conversation as HTML: its speakers, a lane for each, its segments, and files to keep.

What carries `data-start` and `data-end` is heard when it is clicked (scripts/hearing.js): blocks of lanes by a mouse,
buttons of the table by the keyboard, too.
"""

import tempfile
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from processing.answers import write_results
from processing.figures.timeline import COLOURS, MOST_LANES, OTHERS

from .drawing import wave
from .recordings import clock
from .rendering import percent, render_notes

UNNAMED = "nobody named"
FILES = {".csv": ("CSV", "text/csv"), ".json": ("JSON", "application/json"), ".srt": ("Subtitles (SRT)", "text/plain")}
SHORTEST = 0.003  # of the recording; a shorter block could not be seen

Answer = Mapping[str, Any]


def render_conversation(
    found: Mapping[str, Any], audio: str, sound: np.ndarray, labels: Sequence[str], multi_label: bool = False
) -> str:
    """What `recognise_conversation` gives as HTML; names and words are text in it, whatever they hold.

    Args:
        audio: the path of the recording. sound: its amplitude over time, (points,).
        labels: all classes, which keep their colours from one conversation to the next.
    """
    answers = [piece for piece in found["timeline"] if piece.get("scores")]
    colours = {label: COLOURS[number % len(COLOURS)] for number, label in enumerate(labels)}
    speakers = found.get("speakers", {})
    who = f"{len(speakers)} speaker{'s' * (len(speakers) != 1)}, " if speakers else ""
    notes = filter(None, [found.get("warning"), *(piece.get("warning") for piece in answers)])
    lead = f"{who}{len(answers)} of {len(found['timeline'])} segments have an answer"
    return (
        f'<div class="drkf"><p class="lead">{lead}</p>'
        f"<p>{clock(found['audio_seconds'])} minutes</p>{render_notes(notes)}"
        f"{_speakers(speakers)}{_lanes(found, answers, sound, colours)}"
        f'<audio controls preload="none" aria-label="The recording" data-recording="{escape(audio)}"></audio>'
        f"{_segments(found['timeline'])}{_files(found, Path(audio).name, labels, multi_label)}</div>"
    )


def _speakers(summary: Mapping[str, Mapping[str, Any]]) -> str:
    """See `summarise_speakers`: the likeliest emotions of each, and the one that changes most."""
    if not summary:
        return ""
    rows = []
    for speaker, one in summary.items():
        likeliest = sorted(one["emotions"].items(), key=lambda pair: -pair[1])[:3]
        emotions = ", ".join(f"{escape(label)} {percent(share)}" for label, share in likeliest)
        label, change = max((one["change"] or {"": 0.0}).items(), key=lambda pair: abs(pair[1]))
        points = f"{escape(label)} {100 * change:+.1f} points" if label else ""
        rows.append(
            f'<tr><th scope="row" class="name">{escape(speaker)}</th><td class="number">{percent(one["share"])}</td>'
            f'<td class="said">{emotions}</td><td>{points}</td></tr>'
        )
    heads = _heads("Speaker", "Share of speech", "Likeliest emotions", "From first to second half")
    return _box("The speakers", "speakers", f"{heads}<tbody>{''.join(rows)}</tbody>")


def _lanes(found: Mapping[str, Any], answers: Sequence[Answer], sound: np.ndarray, colours: Mapping[str, str]) -> str:
    """The sound, and a lane a speaker: a block a segment, as high as the probability of its emotion."""
    seconds = max(found["audio_seconds"], *(answer["end"] for answer in answers))
    known = list(dict.fromkeys(answer.get("speaker") or UNNAMED for answer in answers))
    names = known if len(known) <= MOST_LANES else [*known[: MOST_LANES - 1], OTHERS]
    blocks: dict[str, str] = dict.fromkeys(names, "")
    for number, piece in enumerate(found["timeline"]):
        if piece.get("scores"):
            name = piece.get("speaker") or UNNAMED
            blocks[name if name in names else OTHERS] += _block(number, piece, seconds, colours)
    lanes = "".join(
        f'<span class="name" title="{escape(name)}">{escape(name)}</span><svg viewBox="0 0 {seconds:g} 1" '
        f'preserveAspectRatio="none">{blocks[name]}</svg>'
        for name in names
    )
    shown = {answer["scores"][0]["label"] for answer in answers}
    legend = "".join(
        f'<span><i style="background: {colour}"></i>{escape(label)}</span>'
        for label, colour in colours.items()
        if label in shown
    )
    return (
        '<h2>Who speaks when</h2><div class="bands lanes" aria-hidden="true">'
        f'<span>sound</span><svg class="sound" viewBox="0 -1 {len(sound)} 2" preserveAspectRatio="none">'
        f"{wave(sound)}</svg>{lanes}"
        f'<span></span><div class="scale"><span>0:00</span><span>{clock(seconds)}</span></div></div>'
        f'<p class="key" aria-hidden="true">{legend}</p>'
        '<p class="note">Colour: the emotion that is recognised. Height: its probability. Choose a block, or the time '
        "of a segment below, to hear it.</p>"
    )


def _block(number: int, piece: Answer, seconds: float, colours: Mapping[str, str]) -> str:
    best, width = piece["scores"][0], max(piece["end"] - piece["start"], SHORTEST * seconds)
    at = f'x="{piece["start"]:.3f}" width="{width:.3f}"'
    return (
        f"<g {_heard(number, piece)}><title>{escape(_said(piece))}</title>"
        f'<rect class="whole" {at} y="0" height="1"/>'
        f'<rect {at} y="{1 - best["score"]:.4f}" height="{best["score"]:.4f}" fill="{colours[best["label"]]}"/></g>'
    )


def _said(piece: Answer) -> str:
    best = piece["scores"][0]
    words = f": {piece['text']}" if piece.get("text") else ""
    return f"{clock(piece['start'])} {best['label']} {percent(best['score'])}{words}"


def _heard(number: int, piece: Answer) -> str:
    return f'data-piece="{number}" data-start="{piece["start"]:.3f}" data-end="{piece["end"]:.3f}"'


def _segments(timeline: Sequence[Answer]) -> str:
    rows = "".join(_row(number, piece) for number, piece in enumerate(timeline))
    heads = _heads("Time", "Speaker", "Emotion", "Probability", "Words")
    return _box("The segments", "pieces", f"{heads}<tbody>{rows}</tbody>")


def _row(number: int, piece: Answer) -> str:
    time = (
        "" if piece["start"] is None or piece["end"] is None else f"{clock(piece['start'])} to {clock(piece['end'])}"
    )
    if time and "error" not in piece:
        time = f'<button type="button" {_heard(number, piece)} aria-label="{time}: hear it">{time}</button>'
    speaker = escape(piece.get("speaker") or "")
    best = next(iter(piece.get("scores") or ()), None)
    if "error" in piece:
        rest = f'<td class="said" colspan="3">{escape(piece["error"])}</td>'
    else:
        emotion = ("none", "") if best is None else (escape(best["label"]), percent(best["score"]))
        rest = (
            f'<td>{emotion[0]}</td><td class="number">{emotion[1]}</td>'
            f'<td class="said">{escape(piece.get("text") or "")}</td>'
        )
    return f'<tr><th scope="row">{time}</th><td class="name">{speaker}</td>{rest}</tr>'


def _heads(*names: str) -> str:
    cells = "".join(f'<th scope="col">{name}</th>' for name in names)
    return f"<thead><tr>{cells}</tr></thead>"


def _box(title: str, kind: str, table: str) -> str:
    return (
        f'<div class="{kind}" role="region" aria-label="{title}" tabindex="0"><table><caption>{title}</caption>'
        f"{table}</table></div>"
    )


def _files(found: Mapping[str, Any], name: str, labels: Sequence[str], multi_label: bool) -> str:
    """The answers as files within the page itself: nothing of them stays on the server."""
    links = []
    with tempfile.TemporaryDirectory() as folder:
        for ending, (title, kind) in FILES.items():
            path = Path(folder) / f"answers{ending}"
            write_results([{"audio": name, **found}], path, labels, multi_label, spreadsheet=True)
            content = b64encode(path.read_bytes()).decode()
            links.append(
                f'<a download="{escape(Path(name).stem)}{ending}" href="data:{kind};charset=utf-8;base64,{content}">'
                f"{title}</a>"
            )
    return f"<p>Keep the answers: {' '.join(links)}</p>"
