"""Verbs as users run them: clips, a tiny checkpoint, and its pipeline."""

from pathlib import Path
from typing import Any

import pytest
from helpers.cli import write_checkpoint, write_clips

from drkf_cli.checkpoint import open_pipeline


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def pipe(checkpoint: Path) -> Any:
    return open_pipeline(str(checkpoint))
