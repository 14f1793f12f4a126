"""Serve the page until it is stopped."""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, redirect_stderr
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware.trustedhost import TrustedHostMiddleware

from .clips import Example
from .gate import Gate
from .limits import Limits
from .storage import Storage, upload_folder
from .traffic import JsonLines, LogLines, Traffic

LEFT_OPEN = 1  # seconds for connections that are still open when all answers are out: pages in browsers


def serve(
    recogniser: Any,
    title: str,
    host: str = "127.0.0.1",
    port: int = 7860,
    transcribes: bool = False,
    examples: Sequence[Example] = (),
    limits: Limits | None = None,
    auth: Sequence[tuple[str, str]] = (),
    allowed_hosts: Sequence[str] = ("*",),
) -> None:
    """Serves the page for a recogniser until SIGINT or SIGTERM; what clients sent is deleted then at the latest.

    After a signal, clients get the answers that they wait for, within `limits.drain_seconds`.

    Args:
        auth: names and passwords of those who may see the page; empty lets everybody in.
        allowed_hosts: host names under which the page may be addressed.

    Raises:
        OSError: the port is taken, or the host is no address of this machine.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    limits = limits or Limits()
    listener = socket.create_server(
        (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048
    )
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    for name in ("drkf.app", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO if name == "drkf.app" else logging.WARNING)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    with listener, upload_folder() as folder, redirect_stderr(LogLines()):
        os.environ["GRADIO_TEMP_DIR"] = str(folder)  # read by Gradio when components are made
        traffic = build_application(
            recogniser, title, transcribes, examples, limits, auth, allowed_hosts, Storage(folder, limits.stored_bytes)
        )
        config = uvicorn.Config(
            traffic, log_config=None, access_log=False, timeout_graceful_shutdown=LEFT_OPEN, lifespan="on"
        )
        logging.getLogger("drkf.app").info(
            "start", extra={"fields": {"pid": os.getpid(), "address": f"{host}:{port}"}}
        )
        print(f"The page is at http://{host}:{port}/ (Ctrl-C stops it)", flush=True)
        DrainingServer(config, traffic, limits.drain_seconds).run(sockets=[listener])


def build_application(
    recogniser: Any,
    title: str,
    transcribes: bool,
    examples: Sequence[Example],
    limits: Limits,
    auth: Sequence[tuple[str, str]],
    allowed_hosts: Sequence[str],
    storage: Storage,
) -> Traffic:
    """The page behind everything that a request has to pass."""
    import gradio

    from .page import build_page

    @asynccontextmanager
    async def sweeping(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(_sweep(storage, limits, page.temp_file_sets))
        yield
        task.cancel()

    page, looks = build_page(recogniser, title, limits, transcribes, examples)
    application = gradio.mount_gradio_app(
        FastAPI(lifespan=sweeping, docs_url=None, redoc_url=None, openapi_url=None),
        page,
        path="/",
        auth=list(auth) or None,
        max_file_size=limits.upload_bytes,
        enable_monitoring=False,
        run_history=False,
        mcp_server=False,
        ssr_mode=False,
        pwa=False,
        **looks,
    )
    events = {event["id"]: len(event["inputs"]) for event in page.config["dependencies"]}
    gated = Gate(application, storage, limits, events, login=bool(auth))
    return Traffic(TrustedHostMiddleware(gated, list(allowed_hosts)), storage, limits)


async def _sweep(storage: Storage, limits: Limits, names: Sequence[set[str]]) -> None:
    """Deletes uploads by age, for as long as the server runs. Gradio's own sweep (`delete_cache`) ends for good when a
    file arrives while it looks, so it is off; the `names` that Gradio keeps for it would grow for ever."""
    while True:
        await asyncio.sleep(limits.swept_seconds)
        await run_in_threadpool(storage.sweep, limits.kept_seconds)
        for known in names:
            known.clear()


class DrainingServer(uvicorn.Server):
    """A uvicorn server that, at the first signal, waits until `traffic` has nothing in flight."""

    def __init__(self, config: uvicorn.Config, traffic: Traffic, seconds: float):
        super().__init__(config)
        self.traffic, self.seconds = traffic, seconds
        self._ends_at = float("inf")
        self._signals: list[tuple[int, FrameType | None]] = []

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.traffic.draining:
            super().handle_exit(sig, frame)
            return
        self.traffic.draining = True
        self._ends_at = time.monotonic() + self.seconds
        self._signals.append((sig, frame))

    async def on_tick(self, counter: int) -> bool:
        if self._signals and (not self.traffic.in_flight or time.monotonic() > self._ends_at):
            super().handle_exit(*self._signals.pop())
        return await super().on_tick(counter)


def _stop(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one must not interrupt the cleaning up
    sys.exit(128 + number)
