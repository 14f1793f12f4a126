"""What protects the page of `drkf app` and shows operators how it does: limits, uploads, rates, logs, draining."""

import asyncio
import json
import logging
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import soundfile

pytest.importorskip("gradio", reason="the web page needs the extra `app`")

import gradio
from helpers.bombs import silent_opus
from helpers.page import DRKF, WORDS, call, free_port, result, serving, uploaded, write_checkpoint

from drkf_cli.web.addresses import Names
from drkf_cli.web.answers import Answers
from drkf_cli.web.clips import ClipError, check_clip, read_text
from drkf_cli.web.gate import Gate
from drkf_cli.web.limits import LimitError, Limits
from drkf_cli.web.storage import FOLDER_PREFIX, LOCK, Storage, upload_folder
from drkf_cli.web.traffic import JsonLines, LogLines, Traffic
from drkf_cli.web.turns import Turns

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
    return Storage(tmp_path, 2000, 900)


def guarded(storage: Storage, **limits: Any) -> tuple[Traffic, Inner]:
    inner, chosen = Inner(), Limits(**limits)
    with gradio.Blocks() as page:
        page.queue()
    turns = Turns(chosen)
    answers = Answers(page, chosen, turns)
    gate = Gate(
        inner, chosen, storage, Names("127.0.0.1"), turns, answers, {7: ("file", "text"), 8: ("file", "file", "text")}
    )
    return Traffic(gate, answers, storage, chosen), inner


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
    assert check_clip(path, Limits(clip_values=16_000, recording_seconds=1)) == 1.0
    with pytest.raises(ClipError, match="too many channels or too high a rate"):
        check_clip(path, Limits(clip_values=15_999))
    with pytest.raises(ClipError, match="too many channels"):
        check_clip(path, Limits(clip_channels=1))
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
    for _ in range(5):
        assert ask(traffic, "/gradio_api/upload", [b"x" * 400], hangs_up=True)[0] == 0
    assert (storage.stored, inner.bodies, list(storage.folder.iterdir())) == (0, [], [])
    assert ask(traffic, "/gradio_api/upload", [b"x" * 400, b"y" * 500])[0] == 200
    assert (storage.stored, inner.bodies) == (900, [b"x" * 400 + b"y" * 500])


def test_a_client_has_a_share_of_the_store_and_takes_no_more_than_it_leaves_to_the_others(storage: Storage):
    traffic, _ = guarded(storage)

    def upload(client: str, size: int) -> int:
        return ask(traffic, "/gradio_api/upload", [b"x" * size], client=client)[0]

    assert [upload("10.0.0.1", size) for size in (900, 1)] == [200, 503]
    assert [upload("10.0.0.2", size) for size in (551, 550, 1)] == [503, 200, 503]  # 550 of 2000 are left
    assert [upload("10.0.0.3", size) for size in (276, 275)] == [503, 200]
    storage.forget(time.monotonic() + 1)
    assert [upload("10.0.0.1", size) for size in (1, 900)] == [200, 503]


def test_an_upload_takes_the_room_of_what_has_arrived(storage: Storage):
    traffic, inner = guarded(storage)
    seen = []

    async def receive() -> Any:
        seen.append(storage.stored)
        hangs_up = len(seen) == 3
        return (
            {"type": "http.disconnect"} if hangs_up else {"type": "http.request", "body": b"x" * 7, "more_body": True}
        )

    scope = {"type": "http", "method": "POST", "path": "/gradio_api/upload", "query_string": b""}
    scope |= {"client": ("10.0.0.1", 5), "headers": [(b"content-length", b"900")]}
    asyncio.run(traffic(scope, receive, None))
    assert (seen, storage.stored, inner.bodies) == ([0, 7, 14], 0, [])


