"""What several processes that train one model must have in common."""

import hashlib
import json
import os
from typing import Any

import torch.distributed as dist

from processing.errors_drkf import OptionError

from ..gathering_drkf import is_distributed


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
