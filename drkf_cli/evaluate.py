"""`drkf evaluate`: a checkpoint scored on a corpus, and whether it was trained on what it is scored on."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tqdm import tqdm

from processing.corpora.corpus import Corpus
from processing.corpora.registry import find_corpus, read_corpus
from processing.errors_drkf import FileError, OptionError
from processing.evaluation.groups import SMALLEST, group_scores
from processing.evaluation.metrics import FORMULAS, PROBLEM_TYPES
from processing.evaluation.records import MODALITIES, SELECTED_ON_TEST, Predictions
from processing.evaluation.rounding import rounded
from processing.evaluation.scoring import score
from processing.printable import plural, printable
from processing.quiet import BAR_DELAY_S

from .checkpoint import open_pipeline
from .errors import writing

BY_SPEAKER = "_by_speaker"  # as in `metrics.json` of a training run
PARTS = ("train", "validation", "test")
EVERYTHING = "all"
OWN_COLUMNS = ("speaker", "session", "duration", "label")  # that every corpus has
NO_GROUPS = ("audio", "text", "labels", "utterance_id", "start", "end")
BLANKS: dict[str, dict[str, None]] = {"both": {}, "speech": {"text": None}, "text": {"audio": None}}


@dataclass(frozen=True)
class Leaks:
    """What the evaluated utterances have in common with those that the checkpoint was made from.

    Attributes:
        known: whether the checkpoint has a `fold.json`, and it names any utterance of this corpus.
        trained_on, selected_on: how many of the utterances it was trained on, or chosen by.
        speakers: of the evaluated utterances, those that are in its training part, as far as the corpus names them.
    """

    known: bool
    trained_on: int = 0
    selected_on: int = 0
    speakers: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.known:
            return (
                "the checkpoint has no fold.json that names these utterances: whether it was trained on them, by "
                "other names, is not known"
            )
        found = [
            f"{count} of the utterances were {what}"
            for count, what in (
                (self.trained_on, "in its training part"),
                (self.selected_on, "in its validation part"),
            )
            if count
        ]
        if self.speakers:
            found.append(
                f"{len(self.speakers)} of the speakers are in its training part ({', '.join(self.speakers[:5])})"
            )
        if not found:
            return ""
        return f"these figures are not those of new speech: {'; '.join(found)}"


def run_evaluate(
    model: str,
    corpus_name: str,
    data_dir: str,
    split: str | None,
    output_dir: Path | None,
    modality: str = "both",
    batch_size: int = 8,
    by: Sequence[str] = (),
    by_speaker: bool = False,
    **corpus_options: Any,
) -> int:
    """Scores, prints and writes; returns the exit status.

    `by`, `by_speaker`: see `evaluate`; `corpus_options`: see `read_corpus`.
    """
    corpus_options |= _extra_columns(corpus_name, by)
    corpus = read_corpus(corpus_name, data_dir, **corpus_options)
    if corpus.report.problems:
        print(printable(corpus.report.table()), file=sys.stderr)
    pipe, fold, selection = open_pipeline(model), _fold_of(model), _selection_of(model)
    record, predictions = evaluate(pipe, corpus, fold, split, modality, batch_size, by, by_speaker)
    record, predictions = {"model": model, "selection": selection, **record}, replace(predictions, selection=selection)
    console = Console()
    console.print(_shown(record))
    if by_speaker:
        console.print(_shown(record, BY_SPEAKER, ", each beside its speaker's other clips"))
    for column, groups in record.get("groups", {}).items():
        console.print(_shown_groups(column, groups))
        print(printable(_finding(column, groups)))
    if selection == "test" and record["split"] != "train":
        print(f"warning: {SELECTED_ON_TEST}", file=sys.stderr)
    if text := str(Leaks(**record["leaks"])):
        print(f"{'warning' if record['leaks']['known'] else 'note'}: {text}", file=sys.stderr)
    if output_dir is not None:
        with writing(output_dir):
            output_dir.mkdir(parents=True, exist_ok=True)
            (output_dir / "metrics.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")
            predictions.write(output_dir / f"{record['split']}_predictions.csv")
        print(f"Metrics and predictions: {output_dir}")
    return 0


def evaluate(
    pipe: Any,
    corpus: Corpus,
    fold: Mapping[str, Any] | None = None,
    split: str | None = None,
    modality: str = "both",
    batch_size: int = 8,
    by: Sequence[str] = (),
    by_speaker: bool = False,
) -> tuple[dict[str, Any], Predictions]:
    """
    Args:
        fold: of the checkpoint's `fold.json`, if it has one.
        split: of the checkpoint's fold if that was made from this corpus, else of the corpus itself; "all" takes every
            utterance. Without it, test, or all where there is no such part.
        modality: "speech" or "text" withholds the other one.
        by: columns of the corpus whose groups are compared, such as speaker or sex.
        by_speaker: also score each clip judged beside the other clips of its speaker in the split.

    Returns: the record of `metrics.json` (under the split's name what a training run records of a split: metrics,
        their 95 % bootstrap `intervals`, `calibration`; with `by_speaker` the same under that name and `_by_speaker`;
        under `groups` what [`group_scores`] says of each column), and the predictions.

    Raises:
        OptionError: the corpus has a class that the checkpoint does not know, or no such split; `by_speaker` without
            voices, speakers, or a checkpoint that standardises by speaker.
        AudioError: a clip is unusable.
    """
    labels, problem_type = pipe.label_names, PROBLEM_TYPES[pipe.is_multi_label]
    if unknown := sorted(set(corpus.label_names) - set(labels)):
        raise OptionError(
            f"the corpus has the classes {', '.join(unknown)}, which the checkpoint does not know; it knows "
            f"{', '.join(labels)}. Map them with --label-map"
        )
    if corpus.problem_type != problem_type:
        raise OptionError(f"the corpus is for {corpus.problem_type}, the checkpoint for {problem_type}")
    everything = concatenate_datasets(list(corpus.dataset.values()))
    split, rows = choose_rows(corpus, everything, fold, split)
    for column in by:
        if column not in rows.column_names or all(value is None for value in rows[column]):
            known = [n for n in rows.column_names if n not in NO_GROUPS and any(v is not None for v in rows[n])]
            raise OptionError(f"--by {column}: the corpus does not say it; it has {', '.join(known) or 'no column'}")
    recognizer = getattr(pipe, "recognizer", pipe)
    if by_speaker and (reason := _why_not_by_speaker(recognizer, rows, modality)):
        raise OptionError(f"--by-speaker: {reason}")
    columns = [name for name in ("audio", "text", "start", "end") if name in rows.column_names]
    inputs = [{name: row[name] for name in columns} | BLANKS[modality] for row in rows]
    shown = {"total": len(rows), "unit": "clip", "delay": BAR_DELAY_S}
    answers = list(tqdm(pipe(iter(inputs), batch_size=batch_size), desc=split, **shown))
    references = _references(rows, corpus.label_names, labels, pipe.is_multi_label)
    probabilities = _probabilities(answers, labels)
    predicted, metrics = score(probabilities, references, labels, pipe.is_multi_label)
    shares = [answer["modality_shares"] or dict.fromkeys(MODALITIES, np.nan) for answer in answers]
    predictions = Predictions(
        label_names=labels,
        utterance_ids=rows["utterance_id"][:],
        folds=[fold["name"] if fold else ""] * len(rows),
        references=references,
        predictions=predicted,
        probabilities=probabilities,
        consistency=np.array([answer["consistency"] for answer in answers], dtype=float),
        modality_shares=np.array([[share[name] for name in MODALITIES] for share in shares], dtype=float),
    )
    record = {
        "corpus": corpus.name,
        "excluded": corpus.report.excluded,
        "split": split,
        "utterances": len(rows),
        "modality": modality,
        "leaks": asdict(find_leaks(fold, everything, rows)),
        split: metrics,
    }
    if by_speaker:
        units = recognizer.answered_by_speaker(inputs, rows["speaker"][:], batch_size=batch_size)
        told = [unit.item.whole_answer() for unit in tqdm(units, desc="by speaker", **shown)]
        record[f"{split}{BY_SPEAKER}"] = score(_probabilities(told, labels), references, labels, pipe.is_multi_label)[
            1
        ]
    if by:
        speakers = rows["speaker"][:]
        record["groups"] = {
            column: group_scores(predicted, references, labels, rows[column][:], speakers) for column in by
        }
    return record, predictions


def _why_not_by_speaker(recognizer: Any, rows: Dataset, modality: str) -> str | None:
    """Why clips cannot be judged beside the other clips of their speakers; None where they can."""
    if recognizer.voices is None:
        return f"{recognizer.checkpoint} does not standardise by speaker"
    if modality == "text":
        return "--modality text withholds the voices that are judged so"
    return None if any(rows["speaker"]) else "the corpus does not say who speaks"


def _probabilities(answers: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> np.ndarray:
    scores = [{entry["label"]: entry["score"] for entry in answer["scores"]} for answer in answers]
    return np.array([[found[name] for name in labels] for found in scores])


def _extra_columns(corpus_name: str, by: Sequence[str]) -> dict[str, Any]:
    """The option by which a reader of tables gives columns that only `by` asks for."""
    more = [column for column in by if column not in OWN_COLUMNS]
    takes_more = "extra_columns" in inspect.signature(find_corpus(corpus_name).read).parameters
    return {"extra_columns": more} if more and takes_more else {}


def choose_rows(
    corpus: Corpus, everything: Dataset, fold: Mapping[str, Any] | None, split: str | None
) -> tuple[str, Dataset]:
    """The name and the rows of the chosen split, see `evaluate`."""
    position = {name: index for index, name in enumerate(everything["utterance_id"])}
    parts = {part: fold[part] for part in PARTS if fold[part]} if fold else {}
    if all(name in position for members in parts.values() for name in members):
        found = {part: everything.select([position[name] for name in members]) for part, members in parts.items()}
    else:
        found = {}
    found = dict(corpus.dataset) | found | {EVERYTHING: everything}
    if split is None:
        split = "test" if "test" in found else EVERYTHING
    if split not in found:
        raise OptionError(f"there is no split {split!r}; there are {', '.join(found)}")
    return split, found[split]


def find_leaks(fold: Mapping[str, Any] | None, everything: Dataset, rows: Dataset) -> Leaks:
    """Compares by utterance id, and by the speakers that the corpus gives to the ids of the training part."""
    if fold is None or not set(everything["utterance_id"]) & {name for part in PARTS for name in fold[part]}:
        return Leaks(known=False)
    train, validation, evaluated = set(fold["train"]), set(fold["validation"]), rows["utterance_id"][:]
    trained = {s for name, s in zip(everything["utterance_id"], everything["speaker"], strict=True) if name in train}
    return Leaks(
        known=True,
        trained_on=sum(name in train for name in evaluated),
        selected_on=sum(name in validation for name in evaluated),
        speakers=tuple(sorted((trained & set(rows["speaker"])) - {None})),
    )


def _fold_of(model: str) -> dict[str, Any] | None:
    record = _record(Path(model) / "fold.json")
    try:
        return record["folds"][0] if record else None
    except (KeyError, IndexError, TypeError) as error:
        raise FileError(f"{model}/fold.json holds no fold") from error


def _selection_of(model: str) -> str:
    """The part on which the checkpoint's epoch was chosen, as far as it tells."""
    return _record(Path(model) / "metrics.json").get("selection", "validation")


