"""The folder of the uploads: what lies in it is counted, deleted by age, and swept away if a server was killed."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: folders of killed servers stay
    fcntl = None  # type: ignore[assignment]

FOLDER_PREFIX = "drkf-app-"
LOCK = "server.lock"


class Storage:
    """Bytes that uploads occupy, those that are on their way included.

    Args:
        folder: where uploads are kept. limit: bytes.
    """

    def __init__(self, folder: Path, limit: int):
        self.folder, self.limit = folder.resolve(), limit
        self.kept = 0
        self.reserved = 0

    def reserve(self, size: int) -> bool:
        """Takes room for an upload before any of it is accepted; False where there is none."""
        if self.kept + self.reserved + size > self.limit:
            return False
        self.reserved += size
        return True

    def release(self, size: int, kept: bool) -> None:
        """Gives the room back; of an upload that is kept, it counts until the next sweep measures the files."""
        self.reserved -= size
        if kept:
            self.kept += size

    def sweep(self, age: float) -> None:
        """Deletes files that are older than `age` seconds and folders that are empty, and counts what is left."""
        oldest, total = time.time() - age, 0
        for parent, _, names in os.walk(self.folder, topdown=False):
            for name in names:
                path = os.path.join(parent, name)
                try:
                    found = os.stat(path, follow_symlinks=False)
                    if name == LOCK:
                        continue
                    if found.st_mtime < oldest:
                        os.unlink(path)
                    else:
                        total += found.st_size
                except FileNotFoundError:  # deleted meanwhile
                    continue
            if Path(parent) != self.folder and os.stat(parent).st_mtime < oldest:
                try:
                    os.rmdir(parent)
                except OSError:  # not empty
                    continue
        self.kept = total

    def holds(self, name: object) -> bool:
        """Whether `name` is the path of an upload. Looks at the text alone: clients choose it."""
        if not isinstance(name, str) or len(name) > 1024 or "\0" in name:
            return False
        return os.path.normpath(name) == name and name.startswith(f"{self.folder}{os.sep}")


@contextmanager
def upload_folder() -> Iterator[Path]:
    """A folder that is deleted at the end. Those that killed servers left in the same place are deleted first."""
    sweep_killed(Path(tempfile.gettempdir()))
    with (
        tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX, ignore_cleanup_errors=True) as name,
        (Path(name) / LOCK).open("w") as lock,
    ):
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield Path(name)


def sweep_killed(parent: Path) -> None:
    """Deletes upload folders whose server has ended: nothing holds their lock any more."""
    for lock in parent.glob(f"{FOLDER_PREFIX}*/{LOCK}") if fcntl is not None else ():
        try:
            with lock.open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
        except OSError:  # held by a server that runs, or somebody else's
            continue
