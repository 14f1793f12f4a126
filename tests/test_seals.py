"""Seals of checkpoints: their order survives clocks that go back, and what is no seal is damage, not a traceback."""

import json
import pickle
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.faults import write_checkpoint
from helpers.trainers import trainer
from safetensors.torch import load_file, save_file

from modeling_drkf.training.checkpoints import CheckpointError, last_checkpoint, require_complete, rotate, sealed


def test_a_clock_that_goes_back_loses_no_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for step, now in ((10, 2e9), (20, 1e9), (30, 1.5e9)):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        newest = write_checkpoint(tmp_path, step)
        assert last_checkpoint(tmp_path) == newest
    rotate(tmp_path, 2, newest, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-20", "checkpoint-30"]


def test_of_seals_of_one_moment_the_highest_step_is_the_last(tmp_path: Path):
    for step in (9, 10, 2):
        seal = write_checkpoint(tmp_path, step) / "checkpoint.json"
        seal.write_text(json.dumps(json.loads(seal.read_text()) | {"written": 1.0}))
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"


NO_SEALS = {
    "no object": "[]",
    "null": "null",
    "nested without end": "[" * 100_000,
    "no files": '{"written": 1}',
    "an empty list": '{"written": 1, "files": {}}',
    "a file without measures": '{"written": 1, "files": {"model.safetensors": {}}}',
    "a number as measures": '{"written": 1, "files": {"model.safetensors": 7}}',
    "a time that is none": '{"written": "soon", "files": {"model.safetensors": null}}',
    "a time that never comes": '{"written": 9e99, "files": []}',
    "no text": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("kind", NO_SEALS)
def test_what_is_no_seal_is_damage(tmp_path: Path, kind: str):
    good, bad = write_checkpoint(tmp_path, 1), write_checkpoint(tmp_path, 2)
    content = NO_SEALS[kind]
    (bad / "checkpoint.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert last_checkpoint(tmp_path) == good
    with pytest.raises(CheckpointError, match=r"checkpoint\.json is not readable"):
        require_complete(bad)
    (good / "checkpoint.json").write_text("{}")
    with pytest.raises(CheckpointError, match="nothing to resume from"):
        last_checkpoint(tmp_path)


def test_a_file_that_the_seal_does_not_list_is_damage(tmp_path: Path):
    checkpoint = write_checkpoint(tmp_path, 1)
    (checkpoint / ".DS_Store").write_text("of the system")
    require_complete(checkpoint)
    (checkpoint / "pytorch_model.bin").write_text("of somebody else")
    with pytest.raises(CheckpointError, match=r"checkpoint\.json does not list pytorch_model\.bin"):
        require_complete(checkpoint)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of two steps with a sealed checkpoint after each."""
    folder = tmp_path_factory.mktemp("run")
    training = trainer(folder, max_steps=2, save_steps=1, logging_steps=1)
    training.train()
    return folder


class Touch:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def state(**fields: object) -> Callable[[Path], object]:
    def edit(checkpoint: Path) -> None:
        path = checkpoint / "trainer_state.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return edit


def replaced(name: str, content: object) -> Callable[[Path], object]:
    return lambda checkpoint: torch.save(content, checkpoint / name)


TAMPERED = {
    "a pickle as optimizer": lambda checkpoint: (checkpoint / "optimizer.pt").write_bytes(
        pickle.dumps(Touch(checkpoint.parent / "ran"))
    ),
    "a list as optimizer": replaced("optimizer.pt", [1]),
    "a number as scheduler": replaced("scheduler.pt", 7),
    "a pickle as scheduler": replaced("scheduler.pt", Touch(Path("ran"))),
    "random numbers of another kind": replaced("rng_state.pth", {"python": 1, "numpy": 2, "cpu": 3}),
    "no random numbers": lambda checkpoint: (checkpoint / "rng_state.pth").write_bytes(b""),
    "weights of other sizes": lambda checkpoint: save_file(
        {name: torch.zeros(1) for name in load_file(checkpoint / "model.safetensors")},
        checkpoint / "model.safetensors",
    ),
    "weights that are none": lambda checkpoint: (checkpoint / "model.safetensors").write_bytes(b"{" * 99),
    "nested without end": lambda checkpoint: (checkpoint / "trainer_state.json").write_text("[" * 100_000),
    "a list as state": lambda checkpoint: (checkpoint / "trainer_state.json").write_text("[]"),
    "no step": state(global_step=None),
    "a step that is no number": state(global_step=float("nan")),
    "a step beyond the end": state(global_step=10**18),
    "a negative step": state(global_step=-1),
    "no size of batches": state(train_batch_size=None),
    "a log of words": state(log_history=["loss"]),
    "a field of nobody": state(nobody=1),
    "callbacks of other arguments": state(stateful_callbacks={"TrainerControl": {"args": {"evil": 1}}}),
}


@pytest.mark.parametrize("kind", TAMPERED)
def test_a_tampered_training_state_is_an_explained_error(run: Path, tmp_path: Path, kind: str):
    shutil.copytree(run, tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoint-1"
    with sealed(checkpoint):
        TAMPERED[kind](checkpoint)
    training = trainer(tmp_path / "run", max_steps=2, save_steps=1, restore_callback_states_from_checkpoint=True)
    with pytest.raises(CheckpointError, match=r"checkpoint-1 cannot be resumed from: its .* cannot be used") as raised:
        training.train(str(checkpoint))
    assert len(str(raised.value)) < 600
    assert list(tmp_path.rglob("ran")) == []
