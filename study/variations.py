"""One thing at a time: rows of the study, without copies at other speeds, with another batch, weight, answer or part,
scored on the validation speakers of one fold of each corpus; no test part is read.

    python -m study.variations --data DATA --output model_cards/study
    python -m study.variations --data DATA --seeds 1 --only "row 6" "row 1"

Writes `variations.csv`, a line a finished run. Again to go on.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas
from tqdm import tqdm

from .runs import CORPORA, FOLDER, RECIPE, ROWS, write_folds

FOLDS = {"ravdess_paired": "4", "paired": "EB0"}
COPIES = ["--speeds", "0.9", "1.1"]


def fields(**drkf: Any) -> list[str]:
    return ["--drkf", json.dumps(drkf)]


WITHOUT_PROBES = fields(classifier="fused")
OF_ROW6 = {
    "row 6": [],
    "row 6, EC alone in training, too": WITHOUT_PROBES,
    "row 6, batches of 4": ["--per-device-train-batch-size", "4", "--max-steps", "3200"],
    "row 6, contrastive weight 0": fields(contrastive_weight=0.0),
    "row 6, reconstruction weight 0": fields(reconstruction_weight=0.0),
    "row 6, two fusion layers": fields(num_fusion_layers=2),
}
OF_ROW1 = {"row 1": [], "row 1, EC alone in training, too": WITHOUT_PROBES}
OF_STARTER = {
    "row 1, ED on the halves": [],
    "row 1, ED on the halves, copies at speeds 0.9 and 1.1": COPIES,
    "row 1, ED on the halves, sum of the logits": fields(classifier="additive"),
    "row 1, ED on the halves, no modality dropout": ["--modality-dropout", "0"],
    "row 1, ED on the halves, silence read, too": ["--skip-silence", "false"],
}
VARIATIONS = {
    name: [*ROWS[row], *chosen]
    for row, variations in (("row6", OF_ROW6), ("row1", OF_ROW1), ("starter", OF_STARTER))
    for name, chosen in variations.items()
}


class Trial(NamedTuple):
    """A run on one fold."""

    corpus: str
    name: str
    seed: int
    options: list[str]

    @property
    def folder(self) -> Path:
        return FOLDER / "variations" / self.corpus / f"{self.name.replace(' ', '_')}-seed{self.seed}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the two tables")
    parser.add_argument("--only", nargs="+", help="names of the runs (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side, one core each (default: 2)")
    parser.add_argument("--output", type=Path, default=Path("model_cards/study"))
    options = parser.parse_args(arguments)
    trials = [
        Trial(corpus, name, seed, chosen)
        for seed in options.seeds
        for name, chosen in VARIATIONS.items()
        if options.only is None or name in options.only
        for corpus in CORPORA
    ]
    with ProcessPoolExecutor(options.jobs, max_tasks_per_child=1) as pool:
        jobs = {pool.submit(run_trial, trial, options.data): trial for trial in trials}
        for job in tqdm(as_completed(jobs), total=len(jobs), unit="run"):
            job.result()
            collect(options.output)
    return 0


def collect(output: Path) -> None:
    """Writes the table, of all runs that are finished."""
    lines = []
    for name in VARIATIONS:
        for corpus in CORPORA:
            for path in sorted((FOLDER / "variations" / corpus).glob(f"{name.replace(' ', '_')}-seed*/metrics.json")):
                metrics = json.loads(path.read_text())
                lines.append({"corpus": corpus, "name": name, "seed": metrics["seed"]} | scores_of(metrics))
    pandas.DataFrame(lines).to_csv(output / "variations.csv", index=False)


def run_trial(trial: Trial, data: Path) -> None:
    """Trains and scores on the validation part; what is finished stays."""
    import torch

    from modeling_drkf.experiments.options import parse_arguments
    from modeling_drkf.experiments.run import Run
    from processing.corpora.protocols import folds_of
    from processing.corpora.registry import read_corpus

    if (trial.folder / "metrics.json").exists():
        return
    torch.set_num_threads(1)
    manifest, fold_file = data / f"{trial.corpus}.csv", FOLDER / "folds" / f"{trial.corpus}.json"
    if not fold_file.exists():
        write_folds(manifest, CORPORA[trial.corpus], fold_file)
    corpus = read_corpus("manifest", str(manifest))
    folds = {fold.name: fold for fold in folds_of(corpus, fold_file=fold_file)}
    fold = replace(folds[FOLDS[trial.corpus]], test=())
    recipes = [RECIPE, *(name for name in trial.options if name.endswith(".yaml"))]
    how = ["--manifest", str(manifest), "--output-dir", str(trial.folder), "--seed", str(trial.seed)]
    how += ["--pictures", "false", "--disable-tqdm", "true"]
    varied = [name for name in trial.options if not name.endswith(".yaml")]
    Run(corpus, fold, list(folds), *parse_arguments([*recipes, *how, *varied])).execute()
    for weights in trial.folder.rglob("*.safetensors"):
        weights.unlink()


def scores_of(metrics: dict[str, Any]) -> dict[str, Any]:
    """What a line of `variations.csv` says."""
    found = metrics.get("validation_by_speaker", {})
    return {
        "unweighted_accuracy": round(metrics["validation"]["unweighted_accuracy"], 4),
        "by_speaker": round(found["unweighted_accuracy"], 4) if found else None,
        "consistency_auc": metrics["validation"].get("consistency", {}).get("auc"),
        "train_seconds": round(metrics["train_seconds"], 1),
    }


if __name__ == "__main__":
    sys.exit(main())
