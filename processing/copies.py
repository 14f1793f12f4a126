"""Rows of a dataset as copies of their clips: at other speeds, and under other conditions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Dataset, List, Value, concatenate_datasets

from .conditions import Condition, drawn_by
from .errors_drkf import OptionError

BABBLERS = 4
PLACE = {"audio": Value("string"), "start": Value("float64"), "end": Value("float64"), "channel": Value("int64")}


def at_speed(rows: Dataset, speed: float) -> Dataset:
    """Copies at another speed: a faster voice is a higher one, and counts as another speaker (Ko et al., Interspeech
    2015)."""
    return _renamed(rows, f"at speed {speed:g}").add_column("speed", [speed] * len(rows), feature=Value("float64"))


def under_condition(rows: Dataset, condition: Condition) -> Dataset:
    """Copies under a condition, with `condition` and `babble` for [`clip_of`]; babble is that of these rows alone.

    A speaker under a condition counts as another one, too: what is usual for a speaker is to be learnt from clips of
    one and the same condition, as somebody's clips are recorded later, and never from a clip's own copies.

    Raises:
        OptionError: babble, and a speaker who is alone.
    """
    return _renamed(heard_under(rows, condition), f"with {condition}")


def heard_under(rows: Dataset, condition: Condition) -> Dataset:
    """The rows themselves under a condition; see [`under_condition`]."""
    if condition.kind == "babble":
        rows = rows.add_column("babble", _babblers(rows), feature=List(PLACE))
    return rows.add_column("condition", [str(condition)] * len(rows), feature=Value("string"))


def with_copies(rows: Dataset, speeds: Sequence[float] = (), conditions: Sequence[Condition] = ()) -> Dataset:
    """The rows, followed by their copies."""
    copies = [at_speed(rows, speed) for speed in speeds] + [under_condition(rows, each) for each in conditions]
    return concatenate_datasets([rows, *copies])


def _renamed(rows: Dataset, suffix: str) -> Dataset:
    for name in (name for name in ("utterance_id", "speaker") if name in rows.column_names):
        renamed = [None if value is None else f"{value} {suffix}" for value in rows[name][:]]
        rows = rows.remove_columns(name).add_column(name, renamed, feature=rows.features[name])
    return rows


def _babblers(rows: Dataset) -> list[list[dict[str, Any]]]:
    """For each row the clips of `BABBLERS` others, none of its own speaker."""
    names, speakers = rows["utterance_id"][:], rows["speaker"][:]
    columns = {name: rows[name][:] if name in rows.column_names else [None] * len(rows) for name in PLACE}
    order = sorted(range(len(rows)), key=lambda index: (speakers[index] or "", names[index]))
    sorted_speakers = np.array([speakers[index] or "" for index in order])
    found: list[list[dict[str, Any]]] = [[] for _ in order]
    for position, index in enumerate(order):
        first, last = position, position + 1  # of an unknown speaker, the clip itself is all that is known
        if speakers[index]:
            first, last = (int(sorted_speakers.searchsorted(speakers[index], side)) for side in ("left", "right"))
        others = len(order) - (last - first)
        if not others:
            raise OptionError(f"babble needs clips of other speakers, and {speakers[index] or names[index]} is alone")
        drawn = drawn_by(names[index], "babble").choice(others, min(BABBLERS, others), replace=False)
        chosen = [order[number + (last - first) * (number >= first)] for number in drawn]
        found[index] = [{name: values[other] for name, values in columns.items()} for other in chosen]
    return found
