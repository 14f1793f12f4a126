"""All that is recorded of a part's predictions, from probabilities and references alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .bootstrap import bootstrap_interval
from .calibration import brier_score, calibration
from .decisions import predictions_from_probabilities
from .metrics import emotion_metrics


def score(
    probabilities: np.ndarray, references: np.ndarray, label_names: Sequence[str], multi_label: bool
) -> tuple[np.ndarray, dict[str, Any]]:
    """
    Args:
        probabilities: (utterances, classes). references: class ids (utterances,), or label sets (utterances, classes).

    Returns: the predictions, in the form of the references; and `emotion_metrics` of them with their 95 % bootstrap
        `intervals` and the `calibration` of the probabilities.

    Raises:
        ValueError: see [`emotion_metrics`].
    """
    predictions = predictions_from_probabilities(probabilities, multi_label)
    metrics = emotion_metrics(predictions, references, label_names)
    metrics["intervals"] = bootstrap_interval(predictions, references, label_names)
    metrics["calibration"] = {
        "expected_calibration_error": calibration(probabilities, references).expected_error,
        "brier_score": brier_score(probabilities, references),
    }
    return predictions, metrics
