"""Emotion metrics with their formulas, also as an `evaluate` module.

Every metric here is a function of counts summed over utterances. A point estimate sums each utterance once, a
bootstrap resample sums it as often as it was drawn, so both run through the same formulas.

The file imports nothing local: `evaluate.load("<absolute path>/metrics.py")` works without the Hub.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import datasets
import evaluate
import numpy as np

PROBLEM_TYPES = ("single_label_classification", "multi_label_classification")


class Formula(NamedTuple):
    """How a metric is computed, and what the paper's tables call it ("" where they do not show it)."""

    formula: str
    paper_name: str


FORMULAS: dict[str, Formula] = {
    "unweighted_accuracy": Formula("UA: mean of recall_c over the classes present in the references", "ACC (IEMOCAP)"),
    "weighted_accuracy": Formula("WA: utterances classified right / utterances", "WACC"),
    "weighted_f1": Formula("WF1: sum_c support_c * F1_c / sum_c support_c", "WF1"),
    "macro_f1": Formula("mean of F1_c over the classes present in references or predictions", ""),
    "micro_precision": Formula("sum_c TP_c / sum_c (TP_c + FP_c)", "Precision (M3ED)"),
    "micro_recall": Formula("sum_c TP_c / sum_c (TP_c + FN_c)", "Recall (M3ED)"),
    "micro_f1": Formula("2 * sum_c TP_c / sum_c (2 * TP_c + FP_c + FN_c)", "F1 (M3ED)"),
    "jaccard_accuracy": Formula("mean over utterances of |Y & Y^| / |Y | Y^|; 1 where both are empty", "ACC (M3ED)?"),
    "subset_accuracy": Formula("utterances whose label set is exactly right / utterances", "ACC (M3ED)?"),
}
"""Scalar metrics. The names WA and UA are swapped in part of the literature, so print these beside the figures. The
paper does not say which of the two multi-label accuracies its M3ED "ACC" is: report both."""


def emotion_metrics(predictions: Any, references: Any, label_names: Sequence[str]) -> dict[str, Any]:
    """Score predicted emotions; the formulas stand in `FORMULAS`.

    Args:
        predictions: class ids (utterances,), or multi-hot label sets (utterances, classes).
        references: the true labels, in the same form as `predictions`; the form chooses the variant.
        label_names: one name per class, in the order of the ids.

    Returns:
        JSON-ready fractions in [0, 1]. Both variants: `weighted_f1`, `macro_f1` and `per_class`
        {name: {precision, recall, f1, support}}. Class ids: also `unweighted_accuracy`, `weighted_accuracy` and
        `confusion_matrix` (rows are references, columns predictions). Label sets: also `micro_precision`,
        `micro_recall`, `micro_f1`, `jaccard_accuracy` and `subset_accuracy`.

    A ratio without a denominator (precision of a class never predicted, recall of a class never present) is 0, never
    NaN; the means in `FORMULAS` say which classes they leave out.

    Raises:
        ValueError: no utterances, shapes that differ, ids out of range, label sets that are not 0/1, or label names
            that repeat.
    """
    num_labels = len(label_names)
    counts, score = utterance_counts(predictions, references, label_names)
    total = counts.sum(axis=0)
    scalars, per_class = score(total, num_labels)
    metrics: dict[str, Any] = {name: float(value) for name, value in scalars.items()}
    metrics["per_class"] = {
        label: {name: int(v[c]) if name == "support" else float(v[c]) for name, v in per_class.items()}
        for c, label in enumerate(label_names)
    }
    if score is _single_label_scores:
        metrics["confusion_matrix"] = total.astype(int).reshape(num_labels, num_labels).tolist()
    return metrics


def flat_metrics(metrics: dict[str, Any]) -> dict[str, float]:
    """The scalars of `emotion_metrics`, and each class' F1 as `f1_<label>`."""
    scalars = {name: value for name, value in metrics.items() if name in FORMULAS}
    return scalars | {f"f1_{label}": scores["f1"] for label, scores in metrics["per_class"].items()}


def scalar_names(label_names: Sequence[str], problem_type: str) -> list[str]:
    """The names in `flat_metrics` for a problem."""
    check_problem_type(problem_type)
    shape = (1,) if problem_type == "single_label_classification" else (1, len(label_names))
    nothing = np.zeros(shape, dtype=np.int64)
    return list(flat_metrics(emotion_metrics(nothing, nothing, label_names)))


class EmotionMetrics(evaluate.Metric):
    """`emotion_metrics` as an `evaluate` module; `label_names` is an argument of `compute`.

    >>> metric = EmotionMetrics()
    >>> scores = metric.compute(predictions=[0, 1, 1], references=[0, 1, 0], label_names=["ang", "neu"])
    >>> scores["unweighted_accuracy"]
    0.75
    """

    def _info(self) -> evaluate.MetricInfo:
        # Floats, because an integer feature would truncate probabilities to 0 without a word; the values are checked.
        label_set, class_id = datasets.List(datasets.Value("float64")), datasets.Value("float64")
        return evaluate.MetricInfo(
            description=_describe_formulas(),
            citation="",
            inputs_description=emotion_metrics.__doc__ or "",
            features=[datasets.Features({"predictions": form, "references": form}) for form in (label_set, class_id)],
        )

    def _compute(self, *, predictions: Any, references: Any, label_names: Sequence[str]) -> dict[str, Any]:
        return emotion_metrics(predictions, references, label_names)


