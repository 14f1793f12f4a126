"""What the trainer reads in place of plain rows: features that are extracted once, and halves that are blanked."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.nn.utils.rnn import pad_sequence

from processing.collator import DRKFDataCollator
from processing.processing_drkf import DRKFProcessor


class CachedFeatures(torch.utils.data.Dataset):
    """Rows whose features are extracted once, when first used, and kept in memory.

    Args:
        rows: a dataset. collator: makes a batch of one row; `pad_features` batches what this dataset gives.
    """

    def __init__(self, rows: Dataset, collator: Callable[[Sequence[Mapping[str, Any]]], dict[str, torch.Tensor]]):
        self.rows, self.collator = rows, collator
        self.features: dict[int, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index not in self.features:
            batch = self.collator([self.rows[index]])
            self.features[index] = {name: value[0] for name, value in batch.items()}
        return self.features[index]


def pad_features(samples: Sequence[Mapping[str, Any]], pad_token_id: int) -> dict[str, Any]:
    """One batch of samples of a [`CachedFeatures`]: what the collator would make of their rows."""
    batch: dict[str, Any] = {}
    if all("utterance_id" in sample for sample in samples):
        batch["utterance_id"] = [sample["utterance_id"] for sample in samples]
    for name in [name for name in samples[0] if name != "utterance_id"]:
        values = [sample[name] for sample in samples]
        padding = pad_token_id if name == "input_ids" else 0
        batch[name] = pad_sequence(values, True, padding) if values[0].ndim else torch.stack(values)
    return batch


def blank_rows(processor: DRKFProcessor) -> dict[str, dict[str, Any]]:
    """What stands for a missing modality in a row: silence of the shortest length that the processor pads to, under
    "speech", and an empty text, under "text"."""
    rate = processor.feature_extractor.sampling_rate
    silence = {"array": np.zeros(processor.min_audio_samples, dtype=np.float32), "sampling_rate": rate}
    return {"speech": {"audio": silence, "start": None, "end": None}, "text": {"text": ""}}


def blank_features(processor: DRKFProcessor) -> dict[str, dict[str, torch.Tensor]]:
    """[`blank_rows`] as features, for the samples of a [`CachedFeatures`]."""
    blanks = blank_rows(processor)
    halves = {
        "speech": processor(audio=blanks["speech"]["audio"], return_tensors="pt"),
        "text": processor(text=blanks["text"]["text"], return_tensors="pt"),
    }
    return {modality: {name: value[0] for name, value in half.items()} for modality, half in halves.items()}


class ModalityDropout(torch.utils.data.Dataset):
    """Blanks one modality of a sample with a given probability, speech or text at even odds, never both.

    Each sample says in `speech_present` and `text_present` what is left: Eq. 19 leaves blanked halves out.

    It is drawn anew for each epoch, from the seed, the epoch and the sample alone: a resumed run draws the same.

    Args:
        rows: a dataset, or a [`CachedFeatures`]. blanks: [`blank_rows`] or [`blank_features`], accordingly.
    """

    def __init__(
        self,
        rows: Dataset | CachedFeatures,
        blanks: Mapping[str, Mapping[str, Any]],
        probability: float,
        seed: int = 0,
    ):
        self.rows, self.blanks, self.probability, self.seed = rows, blanks, probability, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The trainer tells at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        drawn = np.random.default_rng((self.seed, self.epoch, index)).random()
        present = {
            "speech": drawn >= self.probability / 2,
            "text": not self.probability / 2 <= drawn < self.probability,
        }
        sample = {**self.rows[index], **{f"{name}_present": torch.tensor(there) for name, there in present.items()}}
        for name in (name for name, there in present.items() if not there):
            sample |= self.blanks[name]
        return sample


class SingleModalityCollator:
    """Blanks one modality of every row, for baselines; see [`blank_rows`].

    Args:
        modality: the one to keep, "speech" or "text".
    """

    def __init__(self, processor: DRKFProcessor, modality: str):
        self.collator = DRKFDataCollator(processor, utterance_ids=True)
        self.blank = blank_rows(processor)["text" if modality == "speech" else "speech"]

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        return self.collator([{**row, **self.blank} for row in rows])
