"""One process at a time."""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from .errors_drkf import FileError


@contextmanager
def locked(path: Path, refusal: str) -> Iterator[None]:
    """Holds the lock file `path` until this ends, however it does: the lock dies with its process.

    Where the file system has no locks, nobody is kept out.

    Args:
        refusal: what to say where another process holds it; `{owner}` is that process.

    Raises:
        FileError: another process holds the lock.
    """
    owner = _owner(path)  # read first: some versions of filelock empty the file when they open it
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise FileError(refusal.replace("{owner}", owner)) from None
    except (NotImplementedError, OSError):
        yield
        return
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    with suppress(OSError):  # Windows lets nobody write into a locked file
        path.write_text(json.dumps({"process": os.getpid(), "machine": platform.node(), "started": started}))
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        lock.release()


def _owner(path: Path) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError):
        owner = json.loads(path.read_text(encoding="utf-8"))
        return f"process {owner['process']} on {owner['machine']} (since {owner['started']})"
    return "another process"
