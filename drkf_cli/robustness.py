"""How far a checkpoint's score falls in noise, babble, a room, over a telephone line, with silence around."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from rich.table import Table

from processing.conditions import Condition
from processing.copies import heard_under
from processing.errors_drkf import DRKFError
from processing.evaluation.bootstrap import bootstrap_interval, difference_interval
from processing.evaluation.decisions import predictions_from_probabilities
from processing.evaluation.metrics import emotion_metrics, flat_metrics
from processing.evaluation.rounding import rounded

CLEAN = "clean"
CONDITIONS = (
    *("noise:20", "noise:10", "noise:0", "babble:20", "babble:10", "babble:0"),
    *("reverb:0.35", "telephone", "silence:1.5", "gain:-20"),
)
IN_WORDS = {
    "noise": "white noise, {} dB",
    "babble": "babble, {} dB",
    "reverb": "room, {} s",
    "telephone": "telephone line",
    "silence": "silence, {} s",
    "gain": "gain, {} dB",
}


def robustness(
    rows: Dataset,
    references: np.ndarray,
    clean: np.ndarray,
    label_names: list[str],
    probabilities_of: Callable[[Dataset, str], np.ndarray],
) -> dict[str, Any]:
    """Scores under each of `CONDITIONS`; Ctrl-C leaves those that are done.

    Args:
        rows: what is evaluated; babble is of its own other speakers. references, clean: its labels, and what is
            predicted for it as it is, class ids (utterances,) or label sets (utterances, classes).
        probabilities_of: of rows, (utterances, classes), under the name of a condition.

    Returns: `metric` (unweighted accuracy, of label sets macro F1); `conditions`, name -> `score`, its 95 % bootstrap
        `interval`, `difference` from clean speech, `difference_interval` (over the same utterances for both), and
        `metrics`, every scalar; `skipped`, name -> why; `stopped`, whether Ctrl-C ended it.
    """
    metric = "unweighted_accuracy" if references.ndim == 1 else "macro_f1"
    result: dict[str, Any] = {"metric": metric, "conditions": {}, "skipped": {}, "stopped": False}

    def record(name: str, predicted: np.ndarray) -> None:
        metrics = flat_metrics(emotion_metrics(predicted, references, label_names))
        scored: dict[str, Any] = {"score": metrics[metric]}
        scored["interval"] = bootstrap_interval(predicted, references, label_names)[metric]
        if name != CLEAN:
            scored["difference"] = metrics[metric] - result["conditions"][CLEAN]["score"]
            scored["difference_interval"] = difference_interval(predicted, clean, references, label_names)[metric]
        result["conditions"][name] = scored | {"metrics": metrics}

    record(CLEAN, clean)
    try:
        for name in CONDITIONS:
            try:
                probabilities = probabilities_of(heard_under(rows, Condition.parse(name)), name)
            except DRKFError as error:  # nobody else to babble, or clips that silence makes too long
                result["skipped"][name] = str(error)
                continue
            record(name, predictions_from_probabilities(probabilities, references.ndim == 2))
    except KeyboardInterrupt:
        result["stopped"] = True
    return result


def in_words(name: str) -> str:
    """A condition as a reader calls it."""
    kind, _, level = name.partition(":")
    return IN_WORDS.get(kind, kind).format(level)


def robustness_table(result: Mapping[str, Any]) -> Table:
    """One row a condition."""
    metric = result["metric"].replace("_", " ")
    table = Table("condition", metric, "95 % interval", "from clean", "95 % interval", title="robustness")
    for name, scored in result["conditions"].items():
        difference = ["", ""]
        if "difference" in scored:
            low, high = scored["difference_interval"]
            difference = [f"{scored['difference']:+.3f}", f"{low:+.3f} to {high:+.3f}"]
        low, high = scored["interval"]
        table.add_row(in_words(name), rounded(scored["score"]), f"{rounded(low)} to {rounded(high)}", *difference)
    return table


def write_robustness(result: Mapping[str, Any], path: Path) -> None:
    """A CSV with a row a condition: condition, score, low, high, difference, difference_low, difference_high, and
    every metric."""
    rows = []
    for name, scored in result["conditions"].items():
        low, high = scored.get("difference_interval", (None, None))
        rows.append(
            {
                "condition": name,
                "score": scored["score"],
                "low": scored["interval"][0],
                "high": scored["interval"][1],
                "difference": scored.get("difference"),
                "difference_low": low,
                "difference_high": high,
                **scored["metrics"],
            }
        )
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
