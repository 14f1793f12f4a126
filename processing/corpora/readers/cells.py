"""What the cells of a table say: text, a path, labels, votes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence

from ..utterance import LABEL_SEPARATOR

SURROGATES = re.compile("[\ud800-\udfff]")


def text_cell(value: object) -> str | None:
    """The cell's text without surrounding spaces; None for an empty cell. Incomplete characters become U+FFFD."""
    if value is None or value != value:  # NaN
        return None
    return SURROGATES.sub("\ufffd", str(value)).strip() or None


def channel_cell(value: object) -> int | None:
    """The channel that a cell names, from 0; None for an empty cell.

    Raises:
        ValueError: it is no whole number from 0.
    """
    text = text_cell(value)
    if text is None:
        return None
    if re.fullmatch(r"[0-9]{1,4}(\.0)?", text) is None:
        raise ValueError(f"channel must be a whole number from 0, not {text[:40]!r}")
    return int(float(text))


def soft_label(value: object) -> dict[str, float]:
    """The shares of the labels in a cell: a mapping label -> weight or its JSON, such as {"happy": 2, "sad": 1}.

    Weights may be votes or probabilities; they are scaled to a sum of 1. A None is no weight (Parquet fills in such).

    Raises:
        ValueError: the cell is no such mapping.
    """
    try:
        cell = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        cell = None
    if not isinstance(cell, Mapping):
        raise ValueError(f'a mapping from label to weight is expected, as in {{"happy": 2, "sad": 1}}, not {value!r}')
    weights = {text_cell(label) or "": weight for label, weight in cell.items() if weight is not None}
    for label, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < math.inf:
            raise ValueError(f"the weight of {label!r} must be a number from 0, not {weight!r}")
    total = sum(weights.values())
    if not total:
        raise ValueError(f"no label has a weight above 0 in {value!r}")
    return {label: weight / total for label, weight in weights.items()}


def votes(row: Mapping[str, object], annotators: Sequence[str]) -> dict[str, float]:
    """How many of the annotators' columns name each label; empty cells are no vote."""
    named = [label for column in annotators if (label := text_cell(row.get(column)))]
    return {label: float(named.count(label)) for label in named}


def counts(row: Mapping[str, object], columns: Sequence[str]) -> dict[str, float]:
    """The numbers in columns that have the names of labels. ValueError: a cell is no number."""
    return {column: float(text) for column in columns if (text := text_cell(row.get(column)))}


def audio_cell(value: object) -> str | None:
    """A path, also out of the `{"path", "bytes"}` that `datasets` stores."""
    return text_cell(value.get("path") if isinstance(value, dict) else value)


def label_cell(value: object) -> tuple[tuple[str, ...], bool]:
    """The cell's labels, and whether it is written as a set of labels."""
    if isinstance(value, (list, tuple)):
        return tuple(label for label in map(text_cell, value) if label), True
    text = text_cell(value) or ""
    parts = tuple(part for part in map(str.strip, text.split(LABEL_SEPARATOR)) if part)
    return parts, LABEL_SEPARATOR in text
