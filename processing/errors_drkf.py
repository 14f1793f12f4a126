"""The package's own kinds of error, and the checks of values that several files share."""

import numbers
from importlib import import_module
from types import ModuleType
from typing import Any


class DRKFError(Exception):
    """Base of the errors that a message explains: an input, a file or an option is invalid, a machine fails.

    Commands print them as one line. Every other exception is a bug and keeps its traceback.
    """


class OptionError(DRKFError, ValueError):
    """An option that does not exist, or a value that it cannot have."""


class FileError(DRKFError, ValueError, OSError):
    """A file or folder that is missing, or does not hold what it should."""


class DependencyError(DRKFError, ImportError):
    """A package that is not installed."""


class InputError(DRKFError, ValueError):
    """An input that cannot be used.

    Args:
        reason: what is wrong and what to do.
        name: which input it is; None where only the caller knows.
    """

    def __init__(self, reason: str, name: str | None = None):
        super().__init__(reason if name is None else f"{name}: {reason}")
        self.reason, self.name = reason, name

    def __reduce__(self):  # an exception is pickled by its message alone
        return type(self), (self.reason, self.name)


class AudioError(InputError):
    """A recording that cannot be used. The message names the sample, what is wrong and what to do."""


def needed(package: str, purpose: str) -> ModuleType:
    """A package that not every use needs; `DependencyError` names it where it is not installed."""
    try:
        return import_module(package)
    except ImportError as error:
        raise DependencyError(f"{purpose} needs {package}: pip install {package}") from error


def require_characters(text: str, name: str | None = None) -> None:
    """Raises InputError where a text holds lone surrogates, which no file and no answer can hold."""
    if (whole := text.encode(errors="replace").decode()) != text:
        raise InputError(f"the text holds halves of characters (lone surrogates): {whole[:80]!r}", name)


def is_number(value: Any) -> bool:
    """Whether it is a real number, and no bool."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_count(value: Any) -> bool:
    """Whether it is a positive int."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
