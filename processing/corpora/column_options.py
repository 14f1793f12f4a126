"""`--columns audio=path label=emotion`: which column of a table holds what."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors_drkf import OptionError
from ..suggestions import did_you_mean
from .utterance import CorpusSpec

OPTIONS = {
    **{name: f"{name}_column" for name in ("audio", "text", "label", "speaker", "split", "session", "id")},
    "annotators": "annotator_columns",
    "counts": "count_columns",
}
LISTS = ("annotators", "counts")
HELP = (
    "Which column holds what: audio=path label=emotion speaker=actor (also text, split, session, id). Soft labels: "
    "annotators=label_A,label_B, a label in each, or counts=happy,sad, numbers in columns named after labels."
)


def parse_columns(given: Iterable[str] | str | None) -> dict[str, str]:
    """`{"audio": "path", "label": "emotion"}` for `audio=path label=emotion`, in one text or in several.

    Raises:
        OptionError: a part is of another form, or its name is none of `OPTIONS`.
    """
    texts = [given] if isinstance(given, str) else list(given or ())
    parts = [part for text in texts for part in re.split(r"\s+(?=\w+=)", text.strip()) if part]
    columns = {}
    for part in parts:
        name, equals, column = part.partition("=")
        if not (equals and column.strip()):
            raise OptionError(f"--columns takes name=column, such as audio=path, not {part!r}")
        if name not in OPTIONS:
            raise OptionError(f"--columns: {name!r} is none of {', '.join(OPTIONS)}{did_you_mean(name, OPTIONS)}")
        columns[name] = column.strip()
    return columns


def reader_options(spec: CorpusSpec, columns: Mapping[str, str], words: bool) -> dict[str, Any]:
    """The options of a corpus' reader.

    Raises:
        OptionError: the reader takes no such column.
    """
    accepted = inspect.signature(spec.read).parameters
    options: dict[str, Any] = {}
    for name, column in columns.items():
        if OPTIONS.get(name) not in accepted:
            known = [other for other, option in OPTIONS.items() if option in accepted]
            raise OptionError(
                f"--columns {name}={column}: {spec.title} "
                + (f"takes {', '.join(known)}" if known else "has columns of its own; manifest reads any table")
            )
        options[OPTIONS[name]] = [part.strip() for part in column.split(",")] if name in LISTS else column
    return options | ({"words": words} if "words" in accepted else {})
