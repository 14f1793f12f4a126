"""From what a model gives, logits or probabilities, to the predictions that are scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .metrics import check_problem_type, emotion_metrics, flat_metrics

if TYPE_CHECKING:
    from transformers import EvalPrediction


def predictions_from_logits(logits: Any, problem_type: str) -> np.ndarray:
    """The decision rule: logits (utterances, classes) to class ids (utterances,) or label sets (utterances, classes).

    Single label: the largest logit. Multi-label: every class whose sigmoid exceeds 0.5; an utterance where none does
    takes its top class, since every utterance of the corpora carries at least one emotion.

    Raises:
        ValueError: an unknown problem type, logits that are not a matrix, or NaN or infinity among them.
    """
    check_problem_type(problem_type)
    logits = np.asarray(logits)
    if logits.ndim != 2:
        raise ValueError(f"Logits must have the shape (utterances, classes), not {logits.shape}.")
    broken = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(broken):
        raise ValueError(
            f"{len(broken)} of {len(logits)} utterances have NaN or infinite logits (the first is row {broken[0]}): "
            "the model has diverged; lower the learning rate or look for the batch where the loss broke."
        )
    return _decide(logits, 0.0, problem_type == "multi_label_classification")  # sigmoid(0) is 0.5


def predictions_from_probabilities(probabilities: np.ndarray, multi_label: bool) -> np.ndarray:
    """The same decision rule on probabilities, (utterances, classes)."""
    return _decide(probabilities, 0.5, multi_label)


def _decide(values: np.ndarray, threshold: float, multi_label: bool) -> np.ndarray:
    top = values.argmax(axis=1)
    if not multi_label:
        return top
    label_sets = values > threshold
    nothing_chosen = np.flatnonzero(~label_sets.any(axis=1))
    label_sets[nothing_chosen, top[nothing_chosen]] = True
    return label_sets.astype(np.int64)


def compute_metrics_fn(label_names: Sequence[str], problem_type: str) -> Callable[[EvalPrediction], dict[str, float]]:
    """A function for `Trainer(compute_metrics=...)`; it returns `flat_metrics`, scalars only.

    Predictions may be logits (utterances, classes) or a tuple whose first item they are. Soft labels of a single-label
    problem (a distribution per utterance) are scored as their most probable class.
    """
    check_problem_type(problem_type)

    def compute_metrics(evaluation: EvalPrediction) -> dict[str, float]:
        outputs = evaluation.predictions
        predictions = predictions_from_logits(outputs[0] if isinstance(outputs, tuple) else outputs, problem_type)
        references = np.asarray(evaluation.label_ids)
        if problem_type == "single_label_classification" and references.ndim == 2:
            references = references.argmax(axis=1)
        return flat_metrics(emotion_metrics(predictions, references, label_names))

    return compute_metrics
