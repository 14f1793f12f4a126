"""`drkf predict --manifest`: every row of a table, by any number of processes, killed and taken up again at any time.

The rows are cut into shards. A finished shard is a file beside the output, written under another name and renamed; the
last process to finish leaves all of them to be joined into the output. What is on disk is all the state there is.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from tqdm import tqdm

from processing.answers import answer_columns, answer_row, write_table
from processing.atomic import replacing
from processing.corpora.readers.cells import channel_cell
from processing.corpora.readers.columns import unread_cuts
from processing.corpora.readers.manifest import CHANNEL, has_channels
from processing.corpora.report import ProblemKind, Report
from processing.corpora.tables import read_rows
from processing.errors_drkf import FileError
from processing.locks import locked

from .errors import writing
from .progress import answering

DESCRIPTION = "job.json"
SLOWEST_PROCESS = timedelta(days=30)  # how long the others wait for it
EMBEDDING_COLUMNS: dict[str, type] = {
    **{f"{name}_embedding": list for name in ("fused", "speech", "text")},
    "warning": str,
    "error": str,
}


def embedding_row(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The vectors of an answer, or of `{"error": ...}`, as one row of `EMBEDDING_COLUMNS`."""
    vectors = answer.get("embeddings", {})
    found = {f"{name}_embedding": None if vector is None else vector.tolist() for name, vector in vectors.items()}
    return dict.fromkeys(EMBEDDING_COLUMNS) | found | {name: answer.get(name) for name in ("warning", "error")}


@dataclass(frozen=True)
class Job:
    """One manifest to answer, and how.

    Attributes:
        manifest: a CSV, TSV, JSON Lines or Parquet file with the columns `audio` (paths relative to it), `text` or
            both; `start` and `end` (seconds) cut the audio, `channel` (from 0) reads one of its channels.
        output: .parquet, .csv or .jsonl: the manifest's columns and `answer_columns`, a row for every row of the
            manifest, in its order.
        options: of the pipeline's call (`batch_size`, `top_k`).
        columns: the manifest's own names of `audio` and `text`.
        embeddings: write vectors in place of the answers.
        spreadsheet: see [`write_table`].
    """

    manifest: Path
    output: Path
    model: str
    rows_per_shard: int
    options: Mapping[str, Any]
    columns: Mapping[str, str] = field(default_factory=dict)
    embeddings: bool = False
    spreadsheet: bool = False

    @property
    def shards(self) -> Path:
        return self.output.with_name(self.output.name + ".shards")

    def outcome(self, pipe: Any) -> dict[str, type]:
        """The columns that are written beside those of the manifest, and their types."""
        return EMBEDDING_COLUMNS if self.embeddings else answer_columns(pipe.label_names)

    def row(self, answer: Mapping[str, Any], pipe: Any) -> dict[str, Any]:
        """An answer as one row of `outcome`."""
        return embedding_row(answer) if self.embeddings else answer_row(answer, pipe.label_names, pipe.is_multi_label)

    def fingerprint(self, rows: int) -> dict[str, Any]:
        """What must not change between two runs whose shards are to fit together."""
        folder = Path(self.model)
        files = sorted(path for path in folder.glob("*") if path.suffix in (".json", ".safetensors"))
        return {
            "manifest": hashlib.sha256(self.manifest.read_bytes()).hexdigest(),
            "rows": rows,
            "model": self.model,
            "model_files": [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files],
            "rows_per_shard": self.rows_per_shard,
            "columns": dict(self.columns),
            "embeddings": self.embeddings,
            "options": {name: value for name, value in self.options.items() if name != "batch_size"},
        }


@dataclass(frozen=True)
class Entry:
    """A row of the manifest and where it stands; `error` says why it could not be read, `channel` which one is."""

    line: int
    cells: Mapping[str, Any]
    error: str | None = None
    channel: int | None = None


