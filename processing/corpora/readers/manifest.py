"""Any corpus of one's own: a table with audio, text and label columns (CSV, TSV, JSON, JSON Lines or Parquet)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from ...audio_drkf import Excerpt
from ...errors_drkf import AudioError
from ..checks import add_problem
from ..folders import absolute
from ..report import ProblemKind, Report
from ..tables import NAMED_SUFFIXES, has_columns, read_rows, tables_in
from ..utterance import ALL, CorpusSpec, Utterance
from .cells import audio_cell, channel_cell, counts, label_cell, soft_label, text_cell, votes
from .columns import SOFT_LABEL_COLUMN, check_unread_columns
from .embedded import embedded_audio, write_once

BOUNDS = ("start", "end")
CHANNEL = "channel"
OF_EMOBOX = {"key", "wav", "emo"}
EMOBOX = ("length", "channel", "sample_rate", "dataset", "task", "type")


class Cut(NamedTuple):
    """The part of a recording that a row is: seconds, and a channel from 0, as far as they are given."""

    start: float | None = None
    end: float | None = None
    channel: int | None = None


@dataclass(frozen=True)
class Columns:
    """Which column holds what. `words`: whether there must be a column of texts."""

    audio: str = "audio"
    text: str = "text"
    label: str = "label"
    speaker: str = "speaker"
    split: str = "split"
    session: str = "session"
    utterance_id: str = "utterance_id"
    annotators: Sequence[str] = ()
    counts: Sequence[str] = ()
    extra: Sequence[str] = ()
    words: bool = True

    def of(self, columns: Sequence[str]) -> Columns:
        """These, or EmoBox' own where the table has them."""
        if not self.is_emobox(columns):
            return self
        return replace(self, audio="wav", label="emo", utterance_id="key", words=False)

    def is_emobox(self, columns: Sequence[str]) -> bool:
        return OF_EMOBOX.issubset(columns) and self.audio == "audio" and "audio" not in columns

    @property
    def roles(self) -> dict[str, str]:
        """Column -> what `--columns` calls it."""
        columns = (self.audio, self.text, self.label, self.speaker, self.split, self.session, self.utterance_id)
        return dict(zip(columns, ("audio", "text", "label", "speaker", "split", "session", "id"), strict=True))

    def required(self, columns: Sequence[str]) -> list[str]:
        labels = [*self.annotators, *self.counts] or [self.label]
        text = [self.text] if self.words or self.text != "text" or "text" in columns else []
        optional = {"speaker": self.speaker, "split": self.split, "session": self.session}
        optional |= {"utterance_id": self.utterance_id}
        named = [column for default, column in optional.items() if column != default]
        return [self.audio, *text, *labels, *self.extra, *named]


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
    annotator_columns: Sequence[str] = (),
    count_columns: Sequence[str] = (),
    extra_columns: Sequence[str] = (),
    audio_dir: str | Path | None = None,
    words: bool = True,
) -> list[Utterance]:
    """The rows of a manifest, of the one manifest in a folder, or of a table for each split, whose names say which.

    `start` and `end`, seconds, make a row a part of its recording, and `channel`, from 0, one of its channels. Audio
    may stand in the table itself, as bytes or as the `{"bytes", "path"}` of `datasets`. Relative audio paths start at
    `audio_dir`, by default the manifest's own folder; `~` is expanded. The label column is multi-label as soon as one
    cell is a list or holds a `|`; then every cell is a set of labels. Soft labels come from `annotator_columns`, a
    label in each; from `count_columns`, which have the labels' names and hold numbers; or from a column `labels` in a
    file without `label`, a mapping label -> weight in each cell, see `soft_label`. Without an id column an utterance
    is called by its audio path as written, and where it begins and ends if that is given. EmoBox' files have `wav`,
    `emo` and `key`, and no words.

    Args:
        words: whether there must be a text column.
    """
    columns = Columns(
        audio_column, text_column, label_column, speaker_column, split_column, session_column, id_column,
        annotator_columns, count_columns, extra_columns, words,
    )  # fmt: skip
    given = absolute(path)
    is_table = given.suffix.lower() in NAMED_SUFFIXES or given.is_file()
    tables = {given: None} if is_table else tables_in(given, report)
    return [row for table, split in tables.items() for row in _read_table(table, split, columns, audio_dir, report)]


