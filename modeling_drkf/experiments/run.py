"""One experiment from options to report: which folds are run, and what a run is."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from datasets import concatenate_datasets
from transformers import set_seed

from processing.corpora.column_options import parse_columns
from processing.corpora.corpus import Corpus
from processing.corpora.facts import corpus_name
from processing.corpora.partition import find_fold, folds_of, parts_of, resolve_protocol
from processing.corpora.protocols import Fold, ProtocolError, save_folds
from processing.corpora.registry import is_declaration, read_corpus
from processing.errors_drkf import OptionError
from processing.evaluation.metrics import scalar_names
from processing.printable import printable
from processing.suggestions import did_you_mean

from ..configuration_drkf import DRKFConfig
from ..release.hub import publish
from ..training.arguments import DRKFTrainingArguments
from ..training.optimization import merge_lora
from ..training.processes import require_agreement, require_joined
from ..training.tracking import tracked_as_one_run
from ..training.trainer import DRKFTrainer
from .building import build_model_and_processor
from .consistency import calibrate, score_consistency
from .cross_validation import cross_validate, fingerprint, require_unfinished
from .data_options import DataArguments
from .datasets import Inputs, ModalityDropout, RedrawnTexts, SingleModalityCollator, feature_inputs, row_inputs
from .encoder_states import SpeakerStatistics, measure_usual, state_inputs
from .lock import locked
from .model_options import ModelArguments
from .options import chosen_options
from .report import evaluate_split, package_versions, write_report

SCORED = ("validation", "test")
BY_SPEAKER = "_by_speaker"  # scores where each speaker's other clips are known
MULTI_LABEL_SELECTION = {"unweighted_accuracy": "micro_f1"}


class Terminated(Exception):  # noqa: N818
    """A signal, whose number this holds, ended the training; a checkpoint was saved."""


def run_experiment(
    model: ModelArguments, data: DataArguments, training: DRKFTrainingArguments
) -> "Run | dict[str, Any]":
    """Trains, evaluates and saves model, processor, metrics, predictions, pictures and card into `output_dir`; with
    `folds` or `seeds`, one folder a run and what they have in common.

    Returns: the run; of several, what [`merge_runs`] returns.

    Raises:
        CorpusError: the corpus is damaged. ProtocolError: it has no such division.
        CheckpointError: a checkpoint cannot be written, or not be resumed from. NonFiniteError: a loss is not finite.
        FileError: another process trains in the folder.
        OptionError: an option is invalid, or the folder holds a finished run and nothing says to resume.
        PublishError: everything is saved, but could not be published.
        Terminated: Ctrl-C or SIGTERM ended the training; a checkpoint was saved.
    """
    require_joined(training.world_size)
    require_unfinished(Path(str(training.output_dir)), training)
    with training.main_process_first(desc="reading the corpus"):
        corpus = read_corpus(
            data.corpus,
            str(data.data_dir),
            skip_damaged=data.skip_damaged or (),
            label_map=data.label_map,
            audio_root=data.audio_root,
            columns=parse_columns(data.columns),
            words=model.modality != "speech" and not model.modality_dropout,
        )
    if corpus.report.problems and training.process_index == 0:
        print(printable(corpus.report.table()))
    shares = data.validation_share, data.test_share, data.split_seed
    folds = folds_of(corpus, data.protocol, *shares, data.fold_file)

    def run_fold(fold: Fold, arguments: DRKFTrainingArguments) -> Run:
        run = Run(corpus, fold, [each.name for each in folds], model, data, arguments)
        with locked(run.folder, training.process_index == 0):
            run.execute()
        return run

    if not data.cross_validates:
        return run_fold(find_fold(folds, data.fold), training)
    names: Sequence[str | None] = data.folds or [data.fold]
    chosen = folds if names == ["all"] else [find_fold(folds, name) for name in names]
    if untested := [fold.name for fold in chosen if not fold.test]:
        raise ProtocolError(
            f"--folds and --seeds compare test parts, and fold {untested[0]} has none: add one to the corpus, or "
            "train with one --seed after the other"
        )
    options = experiment_options(model, data, training)
    return cross_validate(run_fold, chosen, data.seeds or [training.seed], training, options)


def experiment_options(model: ModelArguments, data: DataArguments, training: DRKFTrainingArguments) -> dict[str, Any]:
    """What defines an experiment, on whichever machine it runs."""
    return chosen_options(model, data, training) | {"processes": training.world_size}


class Run:
    """One fold, trained with one seed: a model built anew, its training, its scores and its report.

    Args:
        fold_names: all folds of the protocol, for the record.
    """

    def __init__(
        self,
        corpus: Corpus,
        fold: Fold,
        fold_names: Sequence[str],
        model_arguments: ModelArguments,
        data_arguments: DataArguments,
        training_arguments: DRKFTrainingArguments,
    ):
        self.corpus, self.fold, self.fold_names = corpus, fold, list(fold_names)
        self.model_arguments, self.data_arguments = model_arguments, data_arguments
        self.training_arguments = training_arguments
        self.options = experiment_options(
            model_arguments, data_arguments, training_arguments
        )  # before any is filled in
        self.folder = Path(str(training_arguments.output_dir))
        self.scores: dict[str, dict[str, Any]] = {}
        self.scores_by_speaker: dict[str, dict[str, Any]] = {}
        self.train_seconds: float | None = None
        self.published: str | None = None

    def execute(self) -> None:
        """Trains, scores and reports; see [`run_experiment`] for errors."""
        set_seed(self.training_arguments.seed)
        self.parts = self._parts()
        texts = [[part["utterance_id"][:], part["text"][:]] for part in self.parts.values()]
        require_agreement("the corpus", [self.corpus.label_names, texts])
        self.model, self.processor = build_model_and_processor(
            self.model_arguments, self.corpus.label_names, self.corpus.problem_type, self.parts["train"]
        )
        choose_metric(self.training_arguments, self.model.config)  # type: ignore[arg-type]
        self.initial_weights = fingerprint(self.model)
        self.inputs  # noqa: B018  what is usual in training is measured before the trainer sees the model
        with tracked_as_one_run(self.trainer):
            self._train()
            self._score()
        if self.trainer.is_world_process_zero():
            self._report()

    def _parts(self) -> dict[str, Any]:
        parts = parts_of(self.corpus, self.fold)
        if self.data_arguments.selection == "test":
            if "test" not in parts:
                raise ProtocolError(f"--selection test: fold {self.fold.name} has no test part")
            parts["train"] = concatenate_datasets([parts["train"], parts.pop("validation")])
        return parts

    @cached_property
    def inputs(self) -> Inputs:
        """What the trainer reads: rows, features that are kept, or states of frozen encoders."""
        model, data = self.model_arguments, self.data_arguments
        standardizes = self.model.config.standardize_states
        if standardizes and not (data.cache_features and model.freezes_both):
            raise OptionError(
                "standardize_states measures what the encoders say once: add --freeze_speech_encoder, "
                "--freeze_text_encoder and --cache_features"
            )
        if model.speaker_statistics and not (standardizes and self.model.config.speech_statistics):
            raise OptionError(
                '--speaker_statistics needs {"standardize_states": true, "speech_statistics": true} in --drkf'
            )
        if data.cache_features and model.freezes_both:
            inputs = state_inputs(self.parts, self.model, self.processor)
            if standardizes:
                measure_usual(self.model.drkf.modality_encoding, inputs.parts["train"])
        else:
            inputs = (
                feature_inputs(self.parts, self.processor)
                if data.cache_features
                else row_inputs(self.parts, self.processor)
            )
        if model.modality != "both":
            blank = inputs.blanks["text" if model.modality == "speech" else "speech"]
            inputs = inputs._replace(collator=SingleModalityCollator(inputs.collator, blank))
        return inputs

    @cached_property
    def training_set(self) -> Any:
        """The training part as an epoch sees it."""
        seed, dataset = self.training_arguments.seed, self.inputs.parts["train"]
        if self.model_arguments.speaker_statistics:
            dataset = self._told_speakers("train", self.model_arguments.speaker_statistics)
        worded = [bool(text) for text in self.parts["train"]["text"]]
        if self.data_arguments.redraw_texts:
            dataset = RedrawnTexts(dataset, self._labels("train"), seed, worded)
            worded = dataset.worded
        if dropout := self.model.config.modality_dropout:
            share = self.model_arguments.dropped_text_share
            dataset = ModalityDropout(dataset, self.inputs.blanks, dropout, seed, share, worded)
        return dataset

    def _told_speakers(self, part: str, share: float = 1.0) -> SpeakerStatistics:
        usual: Any = self.model.drkf.modality_encoding.speech_standardization.usual  # type: ignore[union-attr]
        return SpeakerStatistics(self.inputs.parts[part], usual, share, self.training_arguments.seed)

    @cached_property
    def trainer(self) -> DRKFTrainer:
        return DRKFTrainer(
            self.model,
            self.training_arguments,
            train_dataset=self.training_set,
            eval_dataset=self.inputs.parts[self.data_arguments.selection],
            processing_class=self.processor,
            data_collator=self.inputs.collator,
        )

    def _train(self) -> None:
        outcome = self.trainer.train(resume_from_checkpoint=_checkpoint(self.training_arguments))
        if self.trainer.interrupted:
            raise Terminated(self.trainer.interrupted)
        self.train_seconds = outcome.metrics["train_runtime"]
        if self.model_arguments.lora is not None:
            merge_lora(self.model)
        if self.model.config.emotion_discrimination and "validation" in self.parts:
            calibrate(self.trainer, *self.labelled("validation"))
        self.trainer.save_model(_internal_call=True)  # published by the report, with its card
        self.trainer.save_state()

    def _score(self) -> None:
        for split in (split for split in SCORED if split in self.parts):
            ids, selection = self.parts[split]["utterance_id"], self.data_arguments.selection
            self.scores[split] = evaluate_split(
                self.trainer, self.inputs.parts[split], ids, split, self.folder, self.fold.name, selection
            )
            if found := score_consistency(self.trainer, *self.labelled(split)):
                self.scores[split]["consistency"] = found
            if self.model_arguments.speaker_statistics:
                told, name = self._told_speakers(split), f"{split}{BY_SPEAKER}"
                self.scores_by_speaker[name] = evaluate_split(
                    self.trainer, told, ids, name, self.folder, self.fold.name, selection
                )

    def labelled(self, split: str) -> tuple[Any, np.ndarray, int]:
        """Samples of a part, their labels (class ids or label sets), and the seed."""
        return self.inputs.parts[split], self._labels(split), self.training_arguments.seed

    def _labels(self, split: str) -> np.ndarray:
        part = self.parts[split]
        labels = np.asarray(part["label" if "label" in part.column_names else "labels"][:])
        if labels.ndim == 2 and not self.model.config.is_multi_label:
            labels = labels.argmax(axis=1)
        return labels

    def _report(self) -> None:
        save_folds([self.fold], self.folder / "fold.json")
        write_report(self.trainer, self.record(), self.scores, self.folder, encoder_names(self.model_arguments))
        training = self.training_arguments
        if training.push_to_hub:
            self.published = publish(
                self.folder,
                str(self.trainer.hub_model_id),
                token=training.hub_token,
                revision=training.hub_revision,
                private=training.hub_private_repo is not False,
                message=f"DRKF on {self.corpus_name}, fold {self.fold.name}, seed {training.seed}",
            ).commit_url

    @property
    def corpus_name(self) -> str:
        return corpus_name(self.corpus.name, str(self.data_arguments.data_dir))

    def record(self) -> dict[str, Any]:
        """What `metrics.json` holds."""
        data, training = self.data_arguments, self.training_arguments
        return {
            "corpus": self.corpus_name,
            "corpus_facts": self.corpus.facts if is_declaration(data.corpus) else {},
            "modality": self.model_arguments.modality,
            "label_names": self.corpus.label_names,
            "protocol": "fold_file" if data.fold_file else resolve_protocol(self.corpus, data.protocol),
            "folds": self.fold_names,
            "selection": data.selection,
            "seed": training.seed,
            "multi_label": self.model.config.is_multi_label,
            "selection_metric": str(training.metric_for_best_model),
            "fold": {
                "name": self.fold.name,
                "speaker_disjoint": self.fold.speaker_disjoint,
                **{split: len(part) for split, part in self.parts.items()},
            },
            **self.scores,
            **self.scores_by_speaker,
            "excluded": self.corpus.report.excluded,
            "excluded_labels": self.corpus.report.excluded_labels,
            "options": self.options,
            "initial_weights": self.initial_weights,
            "train_seconds": self.train_seconds,
            "versions": package_versions(),
        }


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
        raise OptionError(f"--metric_for_best_model: no metric {name!r}{suggestion}; there are {', '.join(known)}")
    arguments.metric_for_best_model = name


def encoder_names(arguments: ModelArguments) -> dict[str, str]:
    """What the speech and the text encoder were made from, under `audio` and `text`."""
    if arguments.model_name_or_path:
        return dict.fromkeys(("audio", "text"), f"of {arguments.model_name_or_path}")
    encoders: dict[str, Any] = {"audio": arguments.audio_encoder, "text": arguments.text_encoder}
    return {
        name: encoder if isinstance(encoder, str) else f"{encoder['model_type']} (trained from scratch)"
        for name, encoder in encoders.items()
    }


def _checkpoint(arguments: DRKFTrainingArguments) -> str | bool | None:
    """What `--resume_from_checkpoint` says: true, false, or a checkpoint's folder."""
    value = arguments.resume_from_checkpoint
    return {"true": True, "yes": True, "false": False, "no": False}.get(str(value).lower(), value)
