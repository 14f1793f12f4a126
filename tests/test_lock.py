"""Two trainings in one folder: the second one says which process the first one is."""

import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.tones import script, write_recipe, write_tones

from modeling_drkf.experiments.experiment import only_training_in
from processing.errors_drkf import FileError
from train_drkf import main

HOLD = """
import sys, time
from pathlib import Path
from modeling_drkf.experiments.experiment import only_training_in
with only_training_in(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def other(tmp_path: Path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.wait()


def enter(folder: Path, locks: bool = True) -> None:
    with only_training_in(folder, locks):
        pass


def test_the_second_training_names_the_first(other, tmp_path: Path, capsys):
    manifest, recipe = write_tones(tmp_path), write_recipe(tmp_path)
    command = [str(recipe), "--manifest", str(manifest), "--output_dir", str(tmp_path / "out"), "--use_cpu"]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert f"process {other.pid} on {platform.node()} (since 20" in said
    assert "is training in this folder; wait for it, or name another --output-dir" in said


def test_the_lock_dies_with_its_process(other, tmp_path: Path):
    with pytest.raises(FileError, match=f"process {other.pid}"):
        enter(tmp_path / "out")
    enter(tmp_path / "out", locks=False)
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    enter(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_lock_that_tells_nothing_is_a_lock(other, tmp_path: Path):
    (tmp_path / "out" / "_training.lock").write_text("?")
    with pytest.raises(FileError, match="another process is training in this folder"):
        enter(tmp_path / "out")


@pytest.mark.slow
def test_a_training_goes_on_unharmed_while_another_is_refused(tmp_path: Path):
    command = [write_recipe(tmp_path), "--manifest", write_tones(tmp_path), "--num_train_epochs", 20, "--output_dir"]
    first = subprocess.Popen(script(*command, tmp_path / "out"), stderr=subprocess.DEVNULL)
    while not list((tmp_path / "out").glob("checkpoint-*")):
        assert first.poll() is None
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGSTOP)  # it holds its lock, and does not end before the second one has tried
    second = subprocess.run(script(*command, tmp_path / "out"), capture_output=True, text=True)
    os.kill(first.pid, signal.SIGCONT)
    assert second.returncode == 1
    assert f"{tmp_path / 'out'}: process {first.pid} on {platform.node()} (since 20" in second.stderr
    assert first.wait() == 0
    assert main(list(map(str, [*command, tmp_path / "alone"]))) == 0
    records = [json.loads((tmp_path / run / "metrics.json").read_text()) for run in ("out", "alone")]
    assert records[0] | {"train_seconds": None} == records[1] | {"train_seconds": None}
