"""Runs of several folds and seeds as one result: per fold, mean and standard deviation, and a bootstrap interval."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text
from tqdm.auto import tqdm

from ..corpora.facts import recorded_facts
from ..errors_drkf import DRKFError
from ..quiet import BAR_DELAY_S
from .bootstrap import bootstrap_scores, percentile_interval
from .metrics import FORMULAS
from .records import SELECTED_ON_TEST, Predictions
from .rounding import rounded

RECORD = "metrics.json"
SAME_IN_ALL_RUNS = ("corpus", "protocol", "selection", "label_names", "multi_label", "excluded", "options")


class ResultsError(DRKFError, ValueError):
    """Runs that cannot be read, or that are not parts of one experiment."""


def find_runs(folders: Iterable[str | Path]) -> list[Path]:
    """The finished run folders among and beneath `folders`, sorted: those that hold a `metrics.json`.

    Raises:
        ResultsError: a folder does not exist, or none of them holds a finished run.
    """
    roots = [Path(folder) for folder in folders]
    for root in roots:
        if not root.is_dir():
            raise ResultsError(f"{root} is no folder")
    found = {path.parent.resolve() for root in roots for path in root.rglob(RECORD)}
    if not found:
        raise ResultsError(f"no finished run ({RECORD}) in or beneath {', '.join(map(str, roots))}")
    return sorted(found)


def merge_runs(runs: Sequence[Path]) -> dict[str, Any]:
    """One result of the test parts of several runs.

    The figure of a fold is the mean over its seeds; `mean` and `std` (with n - 1) are over folds. `interval` is the
    95 % percentile bootstrap of that mean: utterances are resampled within each run. With several seeds, `seed_std`
    is the standard deviation, over seeds, of the mean over folds.

    Args:
        runs: run folders, one a fold and seed.

    Returns: what `results.json` holds: `corpus`, `protocol`, `selection`, `label_names`, `excluded` (utterances by
        rule), `folds`, `missing` (folds, or seeds of a fold, without a run), `seeds`, `metrics` {name: {mean, std,
        interval, seed_std?}}, `runs` [{fold, seed, folder, selection, <metric>: value}], `paper` {name: value} (empty
        where the paper has no table for this corpus), and `same_initial_weights`.

    Raises:
        ResultsError: two runs of one fold and seed, runs that differ in anything but fold and seed (the message names
            it), or a run without a scored test part.
    """
    records = [_read(run) for run in runs]
    _check_comparable(records, runs)
    order: list[str] = records[0]["folds"]
    paired = sorted(zip(records, runs, strict=True), key=lambda pair: (order.index(_fold(pair[0])), pair[0]["seed"]))
    records, runs = [record for record, _ in paired], [run for _, run in paired]
    names = [name for name in FORMULAS if name in records[0]["test"]]
    seeds = sorted({record["seed"] for record in records})
    folds = list(dict.fromkeys(map(_fold, records)))
    present = {(_fold(record), record["seed"]) for record in records}
    numbered = tqdm(enumerate(paired), "resampling", len(paired), unit="run", delay=BAR_DELAY_S)
    samples = [_bootstrap(run, record, number) for number, (record, run) in numbered]
    metrics = {}
    for name in names:
        table = np.full((len(folds), len(seeds)), np.nan)
        for record in records:
            table[folds.index(_fold(record)), seeds.index(record["seed"])] = record["test"][name]
        per_fold = np.nanmean(table, axis=1)
        metrics[name] = {
            "mean": float(per_fold.mean()),
            "std": float(per_fold.std(ddof=1)) if len(folds) > 1 else None,
            "interval": list(percentile_interval(_mean_over_folds(samples, records, folds, name))),
        }
        if len(seeds) > 1:
            metrics[name]["seed_std"] = float(np.nanmean(table, axis=0).std(ddof=1))
    weights: dict[int, set[str]] = {
        seed: {r["initial_weights"] for r in records if r["seed"] == seed} for seed in seeds
    }
    return {
        "corpus_facts": records[0].get("corpus_facts", {}),
        **{key: records[0][key] for key in ("corpus", "protocol", "selection", "label_names", "excluded")},
        "folds": folds,
        "missing": [
            fold if len(seeds) == 1 else f"{fold}, seed {seed}"
            for fold in order
            for seed in seeds
            if (fold, seed) not in present
        ],
        "seeds": seeds,
        "metrics": metrics,
        "runs": [
            {"fold": _fold(record), "seed": record["seed"], "folder": run.name, "selection": record["selection"]}
            | {name: record["test"][name] for name in names}
            for record, run in zip(records, runs, strict=True)
        ],
        "paper": {name: percent / 100 for name, percent in recorded_facts(records[0]).get("paper", {}).items()},
        "same_initial_weights": all(len(fingerprints) == 1 for fingerprints in weights.values()),
    }


def write_results(results: Mapping[str, Any], folder: Path) -> None:
    """Writes `results.json` and, one line a run, `results.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "results.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(results["runs"][0]))
        writer.writeheader()
        writer.writerows(results["runs"])
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def results_table(results: Mapping[str, Any]) -> Table:
    """Per fold and seed, then mean, standard deviation and interval; the paper's figures where it has this corpus."""
    names = list(results["metrics"])
    table = Table(title=Text(results_title(results)), title_justify="left")
    for heading in ("fold", "seed"):
        table.add_column(heading)
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for run in results["runs"]:
        table.add_row(Text(run["fold"]), str(run["seed"]), *(rounded(run[name]) for name in names))
    table.add_section()
    metrics = results["metrics"].values()
    table.add_row("mean", "", *(rounded(metric["mean"]) for metric in metrics), style="bold")
    table.add_row("95 %", "", *(" to ".join(map(rounded, metric["interval"])) for metric in metrics))
    if len(results["folds"]) > 1:
        table.add_row("std of folds", "", *(rounded(metric["std"]) for metric in metrics))
    if len(results["seeds"]) > 1:
        table.add_row("std of seeds", "", *(rounded(metric["seed_std"]) for metric in metrics))
    if results["paper"]:
        figures = [results["paper"].get(name) for name in names]
        table.add_row("paper", "", *("" if figure is None else rounded(figure) for figure in figures))
    return table


def results_title(results: Mapping[str, Any]) -> str:
    """Corpus, protocol, what is missing, and a warning where the test part chose the epochs."""
    title = f"{results['corpus']}, {results['protocol']}, test part"
    if results["selection"] == "test":
        title += f"\n{SELECTED_ON_TEST}"
    if results["missing"]:
        title += f"\nnot run: {', '.join(results['missing'])}"
    if not results["same_initial_weights"]:
        title += "\nthe folds did not start from the same initial weights"
    return title


def require_same_options(run: Path, options: Mapping[str, Any]) -> None:
    """
    Raises:
        ResultsError: a finished run was made with other options than those, which are not where and how it ran.
    """
    record = _read(run)
    if record["options"] != options:
        difference = _difference({"options": options}, record, "options")
        raise ResultsError(f"{run} was finished before, but its {difference}: give these, or another --output-dir")


def _read(run: Path) -> dict[str, Any]:
    try:
        record = json.loads((run / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultsError(f"{run / RECORD} cannot be read: {error}") from error
    needed = {*SAME_IN_ALL_RUNS, "fold", "folds", "seed", "test", "initial_weights"}
    if lacking := sorted(needed - record.keys()):
        raise ResultsError(
            f"{run / RECORD} has no {', '.join(lacking)}: it is not the record of a run with a test part"
        )
    left_out = {rule: ids if isinstance(ids, int) else len(ids) for rule, ids in record["excluded"].items()}
    return record | {"excluded": left_out}  # of a published record the numbers alone are known


def _fold(record: Mapping[str, Any]) -> str:
    return record["fold"]["name"]


def _check_comparable(records: Sequence[Mapping[str, Any]], runs: Sequence[Path]) -> None:
    twice = [key for key, count in Counter((_fold(r), r["seed"]) for r in records).items() if count > 1]
    if twice:
        fold, seed = twice[0]
        same = [str(run) for run, r in zip(runs, records, strict=True) if (_fold(r), r["seed"]) == twice[0]]
        raise ResultsError(f"fold {fold} with seed {seed} was run more than once: {', '.join(same)}")
    for record, run in zip(records[1:], runs[1:], strict=True):
        for key in (*SAME_IN_ALL_RUNS, "folds"):
            if record[key] != records[0][key]:
                raise ResultsError(
                    f"{run} and {runs[0]} are not runs of one experiment: their {_difference(records[0], record, key)}"
                )


def _difference(first: Mapping[str, Any], second: Mapping[str, Any], key: str) -> str:
    if key == "excluded":
        return f"corpora differ: other utterances were left out ({second[key]} and {first[key]})"
    if key != "options":
        return f"{key} differs ({second[key]} and {first[key]})"
    ours, theirs = second[key], first[key]
    names = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
    return f"options differ: {', '.join(f'{n} ({ours.get(n)} and {theirs.get(n)})' for n in names)}"


def _bootstrap(run: Path, record: Mapping[str, Any], number: int) -> dict[str, np.ndarray]:
    table = Predictions.read(run / "test_predictions.csv", record["multi_label"])
    return bootstrap_scores(table.predictions, table.references, table.label_names, seed=number)


def _mean_over_folds(
    samples: Sequence[Mapping[str, np.ndarray]], records: Sequence[Mapping[str, Any]], folds: Sequence[str], name: str
) -> np.ndarray:
    per_fold = [
        np.mean(
            [sample[name] for sample, record in zip(samples, records, strict=True) if _fold(record) == fold], axis=0
        )
        for fold in folds
    ]
    return np.mean(per_fold, axis=0)


def run_folder_name(fold: str, seed: int) -> str:
    """`<fold>-seed<seed>`, with what no file system minds."""
    safe = "".join(char if char.isalnum() or char in "._-" else "_" for char in fold).lstrip(".") or "fold"
    return f"{safe}-seed{seed}"


def is_finished(folder: Path) -> bool:
    """Whether a run wrote its record and, last of all, its card."""
    return all((folder / name).is_file() for name in (RECORD, "README.md"))
