"""Corpora that a YAML file declares; see `declaration.py` for its keys."""

from __future__ import annotations

import filecmp
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...printable import plural
from ..checks import add_problem
from ..folders import PREFERENCE, absolute
from ..patterns import Pattern
from ..report import ProblemKind, Report, some
from ..utterance import ALL, Utterance
from .sources import Fields, Row, Source, end_of, files_below, source_rows

BOUNDS = ("start", "end")
GROUPS = ("sex", "age", "language")
EARLY_S = 1.0  # an aligner may begin a little before the recording

Candidate = tuple[tuple[int, int, str], Fields]  # rank of the format, depth and path; the path's named groups


@dataclass(frozen=True)
class Declaration:
    """What the keys of the same names say."""

    clips: Pattern | None
    folder: Pattern | None
    tables: tuple[Source, ...]
    codes: Mapping[str, Mapping[str, str]]
    left_out: Mapping[str, Mapping[Pattern, str]]
    unknown: Mapping[str, Pattern]
    templates: Mapping[str, str]

    @property
    def lists(self) -> Source | None:
        """The table that lists the utterances: the first with labels, unless the names of the clips have them."""
        if self.clips and "label" in self.clips.groups:
            return None
        return next((source for source in self.tables if "label" in source.fields), None)

    @property
    def bounds(self) -> list[str]:
        """Those of start and end that an utterance has: it is a part of its clip."""
        return [bound for bound in BOUNDS if bound in self._given]

    @property
    def groups(self) -> list[str]:
        """What is stated of speakers and speech, by which utterances may be compared."""
        return [name for name in GROUPS if name in self._given]

    @property
    def _given(self) -> set[str]:
        names = self.clips.groups if self.clips else frozenset()
        return {*self.templates, *names}.union(*(source.fields for source in self.tables))


def read_utterances(declaration: Declaration, data_dir: str | Path, report: Report) -> list[Utterance]:
    """All utterances that the clips or the tables below `data_dir` list.

    Raises:
        OptionError: a pattern of the declaration takes too long.
    """
    return _Reading(declaration, absolute(data_dir), report).utterances()


class _SideTable:
    """The rows of a table that says more of utterances, by the field that joins them."""

    def __init__(self, source: Source):
        self.source = source
        self.rows: dict[str, Fields] = {}
        self.places: list[tuple[str, Row]] = []
        self._met: set[str] = set()

    def add(self, key: str, row: Row) -> None:
        self.rows[key] = {**self.rows.get(key, {}), **row.fields}
        self.places.append((key, row))

    def get(self, key: str) -> Fields:
        """What the rows with that key say; they count as met."""
        self._met.add(key)
        return self.rows.get(key, {}) if key else {}

    def unmet(self) -> list[tuple[str, Row]]:
        """The rows that no utterance has asked for."""
        return [(key, row) for key, row in self.places if not key or key not in self._met]


