"""Every picture of a run, or of a cross-validation, drawn from the records that lie in its folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from tqdm.auto import tqdm
from transformers.utils import logging

from ..errors_drkf import FileError
from ..evaluation.calibration import Calibration, calibration
from ..evaluation.metrics import emotion_metrics
from ..evaluation.records import SELECTED_ON_TEST, Predictions, read_embeddings
from ..evaluation.rounding import rounded
from ..printable import plural
from ..quiet import BAR_DELAY_S
from .embeddings import FEWEST_UTTERANCES, plot_embeddings
from .loss_curves import has_curves, plot_loss_curves
from .predictions import (
    CONSISTENCY,
    MULTI_LABEL,
    SINGLE_LABEL,
    plot_class_scores,
    plot_confusion_matrix,
    plot_reliability,
)

Drawing: TypeAlias = Callable[[], Path]

logger = logging.get_logger(__name__)

SPLITS = ("validation", "test")
SHOWN = {"unweighted_accuracy": "UA", "weighted_accuracy": "WA", "micro_f1": "micro F1", "jaccard_accuracy": "Jaccard"}


def draw_run(folder: Path, splits: Sequence[str] = SPLITS, ending: str = "png") -> list[Path]:
    """Draws the loss curves, and for each split that was scored: the confusion matrix (multi-label: the scores of each
    class), the reliability diagrams of classes and of `consistency`, and the embeddings (Figure 4).

    Reads `metrics.json`, `trainer_state.json`, `<split>_predictions.csv` and `<split>_embeddings.npz`.

    Args:
        ending: "png", "svg" or "pdf".

    Returns: the images, in that order.

    Raises:
        ImportError: matplotlib is not installed.
        OSError, ValueError: no metrics, none of the splits was scored, or a record that cannot be read.
    """
    record = json.loads((folder / "metrics.json").read_text())
    if "fold" not in record:
        raise FileError(f"{folder / 'metrics.json'} is not the record of a training run: it names no fold.")
    run = f"{record['corpus']}, fold {record['fold']['name']}, seed {record['seed']}{_stamp(record['selection'])}"
    scored = [split for split in splits if (folder / f"{split}_predictions.csv").is_file()]
    if not scored:
        raise FileError(f"{folder} has no predictions for {' or '.join(splits)}.")
    drawings: list[Drawing] = []
    state = json.loads((folder / "trainer_state.json").read_text())
    best = [entry["epoch"] for entry in state["log_history"] if entry["step"] == state["best_global_step"]]
    if has_curves(state["log_history"]):
        path = folder / f"loss_curves.{ending}"
        drawings.append(partial(plot_loss_curves, state["log_history"], path, run, best[0] if best else None))
    else:
        logger.warning("No loss curves: the log history holds no losses; was logging_steps longer than the run?")
    for split in scored:
        predictions = Predictions.read(folder / f"{split}_predictions.csv", record["multi_label"])
        title = f"{run}\n{split}, {len(predictions.utterance_ids):,} utterances"
        drawings += _predictions(predictions, folder / split, title, ending)
        if pairs := (record[split].get("consistency") or {}).get("reliability"):
            path = folder / f"{split}_consistency.{ending}"
            titled = f"{run}\n{split}, own and mismatched pairs of voice and words"
            drawings.append(partial(plot_reliability, Calibration.from_rows(pairs), path, titled, CONSISTENCY))
        embeddings = folder / f"{split}_embeddings.npz"
        if not embeddings.is_file():
            continue
        if len(predictions.utterance_ids) < FEWEST_UTTERANCES:
            logger.warning(f"No picture of the {split} embeddings: there are fewer than {FEWEST_UTTERANCES}.")
            continue
        vectors = read_embeddings(embeddings, predictions.utterance_ids)
        path = folder / f"{split}_embeddings.{ending}"
        labelled = (vectors, predictions.references, predictions.label_names)
        drawings.append(partial(plot_embeddings, *labelled, path, title))
    return _drawn(drawings)


def draw_pooled(
    folder: Path, split: str = "test", ending: str = "png", runs: Sequence[Path] | None = None
) -> list[Path]:
    """Draws the confusion matrix (multi-label: the scores of each class) and the reliability diagram of all runs of a
    cross-validation together: every fold, every seed.

    Reads `metrics.json` and `<split>_predictions.csv` of each run; writes `pooled_<split>_confusion_matrix.png` and so
    on into `folder`.

    Args:
        runs: run folders; those named `<fold>-seed<seed>` in `folder` if not given.

    Raises:
        ImportError: matplotlib is not installed.
        OSError, ValueError: no runs, a run without predictions, runs of different classes, or an unreadable record.
    """
    runs = run_folders(folder) if runs is None else runs
    if not runs:
        raise FileError(f"{folder} holds no runs, no folder <fold>-seed<seed> with a metrics.json.")
    records = [json.loads((run / "metrics.json").read_text()) for run in runs]
    pooled = Predictions.pool(
        [
            Predictions.read(run / f"{split}_predictions.csv", record["multi_label"])
            for run, record in zip(runs, records, strict=True)
        ]
    )
    folds, seeds = {record["fold"]["name"] for record in records}, {record["seed"] for record in records}
    counted = f"{plural(len(folds), 'fold')} and {plural(len(seeds), 'seed')} pooled"
    utterances = f"{len(pooled.utterance_ids):,} predictions of {len(set(pooled.utterance_ids)):,} utterances"
    title = f"{records[0]['corpus']}, {counted}\n{split}, {utterances}{_stamp(pooled.selection)}"
    return _drawn(_predictions(pooled, folder / f"pooled_{split}", title, ending))


def run_folders(folder: Path) -> list[Path]:
    """The runs of a cross-validation, `<fold>-seed<seed>`, sorted by name."""
    return sorted(path.parent for path in folder.glob("*-seed*/metrics.json"))


def _drawn(drawings: Sequence[Drawing]) -> list[Path]:
    return [draw() for draw in tqdm(drawings, "drawing", unit="picture", delay=BAR_DELAY_S)]


def _predictions(predictions: Predictions, path: Path, title: str, ending: str) -> list[Drawing]:
    """`path` is that of the pictures, up to their kinds."""
    labels, references = predictions.label_names, predictions.references
    metrics: dict[str, Any] = emotion_metrics(predictions.predictions, references, labels)
    scores = ", ".join(f"{short} {rounded(metrics[metric])}" for metric, short in SHOWN.items() if metric in metrics)
    titled = f"{title}\n{scores}"
    if "confusion_matrix" in metrics:
        matrix = metrics["confusion_matrix"]
        classes = partial(plot_confusion_matrix, matrix, labels, f"{path}_confusion_matrix.{ending}", titled)
    else:
        classes = partial(plot_class_scores, metrics["per_class"], f"{path}_class_scores.{ending}", titled)
    bins = calibration(predictions.probabilities, references)
    decisions = MULTI_LABEL if references.ndim == 2 else SINGLE_LABEL
    return [classes, partial(plot_reliability, bins, f"{path}_reliability.{ending}", title, decisions)]


def _stamp(selection: str) -> str:
    return f"\n{SELECTED_ON_TEST}" if selection == "test" else ""
