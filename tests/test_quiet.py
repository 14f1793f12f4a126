"""Commands show no remark of the libraries under them, and a bar only where something takes over two seconds."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from transformers.utils import logging
from typer.testing import CliRunner

from drkf_cli import app, progress
from drkf_cli.checkpoint import open_pipeline, starter_folder
from drkf_cli.progress import answering, count_pieces
from processing import quiet
from processing.quiet import VERBOSE, late_bars, quieten

RATE = 16_000


@pytest.fixture(scope="module")
def pipe() -> Any:
    return open_pipeline(str(starter_folder()))


@pytest.fixture(autouse=True)
def own_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(VERBOSE, "")
    verbosity = logging.get_verbosity()
    yield
    logging.set_verbosity(verbosity)


def recording(folder: Path, seconds: float) -> str:
    path = folder / f"{seconds}.wav"
    time = np.arange(round(seconds * RATE)) / RATE
    soundfile.write(path, 0.2 * np.sin(2 * np.pi * 200 * time), RATE)
    return str(path)


@pytest.mark.parametrize("options", [["corpora", "--verbose"], ["--verbose", "corpora"]])
def test_verbose_may_stand_before_and_behind_the_verb(options: list[str]):
    assert CliRunner().invoke(app, options).exit_code == 0
    assert os.environ[VERBOSE] == "1"
    quieten()
    assert logging.get_verbosity() == logging.INFO


def test_without_it_only_errors_of_transformers_are_shown():
    assert CliRunner().invoke(app, ["corpora"]).exit_code == 0
    quieten()
    assert logging.get_verbosity() == logging.ERROR


def test_bars_of_transformers_wait(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(quiet, "BAR_DELAY_S", 1e9)
    late_bars()
    list(logging.tqdm(range(3), desc="short"))
    assert "short" not in capsys.readouterr().err
    list(logging.tqdm(range(3), desc="at once", delay=0))
    assert "3/3" in capsys.readouterr().err


def test_the_bar_counts_pieces_with_their_rate(
    pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    talk = recording(tmp_path, 5.0)
    monkeypatch.setattr(progress, "BAR_DELAY_S", 1e9)
    windows = {"chunk_length_s": 2.0, "batch_size": 2}
    with answering(3, "clip") as bar:
        count_units(pipe, talk, bar, **windows)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "BAR_DELAY_S", 0)
    with answering(3, "clip") as bar:
        count_units(pipe, talk, bar, **windows)
    assert bar.n == 3
    shown = capsys.readouterr().err
    assert "3/3" in shown
    assert "clip" in shown.rpartition("3/3")[2]
    with answering(2, "clip") as other:
        count_units(pipe, recording(tmp_path, 1.0), other)
    assert (bar.n, other.n) == (3, 1)
    assert "1/2" in capsys.readouterr().err
    with answering(1, "clip") as single:
        count_units(pipe, recording(tmp_path, 1.0), single)
    assert capsys.readouterr().err == ""


def count_units(pipe: Any, audio: Any, bar: Any, **options: Any) -> None:
    for _ in pipe.recognizer.answered([audio], ["talk"], **options):
        bar.update()


@pytest.mark.parametrize("seconds", [1.0, 2.0, 2.5, 5.0, 6.0])
@pytest.mark.parametrize("step", [None, 1.0])
def test_windows_are_counted_before_they_are_cut(pipe: Any, tmp_path: Path, seconds: float, step: float | None):
    talk = {"audio": recording(tmp_path, seconds)}
    timeline = pipe(talk, chunk_length_s=2.0, step_s=step)["timeline"]
    assert count_pieces([talk], 2.0, step) == len(timeline)
    segments = [{"start": 0.0, "end": 0.5}] * 3
    assert count_pieces([talk | {"segments": segments}, talk], 2.0, step) == 3 + len(timeline)
    assert count_pieces([{"audio": str(tmp_path / "none.wav")}], 2.0, None) is None
    assert count_pieces([{"audio": "a.wav"}, {"audio": "b.wav"}], None, None) == 2
