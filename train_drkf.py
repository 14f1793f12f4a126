"""Trains DRKF on a corpus and scores it once on the test part.

    python train_drkf.py paper.yaml --manifest clips.csv --output_dir runs/mine
    python train_drkf.py demo.yaml --manifest clips.csv --num_train_epochs 3 --learning_rate 5e-4
    python train_drkf.py paper.yaml --manifest clips.csv --protocol leave_one_speaker_out --fold anna
    python train_drkf.py paper.yaml --manifest clips.csv --output_dir runs/mine --resume_from_checkpoint true
    accelerate launch train_drkf.py paper.yaml --manifest clips.csv --gather_across_processes

A recipe is a YAML file of the options below (model_cards/recipes holds some); options on the command line override it.
The best epoch is chosen on the validation part; the test part is scored once, at the end. Ctrl-C ends training after
the running step with a checkpoint to resume from.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from transformers import set_seed
from transformers.trainer_utils import get_last_checkpoint

from modeling_drkf import DRKFTrainer, DRKFTrainingArguments
from modeling_drkf.arguments_drkf import DataArguments, ModelArguments, parse_arguments
from modeling_drkf.building_drkf import CachedFeatures, SingleModalityCollator, build_model_and_processor, pad_features
from modeling_drkf.reporting_drkf import evaluate_split, write_report
from processing.collator_drkf import DRKFDataCollator
from processing.corpora import CorpusError, read_corpus
from processing.partition_drkf import partition
from processing.protocols_drkf import ProtocolError, save_folds

INTERRUPTED = 130
MULTI_LABEL_SELECTION = {"unweighted_accuracy": "micro_f1"}


def train(
    model_arguments: ModelArguments, data_arguments: DataArguments, training_arguments: DRKFTrainingArguments
) -> dict[str, Any]:
    """Trains, evaluates and saves model, processor, metrics, predictions, pictures and card into `output_dir`.

    Returns: the metrics of each scored split, the fold, and the seconds that training took.

    Raises:
        CorpusError: the corpus is damaged. ProtocolError: it cannot be divided as asked for.
        KeyboardInterrupt: Ctrl-C ended the training; a checkpoint was saved.
    """
    set_seed(training_arguments.seed)
    folder = Path(str(training_arguments.output_dir))
    corpus = read_corpus(
        data_arguments.corpus,
        str(data_arguments.data_dir),
        skip_damaged=data_arguments.skip_damaged or (),
        label_map=data_arguments.label_map,
    )
    if corpus.problem_type == "multi_label_classification":
        training_arguments.metric_for_best_model = MULTI_LABEL_SELECTION.get(
            str(training_arguments.metric_for_best_model), training_arguments.metric_for_best_model
        )
    fold, parts = partition(
        corpus,
        data_arguments.protocol,
        data_arguments.fold,
        data_arguments.validation_share,
        data_arguments.test_share,
        data_arguments.split_seed,
        data_arguments.fold_file,
    )
    model, processor = build_model_and_processor(
        model_arguments, corpus.label_names, corpus.problem_type, parts["train"]["text"]
    )
    collator: Callable[..., Any] = (
        DRKFDataCollator(processor)
        if model_arguments.modality == "both"
        else SingleModalityCollator(processor, model_arguments.modality)
    )
    datasets: dict[str, Any] = dict(parts)
    if data_arguments.cache_features:
        datasets = {split: CachedFeatures(part, collator) for split, part in parts.items()}
        collator = partial(pad_features, pad_token_id=processor.tokenizer.pad_token_id)
    trainer = DRKFTrainer(
        model,
        training_arguments,
        train_dataset=datasets["train"],
        eval_dataset=datasets["validation"],
        processing_class=processor,
        data_collator=collator,
    )
    outcome = trainer.train(resume_from_checkpoint=_checkpoint(training_arguments))
    if trainer.interrupted:
        raise KeyboardInterrupt
    results = {
        "corpus": Path(data_arguments.manifest).stem if data_arguments.manifest else corpus.name,
        "excluded": corpus.report.excluded,
        "fold": fold,
        "train_seconds": outcome.metrics["train_runtime"],
    }
    trainer.save_model()
    trainer.save_state()
    for split in ("validation", "test"):
        if split in parts:
            results[split] = evaluate_split(
                trainer, datasets[split], parts[split]["utterance_id"], split, folder, fold.name
            )
    if trainer.is_world_process_zero():
        save_folds([fold], folder / "fold.json")
        write_report(trainer, results, folder, _encoders(model_arguments))
    return results


def _checkpoint(arguments: DRKFTrainingArguments) -> str | bool | None:
    """`true` means the last checkpoint of the output folder, as with the Trainer; it is an error if there is none."""
    asked = arguments.resume_from_checkpoint
    if asked is None or str(asked).lower() in ("false", "no"):
        return None
    if str(asked).lower() not in ("true", "yes"):
        return asked
    if (last := get_last_checkpoint(arguments.output_dir)) is None:
        raise ValueError(f"nothing to resume from: {arguments.output_dir} has no checkpoint")
    return last


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
    except (CorpusError, ProtocolError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"Stopped. Go on with the same command and --resume_from_checkpoint true ({folder}).", file=sys.stderr)
        return INTERRUPTED
    for split in ("validation", "test"):
        if split in results:
            shown = {name: value for name, value in results[split].items() if isinstance(value, float)}
            print(f"{split}: " + ", ".join(f"{name} {value:.3f}" for name, value in shown.items()))
    print(f"Model, metrics and card: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
