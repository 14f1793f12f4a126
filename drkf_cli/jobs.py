"""A table to answer: where it lies, what of it is read, and what is written for each row."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from processing.transcripts.timelines import answer_columns, answer_row

EMBEDDING_COLUMNS: dict[str, type] = {
    **{f"{name}_embedding": list for name in ("fused", "speech", "text")},
    "warning": str,
    "error": str,
}


def embedding_row(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The vectors of an answer, or of `{"error": ...}`, as one row of `EMBEDDING_COLUMNS`."""
    vectors = answer.get("embeddings", {})
    found = {f"{name}_embedding": None if vector is None else vector.tolist() for name, vector in vectors.items()}
    return dict.fromkeys(EMBEDDING_COLUMNS) | found | {name: answer.get(name) for name in ("warning", "error")}


@dataclass(frozen=True)
class Job:
    """One manifest to answer, and how.

    Attributes:
        manifest: a CSV, TSV, JSON Lines or Parquet file with the columns `audio` (paths relative to it), `text` or
            both; `start` and `end` (seconds) cut the audio.
        output: .parquet, .csv or .jsonl: the manifest's columns and `answer_columns`, a row for every row of the
            manifest, in its order.
        options: of the pipeline's call (`batch_size`, `top_k`).
        columns: the manifest's own names of `audio` and `text`.
        embeddings: write vectors in place of the answers.
    """

    manifest: Path
    output: Path
    model: str
    rows_per_shard: int
    options: Mapping[str, Any]
    columns: Mapping[str, str] = field(default_factory=dict)
    embeddings: bool = False

    @property
    def shards(self) -> Path:
        return self.output.with_name(self.output.name + ".shards")

    def outcome(self, pipe: Any) -> dict[str, type]:
        """The columns that are written beside those of the manifest, and their types."""
        return EMBEDDING_COLUMNS if self.embeddings else answer_columns(pipe.label_names)

    def row(self, answer: Mapping[str, Any], pipe: Any) -> dict[str, Any]:
        """An answer as one row of `outcome`."""
        return embedding_row(answer) if self.embeddings else answer_row(answer, pipe.label_names, pipe.is_multi_label)

    def fingerprint(self, rows: int) -> dict[str, Any]:
        """What must not change between two runs whose shards are to fit together."""
        folder = Path(self.model)
        files = sorted(path for path in folder.glob("*") if path.suffix in (".json", ".safetensors"))
        return {
            "manifest": hashlib.sha256(self.manifest.read_bytes()).hexdigest(),
            "rows": rows,
            "model": self.model,
            "model_files": [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files],
            "rows_per_shard": self.rows_per_shard,
            "columns": dict(self.columns),
            "embeddings": self.embeddings,
            "options": {name: value for name, value in self.options.items() if name != "batch_size"},
        }


@dataclass(frozen=True)
class Entry:
    """A row of the manifest and where it stands; `error` says why it could not be read."""

    line: int
    cells: Mapping[str, Any]
    error: str | None = None
