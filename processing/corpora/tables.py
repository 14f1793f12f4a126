"""Text and table files as they come: any encoding, any damage, every row with its line number."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..encodings import marked_encoding
from ..printable import plural
from ..suggestions import did_you_mean
from .report import ProblemKind, Report
from .splits import standard_split

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")

NumberedRow = tuple[int, dict[str, Any]]


def read_text(path: Path, report: Report) -> str | None:
    """The file's text. UTF-8, UTF-16 and UTF-32 are recognised; other lines are read as CP1252, with a warning.

    Returns None, and records the problem, when the file is missing or unreadable.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        report.add(ProblemKind.MISSING_FILE, "no such file", file=path)
        return None
    except OSError as error:
        report.add(ProblemKind.UNREADABLE_FILE, error.strerror or str(error), file=path)
        return None
    encoding = _wide_encoding(raw) or "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        text, foreign = _decode_lines(raw)
        detail = f"{plural(len(foreign), 'line')} not in UTF-8, read as CP1252 (first: line {foreign[0]})"
        report.add(ProblemKind.WRONG_ENCODING, detail, file=path, row=foreign[0])
    else:
        if encoding != "utf-8-sig":
            detail = f"the file is {encoding[:6].upper()}"
            report.add(ProblemKind.WRONG_ENCODING, detail, file=path, remedy="save the file as UTF-8")
    return text


def read_lines(path: Path, report: Report) -> list[str]:
    """The file's lines without their ends; none where `read_text` returns None."""
    return (read_text(path, report) or "").replace("\r\n", "\n").replace("\r", "\n").split("\n")


def read_rows(path: Path, report: Report) -> tuple[list[str], list[NumberedRow]]:
    """Column names, and the rows with their line (Parquet: record) numbers, of a CSV, TSV, JSON Lines or Parquet file.

    What cannot be read is recorded in `report`, and the other rows are returned.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _read_parquet(path, report)
    if suffix not in TABLE_SUFFIXES:
        detail = f"{suffix or 'a file without ending'} is none of {', '.join(TABLE_SUFFIXES)}"
        report.add(ProblemKind.UNREADABLE_FILE, detail, file=path)
        return [], []
    text = read_text(path, report)
    if text is None:
        return [], []
    return (_read_json_lines if suffix == ".jsonl" else _read_delimited)(text, path, report)


def has_columns(required: Sequence[str], columns: Sequence[str], path: Path, report: Report) -> bool:
    """Whether all required columns are there; a missing one is recorded with the nearest name that is."""
    missing = [name for name in required if name not in columns]
    for name in missing:
        others = [column for column in columns if column not in required]
        detail = f"no column {name!r}{did_you_mean(name, others)}; the file has {', '.join(map(repr, columns))}"
        report.add(ProblemKind.MISSING_COLUMN, detail, file=path, row=1 if path.suffix != ".parquet" else None)
    return not missing


def tables_in(folder: Path, report: Report) -> dict[Path, str | None]:
    """The manifest of a folder, or a table for each split with the split that its name says."""
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in TABLE_SUFFIXES and path.name[0] != ".")
    named = [path for path in found if path.stem == "manifest"] or found
    if len(named) == 1:
        return {named[0]: None}
    splits = {path: [word for word in re.split(r"[\W_]+", path.stem) if standard_split(word)] for path in named}
    parts = [standard_split(words[0]) for words in splits.values() if len(words) == 1]
    if len(parts) == len(named) == len(set(parts)) and parts:
        return {path: words[0] for path, words in splits.items()}
    detail = f"{len(found)} tables in the folder, expected one" if found else "no such folder, or no table in it"
    remedy = "name the manifest file itself, or give each split's table a name such as train.csv and test.csv"
    report.add(ProblemKind.MISSING_FILE, detail, file=folder, remedy=remedy)
    return {}


def _wide_encoding(raw: bytes) -> str | None:
    """UTF-16 or UTF-32, by their mark, or by the zeros that they have where letters are of the first 256."""
    if marked := marked_encoding(raw):
        return marked
    head = raw[:1000]
    for encoding, width, zeros in (
        ("utf-32-le", 4, head[1::4] + head[2::4] + head[3::4]),
        ("utf-32-be", 4, head[0::4] + head[1::4] + head[2::4]),
        ("utf-16-le", 2, head[1::2]),
        ("utf-16-be", 2, head[0::2]),
    ):
        if len(raw) % width == 0 and zeros and zeros.count(0) > 0.9 * len(zeros):
            return encoding
    return None


def _decode_lines(raw: bytes) -> tuple[str, list[int]]:
    """Decodes line by line, since one foreign line must not spoil the others; returns the foreign lines' numbers."""
    lines, foreign = [], []
    for number, line in enumerate(raw.split(b"\n"), start=1):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            foreign.append(number)
            try:
                lines.append(line.decode("cp1252"))
            except UnicodeDecodeError:
                lines.append(line.decode("latin-1"))
    return "\n".join(lines).removeprefix("\ufeff"), foreign


def _read_delimited(text: str, path: Path, report: Report) -> tuple[list[str], list[NumberedRow]]:
    header_line = text.split("\n", 1)[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=header_line.count)
    records = _csv_records(text, delimiter, path, report)
    _, header = next(records, (0, []))
    columns = [name.strip() for name in header]
    if not any(columns):
        report.add(ProblemKind.UNREADABLE_FILE, "the file is empty: it has no header", file=path)
        return [], []
    if repeated := sorted({name for name in columns if columns.count(name) > 1}):
        report.add(ProblemKind.MISSING_COLUMN, f"columns {repeated} occur more than once", file=path, row=1)
        return [], []
    rows: list[NumberedRow] = []
    for line, fields in records:
        if len(fields) == len(columns):
            rows.append((line, dict(zip(columns, fields, strict=True))))
        else:
            detail = f"{len(columns)} fields expected, {len(fields)} found"
            report.add(ProblemKind.MALFORMED_ROW, detail, file=path, row=line)
    return columns, rows


def _csv_records(text: str, delimiter: str, path: Path, report: Report) -> Iterator[tuple[int, list[str]]]:
    """Records with the number of their first line; blank lines are passed over."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        first_line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            span = f"lines {first_line}-{reader.line_num} were" if reader.line_num > first_line else "the line was"
            remedy = "close every double quote, and double those inside a quoted field"
            report.add(
                ProblemKind.MALFORMED_ROW, f"{error}: {span} not read", file=path, row=first_line, remedy=remedy
            )
            continue
        if fields:
            yield first_line, fields


def _read_json_lines(text: str, path: Path, report: Report) -> tuple[list[str], list[NumberedRow]]:
    rows: list[NumberedRow] = []
    columns: dict[str, None] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            report.add(ProblemKind.MALFORMED_ROW, f"no valid JSON ({error})", file=path, row=number)
            continue
        if not isinstance(record, dict):
            detail = f"a JSON object is expected, this is a {type(record).__name__}"
            report.add(ProblemKind.MALFORMED_ROW, detail, file=path, row=number)
            continue
        columns.update(dict.fromkeys(record))
        rows.append((number, record))
    return list(columns), rows


def _read_parquet(path: Path, report: Report) -> tuple[list[str], list[NumberedRow]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        report.add(ProblemKind.MISSING_FILE, "no such file", file=path)
        return [], []
    except (OSError, pa.ArrowException) as error:
        report.add(ProblemKind.UNREADABLE_FILE, f"no readable Parquet file ({error})", file=path)
        return [], []
    return table.column_names, list(enumerate(table.to_pylist(), start=1))
