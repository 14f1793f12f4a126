"""A tiny pipeline in tests, what it is given, and whether two answers are the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from modeling_drkf import DRKFForEmotionClassification
from processing import MultimodalEmotionRecognitionPipeline

from .tiny import perturb, tiny_model, tiny_processor

RATE = 16_000
TASK = "multimodal-emotion-recognition"
WORDS = "i am so happy"


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * RATE)).astype(np.float32)


def clip(seconds: float, seed: int = 0) -> dict[str, Any]:
    return {"array": noise(seconds, seed), "sampling_rate": RATE}


def model_of(**fields: Any) -> DRKFForEmotionClassification:
    return perturb(tiny_model(max_fusion_positions=2_400, **fields))


def pipe_of(options: dict[str, Any] | None = None, **fields: Any) -> MultimodalEmotionRecognitionPipeline:
    return MultimodalEmotionRecognitionPipeline(
        model=model_of(**fields), processor=tiny_processor(**(options or {})), device=-1
    )


def assert_same(actual: Any, expected: Any, tolerance: float = 1e-6) -> None:
    """Equal answers; numbers up to a tolerance."""
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key, value in expected.items():
            assert_same(actual[key], value, tolerance)
    elif isinstance(expected, list):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same(one, other, tolerance)
    elif isinstance(expected, float):
        assert actual == pytest.approx(expected, abs=tolerance)
    else:
        assert actual == expected


def write_pipeline(folder: Path) -> Path:
    """A folder written as training writes it, with a stereo clip at 8 kHz in it."""
    model_of().save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    soundfile.write(folder / "clip.wav", np.stack([noise(1.0), noise(1.0, 1)], 1), RATE // 2, subtype="FLOAT")
    return folder
