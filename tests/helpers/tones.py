"""A corpus of tones and words for real training runs in tests, and a recipe small enough for seconds."""

import csv
import sys
from pathlib import Path

import numpy as np
import soundfile
import yaml

SAMPLE_RATE = 16_000
PITCHES = {"calm": 200.0, "tense": 900.0}
WORDS = {"calm": ("all is quiet", "a slow day"), "tense": ("hurry up now", "not again")}
SPEAKERS = ("ada", "bob", "cleo", "dan")

RECIPE = {
    "audio_encoder": {
        "model_type": "wav2vec2-bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 32, "feature_projection_input_dim": 160, "position_embeddings_type": None,
        "mask_time_prob": 0.0,
    },
    "feature_extractor": {"feature_size": 80, "num_mel_bins": 80},
    "text_encoder": {
        "model_type": "bert", "vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": 32,
    },
    "drkf": {
        "hidden_size": 16, "projection_size": 8, "augmentation_sizes": [8, 4, 2], "num_augmentation_blocks": 2,
        "num_fusion_layers": 1, "num_fusion_heads": 2,
    },
    "learning_rate": 3e-3,
    "per_device_train_batch_size": 4,
    "num_train_epochs": 2,
    "pictures": False,  # they take longer than the training
}  # fmt: skip


def write_tones(folder: Path, takes: int = 2) -> Path:
    """A manifest of `takes` clips a speaker and class; the speakers are four. Returns its path."""
    rng = np.random.default_rng(0)
    rows = []
    for number, speaker in enumerate(SPEAKERS):
        for label, pitch in PITCHES.items():
            for take in range(takes):
                time = np.arange(int(SAMPLE_RATE * rng.uniform(0.2, 0.4))) / SAMPLE_RATE
                tone = 0.3 * np.sin(2 * np.pi * pitch * (1 + 0.05 * number) * time) + 0.01 * rng.normal(size=len(time))
                name = f"{speaker}_{label}_{take}.wav"
                soundfile.write(folder / name, tone, SAMPLE_RATE)
                rows.append({"audio": name, "text": WORDS[label][take % 2], "label": label, "speaker": speaker})
    with (folder / "clips.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["audio", "text", "label", "speaker"])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "clips.csv"


def write_recipe(folder: Path, **options: object) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(RECIPE | options))
    return path


def script(*arguments: object) -> list[str]:
    """The command that runs `train_drkf.py`."""
    root = Path(__file__).resolve().parents[2]
    return [sys.executable, str(root / "train_drkf.py"), *map(str, arguments)]
