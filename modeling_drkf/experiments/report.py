"""What a training run leaves beside its weights: metrics, predictions, embeddings and pictures, and the model card."""

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from scipy.special import expit, softmax
from transformers import Trainer
from transformers.utils import logging

from processing.evaluation.records import Predictions, write_embeddings
from processing.evaluation.scoring import score
from processing.figures.run import draw_pooled, draw_run

from ..configuration_drkf import DRKFConfig
from ..extended_outputs_drkf import OUTPUT_NAMES
from ..release.card import cross_validation_card, model_card

logger = logging.get_logger(__name__)

SUMMARIES = ("pooler_output", "speech_summary", "text_summary")
RECORDED_OUTPUTS = [name for name in OUTPUT_NAMES if name in ("logits", "consistency", *SUMMARIES, "modality_shares")]
PACKAGES = ("drkf", "transformers", "datasets", "accelerate", "numpy", "scikit-learn", "soundfile", "soxr")


def evaluate_split(
    trainer: Trainer,
    dataset: Dataset | torch.utils.data.Dataset,
    ids: Sequence[str],
    split: str,
    folder: Path,
    fold: str,
    selection: str = "validation",
) -> dict[str, Any]:
    """Scores one split once, and writes `<split>_predictions.csv` and `<split>_embeddings.npz`, a row an utterance.

    Args:
        dataset: what the trainer's collator reads. ids: of its utterances, in the same order. fold: its name.
        selection: the part that chose the weights; "none" where the last were kept.

    Soft labels of a single-label problem are scored as their likeliest class.

    Returns: the metrics of [`score`], and the loss terms as `losses`.
    """
    config: DRKFConfig = trainer.model.config  # type: ignore[union-attr, assignment]
    prefix = "eval" if split == "validation" else split  # what trackers call it
    ignored = [name for name in config.keys_to_ignore_at_inference if name not in RECORDED_OUTPUTS]
    ignored.append("consistency_logits")
    with modality_attention(config):
        output = trainer.predict(dataset, ignore_keys=ignored, metric_key_prefix=prefix)  # type: ignore[arg-type]
    references: Any = np.asarray(output.label_ids)
    if references.ndim == 2 and not config.is_multi_label:  # soft labels
        references = references.argmax(axis=-1)
    outputs = dict(zip(_recorded(config), output.predictions, strict=True))
    logits = outputs["logits"]
    unknown = np.full((len(logits), 2), np.nan)
    embeddings = np.stack([outputs[name] for name in SUMMARIES], axis=1).astype(np.float32)
    probabilities = expit(logits) if config.is_multi_label else softmax(logits, axis=-1)
    predicted, metrics = score(probabilities, references, config.label_names, config.is_multi_label)
    metrics["losses"] = {
        name.removeprefix(f"{prefix}_"): value for name, value in (output.metrics or {}).items() if "_loss" in name
    }
    if trainer.is_world_process_zero():
        predictions = Predictions(
            label_names=config.label_names,
            utterance_ids=list(ids),
            folds=[fold] * len(ids),
            references=references,
            predictions=predicted,
            probabilities=probabilities,
            consistency=outputs.get("consistency", unknown[:, 0]),
            modality_shares=outputs.get("modality_shares", unknown),
            selection=selection,
        )
        predictions.write(folder / f"{split}_predictions.csv")
        write_embeddings(folder / f"{split}_embeddings.npz", ids, embeddings)
    return metrics


def _recorded(config: DRKFConfig) -> list[str]:
    """The recorded ones of a model's outputs, in its order; FE_c has no modality shares."""
    absent = {"modality_shares"} if config.fusion == "cross" else set()
    if not config.emotion_discrimination or config.consistency_calibration is None:
        absent.add("consistency")
    return [name for name in RECORDED_OUTPUTS if name not in absent]


@contextmanager
def modality_attention(config: DRKFConfig) -> Iterator[None]:
    """Meanwhile the model returns modality shares."""
    config.output_modality_attention, before = True, config.output_modality_attention
    try:
        yield
    finally:
        config.output_modality_attention = before


def write_report(
    trainer: Trainer,
    record: Mapping[str, Any],
    scores: Mapping[str, Any],
    folder: Path,
    encoders: Mapping[str, str],
) -> None:
    """Writes `metrics.json`, `README.md` and, where matplotlib is installed, the pictures, beside what
    [`evaluate_split`] and the trainer's `save_state` have written.

    Args:
        record: what `metrics.json` holds. scores: of it, the metrics by split.
        encoders: what the speech and the text encoder were made from, under `audio` and `text`.
    """
    (folder / "metrics.json").write_text(json.dumps(record, indent=2) + "\n")
    pictures: list[str] = []
    if find_spec("matplotlib") and trainer.args.pictures:  # type: ignore[attr-defined]
        pictures = [picture.name for picture in draw_run(folder, tuple(scores))]
    elif not find_spec("matplotlib"):
        logger.warning("No pictures: matplotlib is not installed (pip install matplotlib).")
    card = model_card(trainer, record, scores, pictures, encoders)
    (folder / "README.md").write_text(card, encoding="utf-8")


def write_cross_validation_report(
    results: Mapping[str, Any], folder: Path, runs: Sequence[Path], pictures: bool = True
) -> None:
    """Writes the card and, where matplotlib is installed, the pictures of several runs taken together.

    Args:
        results: of `merge_runs`. runs: their folders. pictures: whether to draw any.
    """
    drawn = draw_pooled(folder, runs=runs) if pictures and find_spec("matplotlib") else []
    card = cross_validation_card(results, folder, [picture.name for picture in drawn])
    (folder / "README.md").write_text(card, encoding="utf-8")


def package_versions() -> dict[str, str]:
    """Python's version and those of the packages that figures depend on, as far as they are installed."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}  # with the CUDA that it is built for
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
