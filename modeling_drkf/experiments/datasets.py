"""What the trainer reads in place of plain rows: features that are extracted once, and modalities that are blanked."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset

from processing.collator import DRKFDataCollator
from processing.conditions import CLIP_COLUMNS
from processing.processing_drkf import DRKFProcessor


class Inputs(NamedTuple):
    """What a trainer reads.

    Attributes:
        parts: a dataset by part. collator: makes a batch of its samples.
        blanks: what stands for a missing modality in a sample, under "speech" and "text".
        text_samples: makes a dataset of texts, each what a sample has of its text (`with_text_of`).
    """

    parts: dict[str, Any]
    collator: Callable[[Sequence[Mapping[str, Any]]], dict[str, Any]]
    blanks: dict[str, dict[str, Any]]
    text_samples: Callable[[Sequence[str]], Any]


def row_inputs(parts: Mapping[str, Dataset], processor: DRKFProcessor) -> Inputs:
    """Rows, which the collator processes whenever a batch is made."""
    collator = DRKFDataCollator(processor, utterance_ids=True)
    return Inputs(dict(parts), collator, blank_rows(processor), lambda texts: [{"text": text} for text in texts])


def feature_inputs(parts: Mapping[str, Dataset], processor: DRKFProcessor) -> Inputs:
    """Features, which are extracted once."""
    collator = DRKFDataCollator(processor, utterance_ids=True)
    cached = {name: CachedFeatures(part, collator) for name, part in parts.items()}
    pad = partial(pad_features, pad_token_id=processor.tokenizer.pad_token_id)
    return Inputs(cached, pad, blank_features(processor), partial(text_features, processor=processor))


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


def pad_features(samples: Sequence[Mapping[str, Any]], pad_token_id: int = 0) -> dict[str, Any]:
    """One batch of samples of a [`CachedFeatures`]: what the collator would make of their rows."""
    batch: dict[str, Any] = {}
    if all("utterance_id" in sample for sample in samples):
        batch["utterance_id"] = [sample["utterance_id"] for sample in samples]
    for name in [name for name in samples[0] if name != "utterance_id"]:
        values = [sample[name] for sample in samples]
        padding = pad_token_id if name == "input_ids" else 0
        longest = [max(sizes) for sizes in zip(*(value.shape for value in values), strict=True)]
        batch[name] = torch.stack([_padded(value, longest, padding) for value in values])
    return batch


def _padded(value: torch.Tensor, shape: Sequence[int], padding: float) -> torch.Tensor:
    """A tensor with padding behind it, along whichever dimension is shorter: time may be the first or the last."""
    missing = [number for size, full in zip(value.shape, shape, strict=True) for number in (full - size, 0)]
    return torch.nn.functional.pad(value, missing[::-1], value=padding)


def blank_rows(processor: DRKFProcessor) -> dict[str, dict[str, Any]]:
    """What stands for a missing modality in a row: silence of the shortest length that the processor pads to, under
    "speech", and an empty text, under "text"."""
    rate = processor.feature_extractor.sampling_rate
    silence = {"array": np.zeros(processor.min_audio_samples, dtype=np.float32), "sampling_rate": rate}
    nowhere = dict.fromkeys((*CLIP_COLUMNS, "condition"))
    return {"speech": {"audio": silence, **nowhere}, "text": {"text": ""}}


def blank_features(processor: DRKFProcessor) -> dict[str, dict[str, torch.Tensor]]:
    """[`blank_rows`] as features, for the samples of a [`CachedFeatures`]."""
    blanks = blank_rows(processor)
    speech = processor(audio=blanks["speech"]["audio"], return_tensors="pt")
    [text] = text_features([blanks["text"]["text"]], processor)
    return {"speech": {name: value[0] for name, value in speech.items()}, "text": text}


def text_features(texts: Sequence[str], processor: DRKFProcessor) -> list[dict[str, torch.Tensor]]:
    """Of each text, what a sample of a [`CachedFeatures`] has of it."""
    batches = [processor(text=text, return_tensors="pt") for text in texts]
    return [{name: value[0] for name, value in batch.items()} for batch in batches]


class DrawnEachEpoch(torch.utils.data.Dataset):
    """Samples of which something is drawn in each epoch.

    It is drawn from the seed, the epoch and the sample alone: a resumed run draws the same.

    Args:
        rows: the samples, which may be such a dataset themselves.
    """

    def __init__(self, rows: Any, seed: int):
        self.rows, self.seed, self.epoch = rows, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called at the start of each epoch."""
        self.epoch = epoch
        if hasattr(self.rows, "set_epoch"):
            self.rows.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.rows)


