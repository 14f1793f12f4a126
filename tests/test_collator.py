"""DRKFDataCollator: labels of either kind, names in messages, DataLoader workers."""

import doctest
import pickle

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast, Wav2Vec2FeatureExtractor

from processing import collator
from processing.collator import DRKFDataCollator
from processing.errors_drkf import AudioError
from processing.processing_drkf import DRKFProcessor


@pytest.fixture
def processor() -> DRKFProcessor:
    words = Tokenizer(WordLevel({"[PAD]": 0, "[UNK]": 1, "hello": 2}, unk_token="[UNK]"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")
    return DRKFProcessor(Wav2Vec2FeatureExtractor(), tokenizer)


def row(seed: int = 0, samples: int = 800, **columns) -> dict:
    array = np.random.default_rng(seed).uniform(-1, 1, samples)
    return {"audio": {"array": array, "sampling_rate": 16_000}, "text": "hello", "speaker": "F1"} | columns


def test_integer_labels_and_model_inputs(processor):
    rows = [row(0, label=2), row(1, 700, label=np.int64(0)), row(2, label=torch.tensor(1))]
    batch = DRKFDataCollator(processor, num_labels=3)(rows)
    expected = processor(audio=[r["audio"] for r in rows], text=["hello"] * 3, return_tensors="pt")
    assert list(batch) == [*processor.model_input_names, "labels"]
    for key, values in expected.items():
        torch.testing.assert_close(batch[key], values, rtol=0, atol=0)
    assert batch["labels"].dtype == torch.int64
    assert batch["labels"].tolist() == [2, 0, 1]


def test_multi_hot_and_soft_labels(processor):
    rows = [row(labels=[1, 0, 1]), row(labels=np.array([0.25, 0.5, 0.25]), label=None), row(labels=torch.zeros(3))]
    labels = DRKFDataCollator(processor)(rows)["labels"]
    assert labels.dtype == torch.float32
    assert labels.tolist() == [[1, 0, 1], [0.25, 0.5, 0.25], [0, 0, 0]]


def test_labels_may_be_class_ids_and_names(processor):
    rows = [row(labels=2), row(labels=np.int64(0)), row(labels=torch.tensor(1)), row(label=1, labels=None)]
    labels = DRKFDataCollator(processor, num_labels=3)(rows)["labels"]
    assert labels.dtype == torch.int64
    assert labels.tolist() == [2, 0, 1, 1]
    named = DRKFDataCollator(processor, label2id={"anger": 0, "joy": 1})([row(labels="joy"), row(labels="anger")])
    assert named["labels"].tolist() == [1, 0]


def test_without_labels(processor):
    assert "labels" not in DRKFDataCollator(processor, num_labels=3)([row(label=None), row()])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(label=1), row()], "row 2 has no label, but row 1 has a class"),
        ([row(), row(utterance_id="Ses01", label=1)], "utterance Ses01 has a class, but row 1 has no label"),
        ([row(label=1), row(labels=[1, 0, 0])], "row 2 has a number per class, but row 1 has a class"),
        ([row(label=1, labels=[1, 0, 0])], "row 1 has both label and labels"),
        ([row(label=3)], "row 1: label must be a class index from 0 below 3, not 3"),
        ([row(label=-1)], "label must be a class index"),
        ([row(label=1.0)], "label must be a class index"),
        ([row(label="anger")], "label must be a class index"),
        ([row(label=True)], "label must be a class index"),
        ([row(utterance_id="Ses01", labels=[1, 0])], "utterance Ses01: labels must be 3 numbers"),
        ([row(labels=3)], "row 1: label must be a class index from 0 below 3, not 3"),
        ([row(labels=[[1], [1, 0]])], "labels must be 3 numbers"),
        ([row(labels=[0.5, np.nan, 0.5])], "labels must be 3 numbers"),
        ([row(labels=[0.0, 2.0, 0.0])], "labels must be 3 numbers"),
        ([row(labels="abc")], "row 1: label must be a class index from 0 below 3, not 'abc'"),
        ([row(labels=1), row(labels=[1, 0, 0])], "row 2 has a number per class, but row 1 has a class"),
        ([row(), {"text": "hello", "label": 1}], "row 2: no column audio; it has ['label', 'text']"),
        ([], "at least one row"),
    ],
)
def test_bad_rows_are_refused_by_name(processor, rows, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the message is compared below)
        DRKFDataCollator(processor, num_labels=3)(rows)
    assert message in str(caught.value)


def test_label_vectors_of_different_length_are_refused(processor):
    with pytest.raises(ValueError, match="row 2: 2 labels, but row 1 has 3"):
        DRKFDataCollator(processor)([row(labels=[1, 0, 0]), row(labels=[1, 0])])


def test_unusable_audio_and_text_are_named_by_utterance(processor):
    collate = DRKFDataCollator(processor)
    with pytest.raises(AudioError, match=r"^utterance Ses01F_3 \(gone\.wav\): no such file"):
        collate([row(utterance_id="a"), row(audio="gone.wav", utterance_id="Ses01F_3")])
    with pytest.raises(ValueError, match=r"^utterance Ses01F_3: the text must be a str"):
        collate([row(utterance_id="a"), row(text=None, utterance_id="Ses01F_3")])


def test_works_in_dataloader_workers(processor):
    collate = pickle.loads(pickle.dumps(DRKFDataCollator(processor, num_labels=4)))
    rows = [row(seed, 700 + seed, label=seed) for seed in range(4)]
    batches = list(DataLoader(rows, batch_size=2, num_workers=1, collate_fn=collate))
    for batch, members in zip(batches, (rows[:2], rows[2:]), strict=True):
        for key, values in DRKFDataCollator(processor)(members).items():
            torch.testing.assert_close(batch[key], values, rtol=0, atol=0)


def test_the_example_of_the_docstring():
    results = doctest.testmod(collator)
    assert results.attempted > 5
    assert results.failed == 0
