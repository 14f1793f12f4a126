"""One thing at a time: the study's row 6, without copies at other speeds, with another batch, temperature, weight or
length of training, scored on the validation speakers of one fold of each corpus; no test part is read.

    python -m study.variations --data DATA --output model_cards/study
    python -m study.variations --data DATA --seeds 1 --only "row 6" "batches of 4"

Writes `variations.csv`, a line a finished run, and `learning.csv`: loss and accuracy of row 1 and of its modalities on
training and validation part as they train. Again to go on.
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

from .runs import CORPORA, FOLDER, ROWS, write_folds

FOLDS = {"ravdess_paired": "4", "paired": "EB0"}
COPIES = ["--speeds", "0.9", "1.1"]
BATCHES_OF_4 = ["--per-device-train-batch-size", "4", "--max-steps", "3200"]
FINE_TUNED = ["--freeze-speech-encoder", "false", "--freeze-text-encoder", "false", "--speaker-statistics", "0"]


def fields(**drkf: Any) -> list[str]:
    return ["--drkf", json.dumps(drkf)]


OF_ROW6 = {
    "row 6": [],
    "batches of 4": BATCHES_OF_4,
    "batches of 8": ["--per-device-train-batch-size", "8", "--max-steps", "1600"],
    "batches of 64": ["--per-device-train-batch-size", "64", "--max-steps", "200"],
    "temperature 0.1 at first": fields(initial_temperature_logit=-2.2),
    "contrastive weight 0": fields(contrastive_weight=0.0),
    "contrastive weight 1": fields(contrastive_weight=1.0),
    "reconstruction weight 0": fields(reconstruction_weight=0.0),
    "reconstruction weight 1": fields(reconstruction_weight=1.0),
    "discrimination weight 1": fields(discrimination_weight=1.0),
    "all pairs in ED": fields(discrimination_pairs=None),
    "ED reads the halves": fields(discriminator="halves"),
    "ED reads the halves, batches of 4": [*fields(discriminator="halves"), *BATCHES_OF_4],
    "copies at speeds 0.9 and 1.1": COPIES,
    "two fusion layers": fields(num_fusion_layers=2),
    "400 steps": ["--max-steps", "400"],
    "1600 steps": ["--max-steps", "1600"],
    "no modality dropout": ["--modality-dropout", "0"],
    "modality dropout of words alone": ["--dropped-text-share", "1"],
    "frozen encoders, not standardised": ["--speaker-statistics", "0", *fields(standardize_states=False)],
    "fine-tuned encoders, not standardised": [
        *FINE_TUNED,
        *fields(standardize_states=False),
        *("--encoder-learning-rate", "5e-5"),
    ],
}
OF_ROW1 = {"row 1": [], "row 1, batches of 4": BATCHES_OF_4}
OF_STARTER = {"row 1, ED on the halves": [], "row 1, ED on the halves, copies": COPIES}
VARIATIONS = {
    name: [*ROWS[row], *chosen]
    for row, variations in (("row6", OF_ROW6), ("row1", OF_ROW1), ("starter", OF_STARTER))
    for name, chosen in variations.items()
}
WATCHED = ("speech", "text", "row1")
WATCH = ["--eval-strategy", "steps", "--eval-steps", "50", "--logging-steps", "50"]


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
    parser.add_argument("--recipe", default="resemblyzer.yaml", help="options of all runs (default: resemblyzer.yaml)")
    parser.add_argument("--only", nargs="+", help="names of the runs (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side, one core each (default: 2)")
    parser.add_argument("--output", type=Path, default=Path("model_cards/study"))
    options = parser.parse_args(arguments)
    trials = [
        Trial(corpus, name, seed, chosen)
        for seed in options.seeds
        for name, chosen in ({row: [*ROWS[row], *WATCH] for row in WATCHED} | VARIATIONS).items()
        if options.only is None or name in options.only
        for corpus in CORPORA
    ]
    with ProcessPoolExecutor(options.jobs, max_tasks_per_child=1) as pool:
        jobs = {pool.submit(run_trial, trial, options.data, options.recipe): trial for trial in trials}
        for job in tqdm(as_completed(jobs), total=len(jobs), unit="run"):
            job.result()
            collect(options.output)
    return 0


def collect(output: Path) -> None:
    """Writes both tables, of all runs that are finished."""
    varied, learnt = [], []
    for name in (*VARIATIONS, *WATCHED):
        for corpus in CORPORA:
            for folder in sorted((FOLDER / "variations" / corpus).glob(f"{name.replace(' ', '_')}-seed*")):
                if not (folder / "metrics.json").exists():
                    continue
                metrics = json.loads((folder / "metrics.json").read_text())
                line = {"corpus": corpus, "name": name, "seed": metrics["seed"]}
                if name in VARIATIONS:
                    varied.append(line | scores_of(metrics))
                else:
                    learnt += [line | step for step in learning(folder)]
    for title, lines in (("variations", varied), ("learning", learnt)):
        pandas.DataFrame(lines).to_csv(output / f"{title}.csv", index=False)


def run_trial(trial: Trial, data: Path, recipe: str) -> None:
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
    recipes = [recipe, *(name for name in trial.options if name.endswith(".yaml"))]
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


def learning(folder: Path) -> list[dict[str, Any]]:
    """Losses of Eq. 20 by step, from the trainer's own record."""
    steps: dict[int, dict[str, Any]] = {}
    for entry in json.loads((folder / "trainer_state.json").read_text())["log_history"]:
        line = steps.setdefault(entry["step"], {"step": entry["step"]})
        if "eval_classification_loss" in entry:
            line["validation_loss"] = round(entry["eval_classification_loss"], 4)
            line["validation_accuracy"] = round(entry["eval_unweighted_accuracy"], 4)
        elif "classification_loss" in entry:
            line["training_loss"] = round(entry["classification_loss"], 4)
    return [line for line in steps.values() if len(line) == 4]


if __name__ == "__main__":
    sys.exit(main())
