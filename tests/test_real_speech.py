"""Training on real speech and real transcripts (constructed pairs), and the demo as users run it. Minutes each."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas
import pytest
from helpers.tones import script
from sklearn.metrics import roc_auc_score
from transformers import pipeline

from drkf_cli.demo import SENTENCE
from processing.pipeline_drkf import TASK

pytestmark = pytest.mark.slow
RECIPE = "cpu_study.yaml"


def run(*arguments: object, timeout: float) -> str:
    finished = subprocess.run([*map(str, arguments)], capture_output=True, text=True, timeout=timeout)
    assert finished.returncode == 0, finished.stderr[-3000:]
    return finished.stdout


def test_sixteen_real_clips_are_learnt_by_heart(shared_data: Path, tmp_path: Path):
    """The same clips train, validate and test here: the only place where that is meant."""
    with (shared_data / "paired.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[:16]
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["audio", "text", "label", "split", "utterance_id"])
        writer.writeheader()
        for split in ("train", "validation"):
            for number, row in enumerate(rows):
                clip = {"audio": shared_data / row["audio"], "text": row["text"], "label": row["label"]}
                writer.writerow(clip | {"split": split, "utterance_id": f"{split}{number}"})
    options = ["--manifest", tmp_path / "clips.csv", "--output_dir", tmp_path / "out", "--num_train_epochs", 60]
    options += ["--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "false"]
    run(*script(RECIPE, *options), timeout=400)
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert record["validation"]["weighted_accuracy"] == 1.0


def test_an_unheard_speaker_is_recognised_beyond_chance(shared_data: Path, tmp_path: Path):
    """Six classes, chance UA 0.167; the bootstrap interval must exclude it."""
    options = ["--manifest", shared_data / "paired.csv", "--protocol", "leave_one_speaker_out", "--fold", "SM0"]
    run(*script(RECIPE, *options, "--num_train_epochs", 2, "--output_dir", tmp_path), timeout=900)
    record = json.loads((tmp_path / "metrics.json").read_text())
    assert record["fold"]["test"] == 538
    assert record["test"]["intervals"]["unweighted_accuracy"][0] > 1 / 6
    assert len(pandas.read_csv(tmp_path / "test_predictions.csv")) == 538


def test_the_demo_holds_its_promises(tmp_path: Path):
    """Together more than either half; each half alone answers; a contradiction is told from an agreement."""
    run(Path(sys.executable).with_name("drkf"), "demo", "--output-dir", tmp_path, timeout=1800)
    scores = {
        modality: json.loads((tmp_path / modality / "metrics.json").read_text())["test"]["unweighted_accuracy"]
        for modality in ("speech", "text", "both")
    }
    assert scores["both"] >= 0.75
    assert scores["both"] - max(scores["speech"], scores["text"]) >= 0.05
    columns = ["utterance_id", "audio", "text", "voice_cue", "text_cue", "consistent"]
    clips = pandas.read_csv(tmp_path / "corpus" / "manifest.csv", usecols=columns)
    tested = pandas.read_csv(tmp_path / "both" / "test_predictions.csv").merge(clips, on="utterance_id")
    plain = tested[~tested.consistent | (tested.voice_cue == tested.text_cue)]
    assert roc_auc_score(plain.consistent, plain.consistency) >= 0.85
    typical = plain.groupby("consistent").consistency.median()
    assert typical[True] > 0.5
    assert typical[True] > typical[False]
    pipe = pipeline(TASK, model=str(tmp_path / "both"))
    explicit = plain[plain.consistent]
    for inputs in (
        [{"audio": tmp_path / "corpus" / audio} for audio in explicit.audio],
        [{"text": text} for text in explicit.text],
    ):
        found = [answer["scores"][0]["label"] for answer in pipe(inputs)]
        assert (explicit.label == found).mean() >= 0.5  # of 32 clips; chance is 0.25
    assert pipe({"text": SENTENCE})["scores"][0]["label"] == "angry"


def test_ctrl_c_ends_the_demo_without_a_traceback(tmp_path: Path):
    command = [str(Path(sys.executable).with_name("drkf")), "demo", "--output-dir", str(tmp_path)]
    with (tmp_path / "said").open("w") as said:
        demo = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("speech/checkpoint-*/checkpoint.json")):
        assert demo.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    demo.send_signal(signal.SIGINT)
    assert demo.wait(300) == 130
    told = (tmp_path / "said").read_text()
    assert told.splitlines()[-1].startswith("Stopped.")
    assert "Traceback" not in told
