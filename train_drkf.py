"""Trains DRKF on a corpus and scores it once on the test part.

    python train_drkf.py paper.yaml --manifest clips.csv --output-dir runs/mine
    python train_drkf.py demo.yaml --manifest clips.csv --num-train-epochs 3 --learning-rate 5e-4
    python train_drkf.py paper.yaml --manifest clips.csv --protocol leave_one_speaker_out --fold anna
    python train_drkf.py iemocap.yaml --data-dir IEMOCAP_full_release --folds all --seeds 0 1 2
    python train_drkf.py iemocap.yaml table4_cross.yaml --data-dir IEMOCAP_full_release --fold 3
    python train_drkf.py paper.yaml --manifest clips.csv --output-dir runs/mine --resume-from-checkpoint true
    accelerate launch train_drkf.py paper.yaml --manifest clips.csv --gather-across-processes
    python train_drkf.py paper.yaml --manifest clips.csv --push-to-hub --hub-model-id me/drkf-mine

A recipe is a YAML file of the options below (model_cards/recipes holds some), which may extend another one; of several
recipes the later ones override the earlier ones, and options on the command line override them all. The best epoch is
chosen on the validation part, unless a recipe keeps the last weights; the test part is scored once, at the end. Ctrl-C
or SIGTERM ends training after the running step with a checkpoint to resume from. `drkf results` merges folds that were
trained apart; `drkf ablate` runs Table 4.

`--resume-from-checkpoint true` goes on from the last complete checkpoint of the output folder and starts from the
beginning where there is none: one command serves a job that is submitted again. Exit status: 0 done; 1 an error, which
the last line explains; 2 wrong options; 130 Ctrl-C and 143 SIGTERM, after a checkpoint. `accelerate launch` makes 1 of
each that is not 0.
"""

import signal
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from modeling_drkf.experiments.experiment import run_experiment
from modeling_drkf.experiments.options import parse_arguments
from modeling_drkf.experiments.run import Run, Terminated
from processing.errors_drkf import DRKFError
from processing.evaluation.results import SELECTED_ON_TEST, results_table
from processing.quiet import late_bars, quieten_deepspeed


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    model, data, training = parse_arguments(arguments, usage=__doc__)
    folder = training.output_dir
    late_bars()
    quieten_deepspeed()
    try:
        done = run_experiment(model, data, training)
    except DRKFError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (Terminated, KeyboardInterrupt) as stop:
        print(f"Stopped. Go on with the same command and --resume-from-checkpoint true ({folder}).", file=sys.stderr)
        return signalled(stop)
    if training.should_save:
        show_run(done) if isinstance(done, Run) else show_runs(done)
        print(f"Model, metrics and card: {folder}" if isinstance(done, Run) else f"Runs, table and card: {folder}")
    return 0


def signalled(stop: Terminated | KeyboardInterrupt) -> int:
    """The exit status: 128 and the signal's number."""
    return 128 + (stop.args[0] if isinstance(stop, Terminated) else signal.SIGINT)


def show_run(run: Run) -> None:
    """Prints a run's figures."""
    if run.selection == "test":
        print(f"warning: {SELECTED_ON_TEST}")
    for split, scores in run.scores.items():
        shown = {name: value for name, value in scores.items() if isinstance(value, float)}
        print(f"{split}: " + ", ".join(f"{name} {value:.3f}" for name, value in shown.items()))
    if run.published:
        print(f"Published: {run.published}")


def show_runs(results: dict[str, Any]) -> None:
    """Prints the table of several runs."""
    Console().print(results_table(results))


if __name__ == "__main__":
    sys.exit(main())
