"""The options of `train_drkf.py`: from the command line, from a YAML recipe, or from both."""

import json
import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import MISSING, fields
from enum import Enum
from pathlib import Path
from typing import Any

from transformers import HfArgumentParser
from transformers.trainer_pt_utils import AcceleratorConfig

from processing.errors_drkf import OptionError
from processing.evaluation.metrics import FORMULAS, scalar_names
from processing.suggestions import did_you_mean

from ..configuration_drkf import DRKFConfig
from ..training.arguments import DRKFTrainingArguments
from .data_options import DataArguments
from .model_options import ModelArguments
from .recipes import RECIPE_SUFFIXES, checked_recipe, merge_recipes, read_recipe

TRAINING_DEFAULTS = {
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "save_total_limit": 2,
    "load_best_model_at_end": True,
    "metric_for_best_model": "unweighted_accuracy",
    "logging_steps": 10,
    "output_dir": "runs/drkf",
}
"""Where the script departs from `TrainingArguments`: each epoch is validated, the best one is kept."""
STRUCTURED = {
    option.name
    for group in (ModelArguments, DataArguments, DRKFTrainingArguments)
    for option in fields(group)
    if "dict" in str(option.type) or "list" in str(option.type)
}
"""Options that take a mapping or a list."""
MULTI_LABEL_SELECTION = {"unweighted_accuracy": "micro_f1"}

WHERE_AND_HOW = (
    *("manifest", "data_dir", "audio_root", "fold", "folds", "fold_file", "seed", "seeds", "output_dir"),
    *("resume_from_checkpoint", "report_to", "run_name", "disable_tqdm", "pictures", "push_to_hub"),
    *("save_total_limit", "use_cpu", "skip_damaged"),
)
WHERE_AND_HOW_PREFIXES = ("hub_", "log", "dataloader_", "trackio_")
"""Options in which the runs of one experiment may differ."""
FILLED_IN = ("do_eval", "greater_is_better")
"""Options that follow from others where nobody names them."""


def chosen_options(*arguments: Any) -> dict[str, Any]:
    """The options that are not at their default, but for those of `WHERE_AND_HOW` and `FILLED_IN`.

    Args:
        arguments: the dataclasses of `parse_arguments`.
    """
    chosen = {}
    for group in arguments:
        for option in fields(group):
            default = option.default_factory() if option.default_factory is not MISSING else option.default
            value = getattr(group, option.name, default)
            default = TRAINING_DEFAULTS.get(option.name, default)
            left_out = option.name in (*WHERE_AND_HOW, *FILLED_IN) or option.name.startswith(WHERE_AND_HOW_PREFIXES)
            filled_in = value == AcceleratorConfig() or ((value is False or value == []) and default in (None, ""))
            if option.init and value != default and not left_out and not filled_in:
                chosen[option.name] = _portable(value)
    return json.loads(json.dumps(chosen, default=str))


def experiment_options(model: ModelArguments, data: DataArguments, training: DRKFTrainingArguments) -> dict[str, Any]:
    """What defines an experiment, on whichever machine it runs: the chosen options and the number of processes."""
    return chosen_options(model, data, training) | {"processes": training.world_size}


def choose_metric(arguments: DRKFTrainingArguments, config: DRKFConfig) -> None:
    """Checks `metric_for_best_model` before anything is trained; multi-label corpora have another default.

    Raises:
        OptionError: there is no such metric.
    """
    if arguments.metric_for_best_model is None:
        return
    name = str(arguments.metric_for_best_model).removeprefix("eval_")
    if config.is_multi_label:
        name = MULTI_LABEL_SELECTION.get(name, name)
    known = [*scalar_names(config.label_names, str(config.problem_type)), "loss", *config.loss_weights]
    if name not in known:
        suggestion = did_you_mean(name, known)
        raise OptionError(f"--metric-for-best-model: no metric {name!r}{suggestion}; there are {', '.join(known)}")
    arguments.metric_for_best_model = name


def _portable(value: Any) -> Any:
    """A folder or file goes by its name alone: where it lies differs from machine to machine, and is nobody's
    business."""
    if isinstance(value, str) and Path(value).exists():
        return Path(value).name
    return value.value if isinstance(value, Enum) else value


class HelpFormatter(ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter):
    """Defaults are shown, and the lines of description and epilog stay as they are."""


def parse_arguments(
    arguments: Sequence[str] | None = None, usage: str | None = None
) -> tuple[ModelArguments, DataArguments, DRKFTrainingArguments]:
    """Reads `[RECIPE.yaml ...] [--option value ...]`; underscores in the name of an option stand for dashes.

    Of several recipes the later ones override the earlier ones, and options on the command line override recipes; the
    fields of `drkf` are merged. A recipe is looked for as a path, then among those of `model_cards/recipes`.

    Raises:
        SystemExit: unknown option (the message suggests the closest known one) or an invalid value.
    """
    remaining = list(sys.argv[1:] if arguments is None else arguments)
    parser = HfArgumentParser(
        (ModelArguments, DataArguments, DRKFTrainingArguments),  # type: ignore[arg-type]
        usage="%(prog)s [RECIPE.yaml ...] [--option value ...]",
        description=usage,
        epilog="metrics:\n" + "\n".join(f"  {name}: {metric.formula}" for name, metric in FORMULAS.items()),
        formatter_class=HelpFormatter,
    )
    parser._option_string_actions["--report-to"].nargs = "+"  # a list, which transformers takes in Python only
    for action in parser._actions:  # transformers gives each option two names: both are read, one is shown
        action.option_strings = [name for name in action.option_strings if "_" not in name]
    options = [action.dest for action in parser._actions]
    recipe: dict[str, Any] = {}
    try:
        while remaining and remaining[0].endswith(RECIPE_SUFFIXES):
            recipe = merge_recipes(recipe, read_recipe(remaining.pop(0), options))
        parser.set_defaults(**TRAINING_DEFAULTS)
        parser.set_defaults(**checked_recipe(recipe, parser, STRUCTURED))
        _require_known_options(parser, remaining)
        model, data, training = parser.parse_args_into_dataclasses(remaining, look_for_args_file=False)
    except (TypeError, ValueError) as error:  # TypeError: of fields of the dataclasses that transformers has inside
        parser.exit(2, f"error: {error}\n")
    if model.drkf:
        model.drkf = (recipe.get("drkf") or {}) | model.drkf
    return model, data, training  # type: ignore[return-value]


def _require_known_options(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    for unknown in parser.parse_known_args(arguments)[1]:
        if unknown.endswith(RECIPE_SUFFIXES):
            raise OptionError(f"{unknown}: recipes stand before all options")
        known = [name for action in parser._actions for name in action.option_strings]
        suggestion = did_you_mean(unknown.partition("=")[0].replace("_", "-"), known)
        raise OptionError(f"unknown option {unknown}{suggestion}; --help lists all")