def _record(path: Path) -> dict[str, Any]:
    """What a JSON file of the checkpoint's folder holds; nothing where there is no such file."""
    try:
        record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise FileError(f"{path} cannot be read: {error}") from error
    if not isinstance(record, dict):
        raise FileError(f"{path} holds no JSON object")
    return record


def _references(rows: Dataset, corpus_labels: Sequence[str], labels: Sequence[str], multi_label: bool) -> np.ndarray:
    """Class ids (of soft labels the likeliest), or label sets, in the order of the checkpoint's labels."""
    if "label" in rows.column_names:
        return np.array([labels.index(corpus_labels[label]) for label in rows["label"]])
    weights = np.zeros((len(rows), len(labels)))
    weights[:, [labels.index(name) for name in corpus_labels]] = np.asarray(rows["labels"][:])
    return weights.astype(np.int64) if multi_label else weights.argmax(axis=1)


def _shown(record: Mapping[str, Any], suffix: str = "", remark: str = "") -> Table:
    metrics = record[f"{record['split']}{suffix}"]
    table = Table(
        "",
        "",
        "95 % interval",
        "",
        title=escape(f"{record['corpus']}, {record['split']}: {plural(record['utterances'], 'clip')}{remark}"),
    )
    for name in (name for name in FORMULAS if name in metrics):
        low, high = metrics["intervals"][name]
        table.add_row(
            name.replace("_", " "),
            rounded(metrics[name]),
            f"{rounded(low)} to {rounded(high)}",
            FORMULAS[name].formula,
        )
    table.add_section()
    for label, scores in metrics["per_class"].items():
        low, high = metrics["intervals"][f"f1_{label}"]
        counted = plural(scores["support"], "clip")
        detail = f"precision {rounded(scores['precision'])}, recall {rounded(scores['recall'])}, {counted}"
        table.add_row(escape(f"F1 of {label}"), rounded(scores["f1"]), f"{rounded(low)} to {rounded(high)}", detail)
    return table


