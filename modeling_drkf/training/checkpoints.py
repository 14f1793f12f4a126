"""Checkpoints to rely on: the last file of each is a seal, which tells whether all of it was written and still is."""

import json
import math
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import logging

from processing.atomic import replacing, synchronise_folder
from processing.errors_drkf import DRKFError

logger = logging.get_logger(__name__)

SEAL = "checkpoint.json"
CHUNK = 1 << 24
LONGEST_REASON = 200  # characters
LARGEST = 1e30  # of a number that a training counts or measures
LATEST = 1e11  # seconds, in the year 5138: what is later is no time


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < LARGEST


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and _is_number(value) and value >= 0


def _is_log(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) and _is_count(entry.get("step")) for entry in value)


STATE_FIELDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("global_step", "max_steps", "num_train_epochs", "train_batch_size"), _is_count),
    **dict.fromkeys(("epoch", "total_flos"), _is_number),
    "best_metric": lambda value: value is None or _is_number(value),
    "best_model_checkpoint": lambda value: value is None or isinstance(value, str),
    "log_history": _is_log,
    "stateful_callbacks": lambda value: isinstance(value, dict),
}
"""What a training leaves in `trainer_state.json`, as far as resuming computes with it."""


class CheckpointError(DRKFError, OSError):
    """A checkpoint cannot be written or resumed from. The message names it, what is wrong and what to do."""


@contextmanager
def sealed(folder: Path, writes: bool = True) -> Iterator[None]:
    """What is written into `folder` inside counts as a checkpoint once this ends, and not before.

    Args:
        writes: whether this process puts the seal, which must be the last to write.

    Raises:
        CheckpointError: writing failed, as on a full disk; the unfinished folder is removed.
    """
    if writes:
        (folder / SEAL).unlink(missing_ok=True)
    try:
        with saving_to(folder):
            yield
            if writes:
                _seal(folder)
    except CheckpointError:
        if writes:
            shutil.rmtree(folder, ignore_errors=True)
        raise


@contextmanager
def saving_to(folder: Path) -> Iterator[None]:
    """Turns what the libraries raise when `folder` cannot be written into one [`CheckpointError`]."""
    try:
        yield
    except CheckpointError:
        raise
    except (OSError, RuntimeError, SafetensorError) as error:
        existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
        free = shutil.disk_usage(existing).free / 2**20
        raise CheckpointError(
            f"{folder} could not be written, with {free:.0f} MiB free on its disk: {error}. Checkpoints that were "
            "written before are intact: make room, then go on with --resume-from-checkpoint true"
        ) from error


