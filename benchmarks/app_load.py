"""Honest clients beside hostile ones against `drkf app`: who waits how long, who is refused, what the server holds.

    python -m benchmarks.app_load --model starter                 # 32 honest clients beside 32 hostile ones
    python -m benchmarks.app_load --model runs/demo/both --hostile 0 --json load.json

The server is a process of its own on this machine, with its default limits; so are the hostile clients. Each client
has an address of its own on the loopback network. An honest one uploads its clip, asks, reads the answer, and pauses;
a hostile one repeats one of `ATTACKS` as fast as it can. Prints a table in Markdown: first the honest clients alone,
then beside the hostile ones.
"""

import argparse
import asyncio
import io
import itertools
import json
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import psutil
import requests
import soundfile
from requests.adapters import HTTPAdapter

RATE = 16_000
HELD = 60  # connections that an attack keeps open: below the limit of a client
API = "/gradio_api"
Attack = Callable[["Hostile"], Awaitable[None]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--honest", type=int, default=32)
    parser.add_argument("--hostile", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=40, help="of each row of the table")
    parser.add_argument("--clip-seconds", type=float, default=3)
    parser.add_argument("--pause", type=float, default=5, help="seconds between two questions of an honest client")
    parser.add_argument("--json", help="a file for the figures")
    options = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", "from drkf_cli import app; app()", "app"]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(
            [*command, "--model", options.model, "--port", str(port)],
            stdout=log,
            stderr=log,
            env=os.environ | {"TMPDIR": folder},
        )
        try:
            wait_for(port, server)
            rows = [measure(port, server.pid, options, hostile) for hostile in sorted({0, options.hostile})]
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
        log.seek(0)
        tracebacks = log.read().count("Traceback")
    print_table(rows)
    print(f"\n{tracebacks} tracebacks in the server's log; {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"rows": rows, "tracebacks": tracebacks, "options": vars(options)}, file, indent=2)


def wait_for(port: int, server: subprocess.Popen) -> None:
    while server.poll() is None:
        try:
            requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5)
            return
        except requests.RequestException:
            time.sleep(0.2)
    raise SystemExit("the server did not start")


def print_table(rows: list[dict[str, Any]]) -> None:
    names = list(rows[0])
    print("| " + " | ".join(names) + " |")
    print("|---" * len(names) + "|")
    for row in rows:
        print("| " + " | ".join(str(row[name]) for name in names) + " |")


def measure(port: int, pid: int, options: argparse.Namespace, hostile: int) -> dict[str, Any]:
    """A row of the table."""
    stop = multiprocessing.Event()
    counted: Any = multiprocessing.SimpleQueue()
    attackers = multiprocessing.Process(target=attack, args=(port, hostile, stop, counted), daemon=True)
    attackers.start()
    time.sleep(2 if hostile else 0)  # they come first
    latencies: list[float] = []
    failures: list[str] = []
    end = time.monotonic() + options.seconds

    def client(number: int) -> None:
        own = clip(number, options.clip_seconds)
        with from_address(f"127.0.1.{number + 1}") as session:
            time.sleep(options.pause * number / options.honest)
            while time.monotonic() < end:
                start = time.monotonic()
                try:
                    ask(session, f"http://127.0.0.1:{port}", own)
                    latencies.append(time.monotonic() - start)
                except (requests.RequestException, RuntimeError) as error:
                    failures.append(str(error))
                time.sleep(options.pause)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(options.honest)]
    for thread in threads:
        thread.start()
    most = 0
    while any(thread.is_alive() for thread in threads):
        most = max(most, psutil.Process(pid).memory_info().rss)
        time.sleep(0.5)
    stop.set()
    sent = counted.get()
    attackers.join(10)
    for failure in sorted(set(failures))[:5]:
        print("failed:", failure, file=sys.stderr)
    quantiles = {f"p{share}, s": round(float(np.percentile(latencies, share)), 2) for share in (50, 90, 99, 100)}
    return {
        "honest": options.honest,
        "hostile": hostile,
        "questions answered": len(latencies),
        "failed": len(failures),
        **quantiles,
        "memory, MiB": round(most / 2**20),
        "attempts of the hostile": sent,
    }


def from_address(address: str) -> requests.Session:
    """A session that connects from an address of this machine."""

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *given: Any, **more: Any) -> None:
            super().init_poolmanager(*given, **more, source_address=(address, 0))

    session = requests.Session()
    session.mount("http://", Adapter())
    return session


def ask(session: requests.Session, address: str, encoded: bytes) -> None:
    """One upload, one question, one answer.

    Raises:
        RuntimeError: the server answered anything but an Answer.
    """
    sent = session.post(f"{address}{API}/upload", files={"files": ("clip.wav", encoded)}, timeout=120)
    if not sent.ok:
        raise RuntimeError(f"upload: {sent.status_code} {sent.text[:200]}")
    given = {"path": sent.json()[0], "meta": {"_type": "gradio.FileData"}}
    called = session.post(f"{address}{API}/call/answer", json={"data": [given, "well, so it goes"]}, timeout=120)
    if not called.ok:
        raise RuntimeError(f"call: {called.status_code} {called.text[:200]}")
    answer = session.get(f"{address}{API}/call/answer/{called.json()['event_id']}", timeout=120).text
    if not re.search(r'event: complete\ndata: \[\{.*"scores"', answer):
        raise RuntimeError(f"answer: {answer[:200]}")


