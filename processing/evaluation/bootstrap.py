"""Bootstrap intervals of the metrics: how far a figure moves with other utterances, or with other speakers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .metrics import utterance_counts


def bootstrap_scores(
    predictions: Any,
    references: Any,
    label_names: Sequence[str],
    *,
    speakers: Sequence[Any] | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Every metric in `flat_metrics` on `num_resamples` bootstrap samples, (num_resamples,) each.

    Utterances are resampled with replacement. With `speakers`, one per utterance, whole speakers are resampled: their
    utterances are not independent, and the wider interval says what a new set of speakers would do. A handful of
    speakers (IEMOCAP has ten, two per session) gives a rough interval only.

    Raises:
        ValueError: as `emotion_metrics`; no resamples, or fewer than two speakers.
    """
    if num_resamples < 1:
        raise ValueError(f"num_resamples must be positive, not {num_resamples}.")
    counts, score = utterance_counts(predictions, references, label_names)
    if speakers is not None:
        counts = _sum_by_speaker(counts, speakers)
    scalars, per_class = score(_resampled(counts, num_resamples, seed), len(label_names))
    return scalars | {f"f1_{label}": per_class["f1"][:, c] for c, label in enumerate(label_names)}


def bootstrap_interval(
    predictions: Any, references: Any, label_names: Sequence[str], *, level: float = 0.95, **options: Any
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap interval (low, high) of every metric in `flat_metrics`; options of `bootstrap_scores`.

    Raises:
        ValueError: as `bootstrap_scores`; a level outside (0, 1).
    """
    scores = bootstrap_scores(predictions, references, label_names, **options)
    return {name: percentile_interval(values, level) for name, values in scores.items()}


def difference_interval(
    predictions: Any,
    others: Any,
    references: Any,
    label_names: Sequence[str],
    *,
    level: float = 0.95,
    num_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap interval of every metric of `predictions` less that of `others`, over the same resampled
    utterances for both.

    Raises:
        ValueError: as `emotion_metrics`; a level outside (0, 1).
    """
    (counts, score), (other_counts, _) = (
        utterance_counts(each, references, label_names) for each in (predictions, others)
    )
    sums = np.hsplit(_resampled(np.hstack([counts, other_counts]), num_resamples, seed), 2)
    (ours, _), (theirs, _) = (score(each, len(label_names)) for each in sums)
    return {name: percentile_interval(ours[name] - theirs[name], level) for name in ours}


def percentile_interval(scores: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The central `level` of bootstrap scores, (low, high).

    Raises:
        ValueError: a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), not {level}.")
    low, high = np.quantile(scores, ((1 - level) / 2, (1 + level) / 2)).tolist()
    return low, high


def _resampled(counts: np.ndarray, num_resamples: int, seed: int) -> np.ndarray:
    """Sums of counts over bootstrap samples, (num_resamples, kinds of count)."""
    # Units with equal counts are exchangeable: how often each kind is drawn is multinomial, no index arrays needed.
    kinds, frequency = np.unique(counts, axis=0, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(len(counts), frequency / len(counts), size=num_resamples)
    return draws @ kinds


def _sum_by_speaker(counts: np.ndarray, speakers: Sequence[Any]) -> np.ndarray:
    if len(speakers) != len(counts):
        raise ValueError(f"There are {len(speakers)} speakers for {len(counts)} utterances; one each is needed.")
    names, speaker_of = np.unique(np.asarray(speakers, dtype=str), return_inverse=True)
    if len(names) < 2:
        raise ValueError(
            "Resampling speakers needs at least two of them; leave `speakers` out to resample utterances."
        )
    sums = np.zeros((len(names), counts.shape[1]))
    np.add.at(sums, speaker_of, counts)
    return sums