def _shown_groups(column: str, groups: Mapping[str, Any]) -> Table:
    """One row a group, see `group_scores`."""
    metric = groups["metric"].replace("_", " ")
    table = Table(escape(printable(column)), "clips", "speakers", metric, "95 % interval", "from the others", "p")
    for name, one in groups["groups"].items():
        is_worst = name == groups["worst"]
        cells = [
            printable(name),
            str(one["utterances"]),
            "-" if one["speakers"] is None else str(one["speakers"]),
            rounded(one["score"]),
            " to ".join(map(rounded, one["interval"])),
            "-" if one["difference"] is None else f"{one['difference']:+.3f}",
            "-" if one["p_value"] is None else f"{one['p_value']:.3f}",
        ]
        table.add_row(*map(escape, cells), style="bold" if is_worst else None)
    return table


def _finding(column: str, groups: Mapping[str, Any]) -> str:
    """Which group is the worst, and whether the groups differ by more than chance."""
    unknown = f" {plural(groups['unknown'], 'clip')} without {column} left out." if groups["unknown"] else ""
    if groups["worst"] is None:
        return f"{column}: nothing to compare; two groups of at least {SMALLEST} clips are needed.{unknown}"
    worst = groups["groups"][groups["worst"]]
    finding = "differ by more than chance" if groups["p_value"] < 0.05 else "show no difference beyond chance"
    return (
        f"{column}: the worst group is {groups['worst']} ({rounded(worst['score'])}); the groups {finding} "
        f"(p = {groups['p_value']:.3f}, {groups['permuted']} permuted).{unknown}"
    )
