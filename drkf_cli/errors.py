"""Checks that the commands share."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from processing.errors_drkf import DependencyError, FileError, OptionError


def require_file(path: Path) -> None:
    """Raises `FileError` unless there is such a file."""
    if path.is_dir():
        raise FileError(f"{path} is a folder: name a file in it")
    if not path.exists():
        raise FileError(f"{path}: no such file")


def require_extra(module: str, extra: str, what: str) -> None:
    """Raises `DependencyError`, which begins with `what`, unless `module` of the package's `extra` is installed."""
    try:
        found = find_spec(module) is not None
    except ValueError:  # sys.modules holds None in its place
        found = False
    if not found:
        raise DependencyError(f"{what}: pip install 'drkf[{extra}]'")


@contextmanager
def writing(path: Path, advice: str = "choose another place, or free some space") -> Iterator[None]:
    """Turns an OSError inside into an `FileError` that names `path` and says what to do."""
    try:
        yield
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error.strerror or error}); {advice}") from error


def parse_label_map(text: str | None) -> dict[str, str]:
    """A JSON object of names; empty without text.

    Raises:
        OptionError: it is none.
    """
    if text is None:
        return {}
    try:
        mapped = json.loads(text)
    except ValueError:
        mapped = None
    if not isinstance(mapped, dict) or not all(isinstance(name, str) for name in mapped.values()):
        raise OptionError(f"""--label-map {text!r} is not of the form '{{"label": "class"}}'""")
    return mapped