def _read_table(
    manifest: Path, split: str | None, chosen: Columns, audio_dir: str | Path | None, report: Report
) -> list[Utterance]:
    columns, rows = read_rows(manifest, report)
    emobox, channels, chosen = chosen.is_emobox(columns), has_channels(columns), chosen.of(columns)
    is_mapping = chosen.label == "label" and SOFT_LABEL_COLUMN in columns and "label" not in columns
    if is_mapping:
        chosen = replace(chosen, label=SOFT_LABEL_COLUMN)
    required = chosen.required(columns)
    if not columns or not has_columns(required, columns, manifest, report, chosen.roles):
        return []
    optional = [
        chosen.speaker,
        chosen.split,
        chosen.session,
        chosen.utterance_id,
        *BOUNDS,
        *([CHANNEL] if channels else []),
        *(EMOBOX if emobox else ()),
    ]
    check_unread_columns(optional, required, chosen.label, columns, manifest, report)
    root = absolute(audio_dir) if audio_dir else manifest.parent
    soft = is_mapping or chosen.annotators or chosen.counts
    weights = _soft_labels(rows, chosen, manifest, report) if soft else {}
    if soft:
        rows = [(line, row) for line, row in rows if line in weights]
    elif chosen.label == "label" and SOFT_LABEL_COLUMN in columns:
        detail = f"column {SOFT_LABEL_COLUMN!r} is not read beside 'label'"
        remedy = "leave out the column 'label' to train on soft labels"
        report.add(ProblemKind.SUSPICIOUS_COLUMN, detail, file=manifest, remedy=remedy)
    cuts = read_cuts(rows, manifest, report, channels)
    rows = [(line, row) for line, row in rows if line in cuts]
    cells = [(line, row, label_cell(None if soft else row.get(chosen.label))) for line, row in rows]
    multi_label = any(is_set for _, _, (_, is_set) in cells)
    utterances = []
    for line, row, (labels, _) in cells:
        (audio, path), cut = _audio(row.get(chosen.audio), root, f"{manifest} {line}"), cuts[line]
        own_split = (text_cell(row.get(chosen.split)) or "") if chosen.split in columns else None
        utterances.append(
            Utterance(
                utterance_id=text_cell(row.get(chosen.utterance_id)) or _name(audio, cut) or f"row {line}",
                audio=path,
                text=text_cell(row.get(chosen.text)) or "",
                labels=tuple(weights[line]) if line in weights else labels,
                multi_label=multi_label,
                weights=weights.get(line),
                speaker=text_cell(row.get(chosen.speaker)),
                session=text_cell(row.get(chosen.session)),
                split=split or ALL if own_split is None else own_split,
                file=str(manifest),
                row=line,
                **cut._asdict(),
                extra={name: text_cell(row.get(name)) for name in chosen.extra},
            )
        )
    check_whole(utterances, report)
    return utterances


def _audio(cell: object, root: Path, key: str) -> tuple[str | None, str]:
    """What the row calls its recording, and the recording's path."""
    if found := embedded_audio(cell):
        return found[1], write_once(*found, key)
    audio = audio_cell(cell)
    return audio, os.path.join(root, os.path.expanduser(audio)) if audio else ""


def check_whole(utterances: Sequence[Utterance], report: Report) -> None:
    """A row without start and end is the whole recording; where other rows cut it, its times may have been lost."""
    is_cut = {utterance.audio for utterance in utterances if utterance.start is not None or utterance.end is not None}
    for utterance in utterances:
        if utterance.start is None and utterance.end is None and utterance.audio in is_cut:
            detail = "no start and end: it is the whole recording, of which other rows are parts"
            add_problem(report, utterance, ProblemKind.WHOLE_AUDIO, detail)


CORPUS = CorpusSpec(
    name="manifest",
    title="manifest",
    read=read_utterances,
    layout=f"one file ({', '.join(NAMED_SUFFIXES)}) with the columns audio, text and label",
)


def _name(audio: str | None, cut: Cut) -> str | None:
    if audio is None:
        return None
    name = audio if cut.channel is None else f"{audio} channel {cut.channel}"
    if cut.start is None and cut.end is None:
        return name
    return f"{name} {cut.start or 0:g}-{'' if cut.end is None else format(cut.end, 'g')}"


def _soft_labels(
    rows: Iterable[tuple[int, Mapping[str, object]]], columns: Columns, path: Path, report: Report
) -> dict[int, dict[str, float]]:
    found = {}
    for line, row in rows:
        try:
            if columns.annotators:
                found[line] = soft_label(votes(row, columns.annotators))
            else:
                found[line] = soft_label(counts(row, columns.counts) if columns.counts else row.get(columns.label))
        except ValueError as error:
            report.add(ProblemKind.MALFORMED_ROW, str(error), file=path, row=line, remedy="correct the cell")
    return found


def has_channels(columns: Iterable[str]) -> bool:
    """Whether a column says which channel is read: EmoBox counts channels there."""
    return CHANNEL in columns and not OF_EMOBOX.issubset(columns)


def read_cuts(
    rows: Iterable[tuple[int, Mapping[str, object]]], path: Path, report: Report, channels: bool = False
) -> dict[int, Cut]:
    """Row number -> what it is of its recording; rows whose cells say nothing sensible are recorded.

    Args:
        channels: whether the column `channel` says which one is read.
    """
    found = {}
    for line, row in rows:
        cells = [text_cell(row.get(name)) for name in BOUNDS]
        try:
            start, end = Excerpt(None, start=cells[0], end=cells[1]).bounds()
            channel = channel_cell(row.get(CHANNEL)) if channels else None
        except (AudioError, ValueError) as error:
            detail = error.reason if isinstance(error, AudioError) else str(error)
            report.add(ProblemKind.MALFORMED_ROW, detail, file=path, row=line, remedy="correct the cell")
            continue
        found[line] = Cut(None if cells[0] is None else start, end, channel)
    return found
