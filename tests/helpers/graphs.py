"""What is exported to a graph in tests, and the clips that it answers."""

from pathlib import Path
from typing import Any

import numpy as np

from processing import DRKFProcessor

from .tiny import perturb, tiny_model, tiny_processor

LABELS = {"id2label": {0: "calm", 1: "tense", 2: "glad"}, "label2id": {"calm": 0, "tense": 1, "glad": 2}}


def write_labelled(folder: Path, processor: DRKFProcessor | None = None, **options: Any) -> Path:
    """A random checkpoint of three named classes."""
    perturb(tiny_model(**LABELS, **options)).save_pretrained(folder)
    (processor or tiny_processor()).save_pretrained(folder)
    return folder


def noisy_clips() -> list[dict[str, Any]]:
    """Five clips of noise of unlike lengths; one has empty words, one none."""
    rng = np.random.default_rng(0)
    lengths = (900, 1200, 100, 700, 1000)
    texts = ("so happy", "", "never mind you came", None, "oh no")
    return [
        {"audio": {"array": 0.1 * rng.standard_normal(length), "sampling_rate": 16_000}, "text": text}
        for length, text in zip(lengths, texts, strict=True)
    ]
