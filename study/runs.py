"""DRKF on real voices and real words: single modalities, rows of Table 4, folds and seeds, as one resumable command.

    make encoders                                          # the pretrained encoders, once
    python -m study.runs --data DATA --seeds 0             # the runs; again to go on
    python -m study.runs --data DATA --kind trained        # the paper's training, on two folds
    python -m study.tables                                 # what they say

DATA holds `ravdess_paired.csv` and `paired.csv` (columns audio, text, label, speaker). Speech and text are real, their
pairing is constructed. A test fold is scored once, by the last weights; the fold after it calibrates. `runs.csv` gets
a line a run; weights are not kept.
"""

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas
from tqdm import tqdm

FOLDER = Path("runs/study")
RECIPE = "starter.yaml"
ROWS = {
    "speech": ["--modality", "speech", "--modality-dropout", "0"],
    "text": ["--modality", "text", "--modality-dropout", "0"],
    "row1": ["table4_fusion.yaml"],
    "row2": ["table4_cmie.yaml"],
    "row3": ["table4_pcmi.yaml"],
    "row4": ["table4_ed.yaml"],
    "row5": ["table4_cross.yaml"],
    "row6": ["table4_drkf.yaml"],
    "starter": [],
    "row6_halves": ["--drkf", '{"representation": "pcmi"}'],
}
CORPORA = {"ravdess_paired": "fold", "paired": "speaker"}  # the column whose values are left out in turn
FEW_SPEAKERS = {"paired": ["--speeds", "0.9", "1.1"]}  # three voices train
METRICS = ("unweighted_accuracy", "weighted_accuracy", "weighted_f1")
CONSISTENCY = ("auc", "brier", "brier_of_prior")


class Kind(NamedTuple):
    """What becomes of the encoders, or what is asked.

    Attributes:
        recipe, rows: options of all runs, and the rows that are run.
        folds: of a corpus, those that are run; empty: all of every corpus. options: beside the row's.
    """

    recipe: str
    rows: tuple[str, ...]
    folds: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    options: tuple[str, ...] = ()


FROZEN, TRAINED, INTERACTION = "frozen", "trained", "interaction"
OF_PAIRS = ("--redraw-texts", "false", "--modality-dropout", "0", "--drkf", '{"classifier": "fused"}')
KINDS = {
    FROZEN: Kind(RECIPE, tuple(ROWS)),
    TRAINED: Kind(
        "trained_encoders.yaml", ("row1", "row2", "row3", "row4", "row6"), {"ravdess_paired": ("1", "4")}
    ),  # two folds: a training takes ten times as long
    INTERACTION: Kind(RECIPE, ("speech", "text", "row1"), options=OF_PAIRS),
}


class Job(NamedTuple):
    """The folds of one row of the table with one seed, trained one after the other in a process of its own."""

    kind: str
    corpus: str
    row: str
    seed: int

    @property
    def folder(self) -> Path:
        return FOLDER / self.kind / self.corpus / self.row


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the two tables")
    parser.add_argument("--corpora", nargs="+", choices=CORPORA, default=list(CORPORA))
    parser.add_argument(
        "--kind",
        choices=KINDS,
        default=FROZEN,
        help="frozen: the study; trained: encoders train, as in the paper, on two folds of ravdess_paired; "
        "interaction: the pairs of study.interaction (default: frozen)",
    )
    parser.add_argument("--rows", nargs="+", choices=ROWS, help="rows of the table (default: all of the kind)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side, one core each (default: 2)")
    parser.add_argument("--job", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.job:
        named, corpus, row, seed = options.job
        run_job(Job(named, corpus, row, int(seed)), options.data)
        return 0
    kind = KINDS[options.kind]
    jobs = [
        Job(options.kind, corpus, row, seed)
        for seed in options.seeds
        for row in options.rows or kind.rows
        for corpus in options.corpora
        if corpus in kind.folds or not kind.folds
    ]
    if not jobs:
        parser.error(f"--kind {options.kind} is run on {', '.join(kind.folds)} alone")
    if options.kind == INTERACTION:
        for corpus in options.corpora:
            if not (pairs := FOLDER / INTERACTION / f"{corpus}.csv").exists():
                parser.error(f"{pairs} is missing: run `python -m study.interaction --data {options.data}` first")
    given = list(sys.argv[1:] if arguments is None else arguments)
    with ThreadPoolExecutor(options.jobs) as pool:
        failed = sum(tqdm(pool.map(lambda job: run_apart(job, given), jobs), total=len(jobs), unit="job"))
    if options.kind == FROZEN:
        collect()
    return 1 if failed else 0


def run_apart(job: Job, given: Sequence[str]) -> bool:
    """Runs a job in a process of its own, with a log beside its runs; returns whether it failed."""
    job.folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "study.runs", *given, "--job", *map(str, job)]
    with (job.folder / f"seed{job.seed}.log").open("a") as log:
        failed = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode != 0
    if failed:
        print(f"{job.kind} {job.corpus} {job.row} seed {job.seed} failed: see {log.name}", file=sys.stderr)
    return failed


