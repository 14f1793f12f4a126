"""What operators see of the requests, and how many a client may send: logs, metrics, health, rates, draining."""

import io
import json
import logging
import re
import time
import uuid
from collections import Counter as Tally
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from .gate import Message, Receive, Send, respond
from .limits import Limits
from .storage import Storage

LOGGED_CHARACTERS = 500
CLIENTS = 10_000  # whose rates are remembered
REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
ROUTES = ("upload", "call", "queue", "file=", "heartbeat", "login", "cancel", "reset", "healthz", "readyz", "metrics")
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
    """A stream whose lines become records: what libraries print may hold what clients sent."""

    def __init__(self) -> None:
        self._begun = ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in filter(None, lines):
            logger.error(line)
        return len(text)


class Metrics:
    """The page's metrics, in a registry of their own."""

    def __init__(self, storage: Storage) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "drkf_requests", "Requests by route and status.", ["route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "drkf_request_seconds", "Duration of requests.", ["route"], buckets=SECONDS, registry=self.registry
        )
        self.open = Gauge("drkf_open_requests", "Requests under way.", registry=self.registry)
        stored = Gauge("drkf_stored_bytes", "Bytes of uploads.", registry=self.registry)
        stored.set_function(lambda: storage.kept + storage.reserved)


class Traffic:
    """ASGI middleware around everything: `/healthz`, `/readyz`, `/metrics`; a line of log a request, with its id (the
    client's `X-Request-ID` where it is a plain one); limits by client; and the end: once draining, it takes nothing
    new and lets clients fetch the answers that they wait for.

    Attributes:
        in_flight: answers that clients wait for.
        draining: set by the server when it is to end.
    """

    def __init__(self, app: Any, storage: Storage, limits: Limits):
        self.app, self.limits = app, limits
        self.metrics = Metrics(storage)
        self.in_flight = 0
        self.draining = False
        self._open: Tally[str] = Tally()
        self._rates: dict[str, tuple[float, float]] = {}  # client: (tokens left, when)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status, route = time.monotonic(), 0, _route(scope["path"])
        client = (scope.get("client") or ("unknown",))[0]
        request_id = _request_id(scope)

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
            await send(message)

        self._open[client] += 1
        self.metrics.open.inc()
        try:
            if not await self._respond_itself(scope, route, client, send_with_id):
                await self._pass(scope, route, receive, send_with_id)
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]
            self.metrics.open.dec()
            seconds = time.monotonic() - start
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(seconds)
            fields = {"request_id": request_id, "client": client, "method": scope["method"], "path": scope["path"]}
            if route not in ("healthz", "readyz", "metrics"):
                logger.info("request", extra={"fields": fields | {"status": status, "seconds": round(seconds, 4)}})

    async def _respond_itself(self, scope: Message, route: str, client: str, send: Send) -> bool:
        """Answers what needs no page, and refuses what is too much; False where the page is to answer."""
        if scope["path"] == "/healthz":
            await respond(send, 200, "alive")
        elif scope["path"] == "/readyz":
            await respond(send, *((503, "draining") if self.draining else (200, "ready")))
        elif scope["path"] == "/metrics":
            headers = [(b"content-type", CONTENT_TYPE_LATEST.encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": generate_latest(self.metrics.registry)})
        elif scope["method"] == "POST" and self.draining:
            await respond(send, 503, "The server is about to stop; try again in a minute.")
        elif 0 < self.limits.open_requests < self._open[client]:
            await respond(send, 429, "Too many requests at a time; wait for some of the answers.")
        elif scope["method"] == "POST" and not self._takes(client):
            await respond(send, 429, f"At most {self.limits.requests_per_minute} requests a minute; wait a little.")
        else:
            return False
        return True

    async def _pass(self, scope: Message, route: str, receive: Receive, send: Send) -> None:
        """Counts calls that are accepted, until the client has fetched their answers."""
        method, change = scope["method"], 0
        calls, streams = route == "call", scope["path"].endswith("/queue/data")

        async def send_and_count(message: Message) -> None:
            nonlocal change
            if message["type"] == "http.response.start" and message["status"] == 200:
                if method == "POST" and calls:
                    self.in_flight += 1
                elif method == "GET" and (calls or streams):
                    self.in_flight += streams
                    change = -1
            await send(message)

        try:
            await self.app(scope, receive, send_and_count)
        finally:
            self.in_flight += change

    def _takes(self, client: str) -> bool:
        """A token bucket a client, which a minute fills."""
        if not (most := self.limits.requests_per_minute):
            return True
        now = time.monotonic()
        tokens, since = self._rates.pop(client, (float(most), now))
        tokens = min(most, tokens + (now - since) * most / 60)
        self._rates[client] = (tokens - 1 if tokens >= 1 else tokens, now)
        if len(self._rates) > CLIENTS:
            del self._rates[next(iter(self._rates))]
        return tokens >= 1


def _route(path: str) -> str:
    """The kind of a path: clients must not be able to make up metrics."""
    return next((name.rstrip("=") for name in ROUTES if f"/{name}" in path), "page")


def _request_id(scope: Message) -> str:
    given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