class _Reading:
    def __init__(self, declaration: Declaration, root: Path, report: Report):
        self.declaration, self.root, self.report = declaration, root, report
        self.codes = {
            name: {code.casefold(): meaning for code, meaning in codes.items()}
            for name, codes in declaration.codes.items()
        }
        self.files = sorted(files_below(root))
        self.clips = self._clips()

    def utterances(self) -> list[Utterance]:
        listing = self.declaration.lists
        sides = [self._side_table(source) for source in self.declaration.tables if source is not listing]
        if listing:
            rows = self._one_each(source_rows(listing, self.root, self.files, self.report, required=True))
        else:
            rows = [clip for clips in self.clips.values() for clip in clips]
        utterances, left_out, listed = [], Counter[str](), set()
        for row in rows:
            fields = self._joined(row.fields, sides)
            name = self._clip_name(fields)
            listed.add(name.casefold())
            clip = self._only(self.clips.get(name.casefold(), [])) if listing else row
            if listing and clip:
                fields = self._joined({**clip.fields, **row.fields}, sides)
            if why := self._why_left_out(fields):
                left_out[why] += 1
            elif utterance := self._utterance(row, fields, clip.file if clip else str(self.root / f"{name}.wav")):
                utterance.rivals = clip.rivals if clip else ()
                self._check_times(utterance)
                utterances.append(utterance)
        for why, count in left_out.items():
            self.report.add(ProblemKind.LEFT_OUT, f"{plural(count, 'utterance')}: {why}")
        for side in sides:
            self._report_unmet(side)
        if listing:
            self._report_clips(self.clips.keys() - listed, "that no table lists")
        return utterances if listing else _one_an_id(utterances)

    def _only(self, clips: Sequence[Row]) -> Row | None:
        """The first of the clips that a name in a table may mean, with the others as its rivals."""
        if not clips:
            return None
        first, *others = clips
        return replace(first, rivals=(*first.rivals, *(clip.file for clip in others)))

    def _side_table(self, source: Source) -> _SideTable:
        side = _SideTable(source)
        for row in source_rows(source, self.root, self.files, self.report):
            side.add(self._value(source.by, row.fields).casefold(), row)
        return side

    def _joined(self, fields: Fields, sides: Iterable[_SideTable]) -> Fields:
        """The fields of an utterance with what tables say of it; its own ones count."""
        joined: Fields = {}
        for side in sides:
            joined |= side.get(self._value(side.source.by, fields).casefold())
        return {**joined, **fields}

    def _check_times(self, utterance: Utterance) -> None:
        if absent := [bound for bound in self.declaration.bounds if getattr(utterance, bound) is None]:
            detail = f"no row or line gives its {' and '.join(absent)} in {os.path.basename(utterance.audio)}"
            add_problem(self.report, utterance, ProblemKind.MISSING_TIMES, detail)

    def _report_unmet(self, side: _SideTable) -> None:
        """Counts the rows of a table that meet no utterance, nor a clip that has no label."""
        unmet = [(key, row) for key, row in side.unmet() if self._clip_name(row.fields).casefold() not in self.clips]
        if unmet:
            files = sorted({row.file for _, row in unmet})
            names = {key or f"line {row.number}" for key, row in unmet}
            detail = f"no clip for {len(unmet):,} of {plural(len(side.places), 'row')}: {some(names, 3)}"
            if len(files) > 1:
                detail += f" (in {len(files)} files, of which this is the first)"
            self.report.add(ProblemKind.UNMATCHED_ROW, detail, file=files[0])

    def _clips(self) -> dict[str, list[Row]]:
        """Folded id -> its clip; several where the names of files say different things."""
        found: dict[str, list[Candidate]] = defaultdict(list)
        unlike, elsewhere = [], []
        files = [path for path in self.files if os.path.splitext(path)[1].lower() in PREFERENCE]
        folder = self.declaration.folder
        within = {path for path in files if folder and end_of(folder, os.path.dirname(path)) is not None}
        for path in files:
            stem, suffix = os.path.splitext(path)
            groups = end_of(self.declaration.clips, stem) if self.declaration.clips else {}
            if groups is None:
                unlike.append(path)
                continue
            if within and path not in within:
                elsewhere.append(path)
                continue
            fields = _with_id(path, groups)
            name = fields["id"] if self.declaration.lists else self._value("id", fields)
            found[name.casefold() or path].append(((PREFERENCE[suffix.lower()], path.count("/"), path), groups))
        self._report_clips(unlike, "of another name")
        if elsewhere and folder:
            detail = f"{plural(len(elsewhere), 'clip')} in other folders than {folder.written}: {some(elsewhere, 3)}"
            self.report.add(ProblemKind.LEFT_OUT, detail)
        return self._without_copies(found)

    def _without_copies(self, found: Mapping[str, Sequence[Candidate]]) -> dict[str, list[Row]]:
        """The clips of each name, of the best format; other files that say the same and differ are their rivals."""
        clips: dict[str, list[Row]] = defaultdict(list)
        copies = []
        for name, candidates in found.items():
            alike: dict[tuple[tuple[str, str], ...], list[Candidate]] = defaultdict(list)
            for candidate in sorted(candidates, key=lambda candidate: candidate[0]):
                alike[tuple(sorted(candidate[1].items()))].append(candidate)
            for [((rank, _, first), groups), *others] in alike.values():
                rivals = []
                for (other_rank, _, path), _ in others:
                    if other_rank != rank:
                        continue
                    if filecmp.cmp(self.root / path, self.root / first, shallow=False):
                        copies.append((path, first))
                    else:
                        rivals.append(str(self.root / path))
                clips[name].append(Row(_with_id(first, groups), str(self.root / first), rivals=tuple(rivals)))
        if copies:
            detail = f"{plural(len(copies), 'clip')} twice in the folder: {copies[0][0]} beside {copies[0][1]}"
            remedy = "none needed: one of each is read; remove the second folder to save its space"
            self.report.add(ProblemKind.LEFT_OUT, detail, remedy=remedy)
        return clips

    def _report_clips(self, names: Iterable[str], what: str) -> None:
        if names := list(names):
            self.report.add(ProblemKind.UNLISTED_AUDIO, f"{plural(len(names), 'clip')} {what}: {some(names, 3)}")

    def _one_each(self, rows: Iterable[Row]) -> list[Row]:
        """Rows with intensities of one utterance, by several annotators, as one row with their sums."""
        merged: dict[str, Row] = {}
        kept = []
        for row in rows:
            first = merged.setdefault(self._value("id", row.fields), row) if row.intensities else row
            if first is row:
                kept.append(row)
            else:
                first.intensities = {name: n + first.intensities[name] for name, n in row.intensities.items()}
        return kept

    def _why_left_out(self, fields: Fields) -> str | None:
        for name, values in self.declaration.left_out.items():
            for pattern, why in values.items():
                if name in fields and pattern.fullmatch(fields[name]) is not None:
                    return why
        return None

    def _utterance(self, row: Row, fields: Fields, audio: str) -> Utterance | None:
        """The utterance, or None and a problem for a row that cannot be understood."""
        unknown = self.declaration.unknown
        fields = {name: value for name, value in fields.items()
                  if name not in unknown or unknown[name].fullmatch(value) is None}  # fmt: skip
        name = self._value("id", fields)
        try:
            if not name:
                raise ValueError("the row names no utterance")
            meanings = {field: self._meaning(field, value) for field, value in fields.items()}
            start, end = (_seconds(self._value(bound, meanings), bound) for bound in BOUNDS)
        except ValueError as error:
            report = {"file": row.file, "row": row.number, "utterance_id": name or None}
            self.report.add(ProblemKind.MALFORMED_ROW, str(error), **report)  # type: ignore[arg-type]
            return None
        return Utterance(
            utterance_id=name,
            audio=audio,
            text=self._value("text", meanings),
            labels=row.labels if row.intensities else (self._value("label", meanings),),
            multi_label=bool(row.intensities),
            speaker=self._value("speaker", meanings) or None,
            session=self._value("session", meanings) or None,
            split=self._value("split", meanings) or ALL,
            file=row.file,
            row=row.number,
            start=start,
            end=end,
            extra={name: self._value(name, meanings) or None for name in self.declaration.groups},
        )

    def _meaning(self, name: str, written: str) -> str:
        """What a code means. ValueError: it is none; of a label the check of labels finds that out."""
        codes = self.codes.get(name)
        if codes is None or name == "label":
            return written if codes is None else codes.get(written.casefold(), written)
        if written.casefold() not in codes:
            raise ValueError(f"{name} {written!r} is none of the codes {', '.join(self.declaration.codes[name])}")
        return codes[written.casefold()]

    def _clip_name(self, fields: Fields) -> str:
        return self._value("clip", fields) or self._value("id", fields)

    def _value(self, name: str, fields: Fields) -> str:
        """A field, by its template if all of that is known; otherwise as it was written, or empty."""
        template = self.declaration.templates.get(name)
        if template is None:
            return fields.get(name, "")
        try:
            return template.format_map(fields)
        except KeyError:
            return fields.get(name, "")


def _one_an_id(utterances: Iterable[Utterance]) -> list[Utterance]:
    """Clips of one id, as one utterance that may be any of them."""
    first: dict[str, Utterance] = {}
    for utterance in utterances:
        earlier = first.setdefault(utterance.utterance_id, utterance)
        if earlier is not utterance:
            earlier.rivals += (utterance.audio, *utterance.rivals)
    return list(first.values())


def _with_id(path: str, groups: Fields) -> Fields:
    return {"id": Path(path).stem, **groups}


def _seconds(written: str, bound: str) -> float | None:
    """The number, None for an empty one; a little below 0 is 0. ValueError: it is no number."""
    if not written:
        return None
    try:
        seconds = float(written)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ValueError(f"{bound} must be a number of seconds, not {written[:40]!r}")
    return 0.0 if -EARLY_S <= seconds < 0 else seconds
