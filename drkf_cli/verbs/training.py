"""Verbs that make checkpoints and show their runs: demo, train, ablate, results, plot."""

from pathlib import Path
from typing import Annotated

import typer

from processing.errors_drkf import FileError

from ..command import app
from ..errors import require_extra, writing


@app.command(short_help="Make a spoken corpus and train on it: no download.")
def demo(
    output_dir: Annotated[Path, typer.Option(help="Where the corpus, the models and the pictures go.")] = Path(
        "runs/demo"
    ),
    seed: Annotated[
        int, typer.Option(help="Seed of the corpus and of the training; the same one, the same figures.")
    ] = 0,
) -> None:
    """Make a spoken corpus, train DRKF on it, reload it, classify two clips: no download, no GPU, 5 minutes."""
    from ..demo import run_demo

    raise typer.Exit(run_demo(output_dir, seed))


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    short_help="Train on a corpus.",
)
def train(context: typer.Context) -> None:
    """Train on a corpus: train_drkf.py with the same options (`drkf train --help` lists them)."""
    from train_drkf import main

    raise typer.Exit(main(context.args))


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    short_help="Train the six rows of the paper's Table 4.",
)
def ablate(context: typer.Context) -> None:
    """Train the six rows of the paper's Table 4 on a recipe: drkf ablate RECIPE.yaml [options of train_drkf.py].

    Each row goes into a folder of its own in --output-dir; with --folds all, each row is cross-validated. With
    --resume-from-checkpoint true the same command goes on where it was stopped.
    """
    from ..ablate import run_ablation

    raise typer.Exit(run_ablation(context.args))


@app.command(short_help="Merge runs of several folds and seeds.")
def results(
    folders: Annotated[list[Path], typer.Argument(help="Run folders, or folders that hold some.", metavar="DIR...")],
    output_dir: Annotated[
        Path | None, typer.Option(help="Also write results.json, results.csv, pictures and a card here.")
    ] = None,
) -> None:
    """Merge runs of several folds and seeds, wherever they were made: mean, standard deviation, interval."""
    from rich.console import Console

    from processing.evaluation.results import find_runs, merge_runs, results_table, write_results

    runs = find_runs(folders)
    merged = merge_runs(runs)
    Console().print(results_table(merged))
    if output_dir is not None:
        from modeling_drkf.experiments.report import write_cross_validation_report

        with writing(output_dir):
            write_results(merged, output_dir)
            write_cross_validation_report(merged, output_dir, runs)
        typer.echo(f"Written to {output_dir}")


@app.command(short_help="Draw the pictures of a run again.")
def plot(
    folder: Annotated[Path, typer.Argument(help="What training wrote: a run, or a cross-validation.")],
    split: Annotated[str | None, typer.Option(help="validation or test; both, or a cross-validation's test.")] = None,
    format: Annotated[str, typer.Option(help="png, svg or pdf.")] = "png",
) -> None:
    """Draw the pictures of a run again from its records, or those of a cross-validation's runs pooled."""
    require_extra("matplotlib", "plots", "pictures need matplotlib")
    from processing.figures.run import SPLITS, draw_pooled, draw_run, run_folders

    if (folder / "metrics.json").is_file():
        pictures = draw_run(folder, (split,) if split else SPLITS, format)
    elif run_folders(folder):
        pictures = draw_pooled(folder, split or "test", format)
    else:
        raise FileError(f"{folder} is neither a run (metrics.json) nor a cross-validation (folders <fold>-seed<seed>)")
    for picture in pictures:
        typer.echo(picture)