def test_uploads_are_swept_by_age_in_both_directions_whatever_they_are_called(storage: Storage):
    written = {"a/old.wav": 100, "b/new.wav": 0, "partial": 100, LOCK: 100, f"c/{LOCK}": 100, "d/future.wav": -100}
    for name, age in written.items():
        path = storage.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (path.stat().st_atime - age, path.stat().st_mtime - age))
    storage.sweep(age=50)
    assert sorted(path.name for path in storage.folder.rglob("*") if path.is_file()) == ["new.wav", LOCK]
    assert (storage.folder / LOCK).exists()


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
        (b'{"data":' + b"[" * 100 + b"]" * 100 + b"}", 400, '"data" must be a list'),
        (b'{"data":' + b"[" * 30_000 + b"]" * 30_000 + b"}", 400, "not valid JSON"),
        (b'{"data":[{"path":"/etc/passwd"}]}', 400, "paths and URLs are not read"),
        (b'{"data":[5,"x"]}', 400, '"data" must be a list'),
        (b'{"data":{"0":"x"}}', 400, '"data" must be a list'),
        (b'{"data":[{"url":"http://localhost"}]}', 400, "paths and URLs are not read"),
        (b"[]", 400, "must be a JSON object"),
        (b"\xff", 400, "not valid JSON"),
        (b"1" * 5000, 400, "not valid JSON"),
        (b"x" * 70_000, 413, "at most 65536 bytes"),
        (b'{"data":["x"]}', 400, '"data" must be a list'),
        (b'{"data":[]}', 400, '"data" must be a list'),
        (b'{"data":[null,"x",null]}', 400, '"data" must be a list'),
    ],
    ids=range(14),
)
def test_what_is_no_question_does_not_reach_gradio(storage: Storage, body: bytes, status: int, message: str):
    traffic, inner = guarded(storage)
    found = ask(traffic, "/gradio_api/call/answer", [body])
    assert (found[0], message in json.loads(found[2])["detail"], inner.bodies) == (status, True, [])


def test_gradio_sees_what_was_checked_of_a_question_and_nothing_else(storage: Storage):
    traffic, inner = guarded(storage)
    clip = {"path": f"{storage.folder}/a/b.wav", "url": "http://localhost/x", "meta": {"_type": "x"}, "size": 3}
    odd = {"data": [clip], "session_hash": "mine", "event_data": {"path": "/etc/passwd"}, "fn_index": 7}
    checked = [{"path": clip["path"], "meta": {"_type": "gradio.FileData"}}, None]
    assert ask(traffic, "/gradio_api/call/answer", [json.dumps(odd).encode()])[0] == 200
    assert ask(traffic, "/gradio_api/queue/join", [json.dumps(odd).encode()])[0] == 200
    first, second = map(json.loads, inner.bodies)
    assert first == {"data": checked}
    assert second == {"data": checked, "fn_index": 7, "session_hash": "mine", "trigger_id": None}


def test_every_file_of_an_event_must_be_an_upload(storage: Storage):
    traffic, inner = guarded(storage)
    own, other = {"path": f"{storage.folder}/a/b.wav"}, {"path": "/etc/passwd"}
    taken = [own, {"path": f"{storage.folder}/c/d.srt"}, "by-channel"]
    for data, status in ((taken, 200), ([own, other, "x"], 400), ([own, "x", None], 400), ([None, None, own], 400)):
        joined = json.dumps({"data": data, "fn_index": 8, "session_hash": "mine"}).encode()
        assert ask(traffic, "/gradio_api/queue/join", [joined])[0] == status, data
    (passed,) = map(json.loads, inner.bodies)
    assert [value["path"] for value in passed["data"][:2]] == [value["path"] for value in taken[:2]]
    assert passed["data"][2] == "by-channel"


@pytest.mark.parametrize("session", ["", None, 5, "x" * 101])
def test_a_session_has_a_name(storage: Storage, session: Any):
    traffic, inner = guarded(storage)
    joined = json.dumps({"data": [None, "x"], "fn_index": 7, "session_hash": session}).encode()
    assert (ask(traffic, "/gradio_api/queue/join", [joined])[0], inner.bodies) == (400, [])


