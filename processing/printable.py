"""Text for people: counted nouns, and what a terminal shows and does not obey, whoever wrote it."""

import json
from typing import Any


def printable(text: object) -> str:
    """`text` with control characters, which terminals obey, written as escapes; line breaks stay."""
    return "".join(
        character if character.isprintable() or character == "\n" else ascii(character)[1:-1]
        for character in str(text)
    )


def printable_json(value: Any) -> str:
    """`value` as indented JSON in which control characters of every kind are JSON's own escapes."""
    return "".join(
        character if character.isprintable() or character == "\n" else json.dumps(character)[1:-1]
        for character in json.dumps(value, indent=2, ensure_ascii=False)
    )


def plural(count: int, noun: str) -> str:
    """`1 clip`, `2 clips`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
