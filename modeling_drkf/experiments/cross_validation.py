"""Cross-validation and ablations: many runs of one experiment, each in a folder of its own."""

import copy
import gc
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from torch import nn

from processing.corpora.folds import Fold
from processing.errors_drkf import OptionError
from processing.evaluation.results import is_finished, merge_runs, require_same_options, run_folder_name, write_results

from ..training.arguments import DRKFTrainingArguments
from .report import write_cross_validation_report

RunFold = Callable[[Fold, DRKFTrainingArguments], Any]


def cross_validate(
    run_fold: RunFold,
    folds: Sequence[Fold],
    seeds: Sequence[int],
    arguments: DRKFTrainingArguments,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Trains and scores every fold with every seed, and merges what they measured.

    A finished run is kept and an unfinished one is resumed where `resume_from_checkpoint` is set.

    Args:
        run_fold: trains one fold with the training arguments that it is given. It must build everything itself:
            nothing is carried over from fold to fold.
        arguments: of all runs; each gets its own `seed`, `run_name` and `output_dir`, which is
            `<output_dir>/<fold>-seed<seed>`.
        options: what defines the experiment; a finished run is kept only if it was made with the same.

    Returns: see `merge_runs`; also written to `output_dir`.

    Raises:
        ValueError: a run is finished already and nothing said to resume; nothing is overwritten. Or the names of two
            folds make the same folder, or that of one no Hub repository.
        ResultsError: a run was finished with other options.
    """
    folder = Path(str(arguments.output_dir))
    runs = {(fold, seed): folder / run_folder_name(fold.name, seed) for seed in seeds for fold in folds}
    if len(set(runs.values())) < len(runs):
        raise OptionError(
            f"some of the folds {', '.join(fold.name for fold in folds)} would share a folder: name their speakers or "
            "sessions by letters and digits that differ"
        )
    for run in runs.values():
        require_unfinished(run, arguments)
    if arguments.push_to_hub:
        _require_repository_names(_arguments_of(arguments, run, seed) for (_, seed), run in runs.items())
    for run in filter(is_finished, runs.values()):
        require_same_options(run, options)
    for number, ((fold, seed), run) in enumerate(runs.items(), 1):
        if is_finished(run):
            print(f"[{number}/{len(runs)}] fold {fold.name}, seed {seed}: done before")
            continue
        print(f"[{number}/{len(runs)}] fold {fold.name}, seed {seed}")
        run_fold(fold, _arguments_of(arguments, run, seed))
        gc.collect()
    results = merge_runs(list(runs.values()))
    if arguments.process_index == 0:
        write_results(results, folder)
        write_cross_validation_report(results, folder, list(runs.values()), arguments.pictures)
    return results


def require_unfinished(run: Path, arguments: DRKFTrainingArguments) -> None:
    """ValueError if that folder holds a finished run and nothing says to resume: it would be overwritten."""
    if is_finished(run) and not resumes(arguments):
        raise OptionError(
            f"{run} holds a finished run: add --resume-from-checkpoint true to go on from it, or choose another "
            "--output-dir"
        )


def fingerprint(model: nn.Module) -> str:
    """SHA-256 of all weights, by which runs show that they started from the same ones."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def resumes(arguments: DRKFTrainingArguments) -> bool:
    return str(arguments.resume_from_checkpoint).lower() not in ("none", "false", "no")


def _require_repository_names(runs: Iterable[DRKFTrainingArguments]) -> None:
    for run in runs:
        try:
            validate_repo_id(str(run.hub_model_id))
        except HFValidationError as error:
            raise OptionError(
                f"{error} Leave --push-to-hub out, then: drkf push {run.output_dir} OWNER/NAME"
            ) from error


def _arguments_of(arguments: DRKFTrainingArguments, run: Path, seed: int) -> DRKFTrainingArguments:
    own = copy.copy(arguments)
    own.output_dir, own.seed, own.hub_token = str(run), seed, arguments.hub_token
    own.run_name = f"{arguments.run_name or run.parent.name}-{run.name}"
    if arguments.push_to_hub:
        own.hub_model_id = f"{arguments.hub_model_id or run.parent.name}-{run.name}"
    return own
