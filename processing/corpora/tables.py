"""Text and table files as they come: any encoding that can be known, any damage, every row with its line number."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ..encodings import LATIN, likely_encodings, marked_encoding
from ..printable import plural
from ..suggestions import did_you_mean
from .report import ProblemKind, Report
from .splits import standard_split

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")  # of files that are tables wherever they lie
NAMED_SUFFIXES = (*TABLE_SUFFIXES, ".json", ".txt")  # of files that are tables where somebody names them so
SAMPLE_BYTES = 1 << 16
SEPARATORS = ",;\t|"
WAYS_OUT = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods"), "open it there, and save the sheet as CSV (UTF-8)"),
    **dict.fromkeys(
        (".arrow", ".feather", ".pkl", ".pickle"), "read it with pandas, and write it with to_csv or to_parquet"
    ),
    **dict.fromkeys((".zip", ".gz", ".tar", ".7z"), "unpack it, and name the table in it"),
}

NumberedRow = tuple[int, dict[str, object]]


def read_text(path: Path, report: Report) -> str | None:
    """The file's text. Unicode's encodings are recognised, older ones where the text leaves no doubt, see
    `likely_encodings`; a file that is not in UTF-8 is a warning.

    Returns None, and records the problem, when the file is missing, unreadable or of an encoding that nobody can know.
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
        return _decode_legacy(raw, path, report)
    if encoding != "utf-8-sig":
        detail = f"the file is {encoding[:6].upper()}"
        report.add(ProblemKind.WRONG_ENCODING, detail, file=path, remedy="save the file as UTF-8")
    return text


def read_lines(path: Path, report: Report) -> list[str]:
    """The file's lines without their ends; none where `read_text` returns None."""
    return (read_text(path, report) or "").replace("\r\n", "\n").replace("\r", "\n").split("\n")


def parse_json(text: str) -> object:
    """What the text says. ValueError: it is no JSON, or nested so deeply that nobody reads it."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("no valid JSON (it is nested too deeply)") from error
    except ValueError as error:
        raise ValueError(f"no valid JSON ({error})") from error


def read_rows(path: Path, report: Report) -> tuple[list[str], list[NumberedRow]]:
    """Column names, and the rows with their line (Parquet, JSON: record) numbers, of a table.

    Tables are CSV files (of any ending but those of the others), JSON Lines, JSON (a list of objects, or objects by
    their id) and Parquet. What cannot be read is recorded in `report`, and the other rows are returned.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _read_parquet(path, report)
    if suffix not in NAMED_SUFFIXES:
        detail = f"{suffix or 'a file without ending'} is none of {', '.join(NAMED_SUFFIXES)}"
        remedy = WAYS_OUT.get(suffix, f"write a table of one of these: {', '.join(NAMED_SUFFIXES)}")
        report.add(ProblemKind.UNREADABLE_FILE, detail, file=path, remedy=remedy)
        return [], []
    text = read_text(path, report)
    if text is None:
        return [], []
    if suffix == ".json":
        return _read_json(text, path, report)
    return (_read_json_lines if suffix == ".jsonl" else _read_delimited)(text, path, report)


def has_columns(
    required: Sequence[str], columns: Sequence[str], path: Path, report: Report, roles: Mapping[str, str] | None = None
) -> bool:
    """Whether all required columns are there; a missing one is recorded with the nearest name that is.

    Args:
        roles: column -> its name in `--columns`, of columns that may be called otherwise.
    """
    missing = [name for name in required if name not in columns]
    for name in missing:
        others = [column for column in columns if column not in required]
        detail = f"no column {name!r}{did_you_mean(name, others)}; the file has {', '.join(map(repr, columns))}"
        row = 1 if path.suffix in (".csv", ".tsv", ".txt") else None
        remedy = _column_remedy((roles or {}).get(name))
        report.add(ProblemKind.MISSING_COLUMN, detail, file=path, row=row, remedy=remedy)
    return not missing


def _column_remedy(role: str | None) -> str:
    if role is None:
        return "restore the file from its source"
    remedy = f"say which column it is: --columns {role}=NAME"
    if role == "text":
        remedy += "; a corpus of voices alone: --modality speech; words that nobody has written down: "
        remedy += "drkf prepare --transcriber MODEL"
    return remedy


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


