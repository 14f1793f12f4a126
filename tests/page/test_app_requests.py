"""`drkf app` as programs meet it: its API, and what it gives to nobody."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
import soundfile
from helpers.page import (
    DRKF,
    FILE_DATA,
    call,
    close,
    free_port,
    result,
    serving,
    uploaded,
)

import modeling_drkf  # noqa: F401  (registers the pipeline)
from drkf_cli.web.limits import Limits
from drkf_cli.web.rendering import render_answer

pytest.importorskip("gradio", reason="the web page needs the extra `app`")


def test_the_api_answers(address, clips, expected):
    event, data = result(address, call(address, uploaded(address, clips / "good.wav")))
    assert (event, data) == ("complete", [close(expected)])


@pytest.mark.parametrize(
    ("gains", "warning"),
    [
        ((1, -1), "the channels cancel each other: the loudest alone was read"),
        (
            (0, 0),
            "silence: nothing sounds; the answer rests on the words alone, for which this checkpoint was not trained",
        ),
    ],
)
def test_the_page_says_where_there_is_little_to_hear(address, clips, tmp_path, gains, warning):
    noise, rate = soundfile.read(clips / "good.wav")
    soundfile.write(tmp_path / "clip.wav", noise[:, None] * gains, rate)
    event, (answer,) = result(address, call(address, uploaded(address, tmp_path / "clip.wav")))
    assert (event, answer["warning"]) == ("complete", warning)
    assert f'<p class="warning">Note: {warning}</p>' in render_answer(answer)


@pytest.mark.parametrize(
    "named",
    [
        "/etc/passwd",
        "https://example.com/clip.wav",
        "clip.wav",
        "{upload}/../../../../etc/passwd",
        "file:///etc/passwd",
    ],
)
def test_paths_and_urls_of_clients_are_refused(address, clips, named):
    own = uploaded(address, clips / "good.wav")["path"]
    called = call(address, {"path": named.format(upload=Path(own).parent), **FILE_DATA})
    assert (called.status_code, called.json()["detail"]) == (400, "Upload the clip: paths and URLs are not read.")


def test_files_of_the_server_are_not_given_out(address, checkpoint, clips):
    own = uploaded(address, clips / "good.wav")["path"]
    assert requests.get(f"{address}/gradio_api/file={own}", timeout=30).content == (clips / "good.wav").read_bytes()
    for other in (checkpoint / "config.json", "/etc/passwd", "https://example.com/", f"{Path(own).parent}/../../x"):
        for route in ("file=", "file/", "proxy="):
            assert requests.get(f"{address}/gradio_api/{route}{other}", timeout=30).status_code in (403, 404), other


def test_what_is_sent_is_bounded(address, clips):
    assert call(address, None, "x" * 2**20).status_code == 413
    assert result(address, call(address, None, "x" * 2000))[0] == "error"
    assert result(address, call(address, None, " "))[0] == "error"
    too_large = {"files": ("big.wav", b"\0" * (Limits().upload_bytes + 2**15))}
    assert requests.post(f"{address}/gradio_api/upload", files=too_large, timeout=60).status_code == 413
    broken = requests.post(f"{address}/gradio_api/call/answer", data=b"{", timeout=30)
    assert broken.status_code == 400
    deep = requests.post(f"{address}/gradio_api/call/answer", data=b"[" * 10_000, timeout=30)
    assert deep.status_code == 400
    assert result(address, call(address, uploaded(address, clips / "good.wav")))[0] == "complete"


def test_services_that_the_page_does_not_use_are_closed(address):
    for route in ("process_recording", "vibe-edit", "run/answer", "stream/x", "login"):
        assert requests.post(f"{address}/gradio_api/{route}", json={}, timeout=30).status_code == 404, route


@pytest.mark.slow
def test_clips_are_deleted_while_the_server_runs(checkpoint, clips, tmp_path):
    port = free_port()
    hasty = ["--limit", "kept_seconds=10", "--limit", "swept_seconds=2"]
    with serving([*DRKF, "app", "--model", str(checkpoint), "--port", str(port), *hasty], port, tmp_path) as url:
        own = uploaded(url, clips / "good.wav")
        assert result(url, call(url, own))[0] == "complete"
        deadline = time.monotonic() + 60
        while list(tmp_path.rglob("*.wav")):
            assert time.monotonic() < deadline, "the clip is still there"
            time.sleep(0.2)
        assert result(url, call(url, own))[0] == "error"


def test_browsers_are_told_to_load_nothing_from_elsewhere(address):
    headers = requests.get(address, timeout=30).headers
    assert "default-src 'self';" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_a_header_that_hides_the_length_lets_no_long_clip_pass(address, clips, tmp_path):
    encoded = bytearray((clips / "long.flac").read_bytes())
    encoded[21] &= 0xF0  # STREAMINFO's 36 bits of total samples: 0 stands for unknown
    encoded[22:26] = bytes(4)
    (tmp_path / "unknown.flac").write_bytes(encoded)
    own = uploaded(address, tmp_path / "unknown.flac")
    event, data = result(address, call(address, own))
    assert event == "error", data
    assert "limit of 600 s" in data["error"] or "cannot be decoded" in data["error"]
    assert str(Path(own["path"]).parent) not in data["error"]


@pytest.mark.slow
def test_a_taken_port_is_told(checkpoint):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        shown = subprocess.run([*DRKF, "app", "--model", str(checkpoint), "--port", port], capture_output=True,
                              text=True, check=False)  # fmt: skip
    assert shown.returncode == 1
    assert shown.stderr.splitlines()[-1].startswith(f"error: port {port} of 127.0.0.1 is taken")


def test_without_gradio_the_extra_is_named(checkpoint):
    blocked = f"import sys; sys.modules['gradio'] = None; {DRKF[2]}"
    finished = subprocess.run(
        [sys.executable, "-c", blocked, "app", "--model", str(checkpoint)], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 1
    assert finished.stderr.strip() == "error: the web page needs Gradio: pip install 'drkf[app]'"
