"""What operators see of the requests, and how many a client may send: logs, metrics, health, rates, draining."""

import asyncio
import io
import json
import logging
import re
import time
import uuid
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from .addresses import client_of
from .answers import Answers
from .gate import Message, Receive, Send, respond
from .limits import Limits
from .storage import Storage

LOGGED_CHARACTERS = 500
CLIENTS = 10_000  # whose rates are remembered
REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
STATIC = ("/assets/", "/static/", "/svelte/")  # a page has a hundred of them
REFUSED_SECONDS = 2.0  # before a client is refused that sends too many requests
ROUTES = ("upload", "call/", "queue/", "file=", "heartbeat/", "login", "healthz", "readyz", "metrics", "assets/")
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

logger = logging.getLogger("drkf.app")


class JsonLines(logging.Formatter):
    """A record as one line of JSON; strings are cut, control characters stand as escapes."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        cut = {name: value[:LOGGED_CHARACTERS] if isinstance(value, str) else value for name, value in fields.items()}
        if record.exc_info:
            cut["traceback"] = self.formatException(record.exc_info)
        return json.dumps(cut)


class LogLines(io.TextIOBase):
    """A stream whose lines become records: what libraries print may hold what clients sent.

    Args:
        folder: of the uploads; their names do not reach the log.
    """

    def __init__(self, folder: Path) -> None:
        self._begun = ""
        self._upload = re.compile(re.escape(str(folder)) + r"""[^"'\n]*""")

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in filter(None, lines):
            logger.error(self._upload.sub("(an upload)", line))
        return len(text)


class Metrics:
    """The page's metrics, in a registry of their own."""

    def __init__(self, storage: Storage, answers: Answers) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "drkf_requests", "Requests by route and status.", ["route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "drkf_request_seconds", "Duration of requests.", ["route"], buckets=SECONDS, registry=self.registry
        )
        self.open = Gauge("drkf_open_requests", "Requests under way.", registry=self.registry)
        stored = Gauge("drkf_stored_bytes", "Bytes of uploads.", registry=self.registry)
        stored.set_function(lambda: storage.stored)
        waiting = Gauge("drkf_answers_under_way", "Answers that are not delivered yet.", registry=self.registry)
        waiting.set_function(lambda: answers.under_way)


class Traffic:
    """ASGI middleware around everything: `/healthz`, `/readyz`, `/metrics`; a line of log a request, with its id (the
    client's `X-Request-ID` where it is a plain one); rates of clients; and the end: once draining, it takes nothing
    new and lets clients fetch the answers that they wait for.

    Attributes:
        draining: set by the server when it is to end.
    """

    def __init__(self, app: Any, answers: Answers, storage: Storage, limits: Limits):
        self.app, self.answers, self.limits = app, answers, limits
        self.metrics = Metrics(storage, answers)
        self.draining = False
        self._rates: dict[str, tuple[float, float]] = {}  # client: (tokens left, when)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status, route = time.monotonic(), 0, _route(scope["path"])
        address, request_id = (scope.get("client") or ("unknown",))[0], _request_id(scope)

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
            await send(message)

        self.metrics.open.inc()
        try:
            if not await self._respond_itself(scope, client_of(address), send_with_id):
                await self.app(scope, receive, send_with_id)
        finally:
            self.metrics.open.dec()
            seconds = time.monotonic() - start
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(seconds)
            fields = {"request_id": request_id, "client": address, "method": scope["method"], "route": route}
            if route not in ("healthz", "readyz", "metrics"):
                logger.info("request", extra={"fields": fields | {"status": status, "seconds": round(seconds, 4)}})

    async def _respond_itself(self, scope: Message, client: str, send: Send) -> bool:
        """Answers what needs no page, and refuses what is too much; False where the page is to answer."""
        if scope["path"] == "/healthz":
            await respond(send, 200, "alive")
        elif scope["path"] == "/readyz":
            await respond(send, *self._readiness())
        elif scope["path"] == "/metrics":
            headers = [(b"content-type", CONTENT_TYPE_LATEST.encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": generate_latest(self.metrics.registry)})
        elif scope["method"] == "POST" and self.draining:
            await respond(send, 503, "The server is about to stop; try again in a minute.")
        elif not self._takes(client, 0.1 if scope["path"].startswith(STATIC) else 1.0):
            await asyncio.sleep(REFUSED_SECONDS)
            await respond(send, 429, f"At most {self.limits.requests_per_minute} requests a minute; wait a little.")
        else:
            return False
        return True

    def _readiness(self) -> tuple[int, str]:
        if self.draining:
            return 503, "draining"
        return (503, "the queue has stopped") if self.answers.is_stopped else (200, "ready")

    def _takes(self, client: str, cost: float) -> bool:
        """A token bucket a client, which a minute fills."""
        if not (most := self.limits.requests_per_minute):
            return True
        now = time.monotonic()
        tokens, since = self._rates.pop(client, (float(most), now))
        tokens = min(most, tokens + (now - since) * most / 60)
        self._rates[client] = (tokens - cost if tokens >= cost else tokens, now)
        if len(self._rates) > CLIENTS:
            del self._rates[next(iter(self._rates))]
        return tokens >= cost


def _route(path: str) -> str:
    """The kind of a path: clients must not be able to make up metrics, and paths hold the names of their files."""
    return next((name.rstrip("=/") for name in ROUTES if path.startswith((f"/gradio_api/{name}", f"/{name}"))), "page")


def _request_id(scope: Message) -> str:
    given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