def _decode_legacy(raw: bytes, path: Path, report: Report) -> str | None:
    """Decodes what is not UTF-8: line by line, since one such line must not spoil the others, unless most are such."""
    lines = raw.split(b"\n")
    foreign = [number for number, line in enumerate(lines, start=1) if not _is_utf8(line)]
    likely = likely_encodings(_sample(lines[number - 1] for number in foreign))
    if len(likely) != 1:
        known = f"it may be in {', '.join(likely)}" if likely else "no text"
        remedy = "save the file as UTF-8, in a shell by iconv -f ENCODING -t UTF-8 FILE > NEW"
        detail = f"{plural(len(foreign), 'line')} not in UTF-8 (first: line {foreign[0]}); {known}"
        report.add(ProblemKind.UNREADABLE_FILE, detail, file=path, row=foreign[0], remedy=remedy)
        return None
    [encoding] = likely
    detail = f"{plural(len(foreign), 'line')} not in UTF-8, read as {encoding.upper()} (first: line {foreign[0]})"
    check = "the accents" if encoding == LATIN else "a few texts"
    remedy = f"check {check}, and save the file as UTF-8"
    report.add(ProblemKind.WRONG_ENCODING, detail, file=path, row=foreign[0], remedy=remedy)
    if 2 * len(foreign) > sum(not line.isascii() for line in lines) and encoding != LATIN:
        return raw.decode(encoding, "replace")  # a short word may look like UTF-8 by chance
    decoded = [line.decode("utf-8") if _is_utf8(line) else _decoded(line, encoding) for line in lines]
    return "\n".join(decoded).removeprefix("\ufeff")


def _sample(lines: Iterable[bytes]) -> bytes:
    """The first lines, enough to know their encoding by."""
    sample = b""
    for line in lines:
        if len(sample) > SAMPLE_BYTES:
            break
        sample += line + b"\n"
    return sample


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _decoded(line: bytes, encoding: str) -> str:
    try:
        return line.decode(encoding)
    except UnicodeDecodeError:
        return line.decode("latin-1") if encoding == LATIN else line.decode(encoding, "replace")


def _read_delimited(text: str, path: Path, report: Report) -> tuple[list[str], list[NumberedRow]]:
    header_line = text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(SEPARATORS, key=header_line.count)
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
    records: list[tuple[int, object]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append((number, parse_json(line)))
        except ValueError as error:
            report.add(ProblemKind.MALFORMED_ROW, str(error), file=path, row=number)
    return _objects(records, path, report)


def _read_json(text: str, path: Path, report: Report) -> tuple[list[str], list[NumberedRow]]:
    """JSON Lines under another ending, a list of objects, or a mapping of ids to objects."""
    try:
        found = parse_json(text)
    except ValueError as error:
        first = next((line for line in text.split("\n") if line.strip()), "")
        with contextlib.suppress(ValueError):
            if isinstance(parse_json(first), dict):
                return _read_json_lines(text, path, report)
        report.add(ProblemKind.UNREADABLE_FILE, str(error), file=path)
        return [], []
    if isinstance(found, dict) and found and all(isinstance(row, dict) for row in found.values()):
        found = [{"utterance_id": name, **row} for name, row in found.items()]
    return _objects(enumerate(found if isinstance(found, list) else [found], start=1), path, report)


def _objects(records: Iterable[tuple[int, object]], path: Path, report: Report) -> tuple[list[str], list[NumberedRow]]:
    """The columns of all records, and those that are objects; the others are recorded."""
    rows: list[NumberedRow] = []
    columns: dict[str, None] = {}
    for number, record in records:
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
    rows = table.to_pylist()
    for column, names in _class_names(table.schema.metadata or {}).items():
        for row in rows:
            value = row.get(column)
            row[column] = names[value] if isinstance(value, int) and 0 <= value < len(names) else None
    return table.column_names, list(enumerate(rows, start=1))


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """The columns whose numbers stand for names, as `datasets` notes them in Parquet files."""
    with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError, RecursionError):
        features = json.loads(metadata[b"huggingface"].decode())["info"]["features"]
        return {
            column: [str(name) for name in feature["names"]]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    return {}
