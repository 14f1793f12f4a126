"""Corpora that a YAML file declares; see `declaration.py` for its keys."""

from __future__ import annotations

import filecmp
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...printable import plural
from ..folders import PREFERENCE, absolute
from ..report import ProblemKind, Report, some
from ..utterance import ALL, Utterance
from .sources import Fields, Row, Source, end_of, files_below, source_rows

Candidate = tuple[tuple[int, int, str], Fields]  # rank of the format, depth and path; the path's named groups


@dataclass(frozen=True)
class Declaration:
    """What the keys of the same names say."""

    clips: re.Pattern[str] | None
    tables: tuple[Source, ...]
    codes: Mapping[str, Mapping[str, str]]
    left_out: Mapping[str, Mapping[re.Pattern[str], str]]
    unknown: Mapping[str, re.Pattern[str]]
    templates: Mapping[str, str]

    @property
    def lists(self) -> Source | None:
        """The table that lists the utterances: the first with labels, unless clips bear theirs."""
        if self.clips and "label" in self.clips.groupindex:
            return None
        return next((source for source in self.tables if "label" in source.fields), None)


def read_utterances(declaration: Declaration, data_dir: str | Path, report: Report) -> list[Utterance]:
    """All utterances that the clips or the tables below `data_dir` list."""
    return _Reading(declaration, absolute(data_dir), report).utterances()


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
        known: dict[str, Fields] = defaultdict(dict)
        for source in self.declaration.tables:
            if source is not listing:
                for row in source_rows(source, self.root, self.files, self.report):
                    known[self._value("id", row.fields).casefold()] |= row.fields
        if listing:
            rows = self._one_each(source_rows(listing, self.root, self.files, self.report, required=True))
        else:
            rows = [clip for group in self.clips.values() for clip in group]
        utterances, left_out, listed = [], Counter[str](), set()
        for row in rows:
            fields = {**known.get(self._value("id", row.fields).casefold(), {}), **row.fields}
            name = self._value("clip", fields) or self._value("id", fields)
            listed.add(name.casefold())
            clip = next(iter(self.clips.get(name.casefold(), ())), None) if listing else row
            fields = {**(clip.fields if clip else {}), **fields}
            if why := self._why_left_out(fields):
                left_out[why] += 1
            elif utterance := self._utterance(row, fields, clip.file if clip else str(self.root / f"{name}.wav")):
                utterances.append(utterance)
        for why, count in left_out.items():
            self.report.add(ProblemKind.LEFT_OUT, f"{plural(count, 'utterance')}: {why}")
        if listing:
            self._report_clips(sorted(self.clips.keys() - listed), "that no table lists")
        return utterances

    def _clips(self) -> dict[str, list[Row]]:
        """Folded id -> its clip; several only where files of one name and format differ."""
        found: dict[str, list[Candidate]] = defaultdict(list)
        strange = []
        for path in self.files:
            stem, suffix = os.path.splitext(path)
            if (rank := PREFERENCE.get(suffix.lower())) is None:
                continue
            groups = end_of(self.declaration.clips, stem) if self.declaration.clips else {}
            if groups is None:
                strange.append(path)
                continue
            fields = _with_id(path, groups)
            name = fields["id"] if self.declaration.lists else self._value("id", fields)
            found[name.casefold()].append(((rank, path.count("/"), path), groups))
        self._report_clips(strange, "of another name")
        return self._without_copies(found)

    def _without_copies(self, found: Mapping[str, list[Candidate]]) -> dict[str, list[Row]]:
        clips, copies = {}, []
        for name, candidates in found.items():
            (rank, _, first), said = min(candidates, key=lambda candidate: candidate[0])
            kept = [first]
            for (other, _, path), groups in candidates:
                if path == first or (other != rank and groups == said):
                    continue
                if groups == said and filecmp.cmp(self.root / path, self.root / first, shallow=False):
                    copies.append((path, first))
                else:  # the check of ids names it
                    kept.append(path)
            groups_of = {path: groups for (_, _, path), groups in candidates}
            clips[name] = [Row(_with_id(path, groups_of[path]), str(self.root / path)) for path in kept]
        if copies:
            detail = f"{plural(len(copies), 'clip')} twice in the folder: {copies[0][0]} beside {copies[0][1]}"
            remedy = "none needed: one of each is read; remove the second folder to save its space"
            self.report.add(ProblemKind.LEFT_OUT, detail, remedy=remedy)
        return clips

    def _report_clips(self, names: list[str], what: str) -> None:
        if names:
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
                if name in fields and pattern.fullmatch(fields[name]):
                    return why
        return None

    def _utterance(self, row: Row, fields: Fields, audio: str) -> Utterance | None:
        """The utterance, or None and a problem for a row that cannot be understood."""
        unknown = self.declaration.unknown
        fields = {name: value for name, value in fields.items()
                  if not (name in unknown and unknown[name].fullmatch(value))}  # fmt: skip
        name = self._value("id", fields)
        try:
            if not name:
                raise ValueError("the row names no utterance")
            meanings = {field: self._meaning(field, value) for field, value in fields.items()}
            start, end = (float(at) if (at := self._value(bound, meanings)) else None for bound in ("start", "end"))
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
        )

    def _meaning(self, name: str, written: str) -> str:
        """What a code means. ValueError: it is none; of a label the check of labels finds that out."""
        codes = self.codes.get(name)
        if codes is None or name == "label":
            return written if codes is None else codes.get(written.casefold(), written)
        if written.casefold() not in codes:
            raise ValueError(f"{name} {written!r} is none of the codes {', '.join(self.declaration.codes[name])}")
        return codes[written.casefold()]

    def _value(self, name: str, fields: Fields) -> str:
        """A field, by its template if all of that is known; otherwise as it was written, or empty."""
        template = self.declaration.templates.get(name)
        if template is None:
            return fields.get(name, "")
        try:
            return template.format_map(fields)
        except KeyError:
            return fields.get(name, "")


def _with_id(path: str, groups: Fields) -> Fields:
    return {"id": Path(path).stem, **groups}
