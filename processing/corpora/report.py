"""Everything that is wrong with a corpus, collected in one place and said in one voice.

Readers add a `Problem` for every file or row they cannot take at face value. `Report.raise_if_broken`, the doctor and
the JSON file all print the same words.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from ..errors_drkf import DRKFError, OptionError
from ..printable import plural
from ..suggestions import did_you_mean


class ProblemKind(StrEnum):
    """The fixed vocabulary of problems. An `error` makes its row unusable; a `warning` does not."""

    severity: str
    remedy: str

    def __new__(cls, name: str, severity: str = "", remedy: str = "") -> ProblemKind:
        kind = str.__new__(cls, name)
        kind._value_ = name
        kind.severity = severity
        kind.remedy = remedy
        return kind

    MISSING_FILE = "missing_file", "error", "restore the file or folder, or point to the corpus' top folder"
    UNREADABLE_FILE = "unreadable_file", "error", "save the file again in the format that its name says"
    MISSING_COLUMN = "missing_column", "error", "say which column it is: --columns label=emotion"
    MALFORMED_ROW = "malformed_row", "error", "correct the row; a field that holds the separator needs double quotes"
    NO_UTTERANCES = (
        "no_utterances",
        "error",
        "solve the problems above, or check that this is the right folder or file",
    )
    DUPLICATE_ID = "duplicate_id", "error", "keep one of the rows, or give each its own id"
    AMBIGUOUS_AUDIO = (
        "ambiguous_audio",
        "error",
        "keep the files of the voice alone, or name their folder: --data-dir, or the key folder of a declaration",
    )
    MISSING_TIMES = (
        "missing_times",
        "error",
        "add its start and end (seconds): without them it would be the whole recording",
    )
    MISSING_LABEL = "missing_label", "error", "fill in the label"
    NO_LABELS = (
        "no_labels",
        "error",
        "name the column of the labels: --columns label=emotion; numbers on a scale are not recognised here",
    )
    UNKNOWN_LABEL = "unknown_label", "error", "correct the label, or map it with label_map"
    UNKNOWN_SPLIT = (
        "unknown_split",
        "error",
        "call it train, validation or test, or leave out the column: then the protocol divides the corpus",
    )
    MISSING_AUDIO = (
        "missing_audio",
        "error",
        "restore the file or correct its path; clips in another folder: --audio-root FOLDER",
    )
    UNREADABLE_AUDIO = "unreadable_audio", "error", "copy the file again from its source, or convert it to WAV or FLAC"
    EMPTY_AUDIO = "empty_audio", "error", "record or copy the clip again: it holds no samples"
    VIDEO_AUDIO = "video_audio", "error", "convert the corpus once with `drkf prepare`, and train on what that writes"
    OUTSIDE_AUDIO = (
        "outside_audio",
        "error",
        "correct start and end (seconds from the recording's beginning) and channel (from 0); rename them if the "
        "clips are cut already",
    )
    MISSING_TOOL = "missing_tool", "error", "install ffmpeg (with ffprobe), or extract the sound to WAV or FLAC"
    NOT_DECODED = "not_decoded", "warning", "run `drkf doctor --decode` once; what it finds is remembered"
    SILENT_AUDIO = "silent_audio", "warning", "listen to the clip; leave it out where it should hold speech"
    CANCELLING_AUDIO = "cancelling_audio", "warning", "none needed: the loudest channel is used; check the recording"
    CLIPPED_AUDIO = (
        "clipped_audio",
        "warning",
        "record it again at a lower level, or leave such clips out: --skip-damaged clipped_audio",
    )
    WHOLE_AUDIO = (
        "whole_audio",
        "warning",
        "add its start and end (seconds), unless its label is that of the whole recording",
    )
    SHORT_AUDIO = "short_audio", "warning", "none needed: the processor pads it; check that the clip is whole"
    LONG_AUDIO = (
        "long_audio",
        "warning",
        "check where the clip ends; the processor's long_audio policy cuts or refuses it",
    )
    EMPTY_TEXT = (
        "empty_text",
        "warning",
        "fill in the transcript, or let `drkf prepare --transcriber` write it; else the voice speaks alone",
    )
    GARBLED_TEXT = "garbled_text", "warning", "save the file as UTF-8 from its source"
    WRONG_ENCODING = "wrong_encoding", "warning", "check the accents, and save the file as UTF-8"
    SUSPICIOUS_COLUMN = "suspicious_column", "warning", "rename the column if it was meant to be read"
    SUSPICIOUS_LABEL = "suspicious_label", "warning", "spell the label one way, or join the spellings with label_map"
    RARE_CLASS = "rare_class", "warning", "join it with another class by label_map, or correct the labels"
    SUSPICIOUS_SPEAKER = "suspicious_speaker", "warning", "spell the name one way; give two persons two names"
    MISSING_SPEAKER = (
        "missing_speaker",
        "warning",
        "fill in the speaker: otherwise the same voice may train and test",
    )
    SHARED_SPEAKER = (
        "shared_speaker",
        "warning",
        "scores on this part flatter the model; for other speakers train with --protocol speaker_disjoint",
    )
    SHARED_AUDIO = "shared_audio", "warning", "leave the copies out: --skip-damaged repeated_audio"
    REPEATED_AUDIO = "repeated_audio", "warning", "leave the copies out: --skip-damaged repeated_audio"
    CONFLICTING_LABELS = (
        "conflicting_labels",
        "warning",
        "correct the wrong label, or leave these rows out: --skip-damaged conflicting_labels",
    )
    OUTSIDE_CLASSES = "outside_classes", "warning", "none needed: the protocol leaves it out; label_map can take it in"
    LEFT_OUT = "left_out", "warning", "none needed: the corpus is declared so"
    UNLIKE_PUBLISHED = (
        "unlike_published",
        "warning",
        "compare the copy with its source: download what is missing, or go on with a part of the corpus",
    )
    UNMATCHED_ROW = (
        "unmatched_row",
        "warning",
        "correct the names; a declaration joins a table by the field that its key by names, id by default",
    )
    UNLISTED_AUDIO = "unlisted_audio", "warning", "none needed: the file has no annotation and is not used"

    @property
    def is_error(self) -> bool:
        return self.severity == "error"


OF_THE_WHOLE = frozenset({ProblemKind.NO_UTTERANCES, ProblemKind.NO_LABELS})  # not of single rows


class CorpusError(DRKFError, ValueError):
    """The corpus cannot be used as it is. `report` holds every problem; the message is its table."""

    def __init__(self, report: Report):
        self.report = report
        super().__init__(report.table())


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where, what, and what to do. `row` counts lines of `file` from 1."""

    kind: ProblemKind
    detail: str
    remedy: str
    file: str | None = None
    row: int | None = None
    utterance_id: str | None = None

    @property
    def place(self) -> str:
        """File, row and utterance, as far as they are known."""
        position = f"{self.file or ''}{f':{self.row}' if self.row else ''}"
        return " ".join(part for part in (position, self.utterance_id and f"[{self.utterance_id}]") if part)

    def __str__(self) -> str:
        return f"{self.place}: {self.detail}" if self.place else self.detail


