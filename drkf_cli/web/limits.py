"""What the page grants its clients: one table, set by a file, by the environment and by flags."""

from __future__ import annotations

import dataclasses
import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PREFIX = "DRKF_APP_"


class LimitError(ValueError):
    """A limit is unknown or has an invalid value."""


@dataclass(frozen=True)
class Limits:
    """Limits of the page. A client is an IPv4 address or an IPv6 network of 64 bits.

    Attributes:
        clip_seconds: longest clip that has one answer; of a longer recording there is a timeline.
        recording_seconds: longest recording.
        clip_values: most samples of all channels together that are decoded of a clip.
        clip_channels: most channels of a clip.
        upload_bytes: largest file.
        text_characters: longest text.
        transcript_bytes: largest transcript of a conversation.
        transcript_segments: most segments of a conversation.
        request_bytes: largest request that is no upload; of any request, largest request line with headers.
        stored_bytes: uploads that are kept at a time, all clients together.
        client_bytes: uploads of one client that are kept at a time; no more than what is left for all the others.
        kept_seconds: age at which an upload is deleted.
        swept_seconds: time between two looks for such uploads.
        answer_seconds: deadline of an answer, waiting for the model included.
        upload_seconds: deadline of an upload.
        header_seconds: deadline of a request's headers, from the first byte or from the opening of a connection.
        queue_length: questions that may wait for the model, all clients together.
        client_questions: questions of one client that may wait for the model.
        client_answers: answers of one client that are kept until they are fetched.
        client_connections: open connections of one client; 0 takes any number.
        requests_per_minute: requests of one client; ten parts of the page count as one. 0 takes any number.
        drain_seconds: how long SIGTERM waits for answers that are under way.
    """

    clip_seconds: float = 60.0
    recording_seconds: float = 600.0
    clip_values: int = 60_000_000
    clip_channels: int = 16
    upload_bytes: int = 25 * 2**20
    text_characters: int = 1000
    transcript_bytes: int = 2**20
    transcript_segments: int = 2000
    request_bytes: int = 2**16
    stored_bytes: int = 2**30
    client_bytes: int = 2**27
    kept_seconds: float = 300.0
    swept_seconds: float = 30.0
    answer_seconds: float = 60.0
    upload_seconds: float = 60.0
    header_seconds: float = 10.0
    queue_length: int = 512
    client_questions: int = 8
    client_answers: int = 32
    client_connections: int = 64
    requests_per_minute: int = 240
    drain_seconds: float = 30.0

    @classmethod
    def read(
        cls,
        file: Path | None = None,
        environment: Mapping[str, str] = os.environ,
        flags: Iterable[str] = (),
    ) -> Limits:
        """The defaults, changed by a TOML file, by variables such as `DRKF_APP_CLIP_SECONDS`, and by flags such as
        `clip_seconds=30`; the later ones override the earlier ones.

        Raises:
            LimitError: a name or a value is invalid, or the file cannot be read.
        """
        given: dict[str, Any] = {}
        if file is not None:
            try:
                given |= tomllib.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise LimitError(f"{file} cannot be read: {error}") from error
        given |= {
            name.removeprefix(PREFIX).lower(): value for name, value in environment.items() if name.startswith(PREFIX)
        }
        for flag in flags:
            name, equals, value = flag.partition("=")
            if not equals:
                raise LimitError(f"{flag!r} is not of the form NAME=VALUE")
            given[name.strip()] = value
        return cls(**{name: _number(name, value) for name, value in given.items()})


_KINDS: dict[str, Any] = {field.name: type(field.default) for field in dataclasses.fields(Limits)}
_MAY_BE_ZERO = ("requests_per_minute", "client_connections")


def _number(name: str, value: Any) -> Any:
    if name not in _KINDS:
        raise LimitError(f"there is no limit {name!r}; there are {', '.join(_KINDS)}")
    try:
        found = json.loads(value) if isinstance(value, str) else value
        if isinstance(found, bool) or not isinstance(found, (int, float)) or _KINDS[name](found) != found:
            raise TypeError
    except (ValueError, TypeError, OverflowError):
        raise LimitError(
            f"{name} takes {'an integer' if _KINDS[name] is int else 'a number'}, not {value!r}"
        ) from None
    if found < 0 or (found == 0 and name not in _MAY_BE_ZERO):
        raise LimitError(f"{name} must be positive, not {value}")
    return _KINDS[name](found)
