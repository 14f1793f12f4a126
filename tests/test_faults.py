"""What happens to long runs: kills, damaged checkpoints, full disks, vanished files, losses that are no numbers.

Processes are real ones. The measure of going on well is the uninterrupted run: the same weights, bit for bit.
"""

import json
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers.faults import spoil, write_checkpoint
from helpers.forked import train
from helpers.tones import write_recipe, write_tones
from helpers.trainers import trainer as tiny_trainer
from transformers import TrainerControl, TrainerState

from modeling_drkf.experiments.datasets import CachedFeatures, pad_features
from modeling_drkf.training.callbacks import BestCheckpointCallback
from modeling_drkf.training.checkpoints import CheckpointError, last_checkpoint, require_complete, rotate, sealed
from modeling_drkf.training.finite import NonFiniteError
from modeling_drkf.training.trainer import DRKFTrainer
from processing import DRKFDataCollator

STEPS, EVERY = 24, 4  # six steps an epoch: checkpoints lie in the middle of epochs
RECIPE = {
    "per_device_train_batch_size": 2, "num_train_epochs": 4, "logging_steps": 5, "save_total_limit": 10,
    "save_strategy": "steps", "save_steps": EVERY, "eval_strategy": "steps", "eval_steps": EVERY,
}  # fmt: skip
RESUME = ("--resume_from_checkpoint", "true")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_tones(folder, takes=3)
    write_recipe(folder, **RECIPE)
    return folder


def command(corpus: Path, output: Path, *options: object) -> list[object]:
    """Dropout is on in the encoders, and pairs are sampled: what follows depends on the random numbers."""
    sampled = (
        '{"hidden_size": 16, "projection_size": 8, "augmentation_sizes": [8, 4, 2], "num_augmentation_blocks": 2,'
    )
    sampled += ' "num_fusion_layers": 1, "num_fusion_heads": 2, "discrimination_pairs": 2}'
    recipe, manifest = corpus / "tiny.yaml", corpus / "clips.csv"
    return [recipe, "--manifest", manifest, "--output_dir", output, "--drkf", sampled, *options]


@pytest.fixture(scope="module")
def whole(corpus: Path) -> Path:
    """The uninterrupted run: what each interrupted one must come to."""
    status, said = train(*command(corpus, corpus / "whole"), log=corpus / "whole.log")
    assert status == 0, said
    return corpus / "whole"