def predict_manifest(job: Job, open_pipeline: Callable[[Any], Any]) -> None:
    """Answers every row; what cannot be answered says why in the column `error`.

    Run by several processes (`accelerate launch`), on machines that share the output's folder, each does its part.

    Args:
        open_pipeline: device -> pipeline.

    Raises:
        FileError: the manifest cannot be read or has a column of `answer_columns`, the output exists, or the
            shards beside it are of another job.
        FileError: the output cannot be written.
    """
    columns, entries = read_entries(job.manifest, job.columns)
    _refuse_finished(job)
    state = PartialState(cpu=not torch.accelerator.is_available(), timeout=SLOWEST_PROCESS)
    pipe = open_pipeline(state.device)
    outcome = job.outcome(pipe)
    if clash := [name for name in columns if name in outcome]:
        raise FileError(
            f"{job.manifest} already has the columns {', '.join(clash)}, which the answers need: rename them"
        )
    with ExitStack() as held:
        if state.is_main_process:
            if cuts := unread_cuts(name for name in columns if name != CHANNEL):
                print(
                    f"note: {', '.join(cuts)}: not read; start and end (seconds) and channel (from 0) cut the audio",
                    file=sys.stderr,
                )
            _refuse_finished(job)  # another run may have ended while the model was loaded
            _open_shards(job, len(entries))
            held.enter_context(_alone(job))
        state.wait_for_everyone()
        _answer_shards(job, state, pipe, columns, entries)


def _refuse_finished(job: Job) -> None:
    if job.output.exists() and not job.shards.exists():
        raise FileError(f"{job.output} exists; remove it, or name another --output")


