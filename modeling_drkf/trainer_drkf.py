"""Fine-tuning of DRKF with the transformers `Trainer`."""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import CommitInfo
from huggingface_hub.errors import HTTPError
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler, SequentialSampler
from transformers import ProgressCallback, Trainer, TrainingArguments
from transformers.trainer_utils import EvalLoopOutput, HubStrategy
from transformers.utils import logging

from processing.collator_drkf import DRKFDataCollator
from processing.metrics_drkf import compute_metrics_fn

from .callbacks_drkf import EpochProgress, InterruptCallback
from .optimization_drkf import EarlyStopping, decaying, encoder_learning_rate, set_encoder_learning_rate
from .publishing_drkf import PublishError, publish

logger = logging.get_logger(__name__)


@dataclass
class DRKFTrainingArguments(TrainingArguments):
    """`TrainingArguments` with the settings that DRKF needs, and its own.

    `remove_unused_columns` is off, for the collator reads raw columns. Memory is pinned only where there is an
    accelerator. Lengths for `train_sampling_strategy="group_by_length"` are the corpora's durations. A Hub repository
    is private unless `hub_private_repo` is false, and the token is never saved: a copy or a pickle of the arguments
    has none.

    Raises:
        ValueError: `early_stopping_patience` without the evaluations that it counts, or a `hub_strategy` that would
            upload optimiser states.
    """

    remove_unused_columns: bool = field(default=False, metadata={"help": "Keep off: the collator reads raw columns."})
    label_names: list[str] | None = field(default_factory=lambda: ["labels"], metadata={"help": "Leave as it is."})
    dataloader_pin_memory: bool = field(
        default_factory=torch.accelerator.is_available, metadata={"help": "Pin memory in the data loader."}
    )
    length_column_name: str = field(
        default="duration",
        metadata={"help": "Column of the lengths by which --train_sampling_strategy group_by_length makes batches."},
    )
    encoder_learning_rate: float | None = field(
        default=None,
        metadata={
            "help": "Learning rate of the two encoders (or of their LoRA adapters); --learning_rate is then that of "
            "the new modules. The scheduler scales both alike. None: one rate for all."
        },
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={
            "help": "End training when --metric_for_best_model has not improved for so many evaluations in a row."
        },
    )
    gather_across_processes: bool = field(
        default=False,
        metadata={
            "help": "Compute the contrastive and the discrimination term over the batches of all processes, so that "
            "the loss is that of one process on the whole batch."
        },
    )
    hub_private_repo: bool | None = field(
        default=True, metadata={"help": "Whether a new Hub repository is private; an existing one stays as it is."}
    )
    hub_strategy: HubStrategy | str = field(
        default="end",
        metadata={"help": "When to publish: at the `end`, or also at `every_save`. Training waits for the upload."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hub_strategy not in (HubStrategy.END, HubStrategy.EVERY_SAVE):
            raise ValueError(
                f"hub_strategy must be 'end' or 'every_save', not {HubStrategy(self.hub_strategy).value!r}: what is "
                "needed to resume a training stays on this machine"
            )
        if self.early_stopping_patience is None:
            return
        if self.early_stopping_patience < 1:
            raise ValueError(f"early_stopping_patience must be at least 1, got {self.early_stopping_patience}")
        if self.eval_strategy == "no" or self.metric_for_best_model is None:
            raise ValueError(
                "early_stopping_patience counts evaluations without a better metric: set eval_strategy to epoch or "
                "steps, and metric_for_best_model"
            )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "hub_token": None}


class TermMeans:
    """Means of loss terms over batches, weighted by batch size, across processes."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._samples = 0

    def add(self, terms: dict[str, Tensor], samples: int) -> None:
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.float() * samples
        self._samples += samples

    def pop(self, trainer: Trainer) -> dict[str, float]:
        """The means so far, by name; starts anew. All processes must call it together."""
        if not self._sums:
            return {}
        totals = torch.stack([*self._sums.values(), torch.full_like(next(iter(self._sums.values())), self._samples)])
        *sums, samples = trainer.accelerator.reduce(totals, reduction="sum").tolist()
        means = {name: total / samples for name, total in zip(self._sums, sums, strict=True)}
        self._sums, self._samples = {}, 0
        return means


class DRKFTrainer(Trainer):
    """`Trainer` that logs every term of Eq. 21 under its own name, in training (`contrastive_loss`) and in evaluation
    (`eval_contrastive_loss`).

    `processing_class` is a [`DRKFProcessor`]; collator and metrics default to DRKF's. `interrupted` tells whether
    Ctrl-C ended the training. `label_smoothing_factor` sets the `label_smoothing` of the model's configuration.

    Raises:
        ValueError: `label_smoothing_factor` with multi-label classification, or beside another `label_smoothing`.
    """

    loss_is_scaled_for_ga = False

    def __init__(self, model: nn.Module | None = None, args: DRKFTrainingArguments | None = None, **kwargs: Any):
        config = getattr(model, "config", None)
        if kwargs.get("data_collator") is None and kwargs.get("processing_class") is not None:
            kwargs["data_collator"] = DRKFDataCollator(kwargs["processing_class"])
        if kwargs.get("compute_metrics") is None and config is not None:
            kwargs["compute_metrics"] = compute_metrics_fn(config.label_names, config.problem_type)
        if args is not None and args.label_smoothing_factor and config is not None:
            _smooth_labels(config, args.label_smoothing_factor)
        super().__init__(model, args, **kwargs)
        if args is not None:
            if args.early_stopping_patience is not None:
                self.add_callback(EarlyStopping(args.early_stopping_patience))
            self.accelerator.unwrap_model(self.model).gather_across_processes = args.gather_across_processes
        self._terms: defaultdict[str, TermMeans] = defaultdict(TermMeans)
        self._encoder_learning_rate: float | None = None
        self._interrupt = InterruptCallback()
        self.add_callback(self._interrupt)
        if self.pop_callback(ProgressCallback) is not None:
            self.add_callback(EpochProgress())

    @property
    def interrupted(self) -> bool:
        return self._interrupt.interrupted

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Weight matrices and embeddings: neither biases and norms nor the temperature."""
        return decaying(super().get_decay_parameter_names(model), model)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is not None:
            return self.optimizer
        optimizer = super().create_optimizer(model)
        rate = getattr(self.args, "encoder_learning_rate", None)
        if rate is not None:
            encoding = self.accelerator.unwrap_model(self.model).drkf.modality_encoding
            set_encoder_learning_rate(optimizer, encoding.encoder_parameters(), rate)
        return optimizer

    def _get_learning_rate(self) -> float:
        """Asked for the logs before the schedule moves on, so the encoders' rate is noted at the same time."""
        self._encoder_learning_rate = encoder_learning_rate(self.optimizer)
        return super()._get_learning_rate()

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        while hasattr(dataset, "rows"):  # CachedFeatures, ModalityDropout: lengths are a column of the rows below
            dataset = dataset.rows
        return super()._get_train_sampler(dataset)

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler | None:
        """Keeps the dataset's order, which tells whose a prediction is; `group_by_length` would change it."""
        return SequentialSampler(eval_dataset) if self.args.world_size <= 1 else None

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, Any]:
        outputs = model(**inputs)
        self._terms["train" if model.training else "eval"].add(outputs["loss_terms"], len(inputs["labels"]))
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if "loss" in logs:
            logs |= self._terms["train"].pop(self)
            if "learning_rate" in logs and self._encoder_learning_rate is not None:
                logs["encoder_learning_rate"] = self._encoder_learning_rate
        super().log(logs, *args, **kwargs)

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        self._terms["eval"] = TermMeans()
        output = super().evaluation_loop(
            dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix=metric_key_prefix
        )
        terms = self._terms["eval"].pop(self)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in terms.items()}
        return output._replace(metrics={**(output.metrics or {}), **metrics})

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """As usual. Raises `PublishError`, before any training, where the Hub cannot be reached or refuses."""
        try:
            super().init_hf_repo(token, private)
        except (OSError, HTTPError) as error:
            raise PublishError(
                f"the Hub repository {self.args.hub_model_id or self.args.output_dir} cannot be written to "
                f"({type(error).__name__}: {error}). Log in with `hf auth login`, or leave --push_to_hub out"
            ) from error

    def push_to_hub(  # type: ignore[override]
        self,
        commit_message: str | None = "End of training",
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
    ) -> CommitInfo | None:
        """Saves model and processor and publishes the output folder as [`publish`] does, in one commit.

        Raises:
            PublishError: the Hub cannot be reached or refuses.
        """
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        self.save_model(_internal_call=True)
        return self._publish(Path(str(self.args.output_dir)), commit_message or "Publish", token, revision)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """A checkpoint folder is complete, code included; a failed upload is told, and training goes on."""
        if self.args.hub_strategy == HubStrategy.END:
            return
        try:
            self._publish(Path(checkpoint_folder), f"Training in progress, step {self.state.global_step}")
        except PublishError as error:
            logger.warning(str(error))

    def _publish(
        self, folder: Path, message: str, token: str | None = None, revision: str | None = None
    ) -> CommitInfo | None:
        if not self.is_world_process_zero():
            return None
        return publish(
            folder,
            str(self.hub_model_id),
            token=token or self.args.hub_token,
            revision=revision or self.args.hub_revision,
            private=self.args.hub_private_repo is not False,
            message=message,
        )


def _smooth_labels(config: Any, factor: float) -> None:
    if config.is_multi_label:
        raise ValueError("label_smoothing_factor applies to single-label classification only")
    if config.label_smoothing not in (0, factor):
        raise ValueError(
            f"label_smoothing_factor is {factor}, the model's label_smoothing {config.label_smoothing}: give one"
        )
    config.label_smoothing = factor
