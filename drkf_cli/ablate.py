"""`drkf ablate`: the six rows of the paper's Table 4, trained on any recipe."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from modeling_drkf.experiments.cross_validation import resumes
from modeling_drkf.experiments.options import TRAINING_DEFAULTS, parse_arguments
from modeling_drkf.experiments.recipes import read_recipe
from modeling_drkf.training.arguments import DRKFTrainingArguments
from processing.evaluation.metrics import FORMULAS
from processing.evaluation.paper import TABLE_4, TABLE_4_COLUMNS, AblationRow
from processing.evaluation.results import SELECTED_ON_TEST, find_runs, is_finished, merge_runs
from processing.evaluation.rounding import rounded
from train_drkf import main

DEFAULT_OUTPUT = "runs/ablation"


def run_ablation(arguments: Sequence[str]) -> int:
    """Trains each row with `train_drkf.py BASE table4_<row>.yaml`, and prints and writes Table 4.

    Args:
        arguments: recipes and options of train_drkf.py; each row goes into a folder of its own in `--output-dir`.

    Returns: the exit status. A row that fails ends it; with `--resume-from-checkpoint true` the same command goes on.
    """
    recipes, options = _split(arguments)
    _, _, training = parse_arguments([*recipes, *options])
    folder = _folder(training)
    commands = {row.name: row_command(row, recipes, options) for row in TABLE_4}
    for row in TABLE_4:
        model, _, _ = parse_arguments(commands[row.name])
        switches: dict[str, Any] = read_recipe(f"table4_{row.name}.yaml", ["drkf"])["drkf"]
        if model.modality != "both" or not switches.items() <= model.drkf.items():  # type: ignore[union-attr]
            raise typer.BadParameter("leave --modality and the switches of Table 4 in --drkf to its rows")
    console = Console()
    for number, row in enumerate(TABLE_4, 1):
        console.rule(f"Table 4, row {number}: {row.title}")
        output = folder / row.name
        if resumes(training) and is_finished(output):
            print("done before")
            continue
        if (status := main(commands[row.name])) != 0:
            return status
    results = {row.name: merge_runs(find_runs([folder / row.name])) for row in TABLE_4}
    _write(results, folder)
    console.print(ablation_table(results))
    print(f"Runs, ablation.json and ablation.csv: {folder}")
    return 0


def ablation_table(results: dict[str, dict[str, Any]]) -> Table:
    """Table 4 with our means and intervals, and the paper's figures for the same corpus.

    Args:
        results: of each row by its name, as `merge_runs` returns them.
    """
    first = next(iter(results.values()))
    corpus, names = first["corpus"], list(first["metrics"])
    title = f"Table 4 on {corpus}, {first['protocol']}, test part"
    if first["selection"] == "test":
        title += f"\n{SELECTED_ON_TEST}"
    table = Table(title=Text(title), title_justify="left")
    table.add_column("row")
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    paper_columns = TABLE_4_COLUMNS.get(corpus, ())
    for name in paper_columns:
        table.add_column(f"paper: {FORMULAS[name].paper_name or name}", justify="right")
    for row in TABLE_4:
        table.add_row(row.title, *_cells(results[row.name], names), *_paper(row, corpus))
    return table


def _cells(result: dict[str, Any], names: Sequence[str]) -> list[str]:
    metrics = (result["metrics"][name] for name in names)
    return [f"{rounded(metric['mean'])}\n{'-'.join(map(rounded, metric['interval']))}" for metric in metrics]


def _paper(row: AblationRow, corpus: str) -> list[str]:
    return [rounded(figure) for figure in row.paper.get(corpus, ())]


def row_command(row: AblationRow, recipes: Sequence[str], options: Sequence[str]) -> list[str]:
    """The arguments of train_drkf.py for a row: with its recipe, its folder, and the name to publish it under."""
    _, _, training = parse_arguments([*recipes, *options])
    folder = _folder(training)
    command = [*recipes, f"table4_{row.name}.yaml", *options, "--output-dir", str(folder / row.name)]
    if training.push_to_hub:
        command += ["--hub-model-id", f"{training.hub_model_id or folder.name}-{row.name}"]
    return command


def _folder(training: DRKFTrainingArguments) -> Path:
    chosen = str(training.output_dir)
    return Path(DEFAULT_OUTPUT if chosen == TRAINING_DEFAULTS["output_dir"] else chosen)


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Recipes and other options."""
    recipes, options = [], list(arguments)
    while options and not options[0].startswith("-"):
        recipes.append(options.pop(0))
    return recipes, options


def _write(results: dict[str, dict[str, Any]], folder: Path) -> None:
    (folder / "ablation.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    with (folder / "ablation.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "selection", "metric", "mean", "std", "low", "high", "paper"])
        for row in TABLE_4:
            result = results[row.name]
            paper = dict(
                zip(TABLE_4_COLUMNS.get(result["corpus"], ()), row.paper.get(result["corpus"], ()), strict=True)
            )
            for name, metric in result["metrics"].items():
                figures = (metric["mean"], metric["std"], *metric["interval"], paper.get(name))
                cells = ("" if figure is None else figure for figure in figures)
                writer.writerow([row.name, result["selection"], name, *cells])
