"""Any corpus of one's own: a table with audio, text and label columns (CSV, TSV, JSON Lines or Parquet)."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...excerpt_drkf import Excerpt
from ...waveform_drkf import AudioError
from ..corpus import Corpus, survey
from ..folders import absolute
from ..report import ProblemKind, Report
from ..tables import TABLE_SUFFIXES, has_columns, read_rows
from ..utterance import ALL, LABEL_SEPARATOR, CorpusSpec, Utterance
from .columns import SOFT_LABEL_COLUMN, check_unread_columns

BOUNDS = ("start", "end")
SURROGATES = re.compile("[\ud800-\udfff]")


def read_utterances(
    path: str | Path,
    report: Report,
    *,
    audio_column: str = "audio",
    text_column: str = "text",
    label_column: str = "label",
    speaker_column: str = "speaker",
    split_column: str = "split",
    session_column: str = "session",
    id_column: str = "utterance_id",
    extra_columns: Sequence[str] = (),
    audio_dir: str | Path | None = None,
) -> list[Utterance]:
    """The rows of a manifest, or of the one manifest in a folder.

    `start` and `end`, seconds, make a row a part of its recording. Relative audio paths start at `audio_dir`, by
    default the manifest's own folder; `~` is expanded. The label column is multi-label as soon as one cell is a list
    or holds a `|`; then every cell is a set of labels. A file with a column `labels` and no `label` has soft labels: a
    mapping label -> weight in each cell, see `soft_label`. Without an id column an utterance is called by its audio
    path as written, and where it begins and ends if that is given.
    """
    given = absolute(path)
    manifest = given if given.suffix.lower() in TABLE_SUFFIXES or given.is_file() else _manifest_in(given, report)
    columns, rows = read_rows(manifest, report) if manifest else ([], [])
    soft = label_column == "label" and SOFT_LABEL_COLUMN in columns and label_column not in columns
    if soft:
        label_column = SOFT_LABEL_COLUMN
    required = [audio_column, text_column, label_column, *extra_columns]
    defaults = {"speaker": speaker_column, "split": split_column, "session": session_column, "utterance_id": id_column}
    required += [column for default, column in defaults.items() if column != default]
    if not manifest or not columns or not has_columns(required, columns, manifest, report):
        return []
    check_unread_columns([*defaults.values(), *BOUNDS], required, label_column, columns, manifest, report)
    root = absolute(audio_dir) if audio_dir else manifest.parent
    weights = _soft_labels(rows, manifest, report) if soft else {}
    if soft:
        rows = [(line, row) for line, row in rows if line in weights]
    elif label_column == "label" and SOFT_LABEL_COLUMN in columns:
        detail = f"column {SOFT_LABEL_COLUMN!r} is not read beside {label_column!r}"
        remedy = f"leave out the column {label_column!r} to train on soft labels"
        report.add(ProblemKind.SUSPICIOUS_COLUMN, detail, file=manifest, remedy=remedy)
    bounds = _bounds(rows, manifest, report)
    rows = [(line, row) for line, row in rows if line in bounds]
    cells = [(line, row, label_cell(None if soft else row.get(label_column))) for line, row in rows]
    multi_label = any(is_set for _, _, (_, is_set) in cells)
    utterances = []
    for line, row, (labels, _) in cells:
        audio, (start, end) = _audio_cell(row.get(audio_column)), bounds[line]
        utterances.append(
            Utterance(
                utterance_id=text_cell(row.get(id_column)) or _name(audio, start, end) or f"row {line}",
                audio=os.path.join(root, os.path.expanduser(audio)) if audio else "",
                text=text_cell(row.get(text_column)) or "",
                labels=tuple(weights[line]) if line in weights else labels,
                multi_label=multi_label,
                weights=weights.get(line),
                speaker=text_cell(row.get(speaker_column)),
                session=text_cell(row.get(session_column)),
                split=(text_cell(row.get(split_column)) or "") if split_column in columns else ALL,
                file=str(manifest),
                row=line,
                start=start,
                end=end,
                extra={name: text_cell(row.get(name)) for name in extra_columns},
            )
        )
    return utterances


CORPUS = CorpusSpec(
    name="manifest",
    title="manifest",
    read=read_utterances,
    layout=f"one file ({', '.join(TABLE_SUFFIXES)}) with the columns audio, text and label",
)


def read_manifest(
    path: str | Path,
    *,
    audio_column: str = "audio",
    text_column: str = "text",
    label_column: str = "label",
    speaker_column: str = "speaker",
    split_column: str = "split",
    data_dir: str | Path | None = None,
    label_map: Mapping[str, str] | None = None,
    skip_damaged: Iterable[str] | str = (),
    **options: Any,
) -> Corpus:
    """Reads a CSV, TSV, JSON Lines or Parquet manifest into a `Corpus`.

    Args:
        path: the manifest, or a folder that holds exactly one.
        speaker_column, split_column: may be absent from the file as long as they keep their default names. A file
            without splits becomes the single split "all"; dev, val and valid are called validation.
        data_dir: where relative audio paths start; by default the manifest's folder.
        label_map: source label -> class. Classes are in alphabetical order unless `label_names` fixes them.
        skip_damaged: kinds of problems whose rows are left out and counted, or "all".
        options: `label_names`, `scan`, `progress` (see `survey`); `id_column`, `session_column`, `extra_columns`
            (columns to carry over into the dataset, as strings).

    Columns `start` and `end` (seconds) make a row a part of its recording. A label cell that is a list, or that holds
    `|`, makes the whole column multi-label. A file with a column `labels` in place of `label` has soft labels: a
    mapping label -> weight in each cell.

    Raises:
        CorpusError: rows or files are damaged and `skip_damaged` does not name their kind; all are listed.
    """
    return survey(
        CORPUS,
        path,
        label_map=label_map,
        audio_column=audio_column,
        text_column=text_column,
        label_column=label_column,
        speaker_column=speaker_column,
        split_column=split_column,
        audio_dir=data_dir,
        **options,
    ).corpus(skip_damaged)


def _manifest_in(folder: Path, report: Report) -> Path | None:
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in TABLE_SUFFIXES)
    named = [path for path in found if path.stem == "manifest"] or found
    if len(named) == 1:
        return named[0]
    detail = f"{len(found)} tables in the folder, expected one" if found else "no such folder, or no table in it"
    report.add(ProblemKind.MISSING_FILE, detail, file=folder, remedy="name the manifest file itself")
    return None


def _name(audio: str | None, start: float | None, end: float | None) -> str | None:
    if audio is None or (start is None and end is None):
        return audio
    return f"{audio} {start or 0:g}-{'' if end is None else format(end, 'g')}"


def text_cell(value: Any) -> str | None:
    """The cell's text without surrounding spaces; None for an empty cell. Halves of characters become U+FFFD."""
    if value is None or value != value:  # NaN
        return None
    return SURROGATES.sub("\ufffd", str(value)).strip() or None


