"""Connections: so many a client, and none that is open without a request."""

import asyncio
import os
from collections import Counter
from math import ceil

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .addresses import client_of, is_proxy
from .limits import Limits

TOO_MANY = b"HTTP/1.1 429 Too Many Requests\r\nconnection: close\r\ncontent-length: 0\r\nretry-after: 30\r\n\r\n"
PROXIES = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")  # as uvicorn reads it


def bounded_protocol(limits: Limits) -> type[H11Protocol]:
    """A protocol for `uvicorn.Config(http=...)`; h11 bounds request line and headers by itself.

    Trusted proxies may open any number of connections.
    """
    opened: Counter[str] = Counter()
    trusted = [address.strip() for address in PROXIES.split(",")]

    class BoundedProtocol(H11Protocol):
        deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            address = self.client[0] if self.client else ""
            self.opened_by = client_of(address)
            opened[self.opened_by] += 1
            if 0 < limits.client_connections < opened[self.opened_by] and not is_proxy(address, trusted):
                transport.write(TOO_MANY)
                transport.close()
            else:
                self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            opened[self.opened_by] -= 1
            if not opened[self.opened_by]:
                del opened[self.opened_by]
            if self.deadline:
                self.deadline.cancel()

        def _watch(self) -> None:
            """Closes the connection unless the headers of a request are whole in time."""
            if self.conn.their_state is not h11.IDLE:
                if self.deadline:
                    self.deadline.cancel()
                self.deadline = None
            elif self.deadline is None:
                self.deadline = self.loop.call_later(limits.header_seconds, self.transport.close)

    return BoundedProtocol


def bounded_config(app: object, limits: Limits, **options: object) -> uvicorn.Config:
    """uvicorn on that protocol, without WebSockets, which the page has no use for."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=bounded_protocol(limits),
        ws="none",
        h11_max_incomplete_event_size=limits.request_bytes,
        timeout_keep_alive=ceil(limits.header_seconds),
        log_config=None,
        access_log=False,
        **options,  # type: ignore[arg-type]
    )
