"""Faults on purpose."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from processing.collator import DRKFDataCollator


def spoil(utterance: str) -> None:
    """From now on the features of this utterance are no numbers."""
    collate = DRKFDataCollator.__call__

    def collate_spoilt(self: DRKFDataCollator, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        batch = collate(self, rows)
        for index, row in enumerate(rows):
            if row["utterance_id"] == utterance:
                batch["input_values"][index, 0] = float("nan")
        return batch

    DRKFDataCollator.__call__ = collate_spoilt
