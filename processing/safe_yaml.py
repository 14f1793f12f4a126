"""YAML files that somebody wrote by hand: small and shallow, or refused before anything is built of them."""

from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 1 << 18
DEEPEST = 12


def read_yaml(path: Path, loader: Any = yaml.SafeLoader) -> object:
    """What the file holds, as mappings, lists and scalars.

    Args:
        loader: of PyYAML; `BaseLoader` leaves all scalars text.

    Raises:
        OSError: it cannot be read.
        ValueError: there is no such file, or it is no YAML, is too large, is nested too deeply, or repeats something
            by an alias, of which a few lines can make more than a memory holds.
    """
    if not path.is_file():
        raise ValueError("a folder, not a file" if path.is_dir() else "no such file")
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
    text, depth = content.decode("utf-8-sig"), 0
    try:
        for event in yaml.parse(text, loader):
            line = f"line {event.start_mark.line + 1}" if event.start_mark else "somewhere"
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f"{line}: the alias *{event.anchor}; write out what it stands for")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise ValueError(f"{line}: nested more than {DEEPEST} levels deep")
        return yaml.load(text, loader)
    except yaml.YAMLError as error:
        raise ValueError(f"it is no YAML: {error}") from error