def run_job(job: Job, data: Path) -> None:
    """Trains what is not finished of a job's folds."""
    import torch

    from modeling_drkf.experiments.options import parse_arguments
    from modeling_drkf.experiments.run import Run
    from processing.corpora.protocols import folds_of
    from processing.corpora.registry import read_corpus

    torch.set_num_threads(1)
    kind, of_pairs = KINDS[job.kind], job.kind == INTERACTION
    manifest = (FOLDER / INTERACTION if of_pairs else data) / f"{job.corpus}.csv"
    fold_file = (FOLDER / INTERACTION if of_pairs else FOLDER) / "folds" / f"{job.corpus}.json"
    if not fold_file.exists():
        write_folds(manifest, CORPORA[job.corpus], fold_file)
    recipes = [kind.recipe, *(name for name in ROWS[job.row] if name.endswith(".yaml"))]
    extra = [name for name in ROWS[job.row] if not name.endswith(".yaml")]
    extra += [*FEW_SPEAKERS.get(job.corpus, []), *kind.options]
    corpus = read_corpus("manifest", str(manifest))
    folds = folds_of(corpus, fold_file=fold_file)
    for fold in folds:
        folder = job.folder / f"{fold.name}-seed{job.seed}"
        if (kind.folds and fold.name not in kind.folds[job.corpus]) or is_finished(folder):
            continue
        where = ["--manifest", str(manifest), "--fold-file", str(fold_file), "--fold", fold.name]
        how = ["--seed", str(job.seed), "--output-dir", str(folder), "--pictures", "false", "--disable-tqdm", "true"]
        run = Run(corpus, fold, [each.name for each in folds], *parse_arguments([*recipes, *where, *how, *extra]))
        run.execute()
        if not of_pairs:
            write_disagreement(run)
        if job.kind == FROZEN:
            write_own_answer(run)
        for weights in folder.glob("*.safetensors"):
            weights.unlink()


def is_finished(folder: Path) -> bool:
    """Whether a run has come to its end, where the weights are removed."""
    return (folder / "metrics.json").exists() and not any(folder.glob("*.safetensors"))


def write_disagreement(run: Any) -> None:
    """Scores the test clips with a text of another emotion each, every text once: `disagreement_predictions.csv`, of
    which `label` is that of the voice and `text_label` that of the words."""
    import numpy as np

    from modeling_drkf.experiments.consistency import OtherTexts
    from modeling_drkf.experiments.report import evaluate_split

    from .other_emotions import other_emotions

    samples, labels, seed = run.labelled("test")
    text = other_emotions(labels, np.random.default_rng(seed))
    pairs: Any = OtherTexts(samples, np.arange(len(labels)), text)
    ids = run.parts["test"]["utterance_id"][:]
    evaluate_split(run.trainer, pairs, ids, "disagreement", run.folder, run.fold.name)
    path = run.folder / "disagreement_predictions.csv"
    table = pandas.read_csv(path)
    table["text_label"] = [run.corpus.label_names[label] for label in labels[text]]
    table.to_csv(path, index=False)


def write_own_answer(run: Any) -> None:
    """Scores what EC alone answers, as in the paper: `test_alone_predictions.csv`, and by speaker."""
    from modeling_drkf.experiments.report import evaluate_split
    from processing.evaluation.records import BY_SPEAKER

    run.model.config.classifier = "fused"
    if not run.model.config.has_probes:
        run.model.half_classifiers = None
    ids = run.parts["test"]["utterance_id"]
    for suffix, samples in (("", run.inputs.parts["test"]), (BY_SPEAKER, run.with_speaker_statistics("test"))):
        evaluate_split(run.trainer, samples, ids, f"test_alone{suffix}", run.folder, run.fold.name)


def write_folds(manifest: Path, column: str, path: Path) -> None:
    """Leave one value of a column out: the next one validates, the rest train."""
    from processing.corpora.folds import Fold, save_folds
    from processing.corpora.registry import read_corpus

    with manifest.open(newline="", encoding="utf-8") as file:
        group_of = {row["speaker"]: row[column] for row in csv.DictReader(file)}
    rows = read_corpus("manifest", str(manifest)).dataset["all"]
    groups = [group_of[speaker] for speaker in rows["speaker"][:]]
    names = sorted(set(groups))
    folds = []
    for name, following in zip(names, names[1:] + names[:1], strict=True):
        part_of = {name: "test", following: "validation"}
        parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
        for utterance, group in zip(rows["utterance_id"][:], groups, strict=True):
            parts[part_of.get(group, "train")].append(utterance)
        folds.append(Fold(name, **{part: tuple(ids) for part, ids in parts.items()}, speaker_disjoint=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_folds(folds, path)


def collect() -> None:
    """Writes `runs.csv`: a line for each finished run, without and with the speaker's other clips."""
    lines: list[dict[str, Any]] = []
    for path in sorted((FOLDER / FROZEN).glob("*/*/*/metrics.json")):
        metrics = json.loads(path.read_text())
        corpus, row = path.parts[-4:-2]
        for statistics, part in (("training", "test"), ("speaker", "test_by_speaker")):
            if part in metrics:
                found = metrics[part].get("consistency") or {}
                lines.append(
                    {"corpus": corpus, "row": row, "fold": metrics["fold"]["name"], "seed": metrics["seed"]}
                    | {"standardised_by": statistics, "utterances": metrics["fold"]["test"]}
                    | {name: round(metrics[part][name], 4) for name in METRICS}
                    | {f"consistency_{name}": found.get(name) for name in CONSISTENCY}
                    | {"train_seconds": round(metrics["train_seconds"], 1)}
                )
    with (FOLDER / "runs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


if __name__ == "__main__":
    sys.exit(main())
