"""Random requests against the page of `drkf app`: no crash, no 500, no traceback, no growth."""

import io
import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests
import soundfile
from helpers.page import DRKF, FILE_DATA, free_port, serving, write_checkpoint

pytest.importorskip("gradio", reason="the web page needs the extra `app`")

REQUESTS = 2000
DOCUMENTED = {200, 400, 401, 403, 404, 405, 408, 413, 416, 422, 429, 503, 507}
LONGEST = 3  # seconds of the server's CPU for one request, whatever else the machine does
GROWTH = 150 * 2**20  # bytes: caches and arenas that fill once
FORM = "multipart/form-data; boundary=b"
TEXTS = ["", " ", "\0", "\ud800", "x" * 1001, "é" * 900, "\x1b[2J", "good day", "日本語", "[" * 300, "NaN"]
ROUTES = [
    "call/answer",
    "call/nothing",
    "call/",
    "queue/join",
    "cancel",
    "reset",
    "upload",
    "run/answer",
    "../x",
    "call/show",
    "call/v2/answer",
]
PLACES = [
    *("file=/etc/passwd", "file=", "file=" + "a/" * 5000, "proxy=http://localhost", "..%2f..%2fetc/passwd", "%00"),
    *("call/answer/none", "queue/data?session_hash=x", "info", "startup-events", "heartbeat/", "config", "theme.css"),
]


def value(chance: random.Random, depth: int = 0) -> Any:
    """Any JSON value, shallow ones more often."""
    leaves = [None, True, 0, -1, 1e308, 10**30, "", chance.choice(TEXTS), "/etc/passwd", "http://localhost/x"]
    if depth > 4 or chance.random() < 0.6:
        return chance.choice(leaves)
    if chance.random() < 0.5:
        return [value(chance, depth + 1) for _ in range(chance.randrange(5))]
    keys = ["path", "url", "meta", "data", "fn_index", "session_hash", "event_id", "orig_name", "size", "is_stream"]
    return {chance.choice(keys): value(chance, depth + 1) for _ in range(chance.randrange(5))}


def clip(chance: random.Random) -> bytes:
    """A recording of some format, damaged more often than not."""
    kind = chance.choice(["WAV", "FLAC", "OGG", "AIFF", "MP3"])
    encoded = io.BytesIO()
    samples = np.random.default_rng(chance.randrange(9)).normal(
        size=(chance.randrange(1, 4000), chance.choice([1, 2]))
    )
    soundfile.write(encoded, 0.1 * samples, chance.choice([8000, 16_000, 44_100]), format=kind)
    content = bytearray(encoded.getvalue())
    for _ in range(chance.choice([0, 0, 1, 5, 50])):
        content[chance.randrange(len(content))] = chance.randrange(256)
    return bytes(content[: chance.choice([len(content), len(content), 44, 0, len(content) // 2])])


def attack(url: str, chance: random.Random) -> requests.Response:
    kind = chance.randrange(6)
    if kind == 5:
        form = {
            chance.choice(["files", "file", ""]): chance.choice(
                [(None, b"x"), ("", b""), ("a.wav", b"x"), (None, b"\0")]
            )
        }
        body: Any = (
            {"files": form} if chance.random() < 0.5 else {"data": clip(chance), "headers": {"Content-Type": FORM}}
        )
        return requests.post(f"{url}/gradio_api/upload?upload_id={chance.random()}", timeout=60, **body)
    if kind == 0:
        return requests.get(
            f"{url}/{chance.choice(['', 'gradio_api/'])}{chance.choice(PLACES)}", timeout=60, stream=True
        )
    if kind == 1:
        body = json.dumps({"data": value(chance)} if chance.random() < 0.7 else value(chance)).encode()
        for _ in range(chance.choice([0, 0, 3])):
            body = body[: chance.randrange(len(body) + 1)] + bytes([chance.randrange(256)]) + body[len(body) // 2 :]
        return requests.post(f"{url}/gradio_api/{chance.choice(ROUTES)}", data=body, timeout=60)
    if kind == 2:
        audio = value(chance) if chance.random() < 0.3 else None
        return asked(url, audio, chance.choice(TEXTS), chance)
    name = chance.choice(["a.wav", "../../a.wav", "a" * 300, "\x1b[2J.wav", "é.flac", "", ".."])
    sent = requests.post(f"{url}/gradio_api/upload", files={"files": (name, clip(chance))}, timeout=60)
    if not sent.ok or not sent.json():
        return sent
    return asked(url, {"path": sent.json()[0], **FILE_DATA}, chance.choice(TEXTS), chance)


def asked(url: str, audio: Any, text: str, chance: random.Random) -> requests.Response:
    called = requests.post(
        f"{url}/gradio_api/call/answer", json={"data": [audio, text][: chance.choice([2, 2, 2, 1])]}, timeout=60
    )
    if called.ok:
        answer = requests.get(f"{url}/gradio_api/call/answer/{called.json()['event_id']}", timeout=60).text
        assert "event: complete" in answer or "event: error" in answer, answer
    return called


@pytest.mark.slow
def test_two_thousand_random_requests(tmp_path: Path):
    served, port = tmp_path / "served", free_port()
    served.mkdir()
    checkpoint = write_checkpoint(tmp_path / "tiny-drkf")
    command = [*DRKF, "app", "--model", str(checkpoint), "--port", str(port), "--limit", "requests_per_minute=0"]
    chance, statuses, worst = random.Random(0), Counter[int](), (0.0, 0.0)
    with serving(command, port, served) as url:
        log = served / "server.log"
        pid = next(json.loads(line)["pid"] for line in log.read_text().splitlines() if '"pid"' in line)
        memory, server = 0, psutil.Process(pid)
        for number in range(REQUESTS):
            start, busy = time.monotonic(), sum(server.cpu_times()[:2])
            with attack(url, chance) as response:
                statuses[response.status_code] += 1
                assert response.status_code in DOCUMENTED, (number, response.request.url, response.request.body)
            worst = max(worst, (sum(server.cpu_times()[:2]) - busy, time.monotonic() - start))
            if number == REQUESTS // 4:
                memory = server.memory_info().rss
        growth = server.memory_info().rss - memory
        print(f"{dict(statuses)}, worst {worst[0]:.2f} s of CPU ({worst[1]:.2f} s), growth {growth / 2**20:.0f} MiB")
        assert requests.get(f"{url}/readyz", timeout=60).status_code == 200
    said = log.read_text()
    assert "Traceback" not in said
    assert "\x1b" not in said
    assert worst[0] < LONGEST
    assert growth < GROWTH
