"""The README's snippets, run as they stand, in a folder that has what they name: tiny models under the names of large
ones, synthetic corpora, a checkpoint where the demo leaves one, and a Hub on the loopback interface."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.corpora import make_iemocap, make_meld
from helpers.hub_server import TOKEN, Hub
from helpers.recognisers import write_whisper_recogniser
from helpers.tiny import AUDIO_ENCODERS, TEXT_ENCODERS, tiny_processor
from helpers.tones import write_recipe, write_tones
from transformers import AutoConfig, AutoModel

from train_drkf import main

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
BLOCKS = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
SPEECH, TEXT = "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim", "FacebookAI/roberta-large"
RATE = 16_000

TESTED_ELSEWHERE = ("make ", "pip ", "drkf app")
TINY_DRKF = (
    '{"hidden_size": 16, "projection_size": 8, "augmentation_sizes": [8, 4], "num_augmentation_blocks": 1, '
    '"num_fusion_layers": 1, "num_fusion_heads": 2}'
)
SHORT = ["--drkf", TINY_DRKF, "--max_steps", "1", "--save_strategy", "steps", "--eval_strategy", "steps"]
SHORT += ["--skip_damaged", "all", "--per_device_train_batch_size", "8"]
"""What makes a training command short; the command itself stays as the README has it."""


def commands() -> list[str]:
    lines = "\n".join(text for language, text in BLOCKS if language == "bash").replace("\\\n", " ").splitlines()
    stripped = (line.partition("  #")[0].strip() for line in lines)
    return [line for line in stripped if line and not line.startswith(TESTED_ELSEWHERE)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reader")
    write_tones(folder)
    recipe, demo = write_recipe(folder, num_train_epochs=1), folder / "runs" / "demo" / "both"
    assert main([str(recipe), "--manifest", str(folder / "clips.csv"), "--output_dir", str(demo)]) == 0
    time = np.arange(24 * RATE) / RATE
    soundfile.write(folder / "talk.wav", 0.2 * np.sin(2 * np.pi * (200 + 20 * np.sin(time)) * time), RATE)
    soundfile.write(folder / "clip.wav", 0.2 * np.sin(2 * np.pi * 300 * time[:RATE]), RATE)
    (folder / "talk.srt").write_text(
        "1\n00:00:00,500 --> 00:00:02,000\nso happy\n\n2\n00:00:03,000 --> 00:00:04,500\noh no\n"
    )
    make_iemocap(folder / "IEMOCAP_full_release")
    make_meld(folder / "MELD.Raw")
    write_encoders(folder)
    return folder


def write_encoders(folder: Path) -> None:
    """Tiny encoders and a tiny recogniser where the Hub ids of the real ones are looked for first: as folders."""
    processor = tiny_processor()
    for name, sizes in ((SPEECH, AUDIO_ENCODERS["wav2vec2"]), (TEXT, TEXT_ENCODERS["roberta"])):
        AutoModel.from_config(AutoConfig.for_model(**sizes)).save_pretrained(folder / name)
    processor.feature_extractor.save_pretrained(folder / SPEECH)
    processor.tokenizer.save_pretrained(folder / TEXT)
    write_whisper_recogniser(folder / "openai" / "whisper-tiny")


def environment(**more: str) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **more}


def run(command: list[str], folder: Path, **more: str) -> None:
    done = subprocess.run(command, cwd=folder, env=environment(**more), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def test_no_snippet_takes_more_than_ten_lines():
    for language, text in BLOCKS:
        if language in ("python", "bash"):
            assert len(text.strip().splitlines()) <= 10, text


def test_the_python_snippets_run_one_after_the_other(place: Path):
    snippets = [text for language, text in BLOCKS if language == "python"]
    assert len(snippets) >= 6
    run(["drkf", "export", "onnx", "runs/demo/both", "exported"], place)
    short = {"array": [0.01] * 800, "sampling_rate": RATE}
    rows = f"rows = [{{'audio': {short}, 'text': 'so', 'label': 1}}] * 2"
    (place / "snippets.py").write_text("\n".join([rows, *snippets]))
    run([sys.executable, "snippets.py"], place)


@pytest.mark.slow
def test_the_commands_run_one_after_the_other(place: Path):
    hub = Hub()
    more = {"HF_ENDPOINT": hub.address, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    try:
        for command in commands():
            words = shlex.split(command)
            if words[:2] == ["python", "train_drkf.py"]:
                words[1] = str(ROOT / "train_drkf.py")
            if "train_drkf.py" in command or words[:2] == ["drkf", "ablate"]:
                words += SHORT
            if words[1] in ("doctor", "prepare"):
                words += ["--skip-damaged", "all"]  # the synthetic copy has the release's damage
            run(words, place, **more, HF_HOME=str(place / "home"))
    finally:
        hub.close()
    assert hub.repositories.keys() == {"me/drkf-mine"}
    for written in ("talk.csv", "talk.png", "answers.parquet", "clip.png", "my-space/app.py", "exported/model.onnx"):
        assert (place / written).stat().st_size > 0, written
