"""`drkf evaluate`: a checkpoint scored on a corpus, and whether it was trained on what it is scored on."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets
from rich.console import Console
from tqdm import tqdm

from modeling_drkf.release.loading import training_data_of
from processing.conditions import clip_of, cut_of
from processing.corpora.corpus import Corpus
from processing.corpora.registry import find_corpus, read_corpus
from processing.corpora.training_data import Leaks, TrainingData, find_leaks
from processing.errors_drkf import FileError, OptionError
from processing.evaluation.groups import group_scores
from processing.evaluation.metrics import PROBLEM_TYPES
from processing.evaluation.records import BY_SPEAKER, MODALITIES, SELECTED_ON_TEST, Predictions
from processing.evaluation.scoring import score
from processing.figures.robustness import plot_robustness
from processing.printable import plural, printable, printable_json
from processing.quiet import BAR_DELAY_S

from .checkpoint import open_pipeline
from .command import INTERRUPTED
from .errors import writing
from .evaluation_tables import finding, groups_table, scores_table
from .robustness import in_words, robustness, robustness_table, write_robustness

PARTS = ("train", "validation", "test")
EVERYTHING = "all"
OWN_COLUMNS = ("speaker", "session", "duration", "label", "channel")  # that no reader has to be asked for
NO_GROUPS = ("audio", "text", "labels", "utterance_id", "start", "end")
BLANKS: dict[str, dict[str, None]] = {"both": {}, "speech": {"text": None}, "text": {"audio": None}}


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
    under_conditions: bool = False,
    as_json: bool = False,
    **corpus_options: Any,
) -> int:
    """Scores, prints and writes; returns the exit status: 130 where Ctrl-C left conditions out.

    `by`, `by_speaker`, `under_conditions`: see `evaluate`; `corpus_options`: see `read_corpus`.
    """
    corpus_options |= _extra_columns(corpus_name, by)
    corpus = read_corpus(corpus_name, data_dir, **corpus_options)
    if corpus.report.problems:
        print(printable(corpus.report.table()), file=sys.stderr)
    pipe, fold, selection = open_pipeline(model), _fold_of(model), _selection_of(model)
    record, predictions = evaluate(
        pipe,
        corpus,
        fold,
        split,
        modality=modality,
        batch_size=batch_size,
        by=by,
        by_speaker=by_speaker,
        under_conditions=under_conditions,
        made_from=training_data_of(model),
    )
    record, predictions = {"model": model, "selection": selection, **record}, replace(predictions, selection=selection)
    if as_json:
        print(printable_json(record))
    else:
        _show(record)
    for name, reason in record.get("robustness", {}).get("skipped", {}).items():
        print(f"note: {name} is left out: {printable(reason)}", file=sys.stderr)
    if selection == "test" and record["split"] != "train":
        print(f"warning: {SELECTED_ON_TEST}", file=sys.stderr)
    leaks = Leaks(**record["leaks"])
    print(f"{'warning' if leaks.any else 'note'}: {printable(leaks)}", file=sys.stderr)
    if output_dir is not None:
        with writing(output_dir):
            _write(record, predictions, output_dir)
        print(f"Metrics and predictions: {output_dir}", file=sys.stderr if as_json else sys.stdout)
    if record.get("robustness", {}).get("stopped"):
        print("Stopped: the other conditions are left out.", file=sys.stderr)
        return INTERRUPTED
    return 0


def _show(record: Mapping[str, Any]) -> None:
    console = Console()
    console.print(scores_table(record))
    if f"{record['split']}{BY_SPEAKER}" in record:
        console.print(scores_table(record, BY_SPEAKER, ", each beside its speaker's other clips"))
    for column, groups in record.get("groups", {}).items():
        console.print(groups_table(column, groups))
        print(printable(finding(column, groups)))
    if "robustness" in record:
        console.print(robustness_table(record["robustness"]))


def _write(record: Mapping[str, Any], predictions: Predictions, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")
    predictions.write(folder / f"{record['split']}_predictions.csv")
    if "robustness" in record:
        write_robustness(record["robustness"], folder / "robustness.csv")
        if find_spec("matplotlib") is not None:
            scores = {in_words(name): scored for name, scored in record["robustness"]["conditions"].items()}
            title = f"{record['corpus']}, {record['split']}: {plural(record['utterances'], 'clip')}"
            plot_robustness(scores, record["robustness"]["metric"], folder / "robustness.png", title)


def evaluate(
    pipe: Any,
    corpus: Corpus,
    fold: Mapping[str, Any] | None = None,
    split: str | None = None,
    modality: str = "both",
    batch_size: int = 8,
    by: Sequence[str] = (),
    by_speaker: bool = False,
    under_conditions: bool = False,
    made_from: TrainingData | None = None,
) -> tuple[dict[str, Any], Predictions]:
    """
    Args:
        fold: of the checkpoint's `fold.json`, if it has one.
        split: of the checkpoint's fold if that was made from this corpus, else of the corpus itself; "all" takes every
            utterance. Without it, test, or all where there is no such part.
        modality: "speech" or "text" withholds the other one.
        by: columns of the corpus whose groups are compared, such as speaker or sex.
        by_speaker: also score each clip judged beside the other clips of its speaker in the split.
        under_conditions: also score what is heard in noise, babble, a room and so on, see [`robustness`].
        made_from: what the checkpoint says it was made from.

    Returns: the record of `metrics.json` (under the split's name what a training run records of a split: metrics,
        their 95 % bootstrap `intervals`, `calibration`; with `by_speaker` the same under that name and `_by_speaker`;
        under `groups` what [`group_scores`] says of each column, under `robustness` what [`robustness`] returns, under
        `leaks` what was in the training), and the predictions.

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
    split, rows = choose_rows(corpus, fold, split)
    for column in by:
        if column not in rows.column_names or all(value is None for value in rows[column]):
            known = [n for n in rows.column_names if n not in NO_GROUPS and any(v is not None for v in rows[n])]
            raise OptionError(f"--by {column}: the corpus does not say it; it has {', '.join(known) or 'no column'}")
    recognizer = getattr(pipe, "recognizer", pipe)
    if by_speaker and (reason := _why_not_by_speaker(recognizer, rows, modality)):
        raise OptionError(f"--by-speaker: {reason}")
    shown = {"total": len(rows), "unit": "clip", "delay": BAR_DELAY_S}

    def answers_to(rows: Dataset, name: str) -> list[dict[str, Any]]:
        answers = pipe(_inputs(rows, modality, pipe.processor.sampling_rate), batch_size=batch_size)
        return list(tqdm(answers, desc=name, **shown))

    answers = answers_to(rows, split)
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
        "leaks": asdict(find_leaks(made_from, corpus, rows)),
        split: metrics,
    }
    if by_speaker:
        inputs = [{"audio": cut_of(row), "text": row["text"]} | BLANKS[modality] for row in rows]
        units = recognizer.answered_by_speaker(inputs, rows["speaker"][:], batch_size=batch_size)
        told = [unit.item.whole_answer() for unit in tqdm(units, desc="by speaker", **shown)]
        _, record[f"{split}{BY_SPEAKER}"] = score(
            _probabilities(told, labels), references, labels, pipe.is_multi_label
        )
    if by:
        speakers = rows["speaker"][:]
        record["groups"] = {
            column: group_scores(predicted, references, labels, rows[column][:], speakers) for column in by
        }
    if under_conditions:
        record["robustness"] = robustness(
            rows, references, predicted, labels, lambda heard, name: _probabilities(answers_to(heard, name), labels)
        )
    return record, predictions


