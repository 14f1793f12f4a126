"""Options whose value is a mapping or a list: JSON on the command line, with fields that exist."""

import json
from collections.abc import Iterable
from typing import Any

from processing.errors_drkf import OptionError
from processing.suggestions import did_you_mean


def structure_or_name(value: Any, name: str) -> Any:
    """The mapping or list that a text spells in JSON; any other value as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise OptionError(f"--{name} is not valid JSON ({error}): {value}") from error


def require_fields(option: str, given: Any, known: Iterable[str]) -> None:
    """Raises OptionError unless `given` is None or a mapping of known fields."""
    if given is not None and not isinstance(given, dict):
        raise OptionError(f"--{option} takes a mapping of fields, not {given!r}")
    known = list(known)
    for name in given or ():
        if name not in known:
            raise OptionError(f"--{option}: unknown field {name!r}{did_you_mean(str(name), known)}")
