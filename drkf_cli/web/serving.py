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
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from .addresses import Names
from .answers import Answers
from .clips import Example
from .connections import bounded_config
from .gate import DISK_IS_FULL, UPLOAD, Gate
from .limits import Limits
from .storage import Storage, upload_folder
from .traffic import JsonLines, LogLines, Traffic
from .turns import Turns

FILES = ("audio", "file")  # components whose value is an upload
UNREADABLE = (OSError, TypeError, ValueError, LookupError, AttributeError, AssertionError)
NO_FILES = "An upload is a form (multipart/form-data) whose field `files` holds a file."

GRADIO = {  # as it starts: no telemetry, no statistics of the last 10,000 events after each of them
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_ANALYTICS_MAX_EVENTS": "1",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000000",
}
SWITCHED = 0.0005  # seconds; with Python's own 0.005 the model waits as long after each of its operations
LOOKED = 1.0  # seconds between two looks at the queue
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
    allowed_hosts: Sequence[str] = (),
    allowed_origins: Sequence[str] = (),
) -> None:
    """Serves the page for a recogniser until SIGINT or SIGTERM; what clients sent is deleted then at the latest.

    After a signal, clients get the answers that they wait for, within `limits.drain_seconds`.

    Args:
        auth: names and passwords of those who may see the page; empty lets everybody in.
        allowed_hosts: host names under which the page may be addressed; without any, those that it is bound to.
        allowed_origins: pages of other origins that may use this one.

    Raises:
        OSError: the port is taken, or the host is no address of this machine.
    """
    os.environ |= GRADIO
    sys.setswitchinterval(SWITCHED)
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
    with listener, upload_folder() as folder, redirect_stderr(LogLines(folder)):
        os.environ["GRADIO_TEMP_DIR"] = str(folder)  # read by Gradio when components are made
        names = Names(host, allowed_hosts, allowed_origins)
        traffic = build_application(recogniser, title, transcribes, examples, limits, auth, names, folder)
        config = bounded_config(traffic, limits, timeout_graceful_shutdown=LEFT_OPEN, lifespan="on")
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
    names: Names,
    folder: Path,
) -> Traffic:
    """The page behind everything that a request has to pass; uploads lie in `folder`."""
    import gradio

    from .page import build_page

    @asynccontextmanager
    async def looking_after(_: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(_sweep(storage, answers, page.temp_file_sets, limits))]
        tasks.append(asyncio.create_task(_watch(answers)))
        yield
        for task in tasks:
            task.cancel()

    storage, turns = Storage(folder, limits.stored_bytes, limits.client_bytes), Turns(limits)
    page, looks = build_page(recogniser, title, limits, turns, transcribes, examples)
    answers = Answers(page, limits, turns)
    others = Middleware(
        CORSMiddleware, allow_origins=names.origins, allow_methods=["GET", "POST"], allow_headers=["*"]
    )
    application = gradio.mount_gradio_app(
        FastAPI(lifespan=looking_after, docs_url=None, redoc_url=None, openapi_url=None, middleware=[others]),
        page,
        path="/",
        app_kwargs={"exception_handlers": dict.fromkeys(UNREADABLE, _refuse)},
        auth=list(auth) or None,
        max_file_size=limits.upload_bytes,
        enable_monitoring=False,
        run_history=False,
        mcp_server=False,
        ssr_mode=False,
        pwa=False,
        **looks,
    )
    kinds = {part["id"]: "file" if part["type"] in FILES else "text" for part in page.config["components"]}
    events = {event["id"]: [kinds[part] for part in event["inputs"]] for event in page.config["dependencies"]}
    gate = Gate(application, limits, storage, names, turns, answers, events, login=bool(auth))
    return Traffic(gate, answers, storage, limits)


async def _refuse(request: Request, error: Exception) -> JSONResponse:
    """What Gradio's upload does not expect: a full disk, fields in place of files, broken forms."""
    if request.url.path.rstrip("/") != UPLOAD:
        raise error
    is_full = isinstance(error, OSError)
    return JSONResponse({"detail": DISK_IS_FULL if is_full else NO_FILES}, 507 if is_full else 400)


async def _sweep(storage: Storage, answers: Answers, names: Sequence[set[str]], limits: Limits) -> None:
    """Deletes uploads by age, for as long as the server runs. Gradio's own sweep (`delete_cache`) ends for good when a
    file arrives while it looks, so it is off; the `names` that Gradio keeps for it would grow for ever."""
    while True:
        await asyncio.sleep(limits.swept_seconds)
        begun = time.monotonic()
        await run_in_threadpool(storage.sweep, limits.kept_seconds)
        storage.forget(begun - limits.kept_seconds)
        answers.forget_old()
        for known in names:
            known.clear()


async def _watch(answers: Answers) -> None:
    """Starts Gradio's queue again where it has stopped."""
    while True:
        await asyncio.sleep(LOOKED)
        if answers.is_stopped:
            logging.getLogger("drkf.app").error("the queue has stopped; it is started again")
            answers.restart()


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
        if self._signals and (not self.traffic.answers.under_way or time.monotonic() > self._ends_at):
            super().handle_exit(*self._signals.pop())
        return await super().on_tick(counter)


def _stop(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one must not interrupt the cleaning up
    sys.exit(128 + number)
