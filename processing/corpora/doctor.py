"""`drkf doctor`: is this folder the corpus it should be, and what is wrong with it?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..printable import printable, printable_json
from .checks import AXES, values_of
from .corpus import Survey
from .leaks import Overlap, find_overlaps
from .registry import survey_corpus
from .report import ProblemKind, Report, skip_rules
from .utterance import Utterance

LONGEST_TABLE = 20


@dataclass(frozen=True)
class Count:
    """Annotated utterances, those of them without error, and the number that the corpus' authors state (or None)."""

    value: str
    annotated: int
    usable: int
    published: int | None


@dataclass
class Examination:
    """What the doctor found. `rich.console.Console().print(examination)` shows it; `usable` decides the exit status.

    `durations` are the seconds of the clips that could be read. `overlaps` tell for each part along `overlap_axis` how
    much of it other parts share.
    """

    title: str
    report: Report
    counts: dict[str, list[Count]]
    durations: np.ndarray
    overlap_axis: str
    overlaps: list[Overlap]

    @property
    def usable(self) -> bool:
        """Whether the corpus can be read with the rules that were given."""
        return not self.report.blocking()

    @property
    def exit_status(self) -> int:
        return 0 if self.usable else 1

    def duration_statistics(self) -> dict[str, float]:
        """Number of clips, hours in all, and seconds: least, median, mean, 95th percentile, greatest."""
        seconds = self.durations
        if not len(seconds):
            return {"clips": 0, "hours": 0.0}
        names = ("min", "median", "mean", "p95", "max")
        figures = (seconds.min(), np.median(seconds), seconds.mean(), np.percentile(seconds, 95), seconds.max())
        statistics = {name: round(float(figure), 3) for name, figure in zip(names, figures, strict=True)}
        return {"clips": len(seconds), "hours": round(float(seconds.sum()) / 3600, 3), **statistics}

    def to_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        return {
            "title": self.title,
            "usable": self.usable,
            "counts": {axis: [asdict(count) for count in counts] for axis, counts in self.counts.items()},
            "durations": self.duration_statistics(),
            "overlap_axis": self.overlap_axis,
            "overlaps": [asdict(overlap) for overlap in self.overlaps],
            "report": self.report.to_dict(),
        }

    def to_json(self) -> str:
        return printable_json(self.to_dict())

    def __rich__(self) -> Group:
        verdict = Text("usable", "bold green") if self.usable else Text("not usable as it is", "bold red")
        tables = [_count_table(axis, counts) for axis, counts in self.counts.items() if counts]
        figures = ", ".join(f"{name} {value:g}" for name, value in self.duration_statistics().items())
        parts: list[RenderableType] = [Text.assemble((self.title, "bold"), ": ", verdict), *tables]
        parts += [Text(f"durations (s): {figures}"), *([self._overlap_table()] if self.overlaps else [])]
        parts.append(Text(printable(self.report.table())))
        return Group(*parts)

    def _overlap_table(self) -> Table:
        title = f"utterances that share something with another {self.overlap_axis}"
        figures = {
            o.part: (o.utterances, o.same_speaker, o.same_session, o.same_text, o.same_audio) for o in self.overlaps
        }
        columns = [self.overlap_axis, "utterances", "same speaker", "same session", "same text", "same audio"]
        return _table(title, columns, _longest_first(figures))


def examine(name: str, data_dir: str | Path, *, skip_damaged: Iterable[str] | str = (), **options: Any) -> Examination:
    """Reads the whole corpus and sums it up; what is wrong with it raises nothing.

    Args:
        skip_damaged: the rules that training will use; they decide whether the corpus counts as usable.
        options: as for `read_corpus`.

    Raises:
        ValueError: the corpus' name, a rule or an option is unknown.
    """
    rules = skip_rules(skip_damaged)
    found = survey_corpus(name, data_dir, **options)
    found.exclude(rules)
    annotated = [u for u in found.utterances if ProblemKind.OUTSIDE_CLASSES not in u.kinds]
    usable = [u for u in annotated if not (u.is_broken or u.kinds & rules)]
    durations = np.array([u.duration for u in usable if u.duration is not None], dtype=np.float64)
    counts = {axis: _counts(axis, annotated, usable, found) for axis in AXES if axis != "total"}
    return Examination(found.spec.title, found.report, counts, durations, *find_overlaps(annotated))


def _counts(axis: str, annotated: list[Utterance], usable: list[Utterance], found: Survey) -> list[Count]:
    published = found.spec.published.get(axis, {})
    all_counts, usable_counts = (Counter(v for u in rows for v in values_of(u, axis)) for rows in (annotated, usable))
    order = list(dict.fromkeys([*(found.label_names if axis == "class" else published), *sorted(all_counts)]))
    return [Count(value, all_counts[value], usable_counts[value], published.get(value)) for value in order]


def _count_table(axis: str, counts: list[Count]) -> Table:
    stated = any(count.published is not None for count in counts)
    rows = _longest_first({count.value: (count.annotated, count.usable) for count in counts})
    if not stated:
        return _table(None, [axis, "utterances", "usable"], rows)
    published = {count.value: _comparison(count) for count in counts}
    return _table(
        None, [axis, "utterances", "usable", "published"], [(*row, published.get(row[0], "")) for row in rows]
    )


def _longest_first(figures: Mapping[str, tuple[int, ...]]) -> list[tuple[str, ...]]:
    """Rows of a table; of more than `LONGEST_TABLE` the largest, and the sums of the others."""
    if len(figures) > LONGEST_TABLE:
        figures = dict(sorted(figures.items(), key=lambda item: -item[1][0]))
    shown, hidden = list(figures.items())[:LONGEST_TABLE], list(figures.values())[LONGEST_TABLE:]
    if hidden:
        shown.append((f"... and {len(hidden):,} more", tuple(map(sum, zip(*hidden, strict=True)))))
    return [(name, *(f"{number:,}" for number in numbers)) for name, numbers in shown]


def _comparison(count: Count) -> str:
    if count.published is None:
        return ""
    difference = count.annotated - count.published
    return f"{count.published:,}" + (f" ({difference:+,})" if difference else " (same)")


def _table(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for position, column in enumerate(columns):
        table.add_column(column, justify="right" if position else "left")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table
