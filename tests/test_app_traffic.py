"""What protects the page of `drkf app` and shows operators how it does: limits, uploads, rates, logs, draining."""

import asyncio
import json
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import soundfile

pytest.importorskip("gradio", reason="the web page needs the extra `app`")

from helpers.bombs import silent_opus
from helpers.page import DRKF, WORDS, call, free_port, result, serving, uploaded, write_checkpoint

from drkf_cli.web.clips import ClipError, check_clip, read_text
from drkf_cli.web.gate import Gate
from drkf_cli.web.limits import LimitError, Limits
from drkf_cli.web.storage import FOLDER_PREFIX, LOCK, Storage, upload_folder
from drkf_cli.web.traffic import JsonLines, LogLines, Traffic

CALL = b'{"data":[null,"x"]}'
PROMISE = (
    b"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 20000000\r\n"
    b"Content-Type: multipart/form-data; boundary=bb\r\n\r\n--bb\r\n"
)

Application = Callable[[Any, Any, Any], Awaitable[None]]


class Inner:
    """The application behind: reads the body, keeps it, answers 200."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more and scope["method"] == "POST":
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b'{"event_id":"e1","inner":1}'})


def ask(
    application: Application,
    path: str,
    chunks: Iterable[bytes] | None = None,
    hangs_up: bool = False,
    headers: dict[str, str] | None = None,
    client: str = "10.0.0.1",
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one request; a POST where there are chunks. Status 0: no answer."""
    parts = list(chunks or [])
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages.append({"type": "http.disconnect"} if hangs_up else {"type": "http.request", "body": b""})
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    method = "GET" if chunks is None else "POST"
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": raw,
        "client": (client, 5),
    }
    asyncio.run(application(scope, receive, send))
    if not sent:
        return 0, {}, b""
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], found, b"".join(message.get("body", b"") for message in sent[1:])


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path, 1000)


def guarded(storage: Storage, **limits: Any) -> tuple[Traffic, Inner]:
    inner, chosen = Inner(), Limits(**limits)
    return Traffic(Gate(inner, storage, chosen), storage, chosen), inner


# Limits


def test_flags_override_the_environment_which_overrides_the_file(tmp_path: Path):
    (tmp_path / "limits.toml").write_text("clip_seconds = 10\nupload_bytes = 5_000\nqueue_length = 3\n")
    environment = {"DRKF_APP_CLIP_SECONDS": "20", "DRKF_APP_UPLOAD_BYTES": "6000", "OTHER": "x"}
    limits = Limits.read(tmp_path / "limits.toml", environment, ["clip_seconds=30.5"])
    assert (limits.clip_seconds, limits.upload_bytes, limits.queue_length) == (30.5, 6000, 3)
    assert limits.text_characters == Limits().text_characters


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("clip_second=3", "no limit 'clip_second'; there are clip_seconds"),
        ("clip_seconds", "not of the form NAME=VALUE"),
        ("clip_seconds=-1", "clip_seconds must be positive"),
        ("clip_seconds=0", "clip_seconds must be positive"),
        ("clip_seconds=NaN", "clip_seconds takes a number"),
        ("upload_bytes=1.5", "upload_bytes takes an integer"),
        ("upload_bytes=true", "upload_bytes takes an integer"),
        ("upload_bytes=1e999", "upload_bytes takes an integer"),
    ],
)
def test_invalid_limits_are_errors(flag: str, message: str):
    with pytest.raises(LimitError, match=message):
        Limits.read(environment={}, flags=[flag])


