"""The command line in tests: verbs as users run them, a tiny checkpoint, clips."""

from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from typer.testing import CliRunner

from drkf_cli import app

from .tiny import tiny_model, tiny_processor

RATE = 16_000
TEXTS = ("i am so happy", "oh no", "you came back today", "never mind that")


def drkf(*arguments: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr."""
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def write_checkpoint(folder: Path, **options: Any) -> Path:
    tiny_model(max_fusion_positions=1000, **options).save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


def scores(answer: dict[str, Any]) -> dict[str, float]:
    return {entry["label"]: entry["score"] for entry in answer["scores"]}


def write_clips(folder: Path) -> Path:
    """Clips `0.wav` to `9.wav`, `talk.wav` of 2.4 s, `broken.wav`."""
    rng = np.random.default_rng(0)
    for index in range(10):
        time = np.arange(2000 + 300 * index) / RATE
        soundfile.write(folder / f"{index}.wav", 0.3 * np.sin(2000 * (1 + index) * time) * rng.uniform(0.5, 1), RATE)
    soundfile.write(folder / "talk.wav", 0.1 * rng.normal(size=int(2.4 * RATE)), RATE)
    (folder / "broken.wav").write_text("no sound")
    (folder / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    return folder