class ModalityDropout(DrawnEachEpoch):
    """Blanks one modality of a sample with a given probability, never both.

    Each sample says in `speech_present` and `text_present` what is left: Eq. 19 leaves blanked modalities out.

    Args:
        rows: a dataset, a [`CachedFeatures`] or an `EncoderStates`.
        blanks: [`blank_rows`], [`blank_features`] or `blank_states`, accordingly.
        text_share: of the blanked modalities, how many are the text.
        worded: whether each row has words at all; those without keep their voice and count as blanked.
    """

    def __init__(
        self,
        rows: Any,
        blanks: Mapping[str, Mapping[str, Any]],
        probability: float,
        seed: int = 0,
        text_share: float = 0.5,
        worded: Sequence[bool] | None = None,
    ):
        super().__init__(rows, seed)
        self.blanks, self.probability, self.text_share, self.worded = blanks, probability, text_share, worded

    def __getitem__(self, index: int) -> dict[str, Any]:
        drawn = np.random.default_rng((self.seed, self.epoch, index)).random()
        first = self.probability * (1 - self.text_share)
        present = {"speech": drawn >= first, "text": not first <= drawn < self.probability}
        if self.worded is not None and not self.worded[index]:
            present = {"speech": True, "text": False}
        sample = {**self.rows[index], **{f"{name}_present": torch.tensor(there) for name, there in present.items()}}
        for name in (name for name, there in present.items() if not there):
            sample |= self.blanks[name]
        return sample


TEXT_FIELDS = ("text", "input_ids", "text_states", "attention_mask")


def with_text_of(sample: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """A sample with the text of another one."""
    return {**sample, **{name: other[name] for name in TEXT_FIELDS if name in other}}


class RedrawnTexts(DrawnEachEpoch):
    """Gives each clip the words of a sample of the same label, for corpora whose pairs are constructed.

    Args:
        rows: a dataset, a [`CachedFeatures`] or an `EncoderStates`.
        labels: class ids (samples,), or label sets (samples, classes).
        worded: whether each row has words to give; all have if not given.
        more, more_labels: a dataset of further texts, and their class ids, (texts,).

    Attributes:
        worded: whether each sample gets words; where no sample of its label has any, it gets none.
    """

    def __init__(
        self,
        rows: Any,
        labels: np.ndarray,
        seed: int = 0,
        worded: Sequence[bool] | None = None,
        more: Any = (),
        more_labels: np.ndarray | None = None,
    ):
        super().__init__(rows, seed)
        every = labels if more_labels is None else np.concatenate([labels, more_labels])
        _, kinds = np.unique(every.reshape(len(every), -1), axis=0, return_inverse=True)
        kinds = kinds.reshape(-1)
        gives = np.ones(len(every), bool)
        if worded is not None:
            gives[: len(labels)] = worded
        self.more, self.kinds = more, kinds[: len(labels)]
        self.givers = [np.flatnonzero((kinds == kind) & gives) for kind in range(kinds.max() + 1)]
        self.worded = [len(self.givers[kind]) > 0 for kind in self.kinds]

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not self.worded[index]:
            return self.rows[index]
        givers = self.givers[self.kinds[index]]
        drawn = int(givers[np.random.default_rng((self.seed, self.epoch, index, 2)).integers(len(givers))])
        known = len(self.rows)
        return with_text_of(self.rows[index], self.rows[drawn] if drawn < known else self.more[drawn - known])


class SingleModalityCollator:
    """Blanks one modality of every sample, for baselines.

    Args:
        collator: makes a batch. blank: what stands for the other modality in a sample; see [`blank_rows`].
    """

    def __init__(self, collator: Callable[[Sequence[Mapping[str, Any]]], dict[str, Any]], blank: Mapping[str, Any]):
        self.collator, self.blank = collator, blank

    def __call__(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return self.collator([{**sample, **self.blank} for sample in samples])