def test_clips_are_judged_by_their_header(tmp_path: Path):
    for channels, subtype, name in ((2, None, "stereo.wav"), (1, None, "other.aiff")):
        soundfile.write(tmp_path / name, np.zeros((8000, channels)), 8000, subtype)
    path = str(tmp_path / "stereo.wav")
    check_clip(path, Limits(clip_values=16_000, recording_seconds=1))
    with pytest.raises(ClipError, match="too many channels or too high a rate"):
        check_clip(path, Limits(clip_values=15_999))
    with pytest.raises(ClipError, match=r"longer than 0\.9 seconds"):
        check_clip(path, Limits(recording_seconds=0.9))
    for channels, pages, message in ((255, 1, "too many channels"), (1, 21, "longer than 600 seconds")):
        (tmp_path / "bomb.ogg").write_bytes(silent_opus(channels, pages))
        with pytest.raises(ClipError, match=message):
            check_clip(str(tmp_path / "bomb.ogg"), Limits())
    with pytest.raises(ClipError, match="format AIFF are not read"):
        check_clip(str(tmp_path / "other.aiff"), Limits())
    with pytest.raises(ClipError, match="at most 3 are read"):
        read_text("four", Limits(text_characters=3))


# Uploads


def test_an_upload_that_breaks_off_leaves_nothing_and_no_room_taken(storage: Storage):
    traffic, inner = guarded(storage, upload_bytes=900)
    length = {"Content-Length": "900"}
    for _ in range(5):
        assert ask(traffic, "/gradio_api/upload", [b"x" * 400], hangs_up=True, headers=length)[0] == 0
    assert (storage.kept, storage.reserved, inner.bodies, list(storage.folder.iterdir())) == (0, 0, [], [])
    assert ask(traffic, "/gradio_api/upload", [b"x" * 400, b"y" * 500], headers=length)[0] == 200
    assert (storage.kept, storage.reserved, inner.bodies) == (900, 0, [b"x" * 400 + b"y" * 500])
    assert ask(traffic, "/gradio_api/upload", [b"x" * 101], headers={"Content-Length": "101"})[0] == 503
    storage.sweep(age=10)  # the application behind has written nothing
    assert ask(traffic, "/gradio_api/upload", [b"x" * 101], headers={"Content-Length": "101"})[0] == 200


def test_room_is_taken_before_an_upload_is_accepted(storage: Storage):
    assert storage.reserve(600)
    assert not storage.reserve(401)
    storage.release(600, kept=False)
    assert storage.reserve(1000)


def test_an_upload_may_not_hold_more_than_it_announces(storage: Storage):
    traffic, inner = guarded(storage)
    status, _, body = ask(traffic, "/gradio_api/upload", [b"x" * 11], headers={"Content-Length": "10"})
    assert (status, inner.bodies) == (413, [])
    assert b"at most 10 bytes" in body


def test_old_uploads_are_swept_and_the_rest_is_counted(storage: Storage):
    for name, size, age in (("a/old.wav", 10, 100), ("b/new.wav", 20, 0), ("partial", 5, 100), (LOCK, 7, 100)):
        path = storage.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(size))
        os.utime(path, (path.stat().st_atime - age, path.stat().st_mtime - age))
    storage.sweep(age=50)
    assert sorted(path.name for path in storage.folder.rglob("*") if path.is_file()) == ["new.wav", LOCK]
    assert storage.kept == 20


def test_folders_of_killed_servers_are_swept_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    killed = tmp_path / f"{FOLDER_PREFIX}killed"
    killed.mkdir()
    (killed / LOCK).touch()
    (killed / "clip.wav").write_bytes(b"x")
    foreign = tmp_path / f"{FOLDER_PREFIX}foreign"
    foreign.mkdir()
    with upload_folder() as first, upload_folder() as second:
        assert not killed.exists()
        assert first.is_dir()
        assert second.is_dir()
    assert list(tmp_path.iterdir()) == [foreign]


# Requests


