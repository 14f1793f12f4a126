"""What a request must pass before Gradio sees it."""

import json
import os
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

UPLOAD = "/gradio_api/upload"
POSTS = (UPLOAD, *(f"/gradio_api/{route}" for route in ("queue/join", "call/", "cancel", "reset")))
MAX_JSON_BYTES = 2**20
MAX_STORED_BYTES = 2**30

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


class Gate:
    """ASGI middleware: refuses any path or URL that a client names unless it is an upload of this server, bounds what
    is sent and stored, and tells browsers to load nothing from elsewhere.

    Gradio by itself fetches public URLs that stand in place of a file, and serves routes that this page has no use
    for, one of which gives what it is sent to ffmpeg.

    Args:
        app: the application behind it.
        folder: where uploads are kept.
    """

    def __init__(self, app: Any, folder: Path):
        self.app = app
        self.folder = folder.resolve()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        path = unquote(scope["path"])
        if any(marker in path for marker in ("/file=", "/file/", "/proxy=")) and not self._holds(_named_file(path)):
            await _refuse(send_with_headers, 403, "This server gives out uploads and its own answers only.")
        elif scope["method"] != "POST":
            await self.app(scope, receive, send_with_headers)
        elif not path.startswith(POSTS):
            await _refuse(send_with_headers, 404, "This server has no such service.")
        elif path.startswith(UPLOAD):
            if _stored_bytes(self.folder) > MAX_STORED_BYTES:
                await _refuse(send_with_headers, 503, "Too many clips are waiting; try again in a few minutes.")
            else:
                await self.app(scope, receive, send_with_headers)
        else:
            await self._pass_json(scope, receive, send_with_headers)

    async def _pass_json(self, scope: Message, receive: Receive, send: Send) -> None:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if len(body) > MAX_JSON_BYTES:
                await _refuse(send, 413, f"A request may have at most {MAX_JSON_BYTES} bytes.")
                return
            if not message.get("more_body"):
                break
        try:
            named = list(_named_paths(json.loads(body))) if body else []
        except (ValueError, RecursionError):
            await _refuse(send, 400, "The request is not valid JSON.")
            return
        if not all(self._holds(name) for name in named):
            await _refuse(send, 400, "Upload the clip: paths and URLs are not read.")
            return
        waiting: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        await self.app(scope, replay, send)

    def _holds(self, name: Any) -> bool:
        """Whether `name` is a path inside the upload folder, links followed."""
        try:
            return isinstance(name, str) and os.path.isabs(name) and Path(name).resolve().is_relative_to(self.folder)
        except (OSError, ValueError):  # ValueError: a null byte
            return False


def _named_file(path: str) -> str:
    return path.partition("/file=")[2]


def _named_paths(value: Any) -> Iterator[Any]:
    """Every value under a key `path` (Gradio's file objects), at any depth; null stands for no file."""
    if isinstance(value, dict):
        if value.get("path") is not None:
            yield value["path"]
        for part in value.values():
            yield from _named_paths(part)
    elif isinstance(value, list):
        for part in value:
            yield from _named_paths(part)


def _stored_bytes(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name), follow_symlinks=False).st_size
            except FileNotFoundError:  # deleted meanwhile
                continue
    return total


async def _refuse(send: Send, status: int, reason: str) -> None:
    body = json.dumps({"detail": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
