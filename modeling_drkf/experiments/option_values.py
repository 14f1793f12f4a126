"""Options whose value is a mapping or a list: JSON on the command line, with fields that exist."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from processing.errors_drkf import OptionError
from processing.suggestions import did_you_mean


def spelt(option: str) -> str:
    """An option as it is written on the command line."""
    return f"--{option.replace('_', '-')}"


def structure_or_name(value: Any, name: str) -> Any:
    """The mapping or list that a text spells in JSON; any other value as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise OptionError(f"{spelt(name)} is not valid JSON ({error}): {value}") from error


LARGEST = 1_000_000
MOST_LAYERS = 1000


def require_fields(option: str, given: Any, known: Iterable[str]) -> None:
    """Raises OptionError unless `given` is None or a mapping of known fields, none of a size that is never built."""
    if given is not None and not isinstance(given, dict):
        raise OptionError(f"{spelt(option)} takes a mapping of fields, not {given!r}")
    known = list(known)
    for name in given or ():
        if name not in known:
            raise OptionError(f"{spelt(option)}: unknown field {name!r}{did_you_mean(str(name), known)}")
    require_sizes(option, given or {})


def require_sizes(option: str, given: Mapping[str, Any]) -> None:
    """Raises OptionError where a field is larger than any model has it: building it would not end."""
    for name, value in given.items():
        limit = MOST_LAYERS if str(name).endswith(("layers", "blocks")) else LARGEST
        if isinstance(value, (int, float)) and abs(value) > limit:
            raise OptionError(f"{spelt(option)}: {name} is {value:g}; at most {limit:,}")