def test_services_beside_those_of_the_page_are_closed(storage: Storage):
    traffic, inner = guarded(storage)
    for path in ("call/v2/answer", "call/show", "cancel", "reset", "run/answer", "queue/join/x"):
        assert ask(traffic, f"/gradio_api/{path}", [CALL])[0] == 404, path
    assert ask(traffic, "/gradio_api/upload_progress")[0] == 404
    assert inner.bodies == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "127.0.0.1:7860"}, 200),
        ({"Host": "LOCALHOST"}, 200),
        ({"Host": "[::1]:7860"}, 200),
        ({"Host": "voices.example.org"}, 400),
        ({"Host": "10.0.0.7"}, 400),
        ({"Host": "["}, 400),
        ({"Host": "localhost", "X-Forwarded-Host": "evil.example"}, 400),
        ({"Host": "localhost:7860", "Origin": "http://localhost:7860"}, 200),
        ({"Host": "localhost:7860", "Origin": "http://localhost:7861"}, 403),
        ({"Host": "localhost", "Origin": "https://evil.example"}, 403),
        ({"Host": "localhost", "Origin": "null"}, 403),
        ({"Host": "localhost", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "localhost", "Origin": "https://behind.a.proxy", "Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_questions_come_from_the_page_itself_under_its_own_name(storage: Storage, headers: Any, status: int):
    traffic, _ = guarded(storage)
    assert ask(traffic, "/gradio_api/call/answer", [CALL], headers=headers)[0] == status


def test_names_of_the_page():
    anywhere, listed = (
        Names("0.0.0.0"),
        Names("0.0.0.0", ["voices.example.org", "*.example.com"], ["https://a.example"]),
    )
    assert all(anywhere.knows(name) for name in ("localhost:1", "192.168.1.5:7860", "[fe80::1]", socket.gethostname()))
    assert not anywhere.knows("voices.example.org")
    assert all(listed.knows(name) for name in ("voices.example.org:443", "a.example.com"))
    assert not any(listed.knows(name) for name in ("localhost", "example.com", "evilexample.com", "10.0.0.1", ""))
    assert Names("127.0.0.1", ["*"]).knows("anything.example")
    assert not listed.is_foreign({b"origin": b"https://a.example", b"sec-fetch-site": b"cross-site"})


def test_cookies_stay_with_the_page(storage: Storage):
    async def sets_cookie(scope: Any, receive: Any, send: Any) -> None:
        cookie = (b"set-cookie", b"a=b; HttpOnly; Path=/; SameSite=none; Secure")
        await send({"type": "http.response.start", "status": 200, "headers": [cookie]})
        await send({"type": "http.response.body", "body": b""})

    traffic, _ = guarded(storage)
    traffic.app.app = sets_cookie
    assert ask(traffic, "/")[1]["set-cookie"] == "a=b; HttpOnly; Path=/; SameSite=lax; Secure"


def test_a_client_may_send_so_much_a_minute_and_others_do_not_pay_for_it(storage: Storage):
    traffic, _ = guarded(storage, requests_per_minute=3)

    def status(client: str) -> int:
        return ask(traffic, "/gradio_api/call/answer", [CALL], client=client)[0]

    assert [status("a") for _ in range(4)] == [200, 200, 200, 429]
    assert status("b") == 200
    traffic._rates["a"] = (0.0, traffic._rates["a"][1] - 20)  # a third of a minute ago
    assert [status("a") for _ in range(2)] == [200, 429]
    traffic._rates["a"] = (0.0, traffic._rates["a"][1] - 20)
    assert [ask(traffic, "/assets/x.js", client="a")[0] for _ in range(10)] == [200] * 10
    assert ask(traffic, "/", client="a")[0] == 429
    assert ask(traffic, "/readyz", client="a")[0] == 200


def test_addresses_of_one_network_are_one_client(storage: Storage):
    traffic, _ = guarded(storage, requests_per_minute=1)
    addresses = ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1", "10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2"]
    found = [ask(traffic, "/gradio_api/call/answer", [CALL], client=address)[0] for address in addresses]
    assert found == [200, 429, 200, 200, 429, 200]


def test_a_client_may_wait_for_so_many_answers_at_a_time(storage: Storage):
    traffic, _ = guarded(storage, client_questions=2)
    statuses = [ask(traffic, "/gradio_api/call/answer", [CALL], client=client)[0] for client in "aaab"]
    assert statuses == [200, 200, 429, 200]


def test_health_and_metrics(storage: Storage):
    traffic, _ = guarded(storage)
    assert ask(traffic, "/healthz")[0] == ask(traffic, "/readyz")[0] == 200
    ask(traffic, "/gradio_api/call/answer", [CALL])
    ask(traffic, "/gradio_api/call/answer", [b"["])
    ask(traffic, "/whatever/a/client/makes/up")
    storage.take("10.0.0.1", 42)
    text = ask(traffic, "/metrics")[2].decode()
    assert 'drkf_requests_total{route="call",status="200"} 1.0' in text
    assert 'drkf_requests_total{route="call",status="400"} 1.0' in text
    assert 'drkf_requests_total{route="page",status="200"} 1.0' in text
    assert "drkf_answers_under_way 1.0" in text
    assert "drkf_stored_bytes 42.0" in text
    traffic.draining = True
    assert [ask(traffic, "/readyz")[0], ask(traffic, "/healthz")[0]] == [503, 200]
    assert ask(traffic, "/gradio_api/call/answer", [CALL])[0] == 503


def test_answers_are_under_way_until_they_are_fetched(storage: Storage):
    traffic, _ = guarded(storage)
    answers = traffic.answers
    ask(traffic, "/gradio_api/call/answer", [b"["])  # refused
    assert answers.under_way == 0
    ask(traffic, "/gradio_api/call/answer", [CALL])
    for path in ("/gradio_api/call/answer/e2", f"/gradio_api/file={storage.folder}/a/call_17.wav"):
        ask(traffic, path)
        assert answers.under_way == 1
    assert [ask(traffic, "/gradio_api/call/answer/e1")[0] for _ in range(2)] == [200, 404]
    assert answers.under_way == 0


def test_a_client_loses_its_own_oldest_answers_and_nobody_elses(storage: Storage):
    traffic, _ = guarded(storage, client_answers=3)
    answers = traffic.answers
    kept = answers.page._queue.pending_messages_per_session
    for session, client in (("other", "b"), *((f"s{number}", "a") for number in range(5))):
        kept[session] = asyncio.Queue()
        answers.expect(session, client)
    assert [name for name in ("other", "s0", "s1", "s2", "s3", "s4") if answers.knows(name)] == [
        "other",
        "s2",
        "s3",
        "s4",
    ]
    assert list(kept) == ["other", "s2", "s3", "s4"]


def test_whoever_has_most_answers_makes_room(storage: Storage, monkeypatch: pytest.MonkeyPatch):
    traffic, _ = guarded(storage)
    monkeypatch.setattr("drkf_cli.web.answers.MOST", 3)
    for session, client in (("first", "b"), ("s0", "a"), ("s1", "a"), ("last", "c")):
        traffic.answers.expect(session, client)
    assert [name for name in ("first", "s0", "s1", "last") if traffic.answers.knows(name)] == ["first", "s1", "last"]


def test_a_request_is_one_line_of_json_whatever_the_client_sends(storage: Storage, caplog: pytest.LogCaptureFixture):
    traffic, _ = guarded(storage)
    with caplog.at_level(logging.INFO, "drkf.app"):
        _, given, _ = ask(
            traffic, f"/gradio_api/file={storage.folder}/a/Ann's interview.wav", headers={"X-Request-ID": "my-id.1"}
        )
        _, made, _ = ask(traffic, "/", headers={"X-Request-ID": "my id\n"})
    lines = [JsonLines().format(record) for record in caplog.records]
    assert all(line.isprintable() and line.isascii() for line in lines)
    first, second = map(json.loads, lines)
    assert (given["x-request-id"], first["request_id"], first["route"]) == ("my-id.1", "my-id.1", "file")
    assert "interview" not in "".join(lines)
    assert made["x-request-id"] == second["request_id"] != "my id\n"
    assert (first["client"], first["method"], first["status"]) == ("10.0.0.1", "GET", 200)


# A real server


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny-drkf")


def test_a_server_with_passwords_answers_what_it_has_taken_before_it_ends(checkpoint: Path, tmp_path: Path):
    soundfile.write(tmp_path / "call_17.wav", np.random.default_rng(0).normal(size=6400) * 0.1, 16_000)
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
        entered = session.post(f"{url}/login", data={"username": "ann", "password": "secret"}, timeout=30)
        assert (entered.status_code, "SameSite=none" in entered.headers["set-cookie"]) == (200, False)
        for _ in range(3):  # promise 20 MB, send 2 MB, hang up
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(PROMISE + bytes(2_000_000))
        own = uploaded(url, tmp_path / "call_17.wav", session)
        assert session.get(f"{url}/gradio_api/file={own['path']}", timeout=30).ok
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
    assert "call_17" not in log.read_text()
    assert "Traceback" not in log.read_text()


def test_what_libraries_print_becomes_lines_of_the_log(caplog: pytest.LogCaptureFixture, tmp_path: Path):
    stream = LogLines(tmp_path)
    with caplog.at_level(logging.ERROR, "drkf.app"):
        print("ValueError: not in \x1b[2J", "x" * 5000, file=stream)
        print(f"FileNotFoundError: '{tmp_path}/a/Ann B.wav'", file=stream)
        print("half a line", end="", file=stream)
    record, error = caplog.records
    assert json.loads(JsonLines().format(error))["event"] == "FileNotFoundError: '(an upload)'"
    line = JsonLines().format(record)
    assert line.isprintable()
    assert len(json.loads(line)["event"]) == 500
