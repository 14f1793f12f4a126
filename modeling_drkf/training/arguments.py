"""Options of the training: transformers', with the settings that DRKF needs, and its own."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.trainer_utils import HubStrategy

from processing.errors_drkf import OptionError

SEEDS = 2**32


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
        metadata={"help": "Column of the lengths by which --train-sampling-strategy group_by_length makes batches."},
    )
    encoder_learning_rate: float | None = field(
        default=None,
        metadata={
            "help": "Learning rate of the two encoders (or of their LoRA adapters); --learning-rate is then that of "
            "the new modules. The scheduler scales both alike. None: one rate for all."
        },
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={
            "help": "End training when --metric-for-best-model has not improved for so many evaluations in a row."
        },
    )
    gather_across_processes: bool = field(
        default=False,
        metadata={
            "help": "Compute the contrastive and the discrimination term over the batches of all processes, so that "
            "the loss is that of one process on the whole batch."
        },
    )
    pictures: bool = field(
        default=True, metadata={"help": "Draw the run at its end; off saves some seconds where many runs are made."}
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
            raise OptionError(
                f"hub_strategy must be 'end' or 'every_save', not {HubStrategy(self.hub_strategy).value!r}: what is "
                "needed to resume a training stays on this machine"
            )
        self._require_numbers()
        if self.early_stopping_patience is None:
            return
        if self.early_stopping_patience < 1:
            raise OptionError(f"early_stopping_patience must be at least 1, got {self.early_stopping_patience}")
        if self.eval_strategy == "no" or self.metric_for_best_model is None:
            raise OptionError(
                "early_stopping_patience counts evaluations without a better metric: set eval_strategy to epoch or "
                "steps, and metric_for_best_model"
            )

    def _require_numbers(self) -> None:
        """Checks what `TrainingArguments` does not, before a corpus is read."""
        for name in ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.dataloader_num_workers < 0:
            raise OptionError(f"dataloader_num_workers must not be negative, got {self.dataloader_num_workers}")
        if self.label_names != ["labels"]:
            raise OptionError(
                f"label_names must stay ['labels'], which is what the model takes, not {self.label_names}"
            )
        for name in ("learning_rate", "weight_decay", "num_train_epochs", "max_grad_norm"):
            if not math.isfinite(getattr(self, name)):
                raise OptionError(f"{name} must be a finite number, got {getattr(self, name)}")
        for name in ("seed", "data_seed"):
            if not 0 <= (getattr(self, name) or 0) < SEEDS:
                raise OptionError(f"{name} must be in [0, 2**32), got {getattr(self, name)}")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "hub_token": None}