@dataclass
class Report:
    """The problems of one corpus, and the utterances that were left out because of them.

    `excluded` maps a problem's kind to the ids (or, where a row has none, to the `file:row`) that its rule excluded,
    `excluded_labels` to the number of each label among them. The table gives paths below `folder` relative to it.
    """

    corpus: str
    folder: Path | None = None
    problems: list[Problem] = field(default_factory=list)
    excluded: dict[str, list[str]] = field(default_factory=dict)
    excluded_labels: dict[str, dict[str, int]] = field(default_factory=dict)
    skipped: frozenset[ProblemKind] = frozenset()

    def add(
        self,
        kind: ProblemKind,
        detail: str,
        *,
        file: str | Path | None = None,
        row: int | None = None,
        utterance_id: str | None = None,
        remedy: str | None = None,
    ) -> None:
        """Records a problem; without `remedy` the kind's own one is used."""
        self.problems.append(
            Problem(kind, detail, remedy or kind.remedy, str(file) if file else None, row, utterance_id)
        )

    def counts(self) -> dict[str, int]:
        """Number of problems per kind, in the vocabulary's order, only those that occur."""
        found = Counter(problem.kind for problem in self.problems)
        return {kind.value: found[kind] for kind in ProblemKind if kind in found}

    def blocking(self) -> list[Problem]:
        """The errors that no rule of `skipped` covers."""
        return [problem for problem in self.problems if problem.kind.is_error and problem.kind not in self.skipped]

    def raise_if_broken(self) -> None:
        """Raises `CorpusError` when an error stands that no named rule has excluded."""
        if self.blocking():
            raise CorpusError(self)

    def table(self, examples: int = 3) -> str:
        """A readable summary: per kind its count, the remedy and the first examples."""
        if not self.problems:
            return f"{self.corpus}: no problems found"
        return self._relative(self._whole_table(examples))

    def _relative(self, text: str) -> str:
        """The text without the data folder, but in options, which people copy."""
        if self.folder is None or len(self.folder.parts) < 2:
            return text
        return re.sub(rf"(?<!--audio-root ){re.escape(str(self.folder))}/", "", text)

    def _whole_table(self, examples: int) -> str:
        blocking, warnings = len(self.blocking()), sum(not problem.kind.is_error for problem in self.problems)
        where = f" in {self.folder}" if self.folder else ""
        lines = [f"{self.corpus}{where}: {plural(blocking, 'error')} to solve, {plural(warnings, 'warning')}"]
        for kind, count in self.counts().items():
            lines += self._kind_lines(ProblemKind(kind), count, examples)
        kinds = {problem.kind for problem in self.blocking()}
        if kinds and not kinds & OF_THE_WHOLE:
            names = sorted(kind.value for kind in kinds)
            lines.append(f"To leave such rows out and count them: --skip-damaged {' '.join(names)} (or all).")
        return "\n".join(lines)

    def _kind_lines(self, kind: ProblemKind, count: int, examples: int) -> Iterable[str]:
        excluded = len(self.excluded.get(kind.value, ()))
        labels = ", ".join(f"{label} {number}" for label, number in self.excluded_labels.get(kind.value, {}).items())
        left_out = f" ({excluded} left out{f': {labels}' if labels else ''})" if excluded else ""
        yield f"  {kind.severity} {kind.value}: {count}{left_out}"
        problems = [problem for problem in self.problems if problem.kind is kind]
        for problem in problems[:examples]:
            yield f"    {problem}"
        if count > examples:
            yield f"    ... and {count - examples} more"
        for remedy in dict.fromkeys(problem.remedy for problem in problems[:examples]):
            yield f"    -> {remedy}"

    def to_dict(self) -> dict[str, object]:
        """Plain data for JSON: counts, problems and excluded utterances."""
        return {
            "corpus": self.corpus,
            "usable": not self.blocking(),
            "counts": self.counts(),
            "skipped": sorted(kind.value for kind in self.skipped),
            "excluded": self.excluded,
            "excluded_labels": self.excluded_labels,
            "problems": [{**asdict(problem), "severity": problem.kind.severity} for problem in self.problems],
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2)


def skip_rules(names: Iterable[str] | str) -> frozenset[ProblemKind]:
    """The kinds that `skip_damaged` names: problem kinds, or "all" for every error.

    Raises `ValueError` for a name that is not in the vocabulary.
    """
    kinds: set[ProblemKind] = set()
    for name in [names] if isinstance(names, str) else names:
        if name == "all":
            kinds.update(kind for kind in ProblemKind if kind.is_error and kind not in OF_THE_WHOLE)
            continue
        try:
            kinds.add(ProblemKind(name))
        except ValueError:
            known = [kind.value for kind in ProblemKind]
            raise OptionError(
                f"skip_damaged: {name!r} is no kind of problem{did_you_mean(name, known)}; known: {', '.join(known)}"
            ) from None
    return frozenset(kinds - {ProblemKind.NO_UTTERANCES})


def some(items: Iterable[object], limit: int = 5) -> str:
    """The first of them in order, and how many more there are: `a, b and 3 more`."""
    names = sorted(map(str, items))
    return ", ".join(names[:limit]) + (f" and {len(names) - limit:,} more" if len(names) > limit else "")
