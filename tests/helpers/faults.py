"""Faults on purpose."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from modeling_drkf.training.checkpoints import sealed
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


def write_checkpoint(folder: Path, step: int) -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    with sealed(checkpoint):
        checkpoint.mkdir()
        (checkpoint / "model.safetensors").write_bytes(bytes(step))
    return checkpoint
