"""Processes that train one model: what they must have in common, and how many threads each of them uses."""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from processing.errors_drkf import OptionError

from ..gathering_drkf import is_distributed

SMALL_MODEL = 10_000_000
"""Trained parameters below which a second thread brings less than it costs where another program is running."""
PROCESSOR_TIMES = Path("/proc/stat")
SAMPLE_S = 0.3


@contextmanager
def fitting_threads(model: nn.Module) -> Iterator[int]:
    """Meanwhile torch computes with as many threads as fit the model and the machine, which this yields.

    The threads of one operation wait for the slowest of them: where other programs have a core, two threads train a
    small model ten times slower than one. `OMP_NUM_THREADS` is obeyed, and a model on an accelerator left alone.
    """
    before = torch.get_num_threads()
    on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    if "OMP_NUM_THREADS" not in os.environ and on_cpu and not torch.accelerator.is_available():
        trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        torch.set_num_threads(threads_for(trained, before, free_cores() if trained >= SMALL_MODEL else None))
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def threads_for(trained: int, available: int, free: float | None) -> int:
    """
    Args:
        trained: parameters. available: threads that torch would use. free: cores that no other program uses, if known.
    """
    if trained < SMALL_MODEL:
        return 1
    return available if free is None else max(1, min(available, round(free)))


def free_cores() -> float | None:
    """How many cores idle while this process does; None where the system does not say."""
    if not PROCESSOR_TIMES.is_file():
        return None
    idle, start = _idle_seconds(), time.perf_counter()
    time.sleep(SAMPLE_S)
    return (_idle_seconds() - idle) / (time.perf_counter() - start)


def _idle_seconds() -> float:
    """Of all cores since the machine was started: the fields `idle` and `iowait`."""
    fields = PROCESSOR_TIMES.read_text().splitlines()[0].split()
    return sum(map(int, fields[4:6])) / os.sysconf("SC_CLK_TCK")


def require_joined(world_size: int) -> None:
    """
    Raises:
        ValueError: several processes were launched, but each would train a model of its own.
    """
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched > 1 and world_size == 1:
        raise OptionError(
            f"{launched} processes were launched, but they are not joined: there is no accelerator here. "
            "Add --use-cpu, or launch a single process"
        )


def require_agreement(what: str, value: Any) -> None:
    """
    Args:
        value: something that `json` takes; all processes call this together.

    Raises:
        ValueError: the processes hold different values.
    """
    if not is_distributed():
        return
    digests = [""] * dist.get_world_size()
    dist.all_gather_object(digests, hashlib.sha256(json.dumps(value).encode()).hexdigest())
    if others := [rank + 1 for rank, digest in enumerate(digests) if digest != digests[0]]:
        raise OptionError(
            f"{what} of process {', '.join(map(str, others))} is not that of process 1: give all the same files"
        )
