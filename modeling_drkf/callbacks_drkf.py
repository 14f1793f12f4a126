"""What happens around a training step: a progress bar that reads well, and an orderly end at Ctrl-C."""

import signal
import threading
from types import FrameType
from typing import Any

import torch
from transformers import ProgressCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from .gathering_drkf import is_distributed

SHOWN_METRICS = {
    "eval_unweighted_accuracy": "UA",
    "eval_weighted_accuracy": "WA",
    "eval_weighted_f1": "WF1",
    "eval_micro_f1": "micro F1",
    "eval_jaccard_accuracy": "Jaccard",
}


class EpochProgress(ProgressCallback):
    """A progress bar with the running loss terms, and one line an evaluation in place of two dictionaries."""

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        super().on_train_begin(args, state, control, **kwargs)
        self._terms = ""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if self.training_bar is None or not logs:
            return
        terms = {name.removesuffix("_loss"): f"{value:.3f}" for name, value in logs.items() if name.endswith("_loss")}
        if "loss" in logs:
            self._terms = ", ".join(f"{name} {value}" for name, value in terms.items())
            self.training_bar.set_postfix_str(f"loss {logs['loss']:.3f}")
        elif "eval_loss" in logs:
            scores = [f"{name} {logs[key]:.3f}" for key, name in SHOWN_METRICS.items() if key in logs]
            validation = ", ".join([f"loss {logs['eval_loss']:.3f}", *scores])
            self.training_bar.write(f"epoch {logs['epoch']:g}: {self._terms} | validation: {validation}")


class InterruptCallback(TrainerCallback):
    """The first Ctrl-C ends training after the running step, with a checkpoint; the second one aborts at once."""

    def __init__(self) -> None:
        self.interrupted = False
        self._previous: Any = None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.interrupted = True
        signal.signal(signal.SIGINT, self._previous)
        print("\nInterrupted: finishing this step and saving a checkpoint; Ctrl-C again to abort.", flush=True)

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.interrupted = False
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._on_signal)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if is_distributed():
            flag = torch.tensor(float(self.interrupted), device=args.device)
            torch.distributed.all_reduce(flag)
            self.interrupted = bool(flag > 0)
        if self.interrupted:
            control.should_save = control.should_training_stop = True

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
