"""One training at a time in a folder."""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from processing.errors_drkf import FileError

LOCK_FILE = "_training.lock"  # transformers uploads no file whose name begins so


@contextmanager
def locked(folder: Path, locks: bool = True) -> Iterator[None]:
    """Keeps other trainings out of `folder` until this ends, however it does: the lock dies with its process.

    Args:
        locks: whether this process takes the lock; of several that train together, one does.

    Raises:
        FileError: another process trains there; the message names it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        locks = False
    if not locks:
        yield
        return
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_FILE
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise FileError(
                f"{folder}: {_owner(file.read())} is training in this folder; wait for it, or name "
                "another --output_dir"
            ) from None
        except OSError:  # a file system without locks
            yield
            return
        file.truncate(0)
        started = datetime.now().astimezone().isoformat(timespec="seconds")
        json.dump({"process": os.getpid(), "machine": platform.node(), "started": started}, file)
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            if is_new:
                with suppress(OSError):  # not empty: the training has begun
                    folder.rmdir()


def _owner(text: str) -> str:
    with suppress(ValueError, KeyError, TypeError):
        owner = json.loads(text)
        return f"process {owner['process']} on {owner['machine']} (since {owner['started']})"
    return "another process"
