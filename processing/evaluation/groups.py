"""Scores of groups of utterances (speakers, sexes, ages, ...), and whether they differ by more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .bootstrap import bootstrap_interval
from .metrics import emotion_metrics, utterance_counts

SMALLEST = 10  # utterances; smaller groups are scored, but neither tested nor called the worst
MOST_VALUES = 10  # numbers of more values are cut at their quartiles
PERMUTATIONS = 2000


def group_scores(
    predictions: np.ndarray,
    references: np.ndarray,
    label_names: Sequence[str],
    values: Sequence[Any],
    speakers: Sequence[Any] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """One metric in each group, with its interval, and permutation tests of the differences.

    What is drawn and permuted are speakers where each belongs to one group and not all are groups of their own: their
    utterances are not independent. Otherwise it is utterances. The metric is the unweighted accuracy, of label sets
    macro F1; both do not change with how many utterances of each class a group has.

    Args:
        predictions, references: class ids (utterances,), or label sets (utterances, classes).
        values: what group each utterance belongs to; None or "" is unknown. Numbers of more than ten values are cut at
            their quartiles.
        speakers: one an utterance; None where they are not known.

    Returns: `metric`; `groups`, name -> `utterances`, `speakers` (None if unknown), `score`, `interval` (95 %),
        `difference` (from all others) and `p_value` (of it, by Holm's correction for all groups), the last two None
        for groups of fewer than ten utterances; `worst` and `p_value` (whether the groups differ at all), None with
        fewer than two groups to compare; `permuted` ("speakers" or "utterances"); `unknown`, how many utterances have
        no group.
    """
    names = _named(values)
    known = np.array([name is not None for name in names], dtype=bool)
    metric = "unweighted_accuracy" if references.ndim == 1 else "macro_f1"
    result: dict[str, Any] = {"metric": metric, "unknown": int((~known).sum()), "groups": {}}
    group_of = np.array([name or "" for name in names], dtype=object)
    speaker_of = None if speakers is None or any(not one for one in speakers) else np.array(speakers, dtype=object)
    units = _units(group_of[known], None if speaker_of is None else speaker_of[known])
    result["permuted"] = "utterances" if units is None else "speakers"
    sizes = {name: int((group_of == name).sum()) for name in dict.fromkeys(name for name in names if name is not None)}
    for name in sorted(sizes, key=_order):
        rows = group_of == name
        own = None if speaker_of is None else speaker_of[rows]
        clusters = own if units is not None and own is not None and len(set(own)) > 1 else None
        chosen = (predictions[rows], references[rows], label_names)
        result["groups"][name] = {
            "utterances": sizes[name],
            "speakers": None if own is None else len(set(own)),
            "score": emotion_metrics(*chosen)[metric],
            "interval": list(bootstrap_interval(*chosen, speakers=clusters)[metric]),
            "difference": None,
            "p_value": None,
        }
    tested = [name for name in result["groups"] if sizes[name] >= SMALLEST]
    result |= {"worst": None, "p_value": None}
    if len(tested) > 1:
        rows = np.isin(group_of, tested)
        inside = None if units is None or speaker_of is None else speaker_of[rows]
        counts, score = utterance_counts(predictions[rows], references[rows], label_names)
        numbers = np.array([tested.index(name) for name in group_of[rows]])
        counts, numbers = _summed(counts, numbers, inside)

        def scored(sums: np.ndarray) -> np.ndarray:
            return score(sums, len(label_names))[0][metric]

        differences, p_values, result["p_value"] = _permuted(counts, numbers, scored, seed)
        for name, difference, p_value in zip(tested, differences, _holm(p_values), strict=True):
            result["groups"][name] |= {"difference": float(difference), "p_value": float(p_value)}
        result["worst"] = min(tested, key=lambda name: result["groups"][name]["score"])
    return result


def _named(values: Sequence[Any]) -> list[str | None]:
    """The group of each value, numbers of many values by their quartiles."""
    cells = [None if value is None or value != value else str(value).strip() or None for value in values]
    try:
        numbers = np.array([float(cell) for cell in cells if cell is not None])
    except ValueError:
        return cells
    if len(np.unique(numbers)) <= MOST_VALUES or not np.isfinite(numbers).all():
        return cells
    edges = np.unique(np.quantile(numbers, (0, 0.25, 0.5, 0.75, 1)))
    bins = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(edges) - 2)
    titles = {n: f"{numbers[bins == n].min():g} to {numbers[bins == n].max():g}" for n in set(bins.tolist())}
    found = iter(bins.tolist())
    return [None if cell is None else titles[next(found)] for cell in cells]


def _order(name: str) -> tuple[int, float, str]:
    """Numbers and ranges by size, then names."""
    try:
        return (0, float(name.split(" to ")[0]), name)
    except ValueError:
        return (1, 0.0, name)


def _units(group_of: np.ndarray, speaker_of: np.ndarray | None) -> int | None:
    """How many speakers there are to permute; None where utterances are."""
    if speaker_of is None:
        return None
    pairs = set(zip(speaker_of.tolist(), group_of.tolist(), strict=True))
    speakers = len({speaker for speaker, _ in pairs})
    return speakers if len(pairs) == speakers > len({group for _, group in pairs}) else None


def _summed(counts: np.ndarray, numbers: np.ndarray, speakers: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Counts and groups of units, sorted by group: each utterance, or each speaker's utterances together."""
    if speakers is not None:
        _, first, unit = np.unique(speakers.astype(str), return_index=True, return_inverse=True)
        sums = np.zeros((len(first), counts.shape[1]))
        np.add.at(sums, unit, counts)
        counts, numbers = sums, numbers[first]
    order = np.argsort(numbers, kind="stable")
    return counts[order], numbers[order]


def _permuted(counts: np.ndarray, numbers: np.ndarray, scored: Any, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Each group's difference from the others, its p-value, and that of all groups being alike."""
    starts, sizes = np.unique(numbers, return_index=True, return_counts=True)[1:]
    total = counts.sum(axis=0)

    def compared(units: np.ndarray) -> tuple[np.ndarray, float]:
        sums = np.add.reduceat(units, starts)
        scores = scored(sums)
        mean = (sizes * scores).sum() / sizes.sum()
        return scores - scored(total - sums), float((sizes * np.square(scores - mean)).sum())

    differences, spread = compared(counts)
    rng, more, wider = np.random.default_rng(seed), np.ones(len(starts)), 1
    for _ in range(PERMUTATIONS):
        drawn, drawn_spread = compared(counts[rng.permutation(len(counts))])
        more += np.abs(drawn) >= np.abs(differences) - 1e-12
        wider += drawn_spread >= spread - 1e-12
    return differences, more / (PERMUTATIONS + 1), wider / (PERMUTATIONS + 1)


def _holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's correction: the smallest p-value counts as often as there are tests, the next once less, and so on.

    Two groups are one comparison, which needs none.
    """
    if len(p_values) < 3:
        return p_values
    order = np.argsort(p_values)
    corrected = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    result = np.empty(len(p_values))
    result[order] = np.minimum(corrected, 1.0)
    return result
