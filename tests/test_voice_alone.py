"""transformers' standard classes answer the voice alone: missing words are an empty text."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny import NUM_BINS, perturb, tiny_batch, tiny_model, tiny_processor
from helpers.trainers import trainer
from transformers import (
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    SeamlessM4TFeatureExtractor,
    pipeline,
)

from modeling_drkf import DRKFConfig
from processing import DRKFProcessor
from processing.pipeline_drkf import TASK

RATE = 16_000


def clips() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.uniform(-0.5, 0.5, samples).astype(np.float32) for samples in (4000, 2900)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose empty text is `<s> </s>`."""
    path = tmp_path_factory.mktemp("voice") / "checkpoint"
    model = tiny_model(max_fusion_positions=600, modality_dropout=0.3, empty_text_ids=[1, 2])
    perturb(model).save_pretrained(path)
    tiny_processor().save_pretrained(path)
    return path


def test_the_standard_pipeline_answers_as_the_packages_own(folder: Path):
    standard = pipeline("audio-classification", model=str(folder))
    own = pipeline(TASK, model=str(folder))
    for clip in clips():
        answer = {row["label"]: row["score"] for row in standard({"raw": clip, "sampling_rate": RATE})}
        assert answer == pytest.approx({row["label"]: row["score"] for row in own(clip_of(clip))["scores"]}, abs=1e-6)


def clip_of(array: np.ndarray) -> dict[str, Any]:
    return {"array": array, "sampling_rate": RATE}


@torch.no_grad()
def test_a_feature_extractor_and_the_model(folder: Path):
    """A batch with padding: the extractor's attention_mask is the audio's."""
    model = AutoModelForAudioClassification.from_pretrained(folder).eval()
    extractor, processor = AutoFeatureExtractor.from_pretrained(folder), tiny_processor()
    expected = model(**processor(audio=clips(), text=["", ""], sampling_rate=RATE, return_tensors="pt")).logits
    inputs = extractor(clips(), sampling_rate=RATE, padding=True, return_tensors="pt")
    assert inputs.keys() == {"input_values", "attention_mask"}
    torch.testing.assert_close(model(**inputs).logits, expected, atol=1e-6, rtol=0)
    alone = processor(audio=clips(), sampling_rate=RATE, return_tensors="pt")
    torch.testing.assert_close(model(**alone).logits, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(model.drkf(**alone).pooler_output, model(**inputs).pooler_output)


@torch.no_grad()
def test_features_under_another_name():
    extractor = SeamlessM4TFeatureExtractor(feature_size=NUM_BINS // 2, num_mel_bins=NUM_BINS // 2, stride=2)
    model = perturb(tiny_model(audio="wav2vec2-bert", empty_text_ids=[1, 2]))
    processor = DRKFProcessor(extractor, tiny_processor().tokenizer)
    expected = model(**processor(audio=clips()[:1], text=[""], sampling_rate=RATE, return_tensors="pt")).logits
    inputs = extractor(clips()[:1], sampling_rate=RATE, return_tensors="pt")
    assert "input_features" in inputs
    torch.testing.assert_close(model(**inputs).logits, expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_the_words_are_read_where_there_are_any():
    batch = tiny_batch()
    torch.testing.assert_close(
        tiny_model(empty_text_ids=[1, 2])(**batch).logits, tiny_model()(**batch).logits, atol=0, rtol=0
    )


def test_a_checkpoint_that_does_not_know_says_what_to_do():
    batch = {name: value for name, value in tiny_batch().items() if name not in ("input_ids", "attention_mask")}
    with pytest.raises(ValueError, match=r'no empty_text_ids: .*text="".*multimodal-emotion-recognition'):
        tiny_model()(**batch)
    with pytest.raises(ValueError, match="give one of input_values and speech_states"):
        tiny_model(empty_text_ids=[1, 2])()


def test_training_takes_the_empty_text_of_its_processor(tmp_path: Path):
    run = trainer(tmp_path, max_steps=1, save_steps=1)
    assert run.model.config.empty_text_ids == [1, 2]
    run.train()
    assert DRKFConfig.from_pretrained(tmp_path / "checkpoint-1").empty_text_ids == [1, 2]