def clip(number: int, seconds: float, kind: str = "WAV") -> bytes:
    noise = np.random.default_rng(number).normal(size=int(seconds * RATE)) * 0.1
    encoded = io.BytesIO()
    soundfile.write(encoded, noise, RATE, format=kind)
    return encoded.getvalue()


# Hostile clients


def attack(port: int, count: int, stop: Any, counted: Any) -> None:
    """Runs hostile clients until `stop` is set, then puts how many requests and connections they have tried."""
    tried: Counter[str] = Counter()

    async def run() -> None:
        recording = clip(0, 590, "FLAC")
        clients = [Hostile(port, f"127.0.2.{number + 1}", recording, tried) for number in range(count)]
        running = [asyncio.create_task(forever(*pair)) for pair in zip(clients, itertools.cycle(ATTACKS))]
        while not stop.is_set():
            await asyncio.sleep(0.2)
        for task in running:
            task.cancel()

    asyncio.run(run())
    counted.put(tried.total())


async def forever(client: "Hostile", kind: Attack) -> None:
    while True:
        try:
            await kind(client)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError):
            await asyncio.sleep(0.05)


class Hostile:
    """A client at an address of its own."""

    def __init__(self, port: int, address: str, recording: bytes, tried: Counter[str]):
        self.port, self.address, self.recording, self.tried = port, address, recording, tried

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.tried["connection"] += 1
        return await asyncio.open_connection("127.0.0.1", self.port, local_addr=(self.address, 0))

    async def send(self, method: str, path: str, body: bytes = b"", kind: str = "application/json") -> bytes:
        """The body of the answer."""
        reader, writer = await self.connect()
        try:
            head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: {kind}\r\n"
            head += "Accept-Encoding: br\r\n" if method == "GET" else ""
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = await asyncio.wait_for(reader.read(), 120)
            return answer.partition(b"\r\n\r\n")[2]
        finally:
            writer.close()

    async def upload(self, content: bytes) -> str:
        form = (
            b'--b\r\nContent-Disposition: form-data; name="files"; filename="x.flac"\r\n\r\n' + content + b"\r\n--b--"
        )
        return json.loads(await self.send("POST", f"{API}/upload", form, "multipart/form-data; boundary=b"))[0]

    async def hold(self, beginning: bytes, seconds: float = 20) -> None:
        """Connections that say no more than this."""
        held = [await self.connect() for _ in range(HELD)]
        try:
            for _, writer in held:
                writer.write(beginning)
            await asyncio.sleep(seconds)
        finally:
            for _, writer in held:
                writer.close()


async def ask_about_long_recordings(client: Hostile) -> None:
    path = await client.upload(client.recording)
    question = json.dumps({"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, "x" * 900]}).encode()
    for _ in range(50):
        await client.send("POST", f"{API}/call/answer", question)


async def ask_and_never_fetch(client: Hostile) -> None:
    question = json.dumps({"data": [None, "w " * 490]}).encode()
    await asyncio.gather(*(client.send("POST", f"{API}/call/answer", question) for _ in range(HELD)))


async def join_with_odd_sessions(client: Hostile) -> None:
    for session in ("", "a", os.urandom(8).hex(), None):
        question = json.dumps({"data": [None, "x"], "fn_index": 1, "session_hash": session}).encode()
        await client.send("POST", f"{API}/queue/join", question)
        await client.send("POST", f"{API}/call/answer", question)


async def look_at_the_page(client: Hostile) -> None:
    await asyncio.gather(*(client.send("GET", path) for path in ("/", "/config", f"{API}/info") * 20))


async def promise_uploads(client: Hostile) -> None:
    head = f"POST {API}/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 26000000\r\n"
    await client.hold(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n".encode())


async def upload_junk(client: Hostile) -> None:
    await client.upload(os.urandom(2**20) * 20)


async def send_endless_headers(client: Hostile) -> None:
    _, writer = await client.connect()
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        for _ in range(1000):
            writer.write(b"a: b\r\n" * 10_000)
            await writer.drain()
    finally:
        writer.close()


async def open_halves(client: Hostile) -> None:
    await client.hold(b"GET / HTTP/1.1\r\nHo")


ATTACKS: list[Attack] = [
    ask_about_long_recordings,
    ask_and_never_fetch,
    join_with_odd_sessions,
    look_at_the_page,
    promise_uploads,
    upload_junk,
    send_endless_headers,
    open_halves,
]


if __name__ == "__main__":
    main()
