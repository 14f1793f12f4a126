"""Calibration: does a class that is given a probability of 0.8 turn out right in 80 % of the cases?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Calibration:
    """Decisions in bins of equal width over [0, 1], by the probability that the model gave them.

    Attributes:
        edges: (bins + 1,). counts: decisions in each bin, (bins,).
        confidence: mean probability in each bin, (bins,). accuracy: share that was right, (bins,). Both are NaN where
            the bin is empty.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    def rows(self) -> list[dict[str, float]]:
        """The bins that hold decisions, as a record: from, to, count, mean_probability, share_right."""
        return [
            {
                "from": float(self.edges[index]),
                "to": float(self.edges[index + 1]),
                "count": int(self.counts[index]),
                "mean_probability": float(self.confidence[index]),
                "share_right": float(self.accuracy[index]),
            }
            for index in np.flatnonzero(self.counts)
        ]

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, float]], num_bins: int = 10) -> Calibration:
        """What [`rows`] has written."""
        counts, (confidence, accuracy) = np.zeros(num_bins, dtype=int), np.full((2, num_bins), np.nan)
        for row in rows:
            index = round(row["from"] * num_bins)
            counts[index], confidence[index], accuracy[index] = (
                row["count"],
                row["mean_probability"],
                row["share_right"],
            )
        return cls(np.linspace(0, 1, num_bins + 1), counts, confidence, accuracy)

    @property
    def expected_error(self) -> float:
        """ECE = sum_b n_b / N * |accuracy_b - confidence_b| (Guo et al., ICML 2017)."""
        gaps = np.nan_to_num(np.abs(self.accuracy - self.confidence))
        return float((self.counts * gaps).sum() / self.counts.sum())


def calibration(probabilities: Any, references: Any, num_bins: int = 10) -> Calibration:
    """Sorts decisions into bins by their probability.

    Single label: an utterance is one decision, its most probable class, right if that is the reference. Multi-label:
    each class of an utterance is a decision, right if the class is among its labels.

    Args:
        probabilities: (utterances, classes).
        references: class ids (utterances,), or multi-hot label sets (utterances, classes); the form chooses the
            variant.

    Raises:
        ValueError: no utterances, shapes that do not fit, or probabilities outside [0, 1].
    """
    probabilities, targets = _matrices(probabilities, references)
    if np.ndim(references) == 1:
        top = probabilities.argmax(axis=1)[:, None]
        probabilities, targets = (np.take_along_axis(values, top, axis=1) for values in (probabilities, targets))
    return binned(probabilities.ravel(), targets.ravel(), num_bins=num_bins)


def binned(given: np.ndarray, right: np.ndarray, weights: np.ndarray | None = None, num_bins: int = 10) -> Calibration:
    """Decisions in bins by the probability that they were given.

    Args:
        given: probabilities (decisions,). right: 1 or true where the decision was, (decisions,).
        weights: of the decisions in both means, (decisions,); even, if not given. Counts stay counts.
    """
    weights = np.ones(len(given)) if weights is None else weights
    bins = np.minimum((given * num_bins).astype(int), num_bins - 1)
    counts = np.bincount(bins, minlength=num_bins)
    total, given_sums, right_sums = (
        np.bincount(bins, each, num_bins) for each in (weights, weights * given, weights * right)
    )
    with np.errstate(invalid="ignore"):
        return Calibration(np.linspace(0, 1, num_bins + 1), counts, given_sums / total, right_sums / total)


def brier_score(probabilities: Any, references: Any) -> float:
    """Mean over utterances of sum_c (p_c - y_c)^2, from 0 to 2 for a single label (Brier, 1950); 0 is perfect.

    Arguments and errors are those of [`calibration`].
    """
    probabilities, targets = _matrices(probabilities, references)
    return float(((probabilities - targets) ** 2).sum(axis=1).mean())


def _matrices(probabilities: Any, references: Any) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and multi-hot references, both (utterances, classes)."""
    probabilities, references = np.asarray(probabilities, dtype=float), np.asarray(references)
    fits = probabilities.shape[:1] if references.ndim == 1 else probabilities.shape
    if probabilities.ndim != 2 or references.shape != fits or not len(references):
        raise ValueError(
            "Probabilities must be (utterances, classes) and references (utterances,) or (utterances, classes), of at "
            f"least one utterance; their shapes are {probabilities.shape} and {references.shape}."
        )
    wrong = np.flatnonzero(~((probabilities >= 0) & (probabilities <= 1)).all(axis=1))
    if len(wrong):
        raise ValueError(f"Row {wrong[0]} holds no probabilities: {probabilities[wrong[0]].tolist()}.")
    if references.ndim == 1:
        references = np.eye(probabilities.shape[1])[references]
    return probabilities, references.astype(float)
