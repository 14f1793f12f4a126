"""Fine-tuning of DRKF with the transformers `Trainer`."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import ProgressCallback, Trainer, TrainingArguments
from transformers.trainer_utils import EvalLoopOutput

from processing.collator_drkf import DRKFDataCollator
from processing.metrics_drkf import compute_metrics_fn

from .callbacks_drkf import EpochProgress, InterruptCallback


@dataclass
class DRKFTrainingArguments(TrainingArguments):
    """`TrainingArguments` with the settings that DRKF needs, and its own.

    `remove_unused_columns` is off, for the collator reads raw columns. Memory is pinned only where there is an
    accelerator.
    """

    remove_unused_columns: bool = field(default=False, metadata={"help": "Keep off: the collator reads raw columns."})
    label_names: list[str] | None = field(default_factory=lambda: ["labels"], metadata={"help": "Leave as it is."})
    dataloader_pin_memory: bool = field(
        default_factory=torch.accelerator.is_available, metadata={"help": "Pin memory in the data loader."}
    )
    gather_across_processes: bool = field(
        default=False,
        metadata={
            "help": "Compute the contrastive and the discrimination term over the batches of all processes, so that "
            "the loss is that of one process on the whole batch."
        },
    )


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
    Ctrl-C ended the training.
    """

    loss_is_scaled_for_ga = False

    def __init__(self, model: nn.Module | None = None, args: DRKFTrainingArguments | None = None, **kwargs: Any):
        config = getattr(model, "config", None)
        if kwargs.get("data_collator") is None and kwargs.get("processing_class") is not None:
            kwargs["data_collator"] = DRKFDataCollator(kwargs["processing_class"])
        if kwargs.get("compute_metrics") is None and config is not None:
            kwargs["compute_metrics"] = compute_metrics_fn(config.label_names, config.problem_type)
        super().__init__(model, args, **kwargs)
        if args is not None:
            self.accelerator.unwrap_model(self.model).gather_across_processes = args.gather_across_processes
        self._terms: defaultdict[str, TermMeans] = defaultdict(TermMeans)
        self._interrupt = InterruptCallback()
        self.add_callback(self._interrupt)
        if self.pop_callback(ProgressCallback) is not None:
            self.add_callback(EpochProgress())

    @property
    def interrupted(self) -> bool:
        return self._interrupt.interrupted

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
