"""One sample or many as a batch: a list, names for messages, rows of one length."""

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np


def as_batch(samples: Any, modality: str) -> list[Any]:
    """A list of samples; a lone sample becomes a list of one."""
    if not isinstance(samples, Sequence) or isinstance(samples, (str, bytes, bytearray, memoryview)):
        return [samples]
    if not len(samples):
        raise ValueError(f"{modality}=[] holds no samples")
    return [samples] if isinstance(samples[0], (numbers.Number, np.number)) else list(samples)


def names_of(clips: list[Any] | None, texts: list[Any] | None, names: Sequence[str] | None) -> list[str]:
    """What messages call the samples, of which there must be as many texts as clips."""
    given = {"audio": clips, "text": texts, "sample_names": names}
    lengths = {key: len(samples) for key, samples in given.items() if samples is not None}
    if clips is None and texts is None:
        raise ValueError("there is nothing to process: pass audio, text or both")
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"the numbers of samples differ: {lengths}. A 2-D array is one clip of several channels and a list of "
            "numbers is one clip; a batch is a list of clips"
        )
    count = next(iter(lengths.values()))
    return [f"sample {number}" for number in range(1, count + 1)] if names is None else list(names)


def pad(rows: list[np.ndarray], value: float) -> list[np.ndarray]:
    """Rows (length, ...) of the longest one's length."""
    longest = max(map(len, rows))
    return [np.pad(row, [(0, longest - len(row)), *[(0, 0)] * (row.ndim - 1)], constant_values=value) for row in rows]