def soft_label(value: Any) -> dict[str, float]:
    """The shares of the labels in a cell: a mapping label -> weight or its JSON, such as {"happy": 2, "sad": 1}.

    Weights may be votes or probabilities; they are scaled to a sum of 1. A None is no weight (Parquet fills in such).

    Raises:
        ValueError: the cell is no such mapping.
    """
    try:
        cell = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        cell = None
    if not isinstance(cell, Mapping):
        raise ValueError(f'a mapping from label to weight is expected, as in {{"happy": 2, "sad": 1}}, not {value!r}')
    weights = {text_cell(label) or "": weight for label, weight in cell.items() if weight is not None}
    for label, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < math.inf:
            raise ValueError(f"the weight of {label!r} must be a number from 0, not {weight!r}")
    total = sum(weights.values())
    if not total:
        raise ValueError(f"no label has a weight above 0 in {value!r}")
    return {label: weight / total for label, weight in weights.items()}


def _soft_labels(
    rows: Iterable[tuple[int, Mapping[str, Any]]], path: Path, report: Report
) -> dict[int, dict[str, float]]:
    found = {}
    for line, row in rows:
        try:
            found[line] = soft_label(row.get(SOFT_LABEL_COLUMN))
        except ValueError as error:
            report.add(ProblemKind.MALFORMED_ROW, str(error), file=path, row=line, remedy="correct the cell")
    return found


def _bounds(
    rows: Iterable[tuple[int, Mapping[str, Any]]], path: Path, report: Report
) -> dict[int, tuple[float | None, float | None]]:
    found: dict[int, tuple[float | None, float | None]] = {}
    for line, row in rows:
        cells = [text_cell(row.get(name)) for name in BOUNDS]
        try:
            start, end = Excerpt(None, *cells).bounds()
        except AudioError as error:
            report.add(ProblemKind.MALFORMED_ROW, error.reason, file=path, row=line, remedy="correct the cell")
            continue
        found[line] = (None if cells[0] is None else start, end)
    return found


def _audio_cell(value: Any) -> str | None:
    """A path, also out of the `{"path", "bytes"}` that `datasets` stores."""
    return text_cell(value.get("path") if isinstance(value, dict) else value)


def label_cell(value: Any) -> tuple[tuple[str, ...], bool]:
    """The cell's labels, and whether it is written as a set of labels."""
    if isinstance(value, (list, tuple)):
        return tuple(label for label in map(text_cell, value) if label), True
    text = text_cell(value) or ""
    parts = tuple(part for part in map(str.strip, text.split(LABEL_SEPARATOR)) if part)
    return parts, LABEL_SEPARATOR in text
