"""`train_drkf.py` in processes of their own, which start at once: a server has imported the libraries for them all."""

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["train_drkf"])
TIMEOUT = 120


class Run:
    """A running `train_drkf.py`.

    Args:
        arguments: of the command. log: takes what it prints.
        environment: variables set on top of this process'. fault: called before, in the new process.
    """

    def __init__(
        self,
        *arguments: object,
        log: Path,
        environment: Mapping[str, str] | None = None,
        fault: Callable[[], None] | None = None,
    ):
        self.log = log
        given = (list(map(str, arguments)), str(log), dict(environment or {}), fault)
        self.process = SERVER.Process(target=_train, args=given)
        self.process.start()

    def wait(self) -> int:
        """The exit status; of a signal its negative number."""
        self.process.join(TIMEOUT)
        if self.process.exitcode is None:
            self.process.kill()
            raise TimeoutError(f"still running after {TIMEOUT} s: {self.said}")
        return self.process.exitcode

    @property
    def said(self) -> str:
        return self.log.read_text()


def train(*arguments: object, log: Path, fault: Callable[[], None] | None = None) -> tuple[int, str]:
    """Runs to the end; returns exit status and what was printed."""
    run = Run(*arguments, log=log, fault=fault)
    return run.wait(), run.said


def train_together(
    *arguments: object,
    log: Path,
    last: Sequence[object] = (),
    environment: Mapping[str, str] | None = None,
    fault: Callable[[], None] | None = None,
) -> list[tuple[int, str]]:
    """As [`train`], in two processes joined through gloo; what each returned.

    Args:
        last: further arguments of the last process.
    """
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port()}
    shared |= {"ACCELERATE_USE_CPU": "true"}
    runs = [
        Run(
            *arguments, *(last if rank else ()),
            log=log.with_suffix(f".{rank}"), fault=fault,
            environment={"RANK": str(rank), "LOCAL_RANK": str(rank), **shared, **(environment or {})},
        )
        for rank in range(2)
    ]  # fmt: skip
    return [(run.wait(), run.said) for run in runs]


def _train(arguments: list[str], log: str, environment: dict[str, str], fault: Callable[[], None] | None) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.environ.update(environment)
    from train_drkf import main

    torch.set_num_threads(1)
    if fault is not None:
        fault()
    sys.exit(main(arguments))


def _free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])
