"""`drkf demo`: from nothing to a classified clip, on a CPU and without a download."""

import csv
import shutil
import sys
import time
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score
from transformers import pipeline

from drkf_cli.spoken_demo.corpus import make_spoken_demo
from modeling_drkf.experiments.experiment import run_experiment
from modeling_drkf.experiments.options import parse_arguments
from modeling_drkf.experiments.run import Run, Terminated
from processing.errors_drkf import DRKFError
from processing.evaluation.rounding import rounded
from processing.pipeline_drkf import TASK
from train_drkf import signalled

from .answer_tables import answers_table

SENTENCE = "You find me furious after the contract."
MODALITIES = {"speech": "voice alone", "text": "words alone", "both": "voice and words"}


def run_demo(folder: Path, seed: int = 0) -> int:
    """Shows the demo; returns the exit status: 128 and its number for a signal."""
    try:
        _show(folder, seed)
    except (Terminated, KeyboardInterrupt) as stop:
        print("Stopped. The same command starts again; a spoken corpus that is finished is kept.", file=sys.stderr)
        return signalled(stop)
    return 0


def _show(folder: Path, seed: int) -> None:
    """Makes the spoken corpus, trains on each modality alone and on both, and shows what the full model says.

    Everything goes into `folder`: `corpus/`, and `speech/`, `text/` and `both/` with a checkpoint, metrics, card and
    pictures each.
    """
    console, start = Console(), time.perf_counter()
    console.rule("1. A spoken corpus: 26 synthetic voices, 4 emotions")
    manifest = make_spoken_demo(folder / "corpus", seed)
    results = {}
    for number, (modality, title) in enumerate(MODALITIES.items(), 2):
        console.rule(f"{number}. Training on {title}")
        shutil.rmtree(folder / modality, ignore_errors=True)
        options = ["--manifest", manifest, "--modality", modality, "--output-dir", folder / modality, "--seed", seed]
        if modality != "both":
            options += ["--modality-dropout", 0]
        run = run_experiment(*parse_arguments(["demo.yaml", *map(str, options)]))
        results[modality] = cast(Run, run).scores["test"]
    console.rule("5. Voices that are in no training")
    console.print(_scores(results))
    console.rule("6. The checkpoint, reloaded as a pipeline")
    pipe = pipeline(TASK, model=str(folder / "both"))  # type: ignore[call-overload]
    consistent = _show_two_clips(console, pipe, folder / "both", manifest)
    console.rule("7. One modality alone")
    _show_halves(console, pipe, manifest.parent / consistent["audio"], consistent)
    console.print(f"{time.perf_counter() - start:.0f} s. Checkpoint, metrics, card and pictures: {folder / 'both'}")


def _scores(results: dict[str, Any]) -> Table:
    table = Table("", "UA", "95 % interval", "WA", "WF1")
    for modality, title in MODALITIES.items():
        metrics = results[modality]
        low, high = metrics["intervals"]["unweighted_accuracy"]
        table.add_row(
            title,
            rounded(metrics["unweighted_accuracy"]),
            f"{rounded(low)} to {rounded(high)}",
            rounded(metrics["weighted_accuracy"]),
            rounded(metrics["weighted_f1"]),
        )
    return table


def _show_two_clips(console: Console, pipe: Any, checkpoint: Path, manifest: Path) -> dict[str, str]:
    """Returns the row of the consistent one."""
    rows = {row["utterance_id"]: row for row in _read(manifest)}
    scored = _read(checkpoint / "test_predictions.csv")
    clips = [rows[row["utterance_id"]] for row in scored]
    if not scored[0]["consistency"]:
        raise DRKFError("ED has not learnt to tell matched from mismatched pairs: run the demo with another --seed")
    scores = [float(row["consistency"]) for row in scored]
    agrees = [clip["consistent"] == "true" for clip in clips]
    plain = [i for i, clip in enumerate(clips) if not agrees[i] or clip["voice_cue"] == clip["text_cue"]]
    console.print(
        f"Voice and words contradict each other in {agrees.count(False)} of {len(clips)} test clips. The consistency "
        f"score tells these from the others with an AUC of {rounded(roc_auc_score(agrees, scores))}, and from those "
        "whose voice and words name the same emotion with an AUC of "
        f"{rounded(roc_auc_score([agrees[i] for i in plain], [scores[i] for i in plain]))}."
    )
    chosen = {
        kind: clips[_median([i for i in plain if agrees[i] is truth], scores)]
        for kind, truth in (("consistent", True), ("contradictory", False))
    }
    answers = pipe([{"audio": manifest.parent / clip["audio"], "text": clip["text"]} for clip in chosen.values()])
    titles = [
        f'{kind}\n"{clip["text"]}"\nvoice: {clip["voice_cue"]}\nwords: {clip["text_cue"]}\ntrue: {clip["label"]}'
        for kind, clip in chosen.items()
    ]
    console.print("The clip with the middle score of either kind:")
    console.print(answers_table(answers, titles, pipe.label_names))
    return chosen["consistent"]


def _median(positions: list[int], scores: list[float]) -> int:
    """The clip in the middle of its kind."""
    return sorted(positions, key=lambda i: scores[i])[len(positions) // 2]


def _show_halves(console: Console, pipe: Any, audio: Path, row: dict[str, str]) -> None:
    """The voice of a clip without its words, its words without the voice, and a sentence that is in no part."""
    answers = pipe([{"audio": audio}, {"text": row["text"]}, {"text": SENTENCE}])
    titles = [f"voice alone\nvoice: {row['voice_cue']}", f'words alone\n"{row["text"]}"', f'words alone\n"{SENTENCE}"']
    console.print(answers_table(answers, titles, pipe.label_names))


def _read(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
