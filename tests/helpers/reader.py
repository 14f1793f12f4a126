"""The documentation as its reader has it: its pages, their snippets, and a folder that holds what they name."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from transformers import AutoConfig, AutoModel
from typer.testing import CliRunner

from drkf_cli import app
from train_drkf import main

from .corpora import make_iemocap, make_meld
from .recognisers import write_whisper_recogniser
from .tiny import AUDIO_ENCODERS, TEXT_ENCODERS, tiny_processor
from .tones import write_recipe, write_tones

ROOT = Path(__file__).resolve().parents[2]
PAGES = [path.relative_to(ROOT) for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))]
RATE = 16_000
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
SPEECH, TEXT = "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim", "FacebookAI/roberta-large"
ENCODERS = {
    SPEECH: AUDIO_ENCODERS["wav2vec2"],
    TEXT: TEXT_ENCODERS["roberta"],
    "encoders/wavlm": AUDIO_ENCODERS["wavlm"],
    "encoders/deberta": TEXT_ENCODERS["deberta-v2"],
}
"""Tiny ones where the ids of the real ones are looked for first: as folders."""

TESTED_ELSEWHERE = (
    "make ",
    "python3 -m venv ",
    "pip ",
    "drkf app",
    "git ",
    "pre-commit ",
    "python -m build",
    "twine ",
)
TINY_DRKF = (
    '{"hidden_size": 16, "projection_size": 8, "augmentation_sizes": [8, 4], "num_augmentation_blocks": 1, '
    '"num_fusion_layers": 1, "num_fusion_heads": 2}'
)
SHORT = ["--max_steps", "1", "--save_strategy", "steps", "--eval_strategy", "steps", "--pictures", "false"]
SHORT += ["--skip_damaged", "all", "--per_device_train_batch_size", "8", "--report_to", "none"]
"""What makes a training command short; the command itself stays as the page has it."""


def blocks(page: Path) -> list[tuple[str, str]]:
    """The fenced blocks of a page that can be run: their language, python or bash, and their text."""
    found = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    return [(language, text) for language, text in found if language in ("python", "bash")]


def commands(text: str) -> list[str]:
    """The commands of a block that are to be run here, a line each, without comments."""
    stripped = (line.partition("  #")[0].strip() for line in text.replace("\\\n", " ").splitlines())
    return [line for line in stripped if line and not line.startswith(TESTED_ELSEWHERE)]


def furnish(folder: Path) -> Path:
    """What the pages name: clips and a manifest, a long recording, corpora, encoders, and a checkpoint, `trained`."""
    write_tones(folder)
    recipe = write_recipe(folder, num_train_epochs=1)
    assert main([str(recipe), "--manifest", str(folder / "clips.csv"), "--output_dir", str(folder / "trained")]) == 0
    time = np.arange(24 * RATE) / RATE
    soundfile.write(folder / "talk.wav", 0.2 * np.sin(2 * np.pi * (200 + 20 * np.sin(time)) * time), RATE)
    soundfile.write(folder / "clip.wav", 0.2 * np.sin(2 * np.pi * 300 * time[:RATE]), RATE)
    (folder / "talk.srt").write_text(
        "1\n00:00:00,500 --> 00:00:02,000\nso happy\n\n2\n00:00:03,000 --> 00:00:04,500\noh no\n"
    )
    (folder / "talk.vtt").write_text(
        "WEBVTT\n\n00:00.500 --> 00:02.000\nAnna: so happy\n\n00:03.000 --> 00:04.500\nBen: oh no\n"
    )
    (folder / "talk.rttm").write_text(
        "SPEAKER talk 1 0.5 1.6 <NA> <NA> Zoe <NA> <NA>\nSPEAKER talk 1 2.9 2.0 <NA> <NA> Max <NA> <NA>\n"
    )
    parties = 0.2 * np.sin(2 * np.pi * np.outer(time, (200, 310))) * (np.stack([time < 14, time > 9], 1))
    soundfile.write(folder / "call.wav", parties, RATE)
    make_iemocap(folder / "IEMOCAP_full_release")
    make_meld(folder / "MELD.Raw")
    processor = tiny_processor()
    for name, sizes in ENCODERS.items():
        AutoModel.from_config(AutoConfig.for_model(**sizes)).save_pretrained(folder / name)
        processor.feature_extractor.save_pretrained(folder / name)
        processor.tokenizer.save_pretrained(folder / name)
    write_whisper_recogniser(folder / "openai" / "whisper-tiny")
    return folder


def copy_for(page: Path, furnished: Path, folder: Path) -> Path:
    """The folder of a page's own, with the checkpoint `runs/mine` where the page does not train it itself."""
    shutil.copytree(furnished, folder, dirs_exist_ok=True)
    if "--output-dir runs/mine" not in (ROOT / page).read_text(encoding="utf-8"):
        (folder / "runs").mkdir()
        (folder / "trained").rename(folder / "runs" / "mine")
    return folder


def shortened(command: str) -> list[str]:
    words = shlex.split(command)
    if "train_drkf.py" in words or words[:2] == ["drkf", "ablate"]:
        given = words.pop(words.index("--drkf") + 1) if "--drkf" in words else "{}"
        words = [word for word in words if word != "--drkf"]
        words += ["--seeds", "0"] if "--seeds" in words else []
        words += [*SHORT, "--drkf", TINY_DRKF if given == "{}" else f"{TINY_DRKF[:-1]}, {given[1:]}"]
    if words[1] in ("doctor", "prepare"):
        words += ["--skip-damaged", "all"]  # the synthetic copy has the release's damage
    return words


def perform(command: str) -> None:
    """Runs a command of a page in the current folder: in this process where it is one of the package's own."""
    words = shortened(command)
    if words[0] == "drkf":
        done = CliRunner().invoke(app, words[1:], catch_exceptions=False)
        assert done.exit_code == 0, f"{command}\n{done.output[-4000:]}"
    elif words[:2] == ["python", "train_drkf.py"]:
        assert main(words[2:]) == 0, command
    else:
        pytest.fail(f"no test runs {command!r}: teach it to helpers/reader.py, or name it in TESTED_ELSEWHERE")


def run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    """Runs a command in a process of its own."""
    command = [sys.executable, "-m", "drkf_cli", *command[1:]] if command[0] == "drkf" else command
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
