"""Many clients at once against the API of `drkf app`: what they wait, what fails, what the server holds in memory.

    python benchmarks/app_load.py --model runs/demo/both --clients 32 --seconds 60

The server is a process of its own on this machine; each client uploads its own clip, asks, reads the answer, and
starts again. Prints one JSON object; times are in seconds, memory (resident) in MiB.
"""

import argparse
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import psutil
import requests
import soundfile

RATE = 16_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clip-seconds", type=float, default=2)
    options = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", "from drkf_cli import app; app()"]
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(
            [
                *command,
                "app",
                "--model",
                options.model,
                "--port",
                str(port),
                "--limit",
                "requests_per_minute=0",
                "--limit",
                "open_requests=0",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(address, server)
            print(json.dumps(load(address, server.pid, options), indent=2))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
        log.seek(0)
        tracebacks = log.read().count("Traceback")
    print(f"{tracebacks} tracebacks in the server's log", file=sys.stderr)


def wait_for(address: str, server: subprocess.Popen) -> None:
    while server.poll() is None:
        try:
            requests.get(address, timeout=5)
            return
        except requests.ConnectionError:
            time.sleep(0.2)
    raise SystemExit("the server did not start")


def load(address: str, pid: int, options: argparse.Namespace) -> dict:
    ask(address, clip(0, options.clip_seconds))  # the first answer warms up
    latencies: list[float] = []
    errors: list[str] = []
    end = time.monotonic() + options.seconds

    def client(number: int) -> None:
        own = clip(number, options.clip_seconds)
        while time.monotonic() < end:
            start = time.monotonic()
            try:
                ask(address, own)
                latencies.append(time.monotonic() - start)
            except (requests.RequestException, RuntimeError) as error:
                errors.append(str(error))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(options.clients)]
    memory = {"start": resident(pid)}
    for thread in threads:
        thread.start()
    time.sleep(options.seconds / 2)
    memory["middle"] = resident(pid)
    for thread in threads:
        thread.join()
    memory["end"] = resident(pid)
    return {
        "clients": options.clients,
        "requests": len(latencies),
        "errors": len(errors),
        "kinds_of_errors": sorted(set(errors))[:5],
        "requests_per_second": round(len(latencies) / options.seconds, 1),
        "latency": {f"p{share}": round(float(np.percentile(latencies, share)), 2) for share in (50, 90, 99, 100)},
        "memory": memory,
        "processors": os.cpu_count(),
        "load_average": os.getloadavg()[0],
    }


def ask(address: str, encoded: bytes) -> None:
    """One upload, one question, one answer.

    Raises:
        RuntimeError: the server answered anything but an Answer.
    """
    uploaded = requests.post(f"{address}/gradio_api/upload", files={"files": ("clip.wav", encoded)}, timeout=120)
    if not uploaded.ok:
        raise RuntimeError(f"upload: {uploaded.status_code} {uploaded.text[:200]}")
    given = {"path": uploaded.json()[0], "meta": {"_type": "gradio.FileData"}}
    called = requests.post(
        f"{address}/gradio_api/call/answer", json={"data": [given, "well, so it goes"]}, timeout=120
    )
    if not called.ok:
        raise RuntimeError(f"call: {called.status_code} {called.text[:200]}")
    answer = requests.get(f"{address}/gradio_api/call/answer/{called.json()['event_id']}", timeout=120).text
    if not re.search(r'event: complete\ndata: \[\{.*"scores"', answer):
        raise RuntimeError(f"answer: {answer[:200]}")


def clip(number: int, seconds: float) -> bytes:
    noise = np.random.default_rng(number).normal(size=int(seconds * RATE)) * 0.1
    encoded = io.BytesIO()
    soundfile.write(encoded, noise, RATE, format="WAV")
    return encoded.getvalue()


def resident(pid: int) -> int:
    return round(psutil.Process(pid).memory_info().rss / 2**20)


if __name__ == "__main__":
    main()
