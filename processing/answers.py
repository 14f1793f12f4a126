"""Answers as files: a table, subtitles or JSON of what the pipeline said about clips and long recordings."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from .atomic import replacing
from .errors_drkf import OptionError

Result = Mapping[str, Any]
"""What was said about one file: `audio` (its name) and an answer, or `audio_seconds` and `timeline` (a list of answers
with `start` and `end` in seconds, and perhaps `speaker`), or `error`; a timeline that ends before its recording is
`stopped`."""


SPAN_COLUMNS = {"start": float, "end": float}
FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last four are full width
CERTAIN = 0.5  # the sigmoid from which on a label of a multi-label checkpoint holds


def answer_columns(label_names: Sequence[str]) -> dict[str, type]:
    """The columns of `answer_row` and their types; every cell may be empty."""
    return (
        {"audio_seconds": float, "prediction": str}
        | {f"probability_{name}": float for name in label_names}
        | {"consistency": float, "dominant_modality": str, "speech_share": float, "text_share": float}
        | {"warning": str, "error": str}
    )


def answer_row(answer: Mapping[str, Any], label_names: Sequence[str], multi_label: bool) -> dict[str, Any]:
    """An answer, or `{"error": ...}`, as one row of `answer_columns`; None where it does not say."""
    scores = {entry["label"]: entry["score"] for entry in answer.get("scores", ())}
    shares = answer.get("modality_shares") or {}
    row = {
        name: answer.get(name) for name in ("audio_seconds", "consistency", "dominant_modality", "warning", "error")
    }
    row |= {f"probability_{name}": scores.get(name) for name in label_names}
    row |= {"speech_share": shares.get("speech"), "text_share": shares.get("text")}
    predicted = predicted_labels(answer, multi_label)
    row["prediction"] = "|".join(name for name in label_names if name in predicted) or None
    return {name: row[name] for name in answer_columns(label_names)}


def predicted_labels(answer: Mapping[str, Any], multi_label: bool) -> list[str]:
    """The most probable label; of a multi-label checkpoint all from 0.5 on, or the most probable one."""
    scores = answer.get("scores", ())
    certain = [entry["label"] for entry in scores if multi_label and entry["score"] > CERTAIN]
    return certain or [entry["label"] for entry in scores[:1]]


def told(timeline: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The answers of a timeline that tell an emotion: neither errors nor silence."""
    return [answer for answer in timeline["timeline"] if "error" not in answer and answer["scores"]]


def result_rows(results: Iterable[Result], label_names: Sequence[str], multi_label: bool) -> list[dict[str, Any]]:
    """A row an answer: `audio`, `start` and `end` (None for whole clips), `speaker` (None where unknown), `text`,
    and `answer_columns`.

    `audio_seconds` of a piece is its own length.
    """
    rows = []
    for result in results:
        for answer in result.get("timeline", [result]):
            start, end = answer.get("start"), answer.get("end")
            seconds = answer.get("audio_seconds") if start is None or end is None else round(end - start, 3)
            row = answer_row({**answer, "audio_seconds": seconds}, label_names, multi_label)
            said = {"speaker": answer.get("speaker"), "text": answer.get("text")}
            rows.append({"audio": result["audio"], "start": start, "end": end, **said, **row})
    return rows


def timeline_srt(timeline: Mapping[str, Any], multi_label: bool = False) -> str:
    """SubRip subtitles: what is felt, how probably, and the words: "angry 0.83 | You came late.", after the speaker
    where one is known: "[Anna]: angry 0.83 | You came late." Silence has no cue.

    Windows that overlap meet in the middle of what they share: players show one cue at a time.
    """
    answers = told(timeline)
    bounds = [[answer["start"], answer["end"]] for answer in answers]
    for (here, there), (one, other) in zip(pairwise(bounds), pairwise(answers), strict=True):
        if one["start"] < other["start"] < one["end"] <= other["end"]:
            here[1] = there[0] = (other["start"] + one["end"]) / 2
    cues = zip(answers, bounds, strict=True)
    return format_srt({"start": s, "end": e, "text": _cue(answer, multi_label)} for answer, (s, e) in cues)


def format_srt(segments: Iterable[Mapping[str, Any]]) -> str:
    """SubRip text of segments; times are rounded to milliseconds, white space within a text becomes one space."""
    cues = []
    for number, segment in enumerate(segments, start=1):
        times = f"{_srt_time(segment['start'])} --> {_srt_time(segment['end'])}"
        cues.append(f"{number}\n{times}\n{' '.join(segment['text'].split())}\n")
    return "\n".join(cues)


