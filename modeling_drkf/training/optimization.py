"""Choices of optimisation: learning rates by part, LoRA adapters, class weights, early stopping."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from processing.errors_drkf import DependencyError, OptionError

ENCODERS = "encoders"  # the name of their parameter groups
LORA_DEFAULTS = {"r": 8, "lora_alpha": 16}
QUERIES_AND_VALUES = frozenset(
    {"q_proj", "v_proj", "query", "value", "query_proj", "value_proj", "linear_q", "linear_v", "q_lin", "v_lin"}
    | {"q", "v", "Wqkv"}
)
FEED_FORWARD = frozenset({"intermediate_dense", "output_dense"})
READS_ATTENTION_WEIGHTS = ("wavlm",)  # without calling the modules: adapters of its attention would do nothing


def set_encoder_learning_rate(optimizer: Any, encoder_parameters: Iterable[Tensor], rate: float) -> None:
    """Moves the encoders' parameters into groups of their own, with the learning rate `rate`.

    Each keeps the weight decay of the group that it leaves. To be called before a scheduler is made.
    """
    encoder_ids = {id(parameter) for parameter in encoder_parameters}
    for group in list(optimizer.param_groups):
        moved = [parameter for parameter in group["params"] if id(parameter) in encoder_ids]
        if moved:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in encoder_ids]
            optimizer.add_param_group({**group, "params": moved, "lr": rate, "name": ENCODERS})


def encoder_learning_rate(optimizer: Any) -> float | None:
    """The present learning rate of the encoders' groups; None where there are none."""
    return next((group["lr"] for group in optimizer.param_groups if group.get("name") == ENCODERS), None)


def add_lora(encoder: PreTrainedModel, options: Mapping[str, Any]) -> None:
    """Puts trainable low-rank adapters (Hu et al. 2022) into an encoder, in place, and freezes the rest of it.

    Args:
        options: fields of peft's `LoraConfig`; over the defaults r = 8, lora_alpha = 16 and, as `target_modules`, the
            projections to queries and values (for WavLM its feed-forward layers).

    Raises:
        ImportError: peft is not installed.
        ValueError: an option that LoRA does not have, or an encoder without the modules to adapt.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise DependencyError("LoRA needs peft: pip install 'drkf[lora]', or pip install peft") from error
    fields = LORA_DEFAULTS | dict(options)
    if "target_modules" not in fields:
        fields["target_modules"] = default_lora_targets(encoder)
    try:
        inject_adapter_in_model(LoraConfig(**fields), encoder)
    except (TypeError, ValueError) as error:
        raise OptionError(f"LoRA of {type(encoder).__name__} with {dict(options)}: {error}") from error
    if encoder.config.model_type in READS_ATTENTION_WEIGHTS:
        idle = [name for name, _ in encoder.named_parameters() if ".attention." in name and "lora_" in name]
        if idle:
            raise OptionError(
                f"LoRA: {type(encoder).__name__} never calls the modules of its attention, adapters there would learn "
                f"nothing; target_modules can be {sorted(FEED_FORWARD)}"
            )


def default_lora_targets(encoder: PreTrainedModel) -> list[str]:
    """The names of an encoder's linear modules that `add_lora` adapts by default."""
    targets = FEED_FORWARD if encoder.config.model_type in READS_ATTENTION_WEIGHTS else QUERIES_AND_VALUES
    names = (name for name, module in encoder.named_modules() if isinstance(module, nn.Linear))
    found = {name.rpartition(".")[2] for name in names} & targets
    if not found:
        raise OptionError(
            f"{type(encoder).__name__} has none of the attention projections that LoRA adapts by default: name its "
            'linear modules, as in {"target_modules": ["query", "value"]}'
        )
    return sorted(found)


def merge_lora(model: nn.Module) -> None:
    """Adds every adapter to the weights that it adapts, in place; afterwards the modules are what they were before.

    Raises:
        ValueError: the merged weights are not finite.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BaseTunerLayer):
                child.merge(safe_merge=True)
                setattr(parent, name, child.get_base_layer())


def balanced_class_weights(rows: Dataset, num_labels: int) -> list[float]:
    """A weight per class, inverse to its share of the training rows, with mean 1 over the classes that occur.

    Soft labels count by their weights, label sets once for each label. A class that never occurs weighs 1.
    """
    if "label" in rows.column_names:
        counts = np.bincount(rows["label"][:], minlength=num_labels).astype(float)
    else:
        counts = np.sum(rows["labels"][:], axis=0)
    occurs = counts > 0
    weights = np.ones(num_labels)
    weights[occurs] = 1 / counts[occurs]
    weights[occurs] /= weights[occurs].mean()
    return weights.tolist()


class EarlyStopping(TrainerCallback):
    """Ends training when `metric_for_best_model` has not improved for `patience` evaluations in a row.

    It counts in the history of the state, so a resumed training stops where an uninterrupted one does.
    """

    def __init__(self, patience: int):
        self.patience = patience

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        metric = f"eval_{str(args.metric_for_best_model).removeprefix('eval_')}"
        values = torch.tensor([log[metric] for log in state.log_history if metric in log])
        if not len(values):
            raise OptionError(f"early stopping watches {metric}, which the evaluation does not give")
        best = int(values.argmax() if args.greater_is_better else values.argmin())
        if len(values) - 1 - best >= self.patience:
            control.should_training_stop = True


def decaying(names: Sequence[str], model: nn.Module) -> list[str]:
    """Those of the parameters that have two dimensions or more: a scalar or a vector is no weight matrix to decay."""
    dimensions = {name: parameter.ndim for name, parameter in model.named_parameters()}
    return [name for name in names if dimensions[name] > 1]
