"""A served page: a tiny checkpoint, clips, what is answered, and where."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.page import DRKF, WORDS, free_port, serving, write_checkpoint, write_clips
from transformers import pipeline

import modeling_drkf  # noqa: F401  (registers the pipeline)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny-drkf")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def expected(checkpoint: Path, clips: Path) -> dict[str, Any]:
    return pipeline("multimodal-emotion-recognition", model=str(checkpoint))(
        {"audio": str(clips / "good.wav"), "text": WORDS}
    )


@pytest.fixture(scope="module")
def address(checkpoint: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    options = ["app", "--model", checkpoint, "--port", port, "--examples", clips / "examples.csv"]
    with serving(DRKF + list(map(str, options)), port, tmp_path_factory.mktemp("served")) as url:
        yield url
