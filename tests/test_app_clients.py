"""One client of `drkf app` never stops the others: real servers, a loopback address for each client."""

import asyncio
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import soundfile
from helpers.page import DRKF, WORDS, call, close, free_port, result, serving, uploaded, write_checkpoint
from requests.adapters import HTTPAdapter
from transformers import pipeline

pytest.importorskip("gradio", reason="the web page needs the extra `app`")

import uvicorn

import modeling_drkf  # noqa: F401  (registers the pipeline)
from drkf_cli.web.addresses import Names
from drkf_cli.web.connections import bounded_config
from drkf_cli.web.limits import Limits
from drkf_cli.web.serving import build_application
from drkf_cli.web.turns import Turns

HOSTILE, HONEST = "127.0.0.5", "127.0.0.77"
HEAD = b"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
LIMITS = {
    "client_connections": 5,
    "client_questions": 3,
    "client_bytes": 300_000,
    "header_seconds": 1,
    "stored_bytes": 30_000_000,
    "upload_seconds": 20,
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny-drkf")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    soundfile.write(folder / "good.wav", np.random.default_rng(0).normal(size=6400) * 0.1, 16_000)
    soundfile.write(folder / "long.flac", np.random.default_rng(1).normal(size=590 * 8000) * 0.01, 8000)
    return folder


@pytest.fixture(scope="module")
def server(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a server with narrow limits, and the folder of its log."""
    port, folder = free_port(), tmp_path_factory.mktemp("served")
    limits = [part for name, value in LIMITS.items() for part in ("--limit", f"{name}={value}")]
    command = [*DRKF, "app", "--model", str(checkpoint), "--port", str(port), *limits]
    with serving([*command, "--allowed-origin", "https://friend.example"], port, folder) as url:
        yield url, folder


@contextmanager
def client(address: str) -> Iterator[requests.Session]:
    """A session that connects from an address of the loopback network."""

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *given: Any, **more: Any) -> None:
            super().init_poolmanager(*given, **more, source_address=(address, 0))

    with requests.Session() as session:
        session.mount("http://", Adapter())
        yield session


def connected(url: str, address: str, beginning: bytes = b"") -> socket.socket:
    opened = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 30, (address, 0))
    opened.sendall(beginning)
    return opened


def answered(url: str, address: str = HONEST) -> bool:
    with client(address) as session:
        return result(url, call(url, None, session=session), session)[0] == "complete"


# Connections


@pytest.mark.parametrize("kind", [b"GET /", b"GET / HTTP/1.1\r\nHost: x\r\nX-a: ", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_endless_headers_are_cut(server: tuple[str, Path], kind: bytes):
    part = b"a: b\r\n" * 1000 if kind.endswith(b"\n") else b"a" * 6000
    sent, is_cut = 0, False
    with connected(server[0], HOSTILE, kind) as opened:
        while sent < 50_000_000 and not is_cut:
            try:
                opened.sendall(part)
            except OSError:
                is_cut = True
            sent += len(part)
    assert is_cut
    assert sent < 10_000_000  # what the kernel takes before it hears of the end
    assert answered(server[0])


@pytest.mark.parametrize("beginning", [b"", b"GET / HT", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET / HT"])
def test_a_connection_without_a_whole_request_is_closed(server: tuple[str, Path], beginning: bytes):
    with connected(server[0], HOSTILE, beginning) as opened:
        opened.settimeout(60)
        while opened.recv(2**16):
            pass


def test_a_client_has_so_many_connections(server: tuple[str, Path]):
    held = [connected(server[0], HOSTILE, HEAD) for _ in range(LIMITS["client_connections"])]
    with connected(server[0], HOSTILE) as one_more:
        assert one_more.recv(100).startswith(b"HTTP/1.1 429 ")
    assert answered(server[0])
    for opened in held:
        opened.close()
    deadline = time.monotonic() + 60
    while not answered(server[0], HOSTILE):
        assert time.monotonic() < deadline


# Uploads


def test_promises_take_no_room(server: tuple[str, Path], clips: Path):
    promise = HEAD + b"Content-Length: 26000000\r\n\r\n--b\r\n"
    held = [connected(server[0], f"127.0.0.{number}", promise) for number in range(5, 15)]
    with client(HONEST) as session:
        assert uploaded(server[0], clips / "good.wav", session)
    for opened in held:
        opened.close()


def test_uploads_of_a_client_leave_room_for_others(server: tuple[str, Path]):
    def upload(address: str) -> int:
        with client(address) as session:
            files = {"files": ("server.lock", b"\0" * 200_000)}
            return session.post(f"{server[0]}/gradio_api/upload", files=files, timeout=60).status_code

    assert [upload("127.0.0.21") for _ in range(3)] == [200, 503, 503]
    assert upload("127.0.0.22") == 200


def test_odd_uploads_are_refused_and_explained(server: tuple[str, Path]):
    url, served = server
    with client("127.0.0.23") as session:
        for sent in ({"files": {"files": (None, b"no file")}}, {"data": "x"}, {"json": {}}):
            assert session.post(f"{url}/gradio_api/upload", timeout=60, **sent).status_code == 400, sent
        form = {"Content-Type": "multipart/form-data; boundary=b"}
        for body in (b"--b\r\nx", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--", b"\xff"):
            sent_back = session.post(f"{url}/gradio_api/upload", data=body, headers=form, timeout=60)
            assert sent_back.status_code in (200, 400), body
        named = {"files": ("Ann's interview.wav", b"x")}
        assert session.post(f"{url}/gradio_api/upload?upload_id={'u' * 50_000}", files=named, timeout=60).ok
    said = (served / "server.log").read_text()
    assert "Traceback" not in said
    assert "interview" not in said


def test_a_full_disk_is_said(checkpoint: Path, clips: Path, tmp_path: Path):
    port = free_port()
    command = [*DRKF, "app", "--model", str(checkpoint), "--port", str(port)]
    limited = ["bash", "-c", 'ulimit -f 3000; exec "$@"', "bash", *command]  # as a disk with 3 MB left
    with serving(limited, port, tmp_path) as url:
        big = {"files": ("big.wav", b"\0" * 20_000_000)}
        refused = requests.post(f"{url}/gradio_api/upload", files=big, timeout=60)
        assert (refused.status_code, "disk" in refused.json()["detail"]) == (507, True)
        assert uploaded(url, clips / "good.wav")
        assert "Traceback" not in (tmp_path / "server.log").read_text()


# Questions


def test_an_empty_session_stops_nobody(server: tuple[str, Path]):
    url = server[0]
    with client("127.0.0.31") as session:
        for _ in range(20):
            body = {"data": [None, WORDS], "session_hash": ""}
            session.post(f"{url}/gradio_api/call/answer", json=body, timeout=60)
            assert (
                session.post(f"{url}/gradio_api/queue/join", json=body | {"fn_index": 1}, timeout=60).status_code
                == 400
            )
    assert answered(url)
    assert requests.get(f"{url}/readyz", timeout=30).status_code == 200


def test_a_client_takes_its_share_of_the_queue_and_others_are_answered(server: tuple[str, Path], clips: Path):
    url = server[0]
    with client("127.0.0.32") as session:
        path = uploaded(url, clips / "good.wav", session)
        statuses = []

        def ask() -> None:
            with client("127.0.0.32") as own:
                statuses.append(call(url, path, "x" * 900, own).status_code)

        for _ in range(6):
            threads = [threading.Thread(target=ask) for _ in range(5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert {200, 429} >= set(statuses) > set()
    assert answered(url)


def test_a_question_that_is_refused_gives_its_place_back(server: tuple[str, Path]):
    with client("127.0.0.33") as session:
        for _ in range(3 * LIMITS["client_questions"]):
            assert result(server[0], call(server[0], None, " ", session), session)[0] == "error"


def test_the_words_may_be_left_out(server: tuple[str, Path], checkpoint: Path, clips: Path):
    url = server[0]
    expected = pipeline("multimodal-emotion-recognition", model=str(checkpoint))({"audio": str(clips / "good.wav")})
    with client(HONEST) as session:
        body = {"data": [uploaded(url, clips / "good.wav", session)]}
        asked = session.post(f"{url}/gradio_api/call/answer", json=body, timeout=30)
        assert result(url, asked, session) == ("complete", [close(expected)])
    gradio_client = pytest.importorskip("gradio_client")
    page = gradio_client.Client(url, verbose=False)
    found = page.predict(gradio_client.handle_file(clips / "good.wav"), api_name="/answer")
    page.close()
    assert found == close(expected)


def test_the_api_answers_to_the_lines_of_the_documentation(server: tuple[str, Path], clips: Path, tmp_path: Path):
    if shutil.which("curl") is None:
        pytest.skip("there is no `curl` on this machine")
    shutil.copy(clips / "good.wav", tmp_path / "clip.wav")
    page = (Path(__file__).parents[1] / "docs" / "operations.md").read_text(encoding="utf-8")
    lines = re.sub(r" +#.*", "", page.partition("```sh\n")[2].partition("```")[0]).replace("\\\n", " ")
    upload, ask, fetch = lines.replace("http://127.0.0.1:7860", server[0]).splitlines()

    def run(line: str) -> str:
        return subprocess.run(["bash", "-c", f"{line} -s"], cwd=tmp_path, capture_output=True, text=True).stdout

    (path,) = json.loads(run(upload))
    event = json.loads(run(ask.replace("/tmp/.../clip.wav", path)))["event_id"]
    answer = json.loads(run(fetch.replace("EVENT_ID", event)).removeprefix("event: complete\ndata: "))
    assert (answer[0]["audio_seconds"], answer[0]["text"]) == (0.4, None)


# Origins


def test_pages_of_other_origins_are_kept_out_unless_they_are_listed(server: tuple[str, Path]):
    url = server[0]
    for origin, allowed in (("https://evil.example", False), ("https://friend.example", True)):
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        for found in (
            requests.get(f"{url}/config", headers={"Origin": origin}, timeout=30),
            requests.options(f"{url}/gradio_api/call/answer", headers=headers, timeout=30),
        ):
            assert (found.headers.get("access-control-allow-origin") == origin) == allowed
        asked = requests.post(
            f"{url}/gradio_api/call/answer", json={"data": [None, WORDS]}, headers={"Origin": origin}, timeout=30
        )
        assert asked.status_code == (200 if allowed else 403)
    odd = requests.get(f"{url}/config", headers={"Host": "voices.example.org"}, timeout=30)
    assert (odd.status_code, "--allowed-host" in odd.json()["detail"]) == (400, True)


# The queue


@pytest.fixture
def application(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Any]]:
    """The address of a server in a thread, and its application."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    recogniser, limits = pipeline("multimodal-emotion-recognition", model=str(checkpoint)), Limits()
    traffic = build_application(recogniser, "", False, [], limits, [], Names("127.0.0.1"), tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        served = uvicorn.Server(bounded_config(traffic, limits, lifespan="on", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=served.run, kwargs={"sockets": [listener]})
        thread.start()
        while not served.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", traffic
        served.should_exit = True
        thread.join(30)


def test_a_queue_that_has_stopped_is_not_ready_and_starts_again(application: tuple[str, Any]):
    url, traffic = application
    assert answered(url)

    def fails() -> None:
        raise KeyError("a session")

    queue = traffic.answers.page._queue
    original, queue.get_events = queue.get_events, fails
    assert call(url, None).status_code == 200  # the loop ends as it takes this question
    statuses = set()
    deadline = time.monotonic() + 60
    while 503 not in statuses:
        statuses.add(requests.get(f"{url}/readyz", timeout=30).status_code)
        assert time.monotonic() < deadline
    queue.get_events = original
    while requests.get(f"{url}/readyz", timeout=30).status_code != 200:
        assert time.monotonic() < deadline
    assert answered(url)


def test_finished_sessions_leave_nothing_in_the_queue(application: tuple[str, Any]):
    url, traffic = application
    queue = traffic.answers.page._queue
    for _ in range(3):
        assert answered(url)
    deadline = time.monotonic() + 60
    while queue.pending_messages_per_session or queue.pending_event_ids_session or traffic.answers.under_way:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def steps(number: int, done: list[tuple[str, int]], name: str) -> Generator[None, None, str]:
    for step in range(number):
        done.append((name, step))
        end = time.thread_time() + 0.01
        while time.thread_time() < end:  # what counts is the processor's time
            pass
        if step + 1 < number:
            yield
    return name


def test_short_questions_pass_between_the_steps_of_long_ones():
    done: list[tuple[str, int]] = []

    async def run() -> list[str]:
        turns = Turns(Limits())
        long = [asyncio.create_task(turns.ask("a", "", steps(9, done, "long"), True)) for _ in range(2)]
        while len(done) < 3:
            await asyncio.sleep(0)
        short = await turns.ask("b", "", steps(1, done, "short"))
        return [short, *(await asyncio.gather(*long))]

    assert asyncio.run(run()) == ["short", "long", "long"]
    assert done.index(("short", 0)) <= 4
    assert len(done) == 19


def test_many_questions_of_one_client_wait_for_one_of_another():
    done: list[tuple[str, int]] = []

    async def run() -> None:
        turns = Turns(Limits())
        many = [asyncio.create_task(turns.ask("a", "", steps(1, done, f"a{number}"))) for number in range(8)]
        while len(done) < 2:
            await asyncio.sleep(0)
        others = [asyncio.create_task(turns.ask(client, "", steps(1, done, client))) for client in ("b", "c", "b")]
        await asyncio.gather(*many, *others)

    asyncio.run(run())
    names = [name for name, _ in done]
    assert max(names.index("b"), names.index("c")) <= 4
    assert [name for name in names if name.startswith("a")] == [f"a{number}" for number in range(8)]


def test_questions_whose_client_has_gone_or_that_take_too_long_are_given_up():
    done: list[tuple[str, int]] = []

    async def run() -> list[str]:
        turns = Turns(Limits(answer_seconds=0.3))
        gone = asyncio.create_task(turns.ask("a", "gone", steps(1000, done, "gone"), True))
        slow = asyncio.create_task(turns.ask("b", "slow", steps(1000, done, "slow"), True))
        await asyncio.sleep(0.1)
        turns.drop("gone")
        found = [str(error) for error in await asyncio.gather(gone, slow, return_exceptions=True)]
        await asyncio.sleep(0.1)
        return [*found, str(turns.hold("slow"))]

    messages = asyncio.run(run())
    assert messages == [
        "Nobody waits for this answer any more.",
        "No answer within 0.3 seconds. Try a shorter clip.",
        "False",
    ]
    assert len(done) < 100


def test_few_decoded_recordings_wait_at_a_time():
    done: list[tuple[str, int]] = []

    async def run() -> None:
        turns = Turns(Limits())
        await asyncio.gather(*(turns.ask(name, "", steps(3, done, name), True) for name in "abcdefgh"))

    asyncio.run(run())
    for number in range(len(done)):
        begun = {name for name, step in done[: number + 1] if step == 0}
        assert len(begun - {name for name, step in done[: number + 1] if step == 2}) <= 4
