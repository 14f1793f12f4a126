"""Does the voice agree with the words? ED's logit, calibrated on validation pairs and scored on test pairs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from transformers import Trainer
from transformers.utils import logging

from processing.evaluation.calibration import binned

from .datasets import with_text_of

logger = logging.get_logger(__name__)

MISMATCHED_PAIRS = 4  # texts of another emotion for each clip; one where clips are many
MANY_CLIPS = 1000
NO_PENALTY = 1e6


class OtherTexts(torch.utils.data.Dataset):
    """The samples of a dataset, each with the text of another one.

    Args:
        speech, text: positions of the samples that give the voice and the words.
    """

    def __init__(self, samples: Any, speech: np.ndarray, text: np.ndarray):
        self.samples, self.speech, self.text = samples, speech, text

    def __len__(self) -> int:
        return len(self.speech)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return with_text_of(self.samples[int(self.speech[index])], self.samples[int(self.text[index])])


def mismatched_pairs(labels: np.ndarray, seed: int, pairs: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """For each sample up to `pairs` others of another label, drawn without replacement.

    Args:
        labels: class ids (samples,), or label sets (samples, classes).

    Returns: positions of the clips and of the texts.
    """
    if pairs is None:
        pairs = MISMATCHED_PAIRS if len(labels) < MANY_CLIPS else 1
    rng, speech, text = np.random.default_rng(seed), [], []
    rows = labels.reshape(len(labels), -1)
    for position, row in enumerate(rows):
        others = np.flatnonzero((rows != row).any(axis=1))
        chosen = rng.permutation(others)[:pairs]
        speech += [position] * len(chosen)
        text += chosen.tolist()
    return np.array(speech, dtype=int), np.array(text, dtype=int)


def pair_logits(trainer: Trainer, samples: Any, labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """ED's logits of a part's own pairs and of mismatched ones, and which are its own: (pairs,) each."""
    own = np.arange(len(labels))
    speech, text = (np.concatenate(pair) for pair in zip((own, own), mismatched_pairs(labels, seed), strict=True))
    config: Any = trainer.model.config  # type: ignore[union-attr]
    ignored = [name for name in (*config.keys_to_ignore_at_inference, "logits") if name != "consistency_logits"]
    pairs: Any = OtherTexts(samples, speech, text)
    metrics, trainer.compute_metrics = trainer.compute_metrics, None
    try:
        output = trainer.predict(pairs, ignore_keys=ignored, metric_key_prefix="pairs")
    finally:
        trainer.compute_metrics = metrics
    return np.asarray(output.predictions, dtype=float).reshape(-1), np.arange(len(speech)) < len(own)


def fit_calibration(logits: np.ndarray, agrees: np.ndarray, prior: float) -> list[float] | None:
    """Slope and intercept of the map from ED's logit to that of the probability that voice and words agree, where
    `prior` of the pairs do; None, with a warning, where the logit does not tell them apart."""
    weights = np.where(agrees, prior / agrees.sum(), (1 - prior) / (~agrees).sum()) * len(agrees)
    fitted = LogisticRegression(C=NO_PENALTY).fit(logits[:, None], agrees, sample_weight=weights)
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    if slope <= 0:
        logger.warning(
            "ED does not tell matched from mismatched pairs of the validation part: no consistency is given"
        )
        return None
    return [slope, intercept]


def consistency_scores(logits: np.ndarray, agrees: np.ndarray, fitted: list[float], prior: float) -> dict[str, Any]:
    """AUC and, beside that of always saying `prior`, Brier score of the calibrated probability; and how often pairs of
    each probability agree, where `prior` of the pairs do."""
    probabilities = expit(fitted[0] * logits + fitted[1])
    weights = np.where(agrees, prior / agrees.sum(), (1 - prior) / (~agrees).sum())
    return {
        "auc": float(roc_auc_score(agrees, logits)),
        "brier": float((weights * (probabilities - agrees) ** 2).sum()),
        "brier_of_prior": prior * (1 - prior),
        "prior": prior,
        "matched_pairs": int(agrees.sum()),
        "mismatched_pairs": int((~agrees).sum()),
        "reliability": binned(probabilities, agrees, weights).rows(),
    }


def calibrate(trainer: Trainer, samples: Any, labels: np.ndarray, seed: int) -> None:
    """Fits the model's `consistency_calibration` on validation pairs, where both kinds exist."""
    config: Any = trainer.model.config  # type: ignore[union-attr]
    logits, agrees = pair_logits(trainer, samples, labels, seed)
    if not agrees.all():
        config.consistency_calibration = fit_calibration(logits, agrees, config.consistency_prior)


def score_consistency(trainer: Trainer, samples: Any, labels: np.ndarray, seed: int) -> Mapping[str, Any] | None:
    """[`consistency_scores`] of a part's pairs; None without calibration, or without mismatched pairs."""
    config: Any = trainer.model.config  # type: ignore[union-attr]
    if config.consistency_calibration is None:
        return None
    logits, agrees = pair_logits(trainer, samples, labels, seed)
    if agrees.all():
        return None
    return consistency_scores(logits, agrees, config.consistency_calibration, config.consistency_prior)
