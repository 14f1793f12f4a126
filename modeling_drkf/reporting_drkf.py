"""What a training run leaves beside its weights: metrics, predictions and pictures, and the model card."""

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import torch
from datasets import Dataset
from scipy.special import expit, softmax
from transformers import Trainer
from transformers.utils import logging

from processing.figures_drkf import plot_confusion_matrix, plot_loss_curves
from processing.metrics_drkf import bootstrap_interval, emotion_metrics, predictions_from_logits
from processing.protocols_drkf import Fold

from .card_drkf import model_card
from .configuration_drkf import DRKFConfig

logger = logging.get_logger(__name__)


def evaluate_split(
    trainer: Trainer, dataset: Dataset | torch.utils.data.Dataset, ids: Sequence[str], split: str, folder: Path
) -> dict[str, Any]:
    """Scores one split once, and writes `<split>_predictions.csv` with every probability of every utterance.

    Args:
        dataset: what the trainer's collator reads. ids: of its utterances, in the same order.

    Soft labels of a single-label problem are scored as their likeliest class.

    Returns: `emotion_metrics` with their 95 % bootstrap `intervals`, and the loss terms as `losses`.
    """
    config: DRKFConfig = trainer.model.config  # type: ignore[union-attr, assignment]
    output = trainer.predict(dataset, metric_key_prefix=split)  # type: ignore[arg-type]
    outputs: Any = output.predictions if isinstance(output.predictions, tuple) else (output.predictions,)
    logits = outputs[0]
    predictions = predictions_from_logits(logits, config.problem_type or "")
    labels = np.asarray(output.label_ids)
    if labels.ndim == 2 and not config.is_multi_label:  # soft labels
        labels = labels.argmax(axis=-1)
    metrics = emotion_metrics(predictions, labels, config.label_names)
    metrics["intervals"] = bootstrap_interval(predictions, labels, config.label_names)
    metrics["losses"] = {
        name.removeprefix(f"{split}_"): value for name, value in (output.metrics or {}).items() if "_loss" in name
    }
    probabilities = expit(logits) if config.is_multi_label else softmax(logits, axis=-1)
    table = {"utterance_id": list(ids)}
    table["label"] = _names(labels, config)
    table["prediction"] = _names(predictions, config)
    table |= {name: probabilities[:, index].tolist() for index, name in enumerate(config.label_names)}
    if config.emotion_discrimination:
        table["consistency"] = expit(outputs[1]).tolist()
    if trainer.is_world_process_zero():
        pandas.DataFrame(table).to_csv(folder / f"{split}_predictions.csv", index=False)
    return metrics


def _names(labels: Any, config: DRKFConfig) -> list[str]:
    names = config.label_names
    if config.is_multi_label:
        return ["|".join(name for name, present in zip(names, row, strict=True) if present > 0.5) for row in labels]
    return [names[label] for label in np.asarray(labels).tolist()]


def write_report(trainer: Trainer, results: Mapping[str, Any], folder: Path, encoders: Mapping[str, str]) -> None:
    """Writes `metrics.json`, `README.md` and, where matplotlib is installed, the pictures.

    Args:
        results: `corpus`, `excluded` (ids by rule), `fold` (a [`Fold`]), `train_seconds`, and the metrics of each
            split that was scored.
        encoders: what the speech and the text encoder were made from, under `audio` and `text`.
    """
    fold: Fold = results["fold"]
    splits = {split: results[split] for split in ("validation", "test") if split in results}
    record = {
        "corpus": results["corpus"],
        "excluded": results["excluded"],
        "fold": {"name": fold.name, "speaker_disjoint": fold.speaker_disjoint}
        | {part: len(getattr(fold, part)) for part in ("train", "validation", "test")},
        "selection": f"validation {trainer.args.metric_for_best_model}",
        "train_seconds": results["train_seconds"],
        **splits,
    }
    (folder / "metrics.json").write_text(json.dumps(record, indent=2) + "\n")
    pictures = _draw(trainer, splits, folder)
    (folder / "README.md").write_text(model_card(trainer, record, splits, pictures, encoders))


def _draw(trainer: Trainer, splits: Mapping[str, Any], folder: Path) -> list[str]:
    if find_spec("matplotlib") is None:
        logger.warning("No pictures: matplotlib is not installed (pip install matplotlib).")
        return []
    pictures = [plot_loss_curves(trainer.state.log_history, folder / "loss_curves.png")]
    config: DRKFConfig = trainer.model.config  # type: ignore[union-attr, assignment]
    for split, metrics in splits.items():
        if "confusion_matrix" in metrics:
            path = folder / f"{split}_confusion_matrix.png"
            pictures.append(plot_confusion_matrix(metrics["confusion_matrix"], config.label_names, path, split))
    return [picture.name for picture in pictures]