def _srt_time(seconds: float) -> str:
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02},{milliseconds % 1000:03}"


def _cue(answer: Mapping[str, Any], multi_label: bool) -> str:
    scores = {entry["label"]: entry["score"] for entry in answer["scores"]}
    emotions = ", ".join(f"{label} {scores[label]:.2f}" for label in predicted_labels(answer, multi_label))
    said = " | ".join(filter(None, [emotions, answer.get("text")]))
    return said if answer.get("speaker") is None else f"[{answer['speaker']}]: {said}"


def write_results(
    results: Sequence[Result],
    path: str | Path,
    label_names: Sequence[str],
    multi_label: bool = False,
    spreadsheet: bool = False,
) -> None:
    """Writes results as the ending of `path` says; an earlier file stays as it is until the new one is complete.

    `.json` holds the list of results as they are; `.csv` and `.parquet` hold `result_rows`; `.srt` subtitles one long
    recording.

    Args:
        spreadsheet: see [`write_table`].

    Raises:
        OptionError: another ending, or `.srt` for anything but one timeline.
    """
    path = Path(path)
    suffix = check_output(path, OUTPUTS)
    if suffix == ".srt" and (len(results) != 1 or "timeline" not in results[0]):
        raise OptionError(f"{path}: subtitles are of one long recording, cut by chunk_length_s or by segments")
    with replacing(path) as unfinished:
        if suffix == ".json":
            text = json.dumps(list(results), indent=2, ensure_ascii=False) + "\n"
            unfinished.write_text(text, encoding="utf-8", errors="replace")
        elif suffix == ".srt":
            unfinished.write_text(timeline_srt(results[0], multi_label), encoding="utf-8", errors="replace")
        else:
            columns = {"audio": str, **SPAN_COLUMNS, "speaker": str, "text": str, **answer_columns(label_names)}
            write_table(result_rows(results, label_names, multi_label), unfinished, columns, spreadsheet)


OUTPUTS = (".json", ".csv", ".srt", ".parquet")
PICTURES = (".png", ".svg", ".pdf")


def check_output(path: Path, endings: Sequence[str]) -> str:
    """The path's ending in lower case; `OptionError` if it is none of `endings`."""
    if path.suffix.lower() not in endings:
        raise OptionError(f"{path}: the ending says how to write it; one of {', '.join(endings)}")
    return path.suffix.lower()


def write_table(
    rows: Iterable[Mapping[str, Any]], path: Path, columns: Mapping[str, type], spreadsheet: bool = False
) -> None:
    """Writes rows as CSV, JSON Lines or Parquet; None is an empty cell, a null; half a character (a lone surrogate)
    becomes a question mark.

    Args:
        columns: names in order, and the type (str, float, int, bool, or list, of floats) of each; `object` takes what
            pyarrow infers.
        spreadsheet: in CSV, put an apostrophe before a text that a spreadsheet would run as a formula.
    """
    if path.suffix.lower() == ".parquet":
        import pyarrow as pa
        from pyarrow import parquet

        rows = list(rows)
        types = {
            str: pa.string(),
            float: pa.float64(),
            int: pa.int64(),
            bool: pa.bool_(),
            list: pa.list_(pa.float32()),
        }
        cells = {name: [_whole_text(row.get(name)) for row in rows] for name in columns}
        arrays = [
            _inferred(cells[n]) if kind is object else pa.array(cells[n], types[kind]) for n, kind in columns.items()
        ]
        parquet.write_table(pa.table(arrays, names=list(columns)), path)
        return
    with path.open("w", newline="", encoding="utf-8", errors="replace") as file:
        if path.suffix.lower() == ".jsonl":
            for row in rows:
                file.write(json.dumps({n: row.get(n) for n in columns}, ensure_ascii=False, default=str) + "\n")
        else:
            safe = _without_formula if spreadsheet else (lambda cell: cell)
            writer = csv.writer(file)
            writer.writerow(map(safe, columns))
            writer.writerows([safe(row.get(name)) for name in columns] for row in rows)


def _without_formula(cell: Any) -> Any:
    if not isinstance(cell, str) or not cell.lstrip().startswith(FORMULA_STARTS):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def _whole_text(cell: Any) -> Any:
    return cell.encode(errors="replace").decode() if isinstance(cell, str) else cell


def _inferred(cells: Sequence[Any]) -> Any:
    """An Arrow array of the cells; as text where they are of no common type."""
    import pyarrow as pa

    try:
        return pa.array(cells)
    except (pa.ArrowException, TypeError):
        return pa.array([None if cell is None else str(cell) for cell in cells])
