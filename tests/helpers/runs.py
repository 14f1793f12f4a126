"""Runs of the training script on the tones, and what they leave."""

import json
from pathlib import Path

import pandas
import pytest
import torch
from transformers import AutoModelForAudioClassification, AutoProcessor

from train_drkf import main

ENCODERS = ("drkf.modality_encoding.speech_encoder.", "drkf.modality_encoding.text_encoder.")


def train(corpus: Path, out: Path, *options: object) -> dict:
    """Runs train_drkf.py on the tones; returns the last checkpoint's trainer state."""
    fixed = [corpus / "tiny.yaml", "--manifest", corpus / "clips.csv", "--output_dir", out, "--logging_steps", 1]
    assert main([str(option) for option in (*fixed, *options)]) == 0
    return json.loads((out / "trainer_state.json").read_text())


def assert_predictions_are_the_models(folder: Path, corpus: Path, tolerance: float = 1e-5) -> None:
    """Each row of the predictions is what the saved model says of that row's clip."""
    model = AutoModelForAudioClassification.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    texts = pandas.read_csv(corpus / "clips.csv").set_index("audio").text
    table = pandas.read_csv(folder / "test_predictions.csv")
    for row in table.itertuples():
        inputs = processor(audio=corpus / row.utterance_id, text=texts[row.utterance_id], return_tensors="pt")
        with torch.no_grad():
            expected = model(**inputs).logits.softmax(-1)[0].tolist()
        assert [row.probability_calm, row.probability_tense] == pytest.approx(expected, abs=tolerance)
    assert table.probability_calm.nunique() > 2
