"""Answers as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from processing.answers import Result, predicted_labels
from processing.evaluation.rounding import rounded
from processing.printable import printable
from processing.speakers import speakers_of


def show_answers(results: Sequence[Result], pipe: Any) -> None:
    """Prints the answer for one clip and then all its classes; of several clips, or pieces of one, a line each."""
    console = Console()
    clips = [result for result in results if "timeline" not in result]
    if len(clips) == 1:
        console.print(f"[bold]{escape(printable(_emotions(clips[0], pipe.is_multi_label)))}[/bold]")
        said = "no words" if clips[0]["text"] is None else f'"{clips[0]["text"]}"'
        title = escape(printable(f"{Path(clips[0]['audio']).name}\n{said}"))
        console.print(answers_table(clips, [title], pipe.label_names))
    elif clips:
        names = [printable(Path(clip["audio"]).name) for clip in clips]
        console.print(rows_table("file", names, clips, pipe.is_multi_label))
    for result in results:
        if "timeline" in result:
            times = [f"{_time(a['start'])} - {_time(a['end'])}" for a in result["timeline"]]
            table = rows_table("time", times, result["timeline"], pipe.is_multi_label)
            table.title = escape(printable(Path(result["audio"]).name))
            console.print(table)
            if summary := result.get("speakers"):
                console.print(speakers_table(summary))


def _time(seconds: float | None) -> str:
    from processing.figures.timeline import clock

    return "" if seconds is None else clock(seconds, decimals=1)


def answers_table(answers: Sequence[Mapping[str, Any]], titles: Sequence[str], labels: Sequence[str]) -> Table:
    """One column an answer, one row a class, then agreement and dominant modality."""
    table = Table()
    table.add_column("")
    for title in titles:
        table.add_column(title, justify="right")
    scores = [{entry["label"]: entry["score"] for entry in answer["scores"]} for answer in answers]
    for label in labels:
        cells = [rounded(found[label]) if label in found else "" for found in scores]
        best = [bool(answer["scores"]) and answer["scores"][0]["label"] == label for answer in answers]
        table.add_row(
            escape(printable(label)),
            *(f"[bold]{c}[/bold]" if strong else c for c, strong in zip(cells, best, strict=True)),
        )
    table.add_section()
    table.add_row("voice and words agree", *map(_agreement, answers))
    table.add_row("dominant modality", *map(_dominant, answers))
    return table


def rows_table(what: str, names: Sequence[str], answers: Sequence[Mapping[str, Any]], multi_label: bool) -> Table:
    """One row an answer: its name, the speaker if one is known, emotion, agreement, dominant modality and words."""
    has_speakers = bool(speakers_of(answers))
    table = Table(what, *(["speaker"] if has_speakers else []), "emotion", "agree", "dominant", "words")
    for name, answer in zip(names, answers, strict=True):
        place = [name, answer.get("speaker") or "-"] if has_speakers else [name]
        if "error" in answer:
            said = ["-", "-", "-", answer["error"]]
        else:
            said = [_emotions(answer, multi_label), _agreement(answer), _dominant(answer), answer["text"] or "-"]
        table.add_row(*(escape(printable(cell)) for cell in (*place, *said)))
    return table


def speakers_table(summary: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row a speaker, see `summarise_speakers`: the three likeliest emotions, and the one that changes most."""
    table = Table("speaker", "share of speech", "pieces", "emotions", "from first to second half")
    for speaker, one in summary.items():
        likeliest = sorted(one["emotions"].items(), key=lambda pair: -pair[1])[:3]
        emotions = ", ".join(f"{label} {probability:.2f}" for label, probability in likeliest)
        changed = max(one["change"].items(), key=lambda pair: abs(pair[1])) if one["change"] else None
        change = "-" if changed is None else f"{changed[0]} {changed[1]:+.2f}"
        share = f"{one['share']:.0%} ({one['seconds']:.1f} s)"
        table.add_row(*(escape(printable(cell)) for cell in (speaker, share, str(one["pieces"]), emotions, change)))
    return table


def _emotions(answer: Mapping[str, Any], multi_label: bool) -> str:
    scores = {entry["label"]: entry["score"] for entry in answer["scores"]}
    return ", ".join(f"{label} {scores[label]:.2f}" for label in predicted_labels(answer, multi_label)) or "none"


def _agreement(answer: Mapping[str, Any]) -> str:
    return "-" if answer["consistency"] is None else rounded(answer["consistency"])


def _dominant(answer: Mapping[str, Any]) -> str:
    name = answer["dominant_modality"]
    return "-" if name is None else f"{name} ({answer['modality_shares'][name]:.0%})"
