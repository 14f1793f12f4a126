"""`drkf predict --manifest`: every row of a table, by any number of processes, killed and taken up again at any time.

The rows are cut into shards. A finished shard is a file beside the output, written under another name and renamed; the
last process to finish leaves all of them to be joined into the output. What is on disk is all the state there is.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from processing.corpora.readers.columns import unread_cuts
from processing.corpora.report import ProblemKind, Report
from processing.corpora.tables import read_rows
from processing.errors_drkf import FileError
from processing.transcripts.timelines import write_table

from .errors import writing
from .jobs import Entry, Job
from .progress import answering

try:
    import fcntl
except ImportError:  # Windows: two runs on one output do not see each other
    fcntl = None  # type: ignore[assignment]

DESCRIPTION = "job.json"
SLOWEST_PROCESS = timedelta(days=30)  # how long the others wait for it


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
            if cuts := unread_cuts(columns):
                print(f"note: {', '.join(cuts)}: not read; start and end (seconds) cut the audio", file=sys.stderr)
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
    done = 0
    with answering(pipe, sum(map(len, parts.values())), "row", who) as bar:
        for number, part in parts.items():
            answers = _answers(pipe, part, job)
            rows = [job.row(answer, pipe) for answer in answers]
            _write_atomically(_shard(job, number), partial(write_table, rows, columns=outcome))
            done += len(part)
            bar.update(done - bar.n)  # rows that the model did not see
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
    broken = {p.row: p.detail for p in report.problems if p.kind is ProblemKind.MALFORMED_ROW and p.row is not None}
    if not columns and not broken:
        raise FileError("; ".join(map(str, report.problems)) or f"{manifest}: no row in it")
    if missing := set((names or {}).values()) - set(columns):
        raise FileError(f"{manifest}: no column {', '.join(sorted(missing))}; it has {', '.join(columns)}")
    if not names and not {"audio", "text"} & set(columns):
        raise FileError(f"{manifest}: no column audio or text; it has {', '.join(columns)}. Which is it? --columns")
    entries = [Entry(line, cells) for line, cells in rows]
    entries += [Entry(line, {}, f"line {line}: {detail}") for line, detail in broken.items()]
    return columns, sorted(entries, key=lambda entry: entry.line)


def _answers(pipe: Any, entries: Sequence[Entry], job: Job) -> list[dict[str, Any]]:
    good = [entry for entry in entries if entry.error is None]
    inputs = [_input(entry.cells, job) for entry in good]
    names = [f"line {entry.line}" for entry in good]
    answers = pipe(inputs, names, errors="return", num_workers=1, **job.options) if inputs else []
    answered = {entry.line: answer for entry, answer in zip(good, answers, strict=True)}
    return [answered.get(entry.line, {"error": entry.error}) for entry in entries]


def _input(cells: Mapping[str, Any], job: Job) -> dict[str, Any]:
    def placed(path: str) -> str | None:
        return os.path.join(job.manifest.parent, os.path.expanduser(path.strip())) if path.strip() else None

    audio, text = (cells.get(job.columns.get(name, name)) for name in ("audio", "text"))
    if isinstance(audio, str):
        audio = placed(audio)
    elif isinstance(audio, dict) and audio.get("bytes") is None and isinstance(audio.get("path"), str):
        audio = placed(audio["path"])
    return {"audio": audio, "text": text or None, "start": cells.get("start"), "end": cells.get("end")}


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
                "begin anew, or name another --output"
            )
        return
    _write_atomically(described, lambda path: path.write_text(json.dumps(fingerprint, indent=1), encoding="utf-8"))


@contextmanager
def _alone(job: Job) -> Iterator[None]:
    """Keeps others from the same output, as long as this process lives."""
    if fcntl is None:
        yield
        return
    with (job.shards / DESCRIPTION).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise FileError(f"another run is writing {job.output}: wait for it, or name another --output") from None
        yield


def _write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Writes beside `path`, then renames: the file is there whole or not at all, even after a loss of power."""
    unfinished = path.with_name(f".{os.getpid()}.{path.name}")
    with writing(path, "free some space; then the same command goes on"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(unfinished)
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)  # on a full disk


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
    _write_atomically(job.output, lambda path: write_table(joined(), path, kinds))
    finished = job.shards.with_name(f".{job.shards.name}.{os.getpid()}")
    os.replace(job.shards, finished)  # half a folder of shards would be taken for a beginning
    shutil.rmtree(finished)
    return failed


def _plain(cell: Any) -> Any:
    """The path of audio that a Parquet file carries as `{"path", "bytes"}`."""
    return cell.get("path") if isinstance(cell, dict) and "bytes" in cell else cell
