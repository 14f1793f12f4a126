"""Seals of checkpoints: their order survives clocks that go back, and what is no seal is damage, not a traceback."""

import json
import time
from pathlib import Path

import pytest
from helpers.faults import write_checkpoint

from modeling_drkf.training.checkpoints import CheckpointError, last_checkpoint, require_complete, rotate


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
