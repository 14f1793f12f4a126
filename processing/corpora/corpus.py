"""From the rows that a reader found to a `Corpus` of `datasets`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from .checks import check_audio, check_ids, check_published, check_rivals, check_text
from .column_options import reader_options
from .folders import absolute
from .labels import check_labels, check_rare_classes
from .leaks import LEAKS, check_repeats, check_shared, check_speakers, sound_of
from .paths import relocate
from .report import CorpusError, ProblemKind, Report, skip_rules
from .splits import check_splits
from .utterance import CorpusSpec, Utterance

ProblemType = Literal["single_label_classification", "multi_label_classification"]


@dataclass
class Corpus:
    """A corpus ready for training.

    `dataset` has the splits that the corpus defines, or the single split "all". Columns: `audio` (absolute path),
    `text`, `label` (`ClassLabel`) or `labels` (floats in the order of `label_names`: multi-hot, or a distribution
    where the corpus is single-label), `speaker`, `utterance_id`, `session`, `duration` (seconds), `start` and `end`
    (seconds) where clips are parts of recordings, `channel` (from 0) where they are channels of them, and the extra
    columns that were requested. What the source does not state is None. `sounds` has what identifies the sound of each
    clip that is not silent, see [`sound_of`]. `protocol` is what the corpus declares "auto" to stand for, `facts` what
    it says about itself.
    """

    name: str
    dataset: DatasetDict
    label_names: list[str]
    problem_type: ProblemType
    report: Report
    sounds: dict[str, str] = field(default_factory=dict)
    protocol: str = "auto"
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Survey:
    """All utterances of a corpus, good and bad, with the report on them."""

    spec: CorpusSpec
    utterances: list[Utterance]
    label_names: list[str]
    report: Report

    @property
    def problem_type(self) -> ProblemType:
        multi_label = any(utterance.multi_label for utterance in self.utterances)
        return "multi_label_classification" if multi_label else "single_label_classification"

    def exclude(self, rules: frozenset[ProblemKind]) -> list[Utterance]:
        """The utterances that no rule leaves out; the others are recorded in the report under the rule's name, and so
        is what the splits of the rest share."""
        self.report.skipped = rules
        rules |= {ProblemKind.OUTSIDE_CLASSES}
        kept: list[Utterance] = []
        excluded: dict[str, list[str]] = defaultdict(list)
        labels: dict[str, Counter[str]] = defaultdict(Counter)
        for problem in self.report.problems:
            if problem.kind is ProblemKind.MALFORMED_ROW and problem.kind in rules:
                excluded[problem.kind.value].append(problem.utterance_id or problem.place)
        for utterance in self.utterances:
            broken = utterance.kinds & rules
            for kind in broken:
                excluded[kind.value].append(utterance.utterance_id)
                labels[kind.value].update(utterance.labels)
            if not broken:
                kept.append(utterance)
        self.report.excluded = dict(excluded)
        self.report.excluded_labels = {kind: dict(counts.most_common()) for kind, counts in labels.items()}
        self.report.problems = [problem for problem in self.report.problems if problem.kind not in LEAKS]
        check_shared([utterance for utterance in kept if not utterance.is_broken], self.report)
        return kept

    def usable(self, skip_damaged: Iterable[str] | str = ()) -> list[Utterance]:
        """The utterances to train on.

        Args:
            skip_damaged: kinds of problems whose rows are left out, or "all" for every kind of error.

        Raises:
            CorpusError: an error stands that `skip_damaged` does not name, or nothing is left.
            ValueError: `skip_damaged` names no kind of problem.
        """
        kept = self.exclude(skip_rules(skip_damaged))
        self.report.raise_if_broken()
        if not kept:
            self.report.add(ProblemKind.NO_UTTERANCES, "no usable utterance is left")
            raise CorpusError(self.report)
        return kept

    def corpus(self, skip_damaged: Iterable[str] | str = ()) -> Corpus:
        """The dataset of the usable utterances. Raises as `usable` does."""
        by_split: dict[str, list[Utterance]] = defaultdict(list)
        sounds = {}
        for utterance in self.usable(skip_damaged):
            by_split[utterance.split].append(utterance)
            if sound := sound_of(utterance):
                sounds[utterance.utterance_id] = sound
        dataset = DatasetDict({split: self._dataset(rows) for split, rows in by_split.items()})
        found = (self.label_names, self.problem_type, self.report, sounds, self.spec.protocol, self.spec.facts)
        return Corpus(self.spec.name, dataset, *found)

    def _dataset(self, rows: Sequence[Utterance]) -> Dataset:
        columns: dict[str, list[Any]] = {"audio": [row.audio for row in rows], "text": [row.text for row in rows]}
        features: dict[str, Any] = {"audio": Value("string"), "text": Value("string")}
        if self.problem_type == "multi_label_classification":
            columns["labels"] = [[float(name in row.labels) for name in self.label_names] for row in rows]
            features["labels"] = List(Value("float32"))
        elif any(row.weights for row in rows):
            columns["labels"] = [[(row.weights or {}).get(name, 0.0) for name in self.label_names] for row in rows]
            features["labels"] = List(Value("float32"))
        else:
            position = {name: index for index, name in enumerate(self.label_names)}
            columns["label"] = [position[row.labels[0]] for row in rows]
            features["label"] = ClassLabel(names=self.label_names)
        for name in ("speaker", "utterance_id", "session"):
            columns[name] = [getattr(row, name) for row in rows]
            features[name] = Value("string")
        columns["duration"] = [row.duration for row in rows]
        features["duration"] = Value("float32")
        if any(row.start is not None or row.end is not None for row in rows):
            for name in ("start", "end"):
                columns[name] = [getattr(row, name) for row in rows]
                features[name] = Value("float64")
        if any(row.channel is not None for row in rows):
            columns["channel"] = [row.channel for row in rows]
            features["channel"] = Value("int64")
        for name in rows[0].extra:
            columns[name] = [row.extra[name] for row in rows]
            features[name] = Value("string")
        return Dataset.from_dict(columns, features=Features(features))


def survey(
    spec: CorpusSpec,
    data_dir: str | Path,
    *,
    label_map: Mapping[str, str] | None = None,
    label_names: Sequence[str] | None = None,
    audio_root: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    words: bool = True,
    scan: bool = True,
    decode: bool | None = None,
    videos: bool = False,
    progress: bool = True,
    **options: Any,
) -> Survey:
    """Reads and checks a whole corpus; what is wrong with it stands in the report and raises nothing.

    Args:
        data_dir: the corpus' top folder, or the file that lists it.
        label_map: source label -> class, in addition to the corpus' own map (order of classes: see `class_names`).
        label_names: the classes in order, in place of the corpus' own; applies after `label_map`.
        audio_root: a folder to take clips from: those whose path below it is the end of the listed one.
        columns: which column of a table holds what, see `parse_columns`.
        words: whether there should be words; a table must then have a column of them.
        scan: look at each clip's length and damage; otherwise only whether the file exists.
        decode: decode every clip (True) or read its header (False); by default it depends on their size together.
        videos: whether the caller can use videos; training cannot.
        progress: show a progress bar while scanning.
        options: the reader's own.

    Raises:
        ValueError: `label_map`, `label_names` or `columns` is invalid.
    """
    options |= reader_options(spec, columns or {}, words)
    folder = absolute(data_dir)
    folder = folder.parent if folder.is_file() else folder
    report = Report(spec.title, folder if folder.is_dir() else None)
    utterances = spec.read(data_dir, report, **options)
    if audio_root is not None:
        relocate(utterances, audio_root)
    check_ids(utterances, report)
    check_rivals(utterances, report)
    names = check_labels(
        utterances,
        report,
        labels=spec.labels,
        corpus_map=spec.label_map,
        left_out=spec.left_out,
        label_map=label_map or {},
        label_names=label_names,
    )
    check_splits(utterances, report)
    inside = [utterance for utterance in utterances if ProblemKind.OUTSIDE_CLASSES not in utterance.kinds]
    check_speakers(utterances, report)
    if utterances and not label_map and label_names is None:
        check_published(spec, inside, report)
    check_text(inside, report, words)
    look: dict[str, Any] = {"folder": folder, "scan": scan, "decode": decode, "videos": videos, "progress": progress}
    check_audio(inside, report, known_damage=spec.known_damage, **look)
    check_repeats(inside, report)
    check_rare_classes(inside, names, report)
    if not utterances:
        report.add(ProblemKind.NO_UTTERANCES, f"no utterance was found. Expected: {spec.layout}", file=data_dir)
    return Survey(spec, utterances, names, report)