def last_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of `folder` that was written last and is complete; None where none was ever finished.

    A warning names each one that is skipped: unfinished (the run was killed while writing) or damaged.

    Raises:
        CheckpointError: there are finished checkpoints, but all are damaged.
    """
    finished = _finished(folder)
    for unfinished in sorted(set(_checkpoints(folder)) - set(finished)):
        logger.warning(f"Skipped {unfinished}: its writing was never finished.")
    damaged = []
    for checkpoint in finished:
        if (damage := _damage(checkpoint)) is None:
            return checkpoint
        damaged.append(f"{checkpoint} ({damage})")
        logger.warning(f"Skipped {checkpoint}, which is damaged: {damage}.")
    if damaged:
        raise CheckpointError(
            f"nothing to resume from: {', '.join(damaged)}. Delete what is damaged to start from the beginning"
        )
    return None


def require_complete(checkpoint: Path) -> None:
    """
    Raises:
        CheckpointError: it was not written to its end, or has changed since.
    """
    if not checkpoint.is_dir():
        raise CheckpointError(f"nothing to resume from: there is no folder {checkpoint}")
    if damage := _damage(checkpoint):
        raise CheckpointError(f"{checkpoint} cannot be resumed from: {damage}. Name an earlier one")


@contextmanager
def resuming_from(checkpoint: str | Path, what: str) -> Iterator[None]:
    """Turns whatever the libraries raise when they read a file of a checkpoint into one [`CheckpointError`]."""
    try:
        yield
    except (DRKFError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # of unpickling, of types, of sizes: what is in the file decides
        reason = next(iter(str(error).splitlines()), "")[:LONGEST_REASON]
        raise CheckpointError(
            f"{checkpoint} cannot be resumed from: its {what} cannot be used ({type(error).__name__}: {reason}). Name "
            "an earlier checkpoint, or resume with the options that it was made with"
        ) from error


def require_state(checkpoint: Path) -> None:
    """Checks `trainer_state.json` before anything is built on it.

    Raises:
        CheckpointError: it cannot be read, or a field of it is none that a training leaves.
    """
    with resuming_from(checkpoint, TRAINER_STATE_NAME):
        state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        wrong = [name for name, holds in STATE_FIELDS.items() if not holds(getattr(state, name))]
        if wrong:
            raise ValueError(f"{wrong[0]} is {getattr(state, wrong[0])!r}")
        if state.global_step > state.max_steps:
            raise ValueError(f"global_step {state.global_step} is beyond max_steps {state.max_steps}")


def is_finished(checkpoint: Path) -> bool:
    return (checkpoint / SEAL).is_file()


def rotate(folder: Path, limit: int | None, newest: Path, best: Path | None) -> None:
    """Deletes unfinished checkpoints and the oldest, so that `limit` remain; `newest` and `best` always do."""
    if not limit:
        return
    kept = [path for path in (newest, best) if path is not None]
    others = [path for path in _finished(folder) if path not in kept]
    kept += others[: max(0, limit - len(set(kept)))]
    for path in _checkpoints(folder):
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)


def _checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if path.is_dir()]


def _finished(folder: Path) -> list[Path]:
    """Those with a seal, the last written first."""
    finished = [path for path in _checkpoints(folder) if is_finished(path)]
    return sorted(finished, key=lambda checkpoint: (_written(checkpoint), _step(checkpoint)), reverse=True)


def _step(checkpoint: Path) -> int:
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdecimal() else 0


def _written(checkpoint: Path) -> float:
    written: Any = _read_seal(checkpoint).get("written")
    return written if _is_time(written) else (checkpoint / SEAL).stat().st_mtime


def _is_time(value: Any) -> bool:
    return _is_number(value) and 0 <= value < LATEST


def _after_all(folder: Path) -> float:
    """The time, but later than that of every checkpoint in the folder: clocks go back, and differ between machines."""
    others = [_written(path) for path in _checkpoints(folder.parent) if path != folder and is_finished(path)]
    return max([time.time(), *(math.nextafter(written, math.inf) for written in others)])


def _read_seal(checkpoint: Path) -> dict[str, Any]:
    """What the seal holds; nothing where it is damaged."""
    try:
        seal = json.loads((checkpoint / SEAL).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return seal if isinstance(seal, dict) else {}


def _seal(folder: Path) -> None:
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    measures = {name: _measure(path, synchronise=True) for name, path in files.items()}
    with replacing(folder / SEAL) as partial:
        partial.write_text(json.dumps({"written": _after_all(folder), "files": measures}, indent=2))
    synchronise_folder(folder.parent)


def _damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, None if nothing is."""
    if not is_finished(checkpoint):
        return "its writing was never finished"
    files = _read_seal(checkpoint).get("files")
    if not isinstance(files, dict) or not files or not all(map(_is_measure, files.values())):
        return f"{SEAL} is not readable"
    found = (path.relative_to(checkpoint).as_posix() for path in sorted(checkpoint.rglob("*")) if path.is_file())
    if strangers := [name for name in found if name not in files and not _is_own(name)]:
        return f"{SEAL} does not list {strangers[0]}"
    for name, expected in files.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if (size := path.stat().st_size) != expected["bytes"]:
            return f"{name} has {size} bytes, not {expected['bytes']}"
        if _measure(path) != expected:
            return f"{name} has changed since it was written"
    return None


def _is_measure(value: Any) -> bool:
    return isinstance(value, dict) and {"bytes", "crc32"} == set(value)


def _is_own(name: str) -> bool:
    """The seal itself, and what operating systems hide in folders."""
    return name.startswith(SEAL) or Path(name).name.startswith(".")


def _measure(path: Path, synchronise: bool = False) -> dict[str, int]:
    size = checksum = 0
    with path.open("r+b" if synchronise else "rb") as file:
        while chunk := file.read(CHUNK):
            size += len(chunk)
            checksum = zlib.crc32(chunk, checksum)
        if synchronise:
            os.fsync(file.fileno())
    return {"bytes": size, "crc32": checksum}
