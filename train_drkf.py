"""Trains DRKF on a corpus and scores it once on the test part.

    python train_drkf.py paper.yaml --manifest clips.csv --output_dir runs/mine
    python train_drkf.py demo.yaml --manifest clips.csv --num_train_epochs 3 --learning_rate 5e-4
    python train_drkf.py paper.yaml --manifest clips.csv --protocol leave_one_speaker_out --fold anna
    python train_drkf.py iemocap.yaml --data_dir IEMOCAP_full_release --folds all --seeds 0 1 2
    python train_drkf.py iemocap.yaml table4_cross.yaml --data_dir IEMOCAP_full_release --fold 3
    python train_drkf.py paper.yaml --manifest clips.csv --output_dir runs/mine --resume_from_checkpoint true
    accelerate launch train_drkf.py paper.yaml --manifest clips.csv --gather_across_processes
    python train_drkf.py paper.yaml --manifest clips.csv --push_to_hub --hub_model_id me/drkf-mine

A recipe is a YAML file of the options below (model_cards/recipes holds some), which may extend another one; of several
recipes the later ones override the earlier ones, and options on the command line override them all. The best epoch is
chosen on the validation part; the test part is scored once, at the end. Ctrl-C or SIGTERM ends training after the
running step with a checkpoint to resume from. `drkf results` merges folds that were trained apart; `drkf ablate` runs
Table 4.

`--resume_from_checkpoint true` goes on from the last complete checkpoint of the output folder and starts from the
beginning where there is none: one command serves a job that is submitted again. Exit status: 0 done; 1 an error, told
in its last line; 2 wrong options; 130 Ctrl-C and 143 SIGTERM, after a checkpoint. `accelerate launch` makes 1 of each
that is not 0.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from datasets import concatenate_datasets
from huggingface_hub.errors import StrictDataclassError
from rich.console import Console
from transformers import set_seed

from modeling_drkf import DRKFTrainer, DRKFTrainingArguments
from modeling_drkf.configuration_drkf import DRKFConfig
from modeling_drkf.experiments.building import (
    CachedFeatures,
    ModalityDropout,
    SingleModalityCollator,
    blank_features,
    blank_rows,
    build_model_and_processor,
    pad_features,
)
from modeling_drkf.experiments.cross_validation import cross_validate, fingerprint, require_unfinished
from modeling_drkf.experiments.options import DataArguments, ModelArguments, chosen_options, parse_arguments
from modeling_drkf.experiments.recipes import did_you_mean
from modeling_drkf.experiments.report import evaluate_split, write_report
from modeling_drkf.release.hub import publish
from modeling_drkf.training.optimization import merge_lora
from modeling_drkf.training.processes import require_agreement, require_joined
from modeling_drkf.training.tracking import tracked_as_one_run
from processing.collator import DRKFDataCollator
from processing.corpora.corpus import Corpus
from processing.corpora.facts import corpus_name
from processing.corpora.partition import find_fold, folds_of, parts_of, resolve_protocol
from processing.corpora.protocols import Fold, ProtocolError, save_folds
from processing.corpora.registry import read_corpus
from processing.corpora.report import CorpusError
from processing.evaluation.metrics import scalar_names
from processing.evaluation.results import SELECTED_ON_TEST, ResultsError, results_table

SIGNALLED = 128
MULTI_LABEL_SELECTION = {"unweighted_accuracy": "micro_f1"}


class Terminated(Exception):  # noqa: N818
    """A signal, whose number this holds, ended the training; a checkpoint was saved."""


def train(
    model_arguments: ModelArguments, data_arguments: DataArguments, training_arguments: DRKFTrainingArguments
) -> dict[str, Any]:
    """Trains, evaluates and saves model, processor, metrics, predictions, pictures and card into `output_dir`; with
    `folds` or `seeds`, one folder a run and what they have in common.

    Returns: of one run, the metrics of each scored split, the fold, and the seconds that training took; of several,
        what `processing.evaluation.results.merge_runs` returns.

    Raises:
        CorpusError: the corpus is damaged. ProtocolError: it cannot be divided as asked for.
        CheckpointError: a checkpoint cannot be written, or not be resumed from. NonFiniteError: a loss is not finite.
        Terminated: Ctrl-C or SIGTERM ended the training; a checkpoint was saved.
        ValueError: an option cannot be meant, or the folder holds a finished run and nothing says to resume.
        PublishError: everything is saved, but could not be published as asked for.
    """
    require_joined(training_arguments.world_size)
    require_unfinished(Path(str(training_arguments.output_dir)), training_arguments)
    with training_arguments.main_process_first(desc="reading the corpus"):
        corpus = read_corpus(
            data_arguments.corpus,
            str(data_arguments.data_dir),
            skip_damaged=data_arguments.skip_damaged or (),
            label_map=data_arguments.label_map,
        )
    if corpus.report.problems and training_arguments.process_index == 0:
        print(corpus.report.table())
    folds = folds_of(
        corpus,
        data_arguments.protocol,
        data_arguments.validation_share,
        data_arguments.test_share,
        data_arguments.split_seed,
        data_arguments.fold_file,
    )
    names = [fold.name for fold in folds]

    def run_fold(fold: Fold, arguments: DRKFTrainingArguments) -> dict[str, Any]:
        return train_fold(corpus, fold, names, model_arguments, data_arguments, arguments)

    if not data_arguments.cross_validates:
        return run_fold(find_fold(folds, data_arguments.fold), training_arguments)
    wanted: Sequence[str | None] = data_arguments.folds or [data_arguments.fold]
    chosen = folds if wanted == ["all"] else [find_fold(folds, name) for name in wanted]
    if untested := [fold.name for fold in chosen if not fold.test]:
        raise ProtocolError(
            f"--folds and --seeds compare test parts, and fold {untested[0]} has none: add one to the corpus, or "
            "train with one --seed after the other"
        )
    seeds = data_arguments.seeds or [training_arguments.seed]
    options = _options(model_arguments, data_arguments, training_arguments)
    return cross_validate(run_fold, chosen, seeds, training_arguments, options)


def train_fold(
    corpus: Corpus,
    fold: Fold,
    fold_names: Sequence[str],
    model_arguments: ModelArguments,
    data_arguments: DataArguments,
    training_arguments: DRKFTrainingArguments,
) -> dict[str, Any]:
    """One run: a model built anew, trained on one fold and scored on its test part.

    Args:
        fold_names: all folds of the protocol, for the record.
    """
    options = _options(model_arguments, data_arguments, training_arguments)  # as given: some are filled in below
    set_seed(training_arguments.seed)
    folder = Path(str(training_arguments.output_dir))
    parts = parts_of(corpus, fold)
    if data_arguments.selection == "test":
        if "test" not in parts:
            raise ProtocolError(f"--selection test: fold {fold.name} has no test part")
        parts["train"] = concatenate_datasets([parts["train"], parts.pop("validation")])
    require_agreement(
        "the corpus", [corpus.label_names, [[part["utterance_id"][:], part["text"][:]] for part in parts.values()]]
    )
    model, processor = build_model_and_processor(
        model_arguments, corpus.label_names, corpus.problem_type, parts["train"]
    )
    _choose_metric(training_arguments, model.config)  # type: ignore[arg-type]
    initial_weights = fingerprint(model)
    collator: Callable[..., Any] = (
        DRKFDataCollator(processor)
        if model_arguments.modality == "both"
        else SingleModalityCollator(processor, model_arguments.modality)
    )
    datasets: dict[str, Any] = dict(parts)
    if data_arguments.cache_features:
        datasets = {split: CachedFeatures(part, collator) for split, part in parts.items()}
        collator = partial(pad_features, pad_token_id=processor.tokenizer.pad_token_id)
    if model.config.modality_dropout:
        blanks = blank_features(processor) if data_arguments.cache_features else blank_rows(processor)
        seed, probability = training_arguments.seed, model.config.modality_dropout
        datasets["train"] = ModalityDropout(datasets["train"], blanks, probability, seed)
    trainer = DRKFTrainer(
        model,
        training_arguments,
        train_dataset=datasets["train"],
        eval_dataset=datasets[data_arguments.selection],
        processing_class=processor,
        data_collator=collator,
    )
    with tracked_as_one_run(trainer):
        outcome = trainer.train(resume_from_checkpoint=_checkpoint(training_arguments))
        if trainer.interrupted:
            raise Terminated(trainer.interrupted)
        if model_arguments.lora is not None:
            merge_lora(model)
        trainer.save_model(_internal_call=True)  # published below, with its card
        trainer.save_state()
        scores = {
            split: evaluate_split(
                trainer,
                datasets[split],
                parts[split]["utterance_id"],
                split,
                folder,
                fold.name,
                data_arguments.selection,
            )
            for split in ("validation", "test")
            if split in parts
        }
    results = {
        "corpus": corpus_name(corpus.name, str(data_arguments.data_dir)),
        "modality": model_arguments.modality,
        "label_names": corpus.label_names,
        "excluded": corpus.report.excluded,
        "protocol": "fold_file" if data_arguments.fold_file else resolve_protocol(corpus, data_arguments.protocol),
        "fold": fold,
        "folds": list(fold_names),
        "sizes": {split: len(part) for split, part in parts.items()},
        "selection": data_arguments.selection,
        "seed": training_arguments.seed,
        "initial_weights": initial_weights,
        "options": options,
        "train_seconds": outcome.metrics["train_runtime"],
        **scores,
    }
    if trainer.is_world_process_zero():
        save_folds([fold], folder / "fold.json")
        write_report(trainer, results, folder, _encoders(model_arguments))
        if training_arguments.push_to_hub:
            results["published"] = publish(
                folder,
                str(trainer.hub_model_id),
                token=training_arguments.hub_token,
                revision=training_arguments.hub_revision,
                private=training_arguments.hub_private_repo is not False,
                message=f"DRKF on {results['corpus']}, fold {fold.name}, seed {training_arguments.seed}",
            ).commit_url
    return results


def _options(model: ModelArguments, data: DataArguments, training: DRKFTrainingArguments) -> dict[str, Any]:
    return chosen_options(model, data, training) | {"processes": training.world_size}


def _choose_metric(arguments: DRKFTrainingArguments, config: DRKFConfig) -> None:
    """Checks `metric_for_best_model` before anything is trained; multi-label corpora have another default."""
    if arguments.metric_for_best_model is None:
        return
    asked = str(arguments.metric_for_best_model).removeprefix("eval_")
    if config.is_multi_label:
        asked = MULTI_LABEL_SELECTION.get(asked, asked)
    known = [*scalar_names(config.label_names, str(config.problem_type)), "loss", *config.loss_weights]
    if asked not in known:
        suggestion = did_you_mean(asked, known)
        raise ValueError(f"--metric_for_best_model: no metric {asked!r}{suggestion}; there are {', '.join(known)}")
    arguments.metric_for_best_model = asked


def _checkpoint(arguments: DRKFTrainingArguments) -> str | bool | None:
    """What `--resume_from_checkpoint` says: true, false, or a checkpoint's folder."""
    asked = arguments.resume_from_checkpoint
    return {"true": True, "yes": True, "false": False, "no": False}.get(str(asked).lower(), asked)


