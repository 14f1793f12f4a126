"""Columns of a table that nobody reads, and whose names say that somebody should."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...suggestions import did_you_mean
from ..report import ProblemKind, Report

SOFT_LABEL_COLUMN = "labels"
DURATIONS = ("duration", "duration_s", "length")
OTHER_CUTS = (  # what other tools cut a clip by, or choose of it
    *("offset", "begin", "stop", "onset", "start_time", "end_time", "starttime", "endtime", "start_s", "end_s"),
    *("start_ms", "end_ms", "start_sample", "end_sample", "channel", "channels"),
)
LABEL_WORDS = frozenset({"label", "labels", "emotion", "emotions", "emo", "class", "category", "target"})
WORDS = re.compile("[A-Z]?[a-z]+|[A-Z]+")


def check_unread_columns(
    optional: Iterable[str],
    required: Sequence[str],
    label_column: str,
    columns: Sequence[str],
    path: Path,
    report: Report,
) -> None:
    """Records the columns of a table that are not read and look as if they should be."""
    used = {*required, *optional}
    if cuts := [column for column in unread_cuts(columns) if column not in used]:
        detail = f"{', '.join(map(repr, cuts))}: not read; clips are cut by the columns start and end, in seconds"
        report.add(ProblemKind.SUSPICIOUS_COLUMN, detail, file=path, remedy="write start and end, or drop the column")
    unread = [column for column in columns if column not in used and column not in cuts]
    _report_unread_labels(unread, label_column, path, report)
    absent = [name for name in optional if name not in columns]
    for column in unread:
        if suggestion := did_you_mean(column, absent):
            report.add(ProblemKind.SUSPICIOUS_COLUMN, f"column {column!r} is not read{suggestion}", file=path)


def _report_unread_labels(unread: Iterable[str], label_column: str, path: Path, report: Report) -> None:
    """Records the columns that look like labels and are not read: a corpus may have two."""
    words = {column: {word.casefold() for word in WORDS.findall(column)} for column in unread}
    if alike := [column for column in unread if words[column] & LABEL_WORDS and column != SOFT_LABEL_COLUMN]:
        detail = f"{', '.join(map(repr, alike))}: not read beside {label_column!r}"
        remedy = f"make sure that {label_column!r} is the column of the labels, and drop or rename the others"
        report.add(ProblemKind.SUSPICIOUS_COLUMN, detail, file=path, remedy=remedy)


def unread_cuts(columns: Iterable[str]) -> list[str]:
    """The columns that look as if the audio were cut by them, and are not read."""
    folded = {column.strip().casefold(): column for column in columns}
    found = [column for name, column in folded.items() if name in OTHER_CUTS]
    is_length = found or ("start" in folded and "end" not in folded)  # a duration alone describes the file
    return found + [column for name, column in folded.items() if is_length and name in DURATIONS]