def assert_same_end(run: Path, whole: Path) -> None:
    for name in (f"checkpoint-{STEPS}/model.safetensors", f"checkpoint-{STEPS}/optimizer.pt", "model.safetensors"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    for split in ("validation", "test"):
        name = f"{split}_predictions.csv"
        assert (run / name).read_text() == (whole / name).read_text()


def before_step(number: int, action: Callable[[], object]) -> None:
    """In a process about to train: `action` comes before that step."""
    step = DRKFTrainer.training_step

    def training_step(self: DRKFTrainer, *args, **kwargs):
        if self.state.global_step == number:
            action()
        return step(self, *args, **kwargs)

    DRKFTrainer.training_step = training_step


def signal_self(number: int) -> None:
    os.kill(os.getpid(), number)


def kill_while_writing(step: int) -> None:
    """Half of `optimizer.pt` is written when the process is killed."""
    save = torch.save

    def save_half(what: object, file: str) -> None:
        save(what, file)
        if str(file).endswith(f"checkpoint-{step}/optimizer.pt"):
            os.truncate(file, os.path.getsize(file) // 2)
            signal_self(signal.SIGKILL)

    torch.save = save_half


@pytest.mark.parametrize("cached", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_to_the_same_weights(corpus: Path, whole: Path, tmp_path: Path, cached: bool):
    """One command serves both times, as in a job that is submitted again."""
    again = command(corpus, tmp_path / "out", *RESUME, "--cache_features", cached)
    step = random.SystemRandom().randrange(EVERY + 1, STEPS)
    fault = partial(before_step, step, partial(signal_self, signal.SIGKILL))
    print(f"killed at step {step}")  # shown where the test fails
    status, said = train(*again, log=tmp_path / "killed", fault=fault)
    assert status == -signal.SIGKILL, said
    assert "training starts from the beginning" in said
    status, said = train(*again, log=tmp_path / "resumed")
    assert status == 0, said
    assert "starts from the beginning" not in said
    assert_same_end(tmp_path / "out", whole)


@pytest.mark.slow
def test_a_checkpoint_killed_half_way_is_skipped(corpus: Path, whole: Path, tmp_path: Path):
    again = command(corpus, tmp_path / "out", *RESUME)
    fault = partial(kill_while_writing, 3 * EVERY)
    assert train(*again, log=tmp_path / "killed", fault=fault)[0] == -signal.SIGKILL
    assert (tmp_path / "out" / f"checkpoint-{3 * EVERY}" / "model.safetensors").is_file()
    status, said = train(*again, log=tmp_path / "resumed")
    assert status == 0, said
    assert f"checkpoint-{3 * EVERY}: its writing was never finished" in said
    assert_same_end(tmp_path / "out", whole)


@pytest.mark.slow
def test_sigterm_saves_a_checkpoint_to_resume_from(corpus: Path, whole: Path, tmp_path: Path):
    again = command(corpus, tmp_path / "out", *RESUME)
    fault = partial(before_step, 9, partial(signal_self, signal.SIGTERM))
    status, said = train(*again, log=tmp_path / "stopped", fault=fault)
    assert status == 128 + signal.SIGTERM, said
    require_complete(tmp_path / "out" / "checkpoint-10")
    assert train(*again, log=tmp_path / "resumed")[0] == 0
    assert_same_end(tmp_path / "out", whole)


def truncate(checkpoint: Path) -> None:
    os.truncate(checkpoint / "model.safetensors", 1000)


def lose_the_state(checkpoint: Path) -> None:
    (checkpoint / "trainer_state.json").unlink()


def fill_with_garbage(checkpoint: Path) -> None:
    path = checkpoint / "optimizer.pt"
    path.write_bytes(os.urandom(path.stat().st_size))


def garble_the_seal(checkpoint: Path) -> None:
    (checkpoint / "checkpoint.json").write_text("{")


DAMAGES = {
    truncate: "model.safetensors has 1000 bytes, not",
    lose_the_state: "trainer_state.json is missing",
    fill_with_garbage: "optimizer.pt has changed since it was written",
    garble_the_seal: "checkpoint.json is not readable",
}


def copy_until(whole: Path, folder: Path, step: int) -> Path:
    """The output folder as it was after `step`."""
    for number in range(EVERY, step + 1, EVERY):
        shutil.copytree(whole / f"checkpoint-{number}", folder / f"checkpoint-{number}")
    return folder


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_skipped(whole: Path, tmp_path: Path, caplog, damage: Callable[[Path], None]):
    out = copy_until(whole, tmp_path, 20)
    assert last_checkpoint(out) == out / "checkpoint-20"
    damage(out / "checkpoint-20")
    assert last_checkpoint(out) == out / "checkpoint-16"
    assert f"checkpoint-20, which is damaged: {DAMAGES[damage]}" in caplog.text
    with pytest.raises(CheckpointError, match=f"checkpoint-20 cannot be resumed from: {DAMAGES[damage]}"):
        require_complete(out / "checkpoint-20")


@pytest.mark.slow
def test_a_run_goes_on_from_before_the_damage(corpus: Path, whole: Path, tmp_path: Path):
    out = copy_until(whole, tmp_path / "out", 20)
    truncate(out / "checkpoint-20")
    status, said = train(*command(corpus, out, *RESUME), log=tmp_path / "log")
    assert status == 0, said
    assert "Skipped" in said
    assert "checkpoint-20, which is damaged" in said
    assert_same_end(out, whole)


@pytest.mark.slow
def test_nothing_but_damage_is_an_error_and_not_a_new_beginning(corpus: Path, whole: Path, tmp_path: Path):
    out = copy_until(whole, tmp_path / "out", EVERY)
    truncate(out / f"checkpoint-{EVERY}")
    status, said = train(*command(corpus, out, *RESUME), log=tmp_path / "log")
    assert status == 1
    assert "error: nothing to resume from" in said
    assert "Traceback" not in said


def test_the_last_checkpoint_is_the_one_written_last(tmp_path: Path):
    """An earlier run's checkpoint of a higher step, in the same folder, is not what a newer run goes on from."""
    assert last_checkpoint(tmp_path) is None
    write_checkpoint(tmp_path, 100)
    newer = write_checkpoint(tmp_path, 2)
    assert last_checkpoint(tmp_path) == newer


def test_a_failed_writing_leaves_no_checkpoint(tmp_path: Path):
    def write() -> None:
        with sealed(tmp_path / "checkpoint-2"):
            (tmp_path / "checkpoint-2").mkdir()
            raise RuntimeError("PytorchStreamWriter failed writing file")

    write_checkpoint(tmp_path, 1)
    with pytest.raises(
        CheckpointError, match=r"checkpoint-2 could not be written, with \d+ MiB free .* failed writing"
    ):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]


def test_rotation_keeps_the_newest_and_the_best_and_deletes_what_is_unfinished(tmp_path: Path):
    checkpoints = [write_checkpoint(tmp_path, step) for step in (1, 2, 3, 4, 5)]
    (tmp_path / "checkpoint-4" / "checkpoint.json").unlink()
    rotate(tmp_path, None, checkpoints[4], checkpoints[0])
    assert len(list(tmp_path.iterdir())) == 5
    rotate(tmp_path, 3, checkpoints[4], checkpoints[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-1", "checkpoint-3", "checkpoint-5"]
    rotate(tmp_path, 1, checkpoints[4], checkpoints[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-1", "checkpoint-5"]


def test_a_best_checkpoint_that_is_gone_is_no_longer_the_best(tmp_path: Path, caplog):
    run = tiny_trainer(tmp_path)
    state = TrainerState(best_model_checkpoint="elsewhere/checkpoint-3", best_metric=0.9, best_global_step=3)
    checkpoint = write_checkpoint(tmp_path, 3)
    BestCheckpointCallback().on_train_begin(run.args, state, TrainerControl())
    assert (state.best_model_checkpoint, state.best_metric) == (str(checkpoint), 0.9)
    shutil.rmtree(checkpoint)
    BestCheckpointCallback().on_train_begin(run.args, state, TrainerControl())
    assert (state.best_model_checkpoint, state.best_metric, state.best_global_step) == (None, None, None)
    assert "is gone" in caplog.text


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=3400k", "tmpfs", str(folder)]
    if subprocess.run(options, capture_output=True).returncode:
        pytest.skip("a file system of limited size can be mounted by root only")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk_is_told_and_leaves_the_earlier_checkpoints(
    corpus: Path, whole: Path, small_disk: Path, tmp_path: Path
):
    again = command(corpus, small_disk / "out", *RESUME)
    status, said = train(*again, log=tmp_path / "full")
    assert status == 1
    assert "could not be written, with 0 MiB free on its disk" in said
    assert "Traceback" not in said
    left = sorted((small_disk / "out").iterdir())
    assert left
    for checkpoint in left:
        require_complete(checkpoint)
    subprocess.run(["mount", "-o", "remount,size=40m", str(small_disk)], check=True)
    status, said = train(*again, log=tmp_path / "resumed")
    assert status == 0, said
    assert_same_end(small_disk / "out", whole)


def copy_corpus(corpus: Path, folder: Path) -> Path:
    shutil.copytree(corpus, folder, ignore=shutil.ignore_patterns("whole*"))
    return folder


def training_clip(whole: Path) -> str:
    return json.loads((whole / "fold.json").read_text())["folds"][0]["train"][3]


@pytest.mark.slow
def test_a_vanished_file_is_named_and_training_goes_on_once_it_is_back(corpus: Path, whole: Path, tmp_path: Path):
    own = copy_corpus(corpus, tmp_path / "corpus")
    clip = own / Path(training_clip(whole)).name
    again = command(own, tmp_path / "out", *RESUME)
    fault = partial(before_step, 9, partial(os.rename, clip, f"{clip}.away"))
    status, said = train(*again, log=tmp_path / "gone", fault=fault)
    assert status == 1
    last = said.strip().splitlines()[-1]
    assert last.startswith("error: utterance")
    assert str(clip) in last
    assert "no such file" in last
    saved = last_checkpoint(tmp_path / "out")
    assert saved is not None
    assert int(saved.name.split("-")[1]) >= 9
    os.rename(f"{clip}.away", clip)
    status, said = train(*again, log=tmp_path / "resumed")
    assert status == 0, said
    assert_same_end(tmp_path / "out", whole)


@pytest.mark.slow
def test_a_loss_that_is_no_number_names_term_and_utterance(corpus: Path, whole: Path, tmp_path: Path):
    utterance = training_clip(whole)
    again = command(corpus, tmp_path / "out", *RESUME)
    fault = partial(before_step, 9, partial(spoil, utterance))
    status, said = train(*again, log=tmp_path / "spoilt", fault=fault)
    assert status == 1
    last = said.strip().splitlines()[-1]
    assert "contrastive_loss is nan" in last
    assert "classification_loss is nan" in last
    assert f"for utterance {utterance};" in last
    require_complete(tmp_path / "out" / "checkpoint-8")
    assert train(*again, log=tmp_path / "resumed")[0] == 0
    assert_same_end(tmp_path / "out", whole)


@pytest.mark.parametrize("cached", [True, False])
def test_a_batch_whose_weights_are_to_blame_names_all_its_utterances(tmp_path: Path, cached: bool):
    run = tiny_trainer(tmp_path, max_steps=3, learning_rate=1e30, max_grad_norm=0.0, warmup_steps=0)
    rows = run.train_dataset.add_column("utterance_id", [f"clip{index}" for index in range(8)])
    run.train_dataset = rows
    if cached:
        run.train_dataset = CachedFeatures(rows, DRKFDataCollator(run.processing_class, utterance_ids=True))
        run.data_collator = partial(pad_features, pad_token_id=0)
    with pytest.raises(NonFiniteError, match=r"training at step [12]: .*_loss is (nan|inf)") as error:
        run.train()
    assert str(error.value).count("clip") == 4


def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path):
    run = tiny_trainer(tmp_path, max_steps=1, save_steps=1, learning_rate=1e39, warmup_steps=0)
    with pytest.raises(NonFiniteError, match=r"checkpoint at step 1: the weights .* are no longer finite"):
        run.train()
    assert not list(tmp_path.glob("checkpoint-*"))