def _answer_shards(job: Job, state: PartialState, pipe: Any, columns: Sequence[str], entries: Sequence[Entry]) -> None:
    if not job.shards.is_dir():
        raise FileError(f"{job.shards}: this process does not see it; all machines must share the output's folder")
    outcome = job.outcome(pipe)
    numbers = range(-(-len(entries) // job.rows_per_shard))
    missing = [number for number in numbers if not _shard(job, number).exists()]
    if state.is_main_process and len(missing) < len(numbers):
        print(f"Going on: {len(numbers) - len(missing)} of {len(numbers)} shards are done.", file=sys.stderr)
    state.wait_for_everyone()  # all have looked before anyone writes
    mine = missing[state.process_index :: state.num_processes]
    parts = {number: entries[number * job.rows_per_shard : (number + 1) * job.rows_per_shard] for number in mine}
    who = f"process {state.process_index + 1} of {state.num_processes}" if state.num_processes > 1 else "rows"
    with answering(sum(map(len, parts.values())), "row", who) as bar:
        for number, part in parts.items():
            rows = [job.row(answer, pipe) for answer in _answers(pipe, part, job, bar)]
            with _whole(_shard(job, number)) as unfinished:
                write_table(rows, unfinished, outcome)
    state.wait_for_everyone()
    if state.is_main_process:
        failed = _join(job, columns, entries, numbers, outcome)
        print(f"{len(entries)} rows: {job.output}" + (f"; {failed} of them with an error" if failed else ""))


def read_entries(manifest: Path, names: Mapping[str, str] | None = None) -> tuple[list[str], list[Entry]]:
    """Column names, and every row in order, the unreadable ones with their error.

    Args:
        names: the manifest's own names of `audio` and `text`; those that are given must be there.
    """
    report = Report(str(manifest))
    columns, rows = read_rows(manifest, report)
    for problem in report.problems:
        if problem.kind is ProblemKind.WRONG_ENCODING:
            print(f"note: {problem}; {problem.remedy}", file=sys.stderr)
    broken = {p.row: p.detail for p in report.problems if p.kind is ProblemKind.MALFORMED_ROW and p.row is not None}
    if not columns and not broken:
        raise FileError("; ".join(map(str, report.problems)) or f"{manifest}: no row in it")
    if missing := set((names or {}).values()) - set(columns):
        raise FileError(f"{manifest}: no column {', '.join(sorted(missing))}; it has {', '.join(columns)}")
    if not names and not {"audio", "text"} & set(columns):
        raise FileError(f"{manifest}: no column audio or text; it has {', '.join(columns)}. Which is it? --columns")
    entries = [_entry(line, cells, has_channels(columns)) for line, cells in rows]
    entries += [Entry(line, {}, f"line {line}: {detail}") for line, detail in broken.items()]
    return columns, sorted(entries, key=lambda entry: entry.line)


def _answers(pipe: Any, entries: Sequence[Entry], job: Job, bar: tqdm) -> list[dict[str, Any]]:
    good = [entry for entry in entries if entry.error is None]
    inputs = [_input(entry, job) for entry in good]
    names = [f"line {entry.line}" for entry in good]
    answers = pipe(iter(inputs), names, errors="return", num_workers=1, **job.options)
    answered = {}
    for entry, answer in zip(good, answers, strict=True):
        answered[entry.line] = answer
        bar.update()
    bar.update(len(entries) - len(good))
    return [answered.get(entry.line, {"error": entry.error}) for entry in entries]


def _entry(line: int, cells: Mapping[str, Any], channels: bool) -> Entry:
    try:
        return Entry(line, cells, channel=channel_cell(cells.get(CHANNEL)) if channels else None)
    except ValueError as error:
        return Entry(line, cells, f"line {line}: {error}")


def _input(entry: Entry, job: Job) -> dict[str, Any]:
    def placed(path: str) -> str | None:
        return os.path.join(job.manifest.parent, os.path.expanduser(path.strip())) if path.strip() else None

    cells = entry.cells
    audio, text = (cells.get(job.columns.get(name, name)) for name in ("audio", "text"))
    if isinstance(audio, str):
        audio = placed(audio)
    elif isinstance(audio, dict) and audio.get("bytes") is None and isinstance(audio.get("path"), str):
        audio = placed(audio["path"])
    cut = {"start": cells.get("start"), "end": cells.get("end"), "channel": entry.channel}
    return {"audio": audio, "text": text or None, **cut}


def _shard(job: Job, number: int) -> Path:
    return job.shards / f"{number:06}.jsonl"


def _open_shards(job: Job, rows: int) -> None:
    described = job.shards / DESCRIPTION
    fingerprint = job.fingerprint(rows)
    if described.exists():
        earlier = json.loads(described.read_text(encoding="utf-8"))
        if changed := [name for name, value in fingerprint.items() if earlier.get(name) != value]:
            raise FileError(
                f"{job.shards} holds the beginning of another job: {', '.join(changed)} differ. Remove that folder to "
                "start from the beginning, or name another --output"
            )
        return
    with _whole(described) as unfinished:
        unfinished.write_text(json.dumps(fingerprint, indent=1), encoding="utf-8")


def _alone(job: Job) -> AbstractContextManager[None]:
    """Keeps other runs from the same output, as long as this process lives."""
    lock = job.output.with_name(f".{job.output.name}.lock")
    return locked(lock, f"{{owner}} is writing {job.output}: wait for it, or name another --output")


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """[`replacing`] with an error that says how to go on."""
    with writing(path, "free some space; then the same command goes on"), replacing(path) as unfinished:
        yield unfinished


def _join(
    job: Job, columns: Sequence[str], entries: Sequence[Entry], numbers: Sequence[int], outcome: Mapping[str, type]
) -> int:
    """Joins manifest and shards to the output and removes the shards; returns the number of rows with an error."""
    failed = 0

    def joined() -> Iterator[dict[str, Any]]:
        nonlocal failed
        answers = (json.loads(line) for number in numbers for line in _shard(job, number).open(encoding="utf-8"))
        for entry, answer in zip(entries, answers, strict=True):
            failed += answer["error"] is not None
            yield {name: _plain(entry.cells.get(name)) for name in columns} | answer

    kinds = dict.fromkeys(columns, object) | dict(outcome)
    with _whole(job.output) as unfinished:
        write_table(joined(), unfinished, kinds, job.spreadsheet)
    finished = job.shards.with_name(f".{job.shards.name}.{os.getpid()}")
    os.replace(job.shards, finished)  # what is left of the shards would be taken for a beginning
    shutil.rmtree(finished)
    return failed


def _plain(cell: Any) -> Any:
    """The path of audio that a Parquet file carries as `{"path", "bytes"}`."""
    return cell.get("path") if isinstance(cell, dict) and "bytes" in cell else cell
