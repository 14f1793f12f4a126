"""A served page in tests: a tiny checkpoint, a server process, requests to its API."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import soundfile

from .tiny import perturb, tiny_model, tiny_processor

DRKF = [sys.executable, "-c", "from drkf_cli import app; app()"]
WORDS = "i am so happy"
FILE_DATA = {"meta": {"_type": "gradio.FileData"}}


def write_checkpoint(folder: Path) -> Path:
    """A checkpoint that takes half a second, with a card that calls it "Three feelings"."""
    names = ["calm", "tense", "glad"]
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    perturb(tiny_model(max_fusion_positions=600, **labels), scale=0.2).save_pretrained(folder)
    tiny_processor(max_audio_seconds=0.5).save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n\n# Three feelings\n\nOf nobody.\n")
    return folder


@contextmanager
def serving(command: list[str], port: int, folder: Path, **environment: str) -> Iterator[str]:
    """The address of a server process that keeps its temporary files in `folder`."""
    log = folder / "server.log"
    with log.open("w") as output:
        variables = os.environ | {"TMPDIR": str(folder), "TOKENIZERS_PARALLELISM": "false"} | environment
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=variables)
        try:
            deadline = time.monotonic() + 600
            while "The page is at" not in log.read_text():
                assert process.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < deadline, "the server takes too long to start"
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(120)
    assert process.returncode == 128 + signal.SIGTERM, log.read_text()[-3000:]
    assert sorted(folder.iterdir()) == [log], "the server left files behind"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def call(address: str, audio: Any, text: Any = WORDS, session: Any = requests) -> requests.Response:
    return session.post(f"{address}/gradio_api/call/answer", json={"data": [audio, text]}, timeout=30)


def result(address: str, called: requests.Response, session: Any = requests) -> tuple[str, Any]:
    """The event (complete or error) and what it carries."""
    answer = session.get(f"{address}/gradio_api/call/answer/{called.json()['event_id']}", timeout=60).text
    event, data = re.findall(r"event: (complete|error)\ndata: (.*)", answer)[0]
    return event, json.loads(data)


def uploaded(address: str, clip: Path, session: Any = requests) -> dict[str, Any]:
    with clip.open("rb") as file:
        paths = session.post(f"{address}/gradio_api/upload", files={"files": file}, timeout=30).json()
    return {"path": paths[0], **FILE_DATA}


def close(value: Any) -> Any:
    """An answer whose numbers may differ by what another number of threads makes of a sum."""
    if isinstance(value, dict):
        return {name: close(item) for name, item in value.items()}
    if isinstance(value, list):
        return [close(item) for item in value]
    return pytest.approx(value, abs=1e-5) if isinstance(value, float) else value


def write_clips(folder: Path) -> Path:
    """A good clip, a long one, a manifest of the good one, and files that are not good."""
    noise = np.random.default_rng(0).normal(size=6400) * 0.1
    soundfile.write(folder / "good.wav", noise, 16_000)
    (folder / "examples.csv").write_text(f"audio,text\ngood.wav,{WORDS}\n")
    (folder / "words.wav").write_text("this is text, no sound")
    (folder / "empty.wav").write_bytes(b"")
    (folder / "cut.wav").write_bytes((folder / "good.wav").read_bytes()[:5000])
    soundfile.write(folder / "long.flac", np.zeros(601 * 8000), 8000)
    soundfile.write(folder / "talk.wav", np.random.default_rng(1).normal(size=24_000) * 0.1, 16_000)
    (folder / "voice.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    return folder


def upload(page: Any, file: Path, part: str = "clip") -> None:
    """Gives a file to a part of the page in the browser, and waits until it is there."""
    with page.expect_response(lambda response: "/upload?" in response.url):
        page.locator(f"#{part} input[type=file]").set_input_files(file)
    page.locator(f"#{part}").get_by_role("button", name="Clear").wait_for()
