"""What a request must pass before Gradio sees it."""

import asyncio
import json
import re
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from typing import IO, Any
from urllib.parse import parse_qs, unquote

from .limits import Limits
from .storage import Storage

UPLOAD = "/gradio_api/upload"
LOGIN = "/login"
CALL, JOIN, DATA = "/gradio_api/call/", "/gradio_api/queue/join", "/gradio_api/queue/data"
EVENT = re.compile(rb'"event_id"\s*:\s*"(\w+)"')
MOST_KNOWN = 10_000
POSTS = (CALL, JOIN, "/gradio_api/cancel", "/gradio_api/reset")
FORM_BYTES = 2**14  # what a multipart form adds to its file
OPENING_BRACKETS = 500  # objects and lists of a request
IN_MEMORY = 2**20

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self' data: blob:; object-src 'none'; base-uri 'self'; form-action 'self'"
)
HEADERS = [
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Refused(Exception):  # noqa: N818
    """A request that goes no further: status and reason."""


class Gate:
    """ASGI middleware: refuses any path or URL that a client names unless it is an upload of this server, bounds what
    is sent and stored, and tells browsers to load nothing from elsewhere.

    Gradio by itself fetches public URLs that stand in place of a file, keeps what arrived of an upload that breaks
    off, and serves routes that this page has no use for, one of which gives what it is sent to ffmpeg.

    Args:
        app: the application behind it.
        storage: where uploads are kept.
        events: how many inputs each event of the page takes, by its number.
        login: whether the page has a login form.
    """

    def __init__(
        self, app: Any, storage: Storage, limits: Limits, events: Mapping[int, int] | None = None, login: bool = False
    ):
        self.app, self.storage, self.limits = app, storage, limits
        self.events, self.login = events or {}, login
        self._known: dict[str, None] = {}  # events and sessions whose answers may be fetched, the oldest first

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        try:
            await self._admit(scope, receive, send_with_headers)
        except Refused as refusal:
            await respond(send_with_headers, *refusal.args)

    async def _admit(self, scope: Message, receive: Receive, send: Send) -> None:
        path = unquote(scope["path"])
        names_file = any(marker in path for marker in ("/file=", "/file/", "/proxy="))
        if names_file and not self.storage.holds(path.partition("/file=")[2]):
            raise Refused(403, "This server gives out uploads and its own answers only.")
        if scope["method"] != "POST":
            if (asked := _asked(path, scope["query_string"])) is not None and asked not in self._known:
                raise Refused(404, "There is no such answer.")
            if path.startswith(CALL):  # is given once
                self._known.pop(path.rpartition("/")[2], None)
            await self.app(scope, receive, send)
        elif path.rstrip("/") == UPLOAD:
            await self._upload(scope, receive, send)
        elif path.startswith(POSTS):
            with tempfile.SpooledTemporaryFile(IN_MEMORY) as body:
                if await _read(receive, body, self.limits.request_bytes, self.limits.upload_seconds):
                    session = self._check(body.read(), path)
                    await self.app(scope, _replay(body, receive), self._noting(path, session, send))
        elif self.login and path.rstrip("/") == LOGIN:
            with tempfile.SpooledTemporaryFile(IN_MEMORY) as body:
                if await _read(receive, body, FORM_BYTES, self.limits.upload_seconds):
                    await self.app(scope, _replay(body, receive), send)
        else:
            raise Refused(404, "This server has no such service.")

    async def _upload(self, scope: Message, receive: Receive, send: Send) -> None:
        """Takes an upload whole before it is passed on: of one that breaks off nothing is left."""
        largest = self.limits.upload_bytes + FORM_BYTES
        size = int(dict(scope["headers"]).get(b"content-length", b"") or largest)
        if size > largest:
            raise Refused(413, f"A file may have at most {self.limits.upload_bytes} bytes.")
        if not self.storage.reserve(size):
            raise Refused(503, "Too many clips are waiting; try again in a few minutes.")
        kept = False

        async def note_status(message: Message) -> None:
            nonlocal kept
            if message["type"] == "http.response.start":
                kept = message["status"] == 200
            await send(message)

        try:
            with tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(self.storage.folder)) as body:
                if await _read(receive, body, size, self.limits.upload_seconds):
                    await self.app(scope, _replay(body, receive), note_status)
        finally:
            self.storage.release(size, kept)

    def _noting(self, path: str, session: str, send: Send) -> Send:
        """A `send` that notes whose answer may be fetched: that of an event or, of a browser, of its session."""

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.body" and path.startswith((CALL, JOIN)):
                found = EVENT.search(message.get("body", b""))
                if found:
                    self._known[session if path.startswith(JOIN) else found[1].decode()] = None
                    while len(self._known) > MOST_KNOWN:
                        del self._known[next(iter(self._known))]
            await send(message)

        return send_and_note

    def _check(self, body: bytes, path: str) -> str:
        """Refuses what is no call of this page; bounds depth and count before anything is parsed.

        Returns: the browser's session, if the call has one.
        """
        if body.count(b"{") + body.count(b"[") > OPENING_BRACKETS:
            raise Refused(400, "The request is nested too deeply or has too many parts.")
        try:
            call = json.loads(body) if body else {}
        except (ValueError, RecursionError):
            raise Refused(400, "The request is not valid JSON.") from None
        if not isinstance(call, dict):
            raise Refused(400, "The request must be a JSON object.")
        if not all(self.storage.holds(name) for name in _named_paths(call)):
            raise Refused(400, "Upload the clip: paths and URLs are not read.")
        if path.startswith(CALL):
            _check_inputs(call.get("data"), 2)
        elif path.startswith(JOIN):
            number = call.get("fn_index")
            if not isinstance(number, int) or number not in self.events:
                raise Refused(400, "The page has no such event.")
            _check_inputs(call.get("data"), self.events[number])
        session = call.get("session_hash") or ""
        if not isinstance(session, str) or len(session) > 100:
            raise Refused(400, '"session_hash" must be a short text.')
        return session


