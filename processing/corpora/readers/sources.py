"""The files of a declared corpus, and what their paths, rows and lines say."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..folders import PREFERENCE
from ..patterns import Pattern
from ..report import ProblemKind, Report
from ..tables import NumberedRow, has_columns, parse_json, read_lines, read_rows, read_text
from .cells import text_cell

ARCHIVE_LEFTOVERS = "__MACOSX"

Fields = dict[str, str]


@dataclass(frozen=True)
class Source:
    """One entry of `tables`; `by` is the field by which its rows are joined to utterances, `where` its place."""

    files: Pattern
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lines: Pattern | None = None
    content: str | None = None
    intensities: Mapping[str, str] = field(default_factory=dict)
    nothing: str | None = None
    by: str = "id"
    where: str = "tables"

    @property
    def fields(self) -> set[str]:
        labelled = {"label"} if self.intensities else set()
        groups = {*self.files.groups, *(self.lines.groups if self.lines else ())}
        return groups | set(self.columns) | labelled | ({self.content} if self.content else set())


@dataclass
class Row:
    """What one clip, row or line says, by field; `nothing` is the label where no intensity is above 0. `rivals` are
    other files that the clip could be as well."""

    fields: Fields
    file: str
    number: int | None = None
    intensities: dict[str, float] = field(default_factory=dict)
    nothing: str | None = None
    rivals: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        found = tuple(name for name, intensity in self.intensities.items() if intensity > 0)
        return found or ((self.nothing,) if self.nothing else ())


def files_below(root: Path) -> Iterator[str]:
    """Paths relative to `root`, with `/`; nothing hidden, nor what macOS leaves in archives, nor what a link to a
    folder above it leads to."""
    for parent, folders, names in os.walk(root, followlinks=True):
        here = Path(os.path.realpath(parent))
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name != ARCHIVE_LEFTOVERS
            and not here.is_relative_to(os.path.realpath(os.path.join(parent, name)))
        ]
        for name in names:
            if not name.startswith("."):
                yield Path(os.path.relpath(os.path.join(parent, name), root)).as_posix()


def end_of(pattern: Pattern, path: str) -> Fields | None:
    """The named groups of a pattern that matches the last part of a path, or as many of the last ones as it needs."""
    parts = path.split("/")
    for start in reversed(range(len(parts))):
        if (fields := pattern.fullmatch("/".join(parts[start:]))) is not None:
            return fields
    return None


def source_rows(
    source: Source, root: Path, files: Sequence[str], report: Report, required: bool = False
) -> Iterator[Row]:
    """The rows of all files of a source; `required`: that there is none is an error."""
    found = [(path, groups) for path in files if (groups := end_of(source.files, path)) is not None]
    if required and not found:
        detail = f"no file below the folder is named {source.files.written}"
        report.add(ProblemKind.MISSING_FILE, detail, file=root)
    for path, groups in found:
        yield from _rows(source, root / path, groups, report)


def _rows(source: Source, path: Path, groups: Fields, report: Report) -> Iterator[Row]:
    if source.content:
        text = read_text(path, report)
        yield Row({"id": path.stem, source.content: " ".join((text or "").split()), **groups}, str(path))
    elif source.lines:
        matches = [(n, source.lines.fullmatch(line)) for n, line in enumerate(read_lines(path, report), 1)]
        if all(fields is None for _, fields in matches):
            detail = f"no line is of the form {source.lines.written}"
            report.add(ProblemKind.UNREADABLE_FILE, detail, file=path)
        for number, fields in matches:
            if fields is not None:
                yield Row({**groups, **fields}, str(path), number)
    else:
        yield from _table_rows(source, path, groups, report)


def _table_rows(source: Source, path: Path, groups: Fields, report: Report) -> Iterator[Row]:
    columns, rows = (_read_json if path.suffix.lower() == ".json" else read_rows)(path, report)
    chosen = {
        name: next((column for column in options if column in columns), options[0])
        for name, options in source.columns.items()
    }
    required = [*chosen.values(), *source.intensities.values()]
    if not columns or not has_columns(required, columns, path, report):
        return
    for number, row in rows:
        fields = _given({name: _cell(row.get(column)) for name, column in chosen.items()})
        try:
            intensities = {name: float(str(row.get(column) or 0)) for name, column in source.intensities.items()}
        except (TypeError, ValueError) as error:
            report.add(ProblemKind.MALFORMED_ROW, str(error), file=path, row=number)
            continue
        if os.path.splitext(fields.get("id", ""))[1].lower() in PREFERENCE:
            fields["id"] = Path(fields["id"]).stem
        yield Row({**groups, **fields}, str(path), number, intensities, source.nothing)


def _given(fields: Mapping[str, str | None]) -> Fields:
    return {name: value for name, value in fields.items() if value}


def _cell(value: object) -> str | None:
    return ", ".join(map(str, value)) if isinstance(value, list) else text_cell(value)


def _read_json(path: Path, report: Report) -> tuple[list[str], list[NumberedRow]]:
    """The innermost objects, numbered from 1, and all keys that they have."""
    text = read_text(path, report)
    try:
        found = parse_json(text) if text is not None else []
    except ValueError as error:
        report.add(ProblemKind.UNREADABLE_FILE, str(error), file=path)
        return [], []
    rows = list(enumerate(_innermost(found), 1))
    return list(dict.fromkeys(key for _, row in rows for key in row)), rows


def _innermost(value: object) -> Iterator[dict[str, object]]:
    inside: Iterable[object] = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    objects = [found for item in inside for found in _innermost(item)]
    if isinstance(value, dict) and not objects:
        yield value
    yield from objects