@pytest.mark.parametrize(
    "name", ["{folder}/a/../../etc", "{folder}", "{folder}x/a", "/etc/passwd", "a", "", "{folder}//a", "{folder}/a\0b"]
)
def test_paths_outside_the_folder_are_no_uploads(storage: Storage, name: str):
    assert not storage.holds(name.format(folder=storage.folder))
    assert storage.holds(f"{storage.folder}/hash/clip.wav")


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b'{"data":[{"path":"/' + b"a/" * 30_000 + b'"}]}', 400, "paths and URLs are not read"),
        (b'{"data":' + b"[" * 5000 + b"]" * 5000 + b"}", 400, "nested too deeply"),
        (b'{"data":[' + b",".join([b'{"path":1}'] * 600) + b"]}", 400, "too many parts"),
        (b'{"data":[{"a":{"path":"/etc/passwd"}}]}', 400, "paths and URLs are not read"),
        (b'{"data":[5,"x"]}', 400, '"data" must be a list'),
        (b'{"data":{"0":"x"}}', 400, '"data" must be a list'),
        (b'{"data":[{"url":"http://localhost"}]}', 400, '"data" must be a list'),
        (b"[]", 400, "must be a JSON object"),
        (b"\xff", 400, "not valid JSON"),
        (b"1" * 5000, 400, "not valid JSON"),
        (b"x" * 70_000, 413, "at most 65536 bytes"),
        (b'{"data":["x"]}', 400, '"data" must be a list'),
        (b'{"data":[null,"x",null]}', 400, '"data" must be a list'),
        (b'{"data":[null,"x"]}', 200, "inner"),
    ],
    ids=range(14),
)
def test_calls_are_checked_before_gradio_sees_them(storage: Storage, body: bytes, status: int, message: str):
    traffic, inner = guarded(storage)
    found = ask(traffic, "/gradio_api/call/answer", [body])
    assert (found[0], message in json.loads(found[2])["detail"] if status != 200 else True) == (status, True)
    assert inner.bodies == ([body] if status == 200 else [])


def test_a_client_may_send_so_much_a_minute_and_others_do_not_pay_for_it(storage: Storage):
    traffic, _ = guarded(storage, requests_per_minute=3)

    def status(client: str) -> int:
        return ask(traffic, "/gradio_api/call/answer", [CALL], client=client)[0]

    assert [status("a") for _ in range(4)] == [200, 200, 200, 429]
    assert status("b") == 200
    assert ask(traffic, "/", client="a")[0] == 200  # looking costs nothing
    traffic._rates["a"] = (0.0, traffic._rates["a"][1] - 20)  # a third of a minute ago
    assert [status("a") for _ in range(2)] == [200, 429]


def test_a_client_may_wait_for_so_many_answers_at_a_time(storage: Storage):
    statuses = []

    async def asks_again(scope: Any, receive: Any, send: Any) -> None:
        async def note(message: Any) -> None:
            statuses.append(message.get("status"))

        if not statuses:
            statuses.append(None)
            await traffic({**scope, "client": ("10.0.0.1", 6)}, receive, note)

    traffic = Traffic(asks_again, storage, Limits(open_requests=1))
    ask(traffic, "/")
    assert statuses[1] == 429
    assert traffic.metrics.registry.get_sample_value("drkf_open_requests") == 0


def test_health_and_metrics(storage: Storage):
    traffic, _ = guarded(storage)
    assert ask(traffic, "/healthz")[0] == ask(traffic, "/readyz")[0] == 200
    ask(traffic, "/gradio_api/call/answer", [CALL])
    ask(traffic, "/gradio_api/call/answer", [b"["])
    ask(traffic, "/whatever/a/client/makes/up")
    storage.kept, storage.reserved = 30, 12
    text = ask(traffic, "/metrics")[2].decode()
    assert 'drkf_requests_total{route="call",status="200"} 1.0' in text
    assert 'drkf_requests_total{route="call",status="400"} 1.0' in text
    assert 'drkf_requests_total{route="page",status="200"} 1.0' in text
    assert "drkf_stored_bytes 42.0" in text
    traffic.draining = True
    assert [ask(traffic, "/readyz")[0], ask(traffic, "/healthz")[0]] == [503, 200]
    assert ask(traffic, "/gradio_api/call/answer", [CALL])[0] == 503


