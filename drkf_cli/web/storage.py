"""The folder of the uploads: what lies in it is counted, deleted by age, and swept away if a server was killed."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

FOLDER_PREFIX = "drkf-app-"
LOCK = "server.lock"


class Storage:
    """Bytes that uploads occupy, those that are on their way included: what has arrived, not what is announced.

    Args:
        folder: where uploads are kept. limit: bytes of all clients together. share: bytes of one client.
    """

    def __init__(self, folder: Path, limit: int, share: int):
        self.folder, self.limit, self.share = folder.resolve(), limit, share
        self.taken: Counter[str] = Counter()  # bytes, by client
        self._kept: deque[tuple[float, str, int]] = deque()  # when, client, bytes; the oldest first

    @property
    def stored(self) -> int:
        """Bytes of all clients."""
        return self.taken.total()

    def take(self, client: str, size: int) -> bool:
        """Takes room for bytes that have arrived; False where there is none.

        No client takes more than it leaves to all the others together, so that many clients with large uploads leave
        room for those who come with a small one.
        """
        own, left = self.taken[client] + size, self.limit - self.stored - size
        if own > min(self.share, left):
            return False
        self.taken[client] += size
        return True

    def keep(self, client: str, size: int) -> None:
        """An upload is whole: its room is taken until it is old enough to be deleted."""
        self._kept.append((time.monotonic(), client, size))

    def give_back(self, client: str, size: int) -> None:
        self.taken[client] -= size
        if not self.taken[client]:
            del self.taken[client]

    def forget(self, before: float) -> None:
        """Gives back the room of uploads from before that `time.monotonic()`: a sweep has deleted them."""
        while self._kept and self._kept[0][0] < before:
            _, client, size = self._kept.popleft()
            self.give_back(client, size)

    def sweep(self, age: float) -> None:
        """Deletes files whose times are more than `age` seconds off, in past or future, and folders that are empty."""
        for parent, _, names in os.walk(self.folder, topdown=False):
            for path in [os.path.join(parent, name) for name in names] + [parent]:
                try:
                    is_old = abs(time.time() - os.stat(path, follow_symlinks=False).st_mtime) > age
                    if is_old and Path(path) not in (self.folder, self.folder / LOCK):
                        (os.rmdir if path == parent else os.unlink)(path)
                except OSError:  # deleted meanwhile, or not empty
                    continue

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
        FileLock(Path(name) / LOCK),
    ):
        yield Path(name)


def sweep_killed(parent: Path) -> None:
    """Deletes upload folders whose server has ended: nothing holds their lock any more."""
    for lock in parent.glob(f"{FOLDER_PREFIX}*/{LOCK}"):
        try:
            with FileLock(lock, timeout=0):
                shutil.rmtree(lock.parent, ignore_errors=True)
        except (OSError, Timeout):  # somebody else's, or held by a server that runs
            continue
