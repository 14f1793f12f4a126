"""A bar for what a model answers, with rate and time left, where it takes more than two seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

from processing.quiet import BAR_DELAY_S

from .cutting import recorded_seconds


def answering(total: int | None, unit: str, description: str = "answering") -> tqdm:
    """A bar for clips or pieces that are being answered, if they are more than one; `update` counts one.

    Args:
        total: how many there will be, if that is known.
    """
    return tqdm(total=total, desc=description, unit=unit, delay=BAR_DELAY_S, disable=total == 1)


def count_pieces(
    inputs: Sequence[Mapping[str, Any]], chunk_length_s: float | None, step_s: float | None
) -> int | None:
    """How many pieces the inputs are answered in, segments, windows or clips; None where a length is not known."""
    total = 0
    for value in inputs:
        if "segments" in value:
            total += len(value["segments"])
        elif chunk_length_s is None:
            total += 1
        else:
            if (seconds := recorded_seconds(value["audio"])) is None:
                return None
            total += 1 + max(0, -int(-(seconds - chunk_length_s) // (step_s or chunk_length_s)))
    return total
