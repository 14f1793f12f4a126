"""Audio that a table itself holds, as Parquet files of the Hub do: written to the cache, for corpora are paths."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping

from ...atomic import replacing
from ..scan import cache_folder


def embedded_audio(value: object) -> tuple[bytes, str | None] | None:
    """The bytes of a cell that holds a sound file, alone or as `{"bytes", "path"}`, and its name; else None."""
    content, path = (value.get("bytes"), value.get("path")) if isinstance(value, Mapping) else (value, None)
    if not isinstance(content, (bytes, bytearray, memoryview)):
        return None
    return bytes(content), path if isinstance(path, str) else None


def write_once(content: bytes, name: str | None, key: str) -> str:
    """The path of a file in the cache that holds the bytes; `key` distinguishes rows with the same sound."""
    suffix = os.path.splitext(name or "")[1] or ".wav"
    digest = hashlib.sha256(key.encode() + content).hexdigest()[:32]
    target = cache_folder() / "audio" / f"{digest}{suffix}"
    if not target.exists():
        with replacing(target, durable=False) as partial:
            partial.write_bytes(content)
    return str(target)
