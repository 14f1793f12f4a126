"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path, durable: bool = True) -> Iterator[Path]:
    """Yields a path beside `path`, with the same ending, to write to; the file takes the place of `path` at the end.

    An error or a kill leaves what stood at `path` before. Missing parent folders are made; of a symbolic link, the
    file that it points to is replaced; a device or a pipe is written to itself.

    Args:
        durable: wait for the disk, so that a loss of power does no harm either; not worth it for many small files.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield unfinished
        if durable:
            with unfinished.open("r+b") as file:
                os.fsync(file.fileno())
        unfinished.replace(path)
        if durable:
            synchronise_folder(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def synchronise_folder(folder: Path) -> None:
    """Puts the names of a folder's files on its disk, where the system can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
