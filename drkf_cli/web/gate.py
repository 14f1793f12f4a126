"""What a request must pass before Gradio sees it."""

import asyncio
import io
import json
import tempfile
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import IO, Any
from urllib.parse import parse_qs, unquote

from .addresses import Names, client_of
from .answers import Answers
from .limits import Limits
from .storage import Storage
from .turns import Turns

API = "/gradio_api"
UPLOAD, PROGRESS, LOGIN = f"{API}/upload", f"{API}/upload_progress", "/login"
CALL, JOIN, DATA = f"{API}/call/answer", f"{API}/queue/join", f"{API}/queue/data"
FORM_BYTES = 2**14  # what a multipart form adds to its file
IN_MEMORY = 2**20
ANSWERED = ("file", "text")  # the inputs of the API
EXPECTED = '"data" must be a list: {}; each of them may be null.'
DISK_IS_FULL = "The disk of the server is full; try again in a few minutes."
FORWARDED = (b"x-forwarded-host", b"x-gradio-server")  # Gradio takes them for the page's own address

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
    """ASGI middleware: refuses other names and origins, and any path or URL that a client sends unless it is an upload
    of this server; bounds what one client sends, stores and asks; tells browsers to load nothing from elsewhere.

    Gradio by itself fetches public URLs that stand in place of a file, keeps what arrived of an upload that breaks
    off, and serves routes that this page has no use for, one of which gives what it is sent to ffmpeg.

    Args:
        app: the application behind it.
        storage: where uploads are kept. names: of the page. turns: where questions wait. answers: where answers wait.
        events: of which kind the inputs of each event of the page are, "file" or "text", by its number.
        login: whether the page has a login form.
    """

    def __init__(
        self,
        app: Any,
        limits: Limits,
        storage: Storage,
        names: Names,
        turns: Turns,
        answers: Answers,
        events: Mapping[int, Sequence[str]],
        login: bool = False,
    ):
        self.app, self.limits, self.storage, self.names, self.turns = app, limits, storage, names, turns
        self.answers, self.events, self.login = answers, events, login

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [(name, _same_site(name, value)) for name, value in message.get("headers", [])]
                message["headers"] = [*headers, *HEADERS]
            await send(message)

        try:
            await self._admit(scope, receive, send_with_headers)
        except Refused as refusal:
            await respond(send_with_headers, *refusal.args)

    async def _admit(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        for name in (b"host", FORWARDED[0]):
            if name in headers and not self.names.knows(host := headers[name].decode("latin-1")):
                raise Refused(400, f"This page does not go by the name {host[:100]!r}: see --allowed-host.")
        scope["headers"] = [(name, value) for name, value in scope["headers"] if name != FORWARDED[1]]
        path = unquote(scope["path"])
        names_file = any(marker in path for marker in ("/file=", "/file/", "/proxy="))
        if names_file and not self.storage.holds(path.partition("/file=")[2]):
            raise Refused(403, "This server gives out uploads and its own answers only.")
        path, client = scope["path"].rstrip("/"), client_of((scope.get("client") or ("unknown",))[0])
        if scope["method"] == "OPTIONS":
            await self.app(scope, receive, send)
        elif scope["method"] != "POST":
            await self._give(scope, path, receive, send)
        elif self.names.is_foreign(headers):
            raise Refused(403, "Pages of other origins may not use this one: see --allowed-origin.")
        elif path == UPLOAD:
            await self._upload(scope, client, receive, send)
        elif path in (CALL, JOIN):
            await self._ask(scope, path, client, receive, send)
        elif path == LOGIN and self.login:
            body = io.BytesIO()
            if await self._read(receive, body, FORM_BYTES):
                await self.app(scope, _replay(body, receive), send)
        else:
            raise Refused(404, "This server has no such service.")

    async def _give(self, scope: Message, path: str, receive: Receive, send: Send) -> None:
        """Pages and answers; an answer to whoever knows its event or session, and once."""
        if path == PROGRESS:
            raise Refused(404, "Uploads have no names here.")
        if path == DATA:
            session = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[-1]
        elif path.startswith(f"{API}/call/"):
            session = path.rpartition("/")[2]
        else:
            await self.app(scope, receive, send)
            return
        if not self.answers.knows(session):
            raise Refused(404, "There is no such answer.")
        is_whole = False

        async def send_and_note(message: Message) -> None:
            nonlocal is_whole
            is_whole = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        finally:
            if not is_whole:
                self.turns.drop(session)
            self.answers.delivered(session, is_whole)

    async def _upload(self, scope: Message, client: str, receive: Receive, send: Send) -> None:
        """Takes an upload whole before it is passed on: of one that breaks off nothing is left."""
        taken, status = 0, 0

        def take(size: int) -> None:
            nonlocal taken
            if not self.storage.take(client, size):
                raise Refused(503, "Too many clips are kept at the moment; try again in a few minutes.")
            taken += size

        async def note_status(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        scope["query_string"] = b""  # Gradio remembers an upload's name for ever
        try:
            with tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(self.storage.folder)) as body:
                if await self._read(receive, body, self.limits.upload_bytes + FORM_BYTES, take):
                    await self.app(scope, _replay(body, receive), note_status)
        except OSError:
            if status:
                raise
            raise Refused(507, DISK_IS_FULL) from None
        finally:
            (self.storage.keep if status == 200 else self.storage.give_back)(client, taken)

    async def _ask(self, scope: Message, path: str, client: str, receive: Receive, send: Send) -> None:
        """Passes a question on, made of what was checked of it and nothing else."""
        body = io.BytesIO()
        if not await self._read(receive, body, self.limits.request_bytes):
            return
        question = self._checked(body.read(), path)
        if question["data"] and (refusal := self.turns.announce(client)):
            raise Refused(*refusal)
        encoded = json.dumps(question).encode()
        others = [
            (name, value) for name, value in scope["headers"] if name not in (b"content-length", b"content-type")
        ]
        length = str(len(encoded)).encode()
        scope["headers"] = [*others, (b"content-length", length), (b"content-type", b"application/json")]

        async def note(message: Message) -> None:
            if message["type"] == "http.response.body" and b'"event_id"' in (given := message.get("body", b"")):
                self.answers.expect(question.get("session_hash") or json.loads(given)["event_id"], client)
            await send(message)

        await self.app(scope, _replay(io.BytesIO(encoded), receive), note)

    def _checked(self, body: bytes, path: str) -> dict[str, Any]:
        """What Gradio needs of a question."""
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError):
            raise Refused(400, "The request is not valid JSON.") from None
        if not isinstance(asked, dict):
            raise Refused(400, "The request must be a JSON object.")
        if path == CALL:
            return {"data": self._inputs(asked.get("data"), ANSWERED)}
        session, number = asked.get("session_hash"), asked.get("fn_index")
        if not isinstance(session, str) or not 0 < len(session) <= 100:
            raise Refused(400, '"session_hash" must be a short text.')
        if not isinstance(number, int) or number not in self.events:
            raise Refused(400, "The page has no such event.")
        inputs = self._inputs(asked.get("data"), self.events[number])
        return {"data": inputs, "fn_index": number, "session_hash": session, "trigger_id": None}

    def _inputs(self, given: Any, kinds: Sequence[str]) -> list[Any]:
        """Uploads and texts, those at the end may be left out; an event without inputs has none."""
        expected = EXPECTED.format(", ".join("an uploaded file" if kind == "file" else "a text" for kind in kinds))
        if not isinstance(given, list) or len(given) > len(kinds) or (kinds and not given):
            raise Refused(400, expected)
        inputs = []
        for value, kind in zip([*given, *[None] * (len(kinds) - len(given))], kinds, strict=True):
            if not isinstance(value, (dict if kind == "file" else str) | None):
                raise Refused(400, expected)
            if isinstance(value, dict):
                if not self.storage.holds(value.get("path")):
                    raise Refused(400, "Upload the clip: paths and URLs are not read.")
                value = {"path": value["path"], "meta": {"_type": "gradio.FileData"}}
            inputs.append(value)
        return inputs

    async def _read(
        self, receive: Receive, body: IO[bytes], largest: int, take: Callable[[int], None] | None = None
    ) -> bool:
        """Reads a request's body and goes back to its beginning; False where the client has gone."""
        try:
            async with asyncio.timeout(self.limits.upload_seconds):
                size, more = 0, True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return False
                    chunk, more = message.get("body", b""), message.get("more_body", False)
                    size += len(chunk)
                    if size > largest:
                        raise Refused(413, f"A request may have at most {largest} bytes here.")
                    if take is not None:
                        take(len(chunk))
                    body.write(chunk)
        except TimeoutError:
            raise Refused(408, f"The request did not arrive within {self.limits.upload_seconds:g} seconds.") from None
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


def _same_site(name: bytes, value: bytes) -> bytes:
    """A header; cookies without `SameSite=None`, with which pages of other origins would use them."""
    return value.replace(b"SameSite=none", b"SameSite=lax") if name == b"set-cookie" else value


async def respond(send: Send, status: int, reason: str) -> None:
    """Sends `{"detail": reason}`."""
    body = json.dumps({"detail": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status in (429, 503, 507):
        headers.append((b"retry-after", b"30"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