def _describe_formulas() -> str:
    return "\n".join(f"{name}: {formula.formula}" for name, formula in FORMULAS.items())


def check_problem_type(problem_type: str) -> None:
    """
    Raises:
        ValueError: it is none of `PROBLEM_TYPES`.
    """
    if problem_type not in PROBLEM_TYPES:
        raise ValueError(f"problem_type must be one of {', '.join(PROBLEM_TYPES)}, not {problem_type!r}.")


Scores = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
ScoreFunction = Callable[[np.ndarray, int], Scores]


def utterance_counts(
    predictions: Any, references: Any, label_names: Sequence[str]
) -> tuple[np.ndarray, ScoreFunction]:
    """What each utterance adds to the counts, (utterances, kinds of count), and the function that scores their sum."""
    predictions, references, num_labels = np.asarray(predictions), np.asarray(references), len(label_names)
    if len(set(label_names)) < num_labels:
        raise ValueError(f"Two classes share a label name: {', '.join(label_names)}.")
    if predictions.shape != references.shape or references.ndim not in (1, 2):
        raise ValueError(
            f"Predictions and references must both be class ids (utterances,) or both label sets (utterances, "
            f"classes); their shapes are {predictions.shape} and {references.shape}."
        )
    if len(references) == 0:
        raise ValueError("There are no utterances to score.")
    if references.ndim == 1:
        cells = _class_ids(references, num_labels, "references") * num_labels
        cells += _class_ids(predictions, num_labels, "predictions")
        return np.eye(num_labels**2)[cells], _single_label_scores
    truth = _label_sets(references, num_labels, "references")
    guess = _label_sets(predictions, num_labels, "predictions")
    both, either = truth & guess, truth | guess
    empty = ~either.any(axis=1)
    jaccard = (both.sum(axis=1) + empty) / (either.sum(axis=1) + empty)
    exact, one = (truth == guess).all(axis=1), np.ones(len(truth))
    return np.column_stack([both, guess, truth, jaccard, exact, one]).astype(float), _multi_label_scores


def _single_label_scores(counts: np.ndarray, num_labels: int) -> Scores:
    """Scores of flattened confusion matrices (..., classes * classes)."""
    confusion = counts.reshape(*counts.shape[:-1], num_labels, num_labels)
    correct, support = confusion.diagonal(axis1=-2, axis2=-1), confusion.sum(axis=-1)
    means, per_class = _class_scores(correct, confusion.sum(axis=-2), support)
    accuracies = {
        "unweighted_accuracy": per_class["recall"].sum(-1) / (support > 0).sum(-1),
        "weighted_accuracy": correct.sum(-1) / support.sum(-1),
    }
    return accuracies | means, per_class


def _multi_label_scores(counts: np.ndarray, num_labels: int) -> Scores:
    """Scores of (..., [hits, predicted, support] per class, then sum of Jaccard, of exact matches, of utterances)."""
    hits, predicted, support, rest = np.split(counts, [num_labels, 2 * num_labels, 3 * num_labels], axis=-1)
    jaccard, exact, utterances = np.moveaxis(rest, -1, 0)
    means, per_class = _class_scores(hits, predicted, support)
    micro = {
        "micro_precision": _ratio(hits.sum(-1), predicted.sum(-1)),
        "micro_recall": _ratio(hits.sum(-1), support.sum(-1)),
        "micro_f1": _ratio(2 * hits.sum(-1), (predicted + support).sum(-1)),
        "jaccard_accuracy": jaccard / utterances,
        "subset_accuracy": exact / utterances,
    }
    return micro | means, per_class


def _class_scores(hits: np.ndarray, predicted: np.ndarray, support: np.ndarray) -> Scores:
    f1 = _ratio(2 * hits, predicted + support)
    means = {
        "weighted_f1": _ratio((f1 * support).sum(-1), support.sum(-1)),
        "macro_f1": _ratio(f1.sum(-1), (predicted + support > 0).sum(-1)),
    }
    precision, recall = _ratio(hits, predicted), _ratio(hits, support)
    return means, {"precision": precision, "recall": recall, "f1": f1, "support": support}


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient, 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros(np.shape(numerator)), where=denominator > 0)


def _class_ids(values: np.ndarray, num_labels: int, name: str) -> np.ndarray:
    wrong = np.flatnonzero(~np.isin(values, np.arange(num_labels)))
    if len(wrong):
        raise ValueError(f"{name}[{wrong[0]}] is {values[wrong[0]]}: class ids run from 0 to {num_labels - 1}.")
    return values.astype(np.int64)


def _label_sets(values: np.ndarray, num_labels: int, name: str) -> np.ndarray:
    if values.shape[1] != num_labels:
        raise ValueError(f"{name} have {values.shape[1]} columns, and there are {num_labels} label names.")
    wrong = np.flatnonzero(~np.isin(values, (0, 1)).all(axis=1))
    if len(wrong):
        raise ValueError(
            f"{name}[{wrong[0]}] is {values[wrong[0]].tolist()}: label sets are multi-hot, every entry 0 or 1 "
            "(logits go through predictions_from_logits first)."
        )
    return values.astype(bool)
