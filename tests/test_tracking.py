"""What experiment trackers get: a run of its own for each fold, with every term and the final scores."""

import json
import os
import sqlite3
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
from helpers.tones import SPEAKERS, script, write_recipe, write_tones

pytest.importorskip("trackio", reason="trackers are in the extra `trackers`")
pytest.importorskip("wandb", reason="trackers are in the extra `trackers`")

RUNS = {f"tones-{speaker}-seed42" for speaker in SPEAKERS[:2]}
TERMS = ("classification", "reconstruction", "label_divergence", "contrastive", "discrimination")
FINAL = "test/unweighted_accuracy"


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two folds, of one command, left what they told trackio and wandb."""
    folder = tmp_path_factory.mktemp("tracked")
    options = ["--manifest", write_tones(folder), "--protocol", "leave_one_speaker_out", "--folds", *SPEAKERS[:2]]
    options += ["--report_to", "trackio", "wandb", "--run_name", "tones", "--logging_steps", 1]
    environment = os.environ | {"TRACKIO_DIR": str(folder), "WANDB_DIR": str(folder), "WANDB_MODE": "offline"}
    command = script(write_recipe(folder), *options, "--output_dir", folder / "out")
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_trackio_has_a_run_a_fold_with_every_term_and_the_final_scores(tracked: Path):
    logged = defaultdict(list)
    (database,) = tracked.glob("*.db")
    for run, metrics in sqlite3.connect(database).execute("select run_name, metrics from metrics order by step"):
        logged[run].append(json.loads(metrics))
    assert set(logged) == RUNS
    for run, entries in logged.items():
        for part in ("train", "eval"):
            shown = [entry for entry in entries if f"{part}/loss" in entry]
            assert len(shown) >= 2
            assert all(f"{part}/{term}_loss" in entry for term in TERMS for entry in shown)
        record = json.loads((tracked / "out" / run.removeprefix("tones-") / "metrics.json").read_text())
        assert [entry[FINAL] for entry in entries if FINAL in entry] == [record["test"]["unweighted_accuracy"]]


@pytest.mark.slow
def test_wandb_has_a_run_a_fold_with_the_final_scores(tracked: Path):
    files = [file.read_bytes() for file in tracked.glob("wandb/offline-run-*/*.wandb")]
    assert len(files) == len(RUNS)
    assert {run for run in RUNS for file in files if run.encode() in file} == RUNS
    assert all(FINAL.encode() in file for file in files)