def _encoders(arguments: ModelArguments) -> dict[str, str]:
    if arguments.model_name_or_path:
        return dict.fromkeys(("audio", "text"), f"of {arguments.model_name_or_path}")
    return {
        name: encoder if isinstance(encoder, str) else f"{encoder['model_type']} (trained from scratch)"  # type: ignore[index]
        for name, encoder in (("audio", arguments.audio_encoder), ("text", arguments.text_encoder))
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parsed = parse_arguments(arguments, usage=__doc__)
    folder = parsed[-1].output_dir
    try:
        results = train(*parsed)
    except (
        *(CorpusError, ProtocolError, ResultsError, StrictDataclassError),
        *(FloatingPointError, ValueError, OSError, ImportError),
    ) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Terminated as stop:
        print(f"Stopped. Go on with the same command and --resume_from_checkpoint true ({folder}).", file=sys.stderr)
        return SIGNALLED + stop.args[0]
    if not parsed[-1].should_save:
        return 0
    if "runs" in results:
        Console().print(results_table(results))
        print(f"Runs, table and card: {folder}")
        return 0
    if parsed[1].selection == "test":
        print(f"warning: {SELECTED_ON_TEST}")
    for split in ("validation", "test"):
        if split in results:
            shown = {name: value for name, value in results[split].items() if isinstance(value, float)}
            print(f"{split}: " + ", ".join(f"{name} {value:.3f}" for name, value in shown.items()))
    print(f"Model, metrics and card: {folder}")
    if "published" in results:
        print(f"Published: {results['published']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