def test_answers_count_as_in_flight_until_they_are_fetched(storage: Storage):
    traffic, _ = guarded(storage)
    ask(traffic, "/gradio_api/call/answer", [b"["])  # refused
    assert traffic.in_flight == 0
    ask(traffic, "/gradio_api/call/answer", [CALL])
    assert traffic.in_flight == 1
    assert ask(traffic, "/gradio_api/call/answer/e2")[0] == 404
    assert traffic.in_flight == 1
    assert [ask(traffic, "/gradio_api/call/answer/e1")[0] for _ in range(2)] == [200, 404]
    assert traffic.in_flight == 0


def test_a_request_is_one_line_of_json_whatever_the_client_sends(storage: Storage, caplog: pytest.LogCaptureFixture):
    traffic, _ = guarded(storage)
    with caplog.at_level(logging.INFO, "drkf.app"):
        _, given, _ = ask(traffic, "/a\n\x1b[2J" + "x" * 5000, headers={"X-Request-ID": "my-id.1"})
        _, made, _ = ask(traffic, "/", headers={"X-Request-ID": "my id\n"})
    lines = [JsonLines().format(record) for record in caplog.records]
    assert all(line.isprintable() and line.isascii() for line in lines)
    first, second = map(json.loads, lines)
    assert (given["x-request-id"], first["request_id"], len(first["path"])) == ("my-id.1", "my-id.1", 500)
    assert made["x-request-id"] == second["request_id"] != "my id\n"
    assert (first["client"], first["method"], first["status"]) == ("10.0.0.1", "GET", 200)


# A real server


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny-drkf")


def test_a_server_with_passwords_answers_what_it_has_taken_before_it_ends(checkpoint: Path, tmp_path: Path):
    soundfile.write(tmp_path / "clip.wav", np.random.default_rng(0).normal(size=6400) * 0.1, 16_000)
    served = tmp_path / "served"
    served.mkdir()
    port = free_port()
    options = ["--auth", "ann:secret", "--allowed-host", "127.0.0.1", "--limit", "stored_bytes=30000000"]
    command = [*DRKF, "app", "--model", str(checkpoint), "--port", str(port), *options]
    with serving(command, port, served) as url:
        assert requests.get(f"{url}/readyz", timeout=30).status_code == 200
        assert requests.get(f"{url}/", headers={"Host": "elsewhere.example"}, timeout=30).status_code == 400
        assert call(url, None).status_code == 401
        session = requests.Session()
        wrong = session.post(f"{url}/login", data={"username": "ann", "password": "x"}, timeout=30)
        assert wrong.status_code == 400
        assert session.post(f"{url}/login", data={"username": "ann", "password": "secret"}, timeout=30).ok
        for _ in range(3):  # promise 20 MB, send 2 MB, hang up
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(PROMISE + bytes(2_000_000))
        own = uploaded(url, tmp_path / "clip.wav", session)
        assert len([path for path in served.rglob("*") if path.is_file()]) == 3  # log, lock, clip
        called = call(url, own, session=session)
        assert called.ok
        log = served / "server.log"
        os.kill(
            next(json.loads(line)["pid"] for line in log.read_text().splitlines() if '"pid"' in line), signal.SIGTERM
        )
        while requests.get(f"{url}/readyz", timeout=30).status_code == 200:
            pass
        assert call(url, None, session=session).status_code == 503
        event, data = result(url, called, session)
        assert (event, data[0]["text"]) == ("complete", WORDS)
    assert "secret" not in log.read_text()
    assert "Traceback" not in log.read_text()


def test_what_libraries_print_becomes_lines_of_the_log(caplog: pytest.LogCaptureFixture):
    stream = LogLines()
    with caplog.at_level(logging.ERROR, "drkf.app"):
        print("ValueError: not in \x1b[2J", "x" * 5000, file=stream)
        print("half a line", end="", file=stream)
    (record,) = caplog.records
    line = JsonLines().format(record)
    assert line.isprintable()
    assert len(json.loads(line)["event"]) == 500