def _why_not_by_speaker(recognizer: Any, rows: Dataset, modality: str) -> str | None:
    """Why clips cannot be judged beside the other clips of their speakers; None where they can."""
    if recognizer.listener is None:
        return f"{recognizer.checkpoint} does not standardise by speaker"
    if modality == "text":
        return "--modality text withholds the voices that are judged so"
    return None if any(rows["speaker"]) else "the corpus does not say who speaks"


def _inputs(rows: Dataset, modality: str, rate: float) -> Iterator[dict[str, Any]]:
    """What the pipeline takes of each row, read as it is needed."""
    for row in rows:
        yield {"audio": clip_of(row, rate), "text": row["text"]} | BLANKS[modality]


def _probabilities(answers: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> np.ndarray:
    """Of every class, (answers, classes); an answer that tells no emotion counts as an even guess."""
    scores = [{entry["label"]: entry["score"] for entry in answer["scores"]} for answer in answers]
    return np.array([[found.get(name, 1 / len(labels)) for name in labels] for found in scores])


def _extra_columns(corpus_name: str, by: Sequence[str]) -> dict[str, Any]:
    """The option by which a reader of tables gives columns that only `by` asks for."""
    more = [column for column in by if column not in OWN_COLUMNS]
    takes_more = "extra_columns" in inspect.signature(find_corpus(corpus_name).read).parameters
    return {"extra_columns": more} if more and takes_more else {}


def choose_rows(corpus: Corpus, fold: Mapping[str, Any] | None, split: str | None) -> tuple[str, Dataset]:
    """The name and the rows of the chosen split, see `evaluate`."""
    everything = concatenate_datasets(list(corpus.dataset.values()))
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
