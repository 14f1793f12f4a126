"""A random division of any corpus that no speaker crosses."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from .protocols import Fold, ProtocolError, check_columns, fold_of

SPLIT_TRIALS = 200

logger = logging.getLogger(__name__)


def speaker_disjoint_split(
    ids: Sequence[str],
    speakers: Sequence[str] | None,
    labels: Sequence[Any] | None = None,
    validation_share: float = 0.1,
    test_share: float = 0.0,
    seed: int = 0,
) -> Fold:
    """A random division in which no speaker has utterances in two parts, for any corpus.

    Of `SPLIT_TRIALS` random orders of the speakers the one is kept whose parts come closest to the shares (of
    utterances) and, with `labels` (class ids, names or multi-hot rows), to the corpus' distribution of labels. Few or
    very unequal speakers can keep a part far from its share; a logged warning says so.

    Unknown speakers (`speakers=None`) leave only a stratified division by utterance: the fold is named
    "utterance_split", is not `speaker_disjoint`, and scores too well on speakers that it has heard.

    Raises:
        ProtocolError: shares that leave nothing for a part, too few speakers, unknown speakers among known ones,
            columns of unequal length, or repeated ids.
    """
    if not (0 < validation_share < 1 and 0 <= test_share < 1 and validation_share + test_share < 1):
        raise ProtocolError(
            f"validation_share must be positive, test_share not negative, and their sum below 1; they are "
            f"{validation_share} and {test_share}."
        )
    columns = {"speakers": speakers, "labels": labels}
    check_columns(ids, **{name: column for name, column in columns.items() if column is not None})
    kinds = _label_kinds(labels, len(ids))
    shares = {"test": test_share, "validation": validation_share}
    shares = {part: share for part, share in shares.items() if share > 0}
    rng = np.random.default_rng(seed)
    if speakers is None:
        logger.warning("The speakers are unknown: the division is by utterance, and speakers may be shared.")
        return fold_of("utterance_split", ids, _stratified_parts(kinds, shares, rng), None)
    names, speaker_of = np.unique(np.asarray(speakers, dtype=str), return_inverse=True)
    if len(names) <= len(shares):
        raise ProtocolError(
            f"{len(names)} speaker(s) cannot fill {len(shares) + 1} speaker-disjoint parts. Give a split column, "
            "fewer parts (a test share of 0), or no speakers at all: then utterances are divided, and speakers shared."
        )
    label_counts = np.zeros((len(names), kinds.max() + 1))
    np.add.at(label_counts, (speaker_of, kinds), 1)
    part_of_speaker = _best_speaker_parts(label_counts, shares, rng)
    parts = [part_of_speaker[speaker] for speaker in speaker_of]
    for part, share in shares.items():
        actual = parts.count(part) / len(ids)
        if abs(actual - share) > share / 2:
            logger.warning("The %s part has %.0f%% of the utterances, not %.0f%%.", part, 100 * actual, 100 * share)
    return fold_of("speaker_disjoint_split", ids, parts, speakers)


def _best_speaker_parts(label_counts: np.ndarray, shares: Mapping[str, float], rng: np.random.Generator) -> list[str]:
    """A part for each row of `label_counts` (speakers, labels)."""
    total = label_counts.sum()
    best_cost, best_parts = np.inf, ["train"] * len(label_counts)
    for _ in range(SPLIT_TRIALS):
        order = rng.permutation(len(label_counts))
        parts, cost = ["train"] * len(label_counts), 0.0
        for waiting, (part, share) in zip(range(len(shares), 0, -1), shares.items(), strict=True):
            sizes = label_counts[order].sum(axis=1).cumsum()[: len(order) - waiting]
            taken = int(np.abs(sizes - share * total).argmin()) + 1
            counts = label_counts[order[:taken]].sum(axis=0)
            for speaker in order[:taken]:
                parts[speaker] = part
            order = order[taken:]
            # in utterances: distance from the number of each label that the share asks for
            cost += np.abs(counts - share * label_counts.sum(axis=0)).sum() / total
        if cost < best_cost:
            best_cost, best_parts = cost, parts
    return best_parts


def _stratified_parts(kinds: np.ndarray, shares: Mapping[str, float], rng: np.random.Generator) -> list[str]:
    """A part for each utterance: shuffled within each label, then taken at even steps along the sorted labels."""
    parts = np.full(len(kinds), "train", dtype=object)
    left = rng.permutation(len(kinds))
    left = left[np.argsort(kinds[left], kind="stable")]
    for part, share in shares.items():
        steps = np.floor(np.arange(len(left) + 1) * share * len(kinds) / len(left) + 0.5)
        taken = np.diff(steps) > 0
        if not taken.any():
            raise ProtocolError(f"A {part} share of {share} leaves none of {len(kinds)} utterances for that part.")
        parts[left[taken]] = part
        left = left[~taken]
    return parts.tolist()


def _label_kinds(labels: Sequence[Any] | None, length: int) -> np.ndarray:
    """Labels as integers; equal labels or equal label sets get the same one."""
    if labels is None:
        return np.zeros(length, dtype=int)
    keys = [label if isinstance(label, Hashable) else tuple(label) for label in labels]
    number_of = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([number_of[key] for key in keys])
