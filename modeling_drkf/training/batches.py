"""Batches of clips of like length, the means of their loss terms, and how full they were."""

from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import Trainer

from processing.collator import clip_seconds


class TermMeans:
    """Means of loss terms over batches, weighted by batch size, across processes."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._samples = 0

    def add(self, terms: dict[str, Tensor], samples: int) -> None:
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.float() * samples
        self._samples += samples

    def pop(self, trainer: Trainer) -> dict[str, float]:
        """The means since the last call, by name. All processes must call it together."""
        if not self._sums:
            return {}
        totals = torch.stack([*self._sums.values(), torch.full_like(next(iter(self._sums.values())), self._samples)])
        *sums, samples = trainer.accelerator.reduce(totals, reduction="sum").tolist()
        means = {name: total / samples for name, total in zip(self._sums, sums, strict=True)}
        self._sums, self._samples = {}, 0
        return means


def filled_up(values: Any, rows: int) -> Any:
    """Tensors of (kept, ...), alone or nested, whose last row is repeated up to `rows`."""
    if isinstance(values, Tensor):
        return torch.cat([values, values[-1:].expand(rows - len(values), *values.shape[1:])])
    return None if values is None else type(values)(filled_up(value, rows) for value in values)


def with_lengths(rows: Any, column: str) -> Any:
    """The rows, if they have a column of lengths or no recordings, else a table of their seconds: for a sampler."""
    has_lengths = column in (getattr(rows, "column_names", None) or ())
    if has_lengths or not hasattr(rows, "__len__") or not len(rows) or "audio" not in rows[0]:
        return rows
    return Dataset.from_dict({column: [clip_seconds(row) for row in rows]})
