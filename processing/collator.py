"""DRKFDataCollator: rows of a dataset -> one batch for `DRKFForEmotionClassification`."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import default_data_collator

from .audio_drkf import AudioStream
from .conditions import clip_of, cut_of
from .errors_drkf import InputError
from .processing_drkf import DRKFProcessor

PRESENT = ("speech_present", "text_present")
NO_LABEL, A_CLASS, A_VECTOR = "no label", "a class", "a number per class"


@dataclass
class DRKFDataCollator:
    """Process the audio and text of some rows and stack their labels.

    A row has `audio` (anything that `DRKFProcessor` takes), cut by `start` and `end` (seconds), played at `speed`,
    read from one `channel` (from 0) and heard under its `condition` where it has them ([`clip_of`]), `text`, and at
    most one of `label` and `labels`: an integer class, or in `labels` one number in [0, 1] per class, multi-hot or
    soft. Either every row of a batch is labelled in the same way or none is; None counts as absent. `utterance_id`,
    where present, names the row in messages; `speech_present` and `text_present` say which modality modality dropout
    has blanked. Other columns are ignored.

    Args:
        processor: makes the model inputs.
        num_labels: number of classes; labels are checked against it where given.
        label2id: class of a label that is given by its name.
        utterance_ids: also return the rows' `utterance_id`, a list of str, where every row has one; for the trainer.

    Example:

    ```python
    >>> import numpy as np
    >>> from tokenizers import Tokenizer
    >>> from tokenizers.models import WordLevel
    >>> from transformers import PreTrainedTokenizerFast, Wav2Vec2FeatureExtractor
    >>> from processing.collator import DRKFDataCollator
    >>> from processing.processing_drkf import DRKFProcessor
    >>> words = Tokenizer(WordLevel({"[PAD]": 0, "[UNK]": 1, "hello": 2}, unk_token="[UNK]"))
    >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")
    >>> collate = DRKFDataCollator(DRKFProcessor(Wav2Vec2FeatureExtractor(), tokenizer), num_labels=4)
    >>> clip = {"array": np.zeros(16000), "sampling_rate": 16000}
    >>> batch = collate([{"audio": clip, "text": "hello", "label": 3}, {"audio": clip, "text": "hm", "label": 0}])
    >>> batch["input_values"].shape, batch["input_ids"].tolist(), batch["labels"].tolist()
    (torch.Size([2, 16000]), [[2], [1]], [3, 0])

    ```
    """

    processor: DRKFProcessor
    num_labels: int | None = None
    label2id: Mapping[str, int] | None = None
    utterance_ids: bool = False

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Collate rows.

        Returns:
            the tensors of `DRKFProcessor`; labels, (batch,) int64 or (batch, classes) float32, and `speech_present`
            and `text_present`, (batch,) bool, where the rows have any.

        Raises:
            AudioError, TypeError: the audio or text of a row is unusable.
            ValueError: a column is missing, or a label is missing, mixed with another kind, or out of range.
        """
        names = [
            f"utterance {row['utterance_id']}" if "utterance_id" in row else f"row {number}"
            for number, row in enumerate(features, start=1)
        ]
        if not names:
            raise InputError("a batch needs at least one row")
        for row, name in zip(features, names, strict=True):
            if missing := {"audio", "text"} - row.keys():
                raise InputError(f"{name}: no column {' and '.join(sorted(missing))}; it has {sorted(row)}")
        labels = self._labels(features, names)
        inputs = self.processor(
            audio=[clip_of(row, self.processor.feature_extractor.sampling_rate) for row in features],
            text=[row["text"] for row in features],
            sample_names=names,
            return_tensors="pt",
        )
        if self.utterance_ids and all("utterance_id" in row for row in features):
            inputs["utterance_id"] = [str(row["utterance_id"]) for row in features]
        present = {
            name: torch.tensor([bool(row[name]) for row in features]) for name in PRESENT if name in features[0]
        }
        return {**inputs, **present} if labels is None else {**inputs, **present, "labels": labels}

    def _labels(self, features: Sequence[Mapping[str, Any]], names: list[str]) -> torch.Tensor | None:
        labels = [_label(row, name) for row, name in zip(features, names, strict=True)]
        kinds = [_kind(label) for label in labels]
        for kind, name in zip(kinds, names, strict=True):
            if kind != kinds[0]:
                raise InputError(f"{name} has {kind}, but {names[0]} has {kinds[0]}")
        if kinds[0] == NO_LABEL:
            return None
        if kinds[0] == A_CLASS:
            classes = [self._class_index(label, name) for label, name in zip(labels, names, strict=True)]
            return torch.tensor(classes, dtype=torch.int64)
        vectors = [self._class_vector(label, name) for label, name in zip(labels, names, strict=True)]
        for vector, name in zip(vectors, names, strict=True):
            if len(vector) != len(vectors[0]):
                raise InputError(f"{name}: {len(vector)} labels, but {names[0]} has {len(vectors[0])}")
        return torch.from_numpy(np.stack(vectors))

    def _class_index(self, label: Any, name: str) -> int:
        if isinstance(label, str) and self.label2id is not None:
            if label not in self.label2id:
                raise InputError(f"label {label!r} is none of {', '.join(map(repr, self.label2id))}", name)
            return self.label2id[label]
        try:
            index = operator.index(label)
        except TypeError:
            index = -1
        if isinstance(label, bool) or index < 0 or (self.num_labels is not None and index >= self.num_labels):
            limit = "" if self.num_labels is None else f" below {self.num_labels}"
            raise InputError(f"{name}: label must be a class index from 0{limit}, not {label!r}")
        return index

    def _class_vector(self, labels: Any, name: str) -> np.ndarray:
        try:
            vector = np.asarray(labels, dtype=np.float32)
        except (TypeError, ValueError):
            vector = np.empty(0, dtype=np.float32)
        expected = vector.size if self.num_labels is None else self.num_labels
        if vector.ndim != 1 or not vector.size or vector.size != expected or not ((vector >= 0) & (vector <= 1)).all():
            count = "" if self.num_labels is None else f"{self.num_labels} "
            raise InputError(f"{name}: labels must be {count}numbers in [0, 1], one per class, not {labels!r}")
        return vector


def _label(row: Mapping[str, Any], name: str) -> Any:
    """A row's label, a class or a number per class; None where it has none."""
    present = [column for column in ("label", "labels") if row.get(column) is not None]
    if len(present) > 1:
        raise InputError(f"{name} has both label and labels; keep one of the two columns")
    return row[present[0]] if present else None


def _kind(label: Any) -> str:
    if label is None:
        return NO_LABEL
    return A_CLASS if isinstance(label, str) or not np.iterable(label) else A_VECTOR


def clip_seconds(row: Mapping[str, Any]) -> float:
    """The length of a row's clip in seconds, by which batches of clips of like length are made; nothing is decoded
    where the file says how long it is. Silence that its condition adds does not count.

    Raises:
        AudioError: the audio is unusable.
    """
    with AudioStream(cut_of(row), None) as stream:
        return len(stream.read()) / stream.target_rate if stream.seconds is None else stream.seconds


def collate_features(features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A batch of model inputs that are of one length already, for a trainer without a processor.

    Raises:
        InputError: the rows hold recordings, which only a processor makes model inputs of.
    """
    if "audio" in features[0]:
        raise InputError(
            "the rows hold recordings: give the trainer the processor that reads them, "
            "processing_class=AutoProcessor.from_pretrained(checkpoint), or a data_collator"
        )
    return default_data_collator(list(features))