def _named_paths(value: Any) -> Iterator[Any]:
    """Every value under a key `path` (Gradio's file objects), at any depth; null stands for no file."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if value.get("path") is not None:
                yield value["path"]
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _asked(path: str, query: bytes) -> str | None:
    """The event or session whose answer is asked for, if one is."""
    if path.startswith(CALL):
        return path.rpartition("/")[2]
    if path.rstrip("/") == DATA:
        return parse_qs(query.decode("latin-1")).get("session_hash", [""])[-1]
    return None


def _check_inputs(inputs: Any, count: int) -> None:
    """A clip and a text; an event without inputs has neither."""
    if isinstance(inputs, list) and len(inputs) == count:
        *clips, text = inputs or [None]
        are_files = all(
            clip is None or (isinstance(clip, dict) and isinstance(clip.get("path"), str)) for clip in clips
        )
        if are_files and (text is None or isinstance(text, str)):
            return
    raise Refused(400, '"data" must be a list: an uploaded clip or null, then a text or null.')


async def _read(receive: Receive, body: IO[bytes], largest: int, seconds: float) -> bool:
    """Reads a request's body and goes back to its beginning; False where the client has gone."""
    try:
        async with asyncio.timeout(seconds):
            size, more = 0, True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return False
                size += len(message.get("body", b""))
                if size > largest:
                    raise Refused(413, f"A request may have at most {largest} bytes here.")
                body.write(message.get("body", b""))
                more = message.get("more_body", False)
    except TimeoutError:
        raise Refused(408, f"The request did not arrive within {seconds:g} seconds.") from None
    body.seek(0)
    return True


def _replay(body: IO[bytes], receive: Receive) -> Receive:
    """A `receive` that gives the body again, then whatever the client does next."""
    body.seek(0)
    finished = False

    async def replay() -> Message:
        nonlocal finished
        if finished:
            return await receive()
        chunk = body.read(2**16)
        finished = len(chunk) < 2**16
        return {"type": "http.request", "body": chunk, "more_body": not finished}

    return replay


async def respond(send: Send, status: int, reason: str) -> None:
    """Sends `{"detail": reason}`."""
    body = json.dumps({"detail": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status in (429, 503):
        headers.append((b"retry-after", b"30"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
