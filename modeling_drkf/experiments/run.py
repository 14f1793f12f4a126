"""One run: a fold that is trained, scored and reported with one seed."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets
from transformers import set_seed

from processing.copies import at_speed, under_condition, with_copies
from processing.corpora.corpus import Corpus
from processing.corpora.facts import corpus_name
from processing.corpora.folds import Fold, ProtocolError, save_folds
from processing.corpora.protocols import parts_of, resolve_protocol
from processing.corpora.registry import is_declaration
from processing.corpora.training_data import TrainingData
from processing.errors_drkf import DRKFError, OptionError
from processing.evaluation.records import BY_SPEAKER

from ..release.hub import publish
from ..release.loading import training_data_of
from ..training.arguments import DRKFTrainingArguments
from ..training.callbacks import tracked_as_one_run
from ..training.optimization import merge_lora
from ..training.processes import fitting_threads, require_agreement
from ..training.trainer import DRKFTrainer
from .building import build_model_and_processor
from .consistency import calibrate, score_consistency
from .cross_validation import fingerprint
from .data_options import DataArguments
from .datasets import (
    Inputs,
    ModalityDropout,
    RedrawnTexts,
    SingleModalityCollator,
    feature_inputs,
    row_inputs,
)
from .encoder_states import SpeakerStatistics, measure_training_moments, state_inputs
from .model_options import ModelArguments
from .more_texts import MoreTexts, read_more_texts
from .options import choose_metric, experiment_options
from .report import evaluate_split, package_versions, write_report

SCORED = ("validation", "test")


class Terminated(Exception):  # noqa: N818
    """A signal, whose number this holds, ended the training; a checkpoint was saved."""


class Run:
    """One fold, trained with one seed: a new model, its training, its scores and its report.

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
        self.options = experiment_options(model_arguments, data_arguments, training_arguments)  # as they are given
        self.folder = Path(str(training_arguments.output_dir))
        self.scores: dict[str, dict[str, Any]] = {}
        self.scores_by_speaker: dict[str, dict[str, Any]] = {}
        self.train_seconds: float | None = None
        self.published: str | None = None

    def execute(self) -> None:
        """Trains, scores and reports; see [`run_experiment`] for errors."""
        set_seed(self.training_arguments.seed)
        self.parts = self._parts()
        self.more_texts = self._more_texts()
        texts = [[part["utterance_id"][:], part["text"][:]] for part in self.parts.values()]
        require_agreement("the corpus", [self.corpus.label_names, texts])
        self.model, self.processor = build_model_and_processor(
            self.model_arguments, self.corpus.label_names, self.corpus.problem_type, self.parts["train"]
        )
        choose_metric(self.training_arguments, self.model.config)  # type: ignore[arg-type]
        self.initial_weights = fingerprint(self.model)
        self.inputs = self._prepared_inputs()
        with fitting_threads(self.model) as self.threads, tracked_as_one_run(self.trainer):
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
    def training_rows(self) -> Any:
        """The training part, with the copies of its clips that are to train, too."""
        return with_copies(self.parts["train"], self.data_arguments.speeds or (), self.data_arguments.conditions)

    def _prepared_inputs(self) -> Inputs:
        """What the trainer reads: rows, features that are kept, or states of frozen encoders. Means and deviations of
        the states in the training part become the model's; of encoders that train, those at the start."""
        model, data, parts = self.model_arguments, self.data_arguments, {**self.parts, "train": self.training_rows}
        standardizes, keeps_states = self.model.config.standardize_states, data.cache_features and model.freezes_both
        if model.speaker_statistics and not (keeps_states and standardizes and self.model.config.speech_statistics):
            raise OptionError(
                "--speaker-statistics needs encoders that are frozen, --cache-features and "
                '{"standardize_states": true, "speech_statistics": true} in --drkf'
            )
        if keeps_states or standardizes:
            inputs = state_inputs(self._encoded_rows(), parts, self.model, self.processor)
        if standardizes:
            measure_training_moments(self.model.drkf.modality_encoding, inputs.parts["train"])
        if not keeps_states:
            inputs = (
                feature_inputs(parts, self.processor) if data.cache_features else row_inputs(parts, self.processor)
            )
        if model.modality != "both":
            blank = inputs.blanks["text" if model.modality == "speech" else "speech"]
            inputs = inputs._replace(collator=SingleModalityCollator(inputs.collator, blank))
        return inputs

    def _encoded_rows(self) -> list[Dataset]:
        """The corpus and its copies, whichever parts a fold takes of them; babble is that of the training part."""
        corpus, data = concatenate_datasets(list(self.parts.values())), self.data_arguments
        return [corpus, *(at_speed(corpus, speed) for speed in data.speeds or ())] + [
            under_condition(self.parts["train"] if condition.kind == "babble" else corpus, condition)
            for condition in data.conditions
        ]

    def _more_texts(self) -> MoreTexts | None:
        data = self.data_arguments
        if data.more_texts is None:
            return None
        if self.corpus.problem_type == "multi_label_classification":
            raise OptionError("--more-texts has one label a line, and the corpus has sets of labels")
        evaluated = [text for part in SCORED if part in self.parts for text in self.parts[part]["text"][:]]
        label_map = data.label_map if isinstance(data.label_map, dict) else {}
        return read_more_texts(data.more_texts, self.corpus.label_names, label_map, evaluated)

    @cached_property
    def training_set(self) -> Any:
        """The training part as an epoch sees it."""
        seed, dataset = self.training_arguments.seed, self.inputs.parts["train"]
        if self.model_arguments.speaker_statistics:
            dataset = self.with_speaker_statistics("train", self.model_arguments.speaker_statistics)
        worded = [bool(text) for text in self.training_rows["text"]]
        if self.data_arguments.redraw_texts:
            labels = self._labels(self.training_rows)
            lines = self.more_texts
            more = ((), None) if lines is None else (self.inputs.text_samples(lines.texts), lines.labels)
            dataset = RedrawnTexts(dataset, labels, seed, worded, *more)
            worded = dataset.worded
        if dropout := self.model.config.modality_dropout:
            share = self.model_arguments.dropped_text_share
            dataset = ModalityDropout(dataset, self.inputs.blanks, dropout, seed, share, worded)
        return dataset

    def with_speaker_statistics(self, part: str, share: float = 1.0) -> SpeakerStatistics:
        """Samples of a part, of which a share is standardised over their speaker's other clips."""
        moments: Any = self.model.drkf.modality_encoding.speech_standardization.usual  # type: ignore[union-attr]
        return SpeakerStatistics(self.inputs.parts[part], moments, share, self.training_arguments.seed)

    @cached_property
    def trainer(self) -> DRKFTrainer:
        trained, watched = self.training_set, self.inputs.parts[self.data_arguments.selection]
        try:
            return DRKFTrainer(
                self.model,
                self.training_arguments,
                train_dataset=trained,
                eval_dataset=watched,
                processing_class=self.processor,
                data_collator=self.inputs.collator,
            )
        except (TypeError, ValueError) as error:  # of an option that only the Trainer looks at
            raise error if isinstance(error, DRKFError) else OptionError(str(error)) from error

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
            ids, selection = self.parts[split]["utterance_id"], self.selection
            self.scores[split] = evaluate_split(
                self.trainer, self.inputs.parts[split], ids, split, self.folder, self.fold.name, selection
            )
            if found := score_consistency(self.trainer, *self.labelled(split)):
                self.scores[split]["consistency"] = found
            if self.model_arguments.speaker_statistics:
                samples, name = self.with_speaker_statistics(split), f"{split}{BY_SPEAKER}"
                self.scores_by_speaker[name] = evaluate_split(
                    self.trainer, samples, ids, name, self.folder, self.fold.name, selection
                )

    def labelled(self, split: str) -> tuple[Any, np.ndarray, int]:
        """Samples of a part, their labels (class ids or label sets), and the seed."""
        return self.inputs.parts[split], self._labels(self.parts[split]), self.training_arguments.seed

    def _labels(self, part: Dataset) -> np.ndarray:
        labels = np.asarray(part["label" if "label" in part.column_names else "labels"][:])
        if labels.ndim == 2 and not self.model.config.is_multi_label:
            labels = labels.argmax(axis=1)
        return labels

    def _report(self) -> None:
        save_folds([self.fold], self.folder / "fold.json")
        self._training_data().save(self.folder)
        write_report(self.trainer, self.record(), self.scores, self.folder, self.model_arguments.encoder_names)
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

    def _training_data(self) -> TrainingData:
        """What made the weights, with what made those that the training began from."""
        earlier = self.model_arguments.model_name_or_path
        before = training_data_of(earlier) if earlier else None
        return TrainingData.of(self.corpus, self.parts) | (before or TrainingData())

    @property
    def selection(self) -> str:
        """The part that chose the weights, or when to stop: "validation" or "test"; "none" where the last are kept."""
        training = self.training_arguments
        chooses = training.load_best_model_at_end or training.early_stopping_patience is not None
        return self.data_arguments.selection if chooses else "none"

    @property
    def corpus_name(self) -> str:
        return corpus_name(self.corpus.name, str(self.data_arguments.data_dir))

    def record(self) -> dict[str, Any]:
        """What `metrics.json` holds."""
        data, training, more = self.data_arguments, self.training_arguments, self.more_texts
        return {
            "corpus": self.corpus_name,
            "corpus_facts": self.corpus.facts if is_declaration(data.corpus) else {},
            "modality": self.model_arguments.modality,
            "label_names": self.corpus.label_names,
            "protocol": "fold_file" if data.fold_file else resolve_protocol(self.corpus, data.protocol),
            "folds": self.fold_names,
            "selection": self.selection,
            "seed": training.seed,
            "multi_label": self.model.config.is_multi_label,
            "selection_metric": None if self.selection == "none" else str(training.metric_for_best_model),
            "fold": {
                "name": self.fold.name,
                "speaker_disjoint": self.fold.speaker_disjoint,
                **{split: len(part) for split, part in self.parts.items()},
            },
            **self.scores,
            **self.scores_by_speaker,
            **({} if more is None else {"more_texts": {"lines": len(more.texts), "left_out": more.left_out}}),
            "excluded": self.corpus.report.excluded,
            "excluded_labels": self.corpus.report.excluded_labels,
            "options": self.options,
            "initial_weights": self.initial_weights,
            "train_seconds": self.train_seconds,
            "threads": self.threads,
            "versions": package_versions(),
        }


def _checkpoint(arguments: DRKFTrainingArguments) -> str | bool | None:
    """What `--resume-from-checkpoint` says: true, false, or a checkpoint's folder."""
    value = arguments.resume_from_checkpoint
    return {"true": True, "yes": True, "false": False, "no": False}.get(str(value).lower(), value)
