"""What happens around training: progress, an orderly end at a signal, a sound resumption, one run of each tracker."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from transformers import (
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.integrations import get_reporting_integration_callbacks
from transformers.utils import logging

from processing.evaluation.rounding import rounded

from ..gathering_drkf import is_distributed
from .checkpoints import is_finished

logger = logging.get_logger(__name__)

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

    def close(self) -> None:
        """Ends the bar where an error ended the training: what is printed next starts on a line of its own."""
        if self.training_bar is not None:
            self.training_bar.close()
            self.training_bar = None

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
        terms = {name.removesuffix("_loss"): rounded(value) for name, value in logs.items() if name.endswith("_loss")}
        if "loss" in logs:
            self._terms = ", ".join(f"{name} {value}" for name, value in terms.items())
            self.training_bar.set_postfix_str(f"loss {rounded(logs['loss'])}")
        elif "eval_loss" in logs:
            scores = [f"{name} {rounded(logs[key])}" for key, name in SHOWN_METRICS.items() if key in logs]
            validation = ", ".join([f"loss {rounded(logs['eval_loss'])}", *scores])
            self.training_bar.write(f"epoch {logs['epoch']:g}: {self._terms} | validation: {validation}")


class EpochCallback(TrainerCallback):
    """Calls `set_epoch` of the training dataset, if it has one, when an epoch begins or is resumed.

    An epoch of fewer steps than `logging_steps` logs its terms at its end.
    """

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        logged = any("loss" in entry and entry["step"] > self._begun for entry in state.log_history)
        if not logged and args.logging_strategy != "no":
            control.should_log = True

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._begun = state.global_step
        dataset: Any = getattr(kwargs.get("train_dataloader"), "dataset", None)
        if hasattr(dataset, "set_epoch"):
            dataset.set_epoch(int((state.epoch or 0.0) + 1e-6))


class InterruptCallback(TrainerCallback):
    """Ctrl-C or SIGTERM ends training after the running step, with a checkpoint; a second one aborts at once.

    Several processes answer only Ctrl-C so: their launcher sends SIGTERM to end the others when one has failed.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, Any] = {}

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self._restore()
        print("\nInterrupted: finishing this step and saving a checkpoint; once more to abort.", flush=True)

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.signal = None
        if threading.current_thread() is threading.main_thread():
            numbers = [signal.SIGINT] if is_distributed() else [signal.SIGINT, signal.SIGTERM]
            self._previous = {number: signal.signal(number, self._on_signal) or signal.SIG_DFL for number in numbers}

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if is_distributed():
            flag = torch.tensor(self.signal or 0, device=args.device)
            torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
            self.signal = int(flag) or None
        if self.signal:
            control.should_save = control.should_training_stop = True

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self._restore()

    def _restore(self) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())


class BestCheckpointCallback(TrainerCallback):
    """When training resumes, the best checkpoint so far must still be there: it may have been the damaged one.

    Where it is not, the best is chosen among the epochs that follow, and a warning says so.
    """

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        if state.best_model_checkpoint is None:
            return
        best = Path(str(args.output_dir)) / Path(state.best_model_checkpoint).name
        if is_finished(best):
            state.best_model_checkpoint = str(best)
            return
        logger.warning(f"The best checkpoint so far ({best}) is gone: the best is chosen among what follows.")
        state.best_model_checkpoint = state.best_metric = state.best_global_step = None


@contextmanager
def tracked_as_one_run(trainer: Trainer) -> Iterator[None]:
    """Keeps the trackers that `report_to` names open until the end of the block, and closes them there.

    By themselves some close when training ends, and open another run for scores that follow; others never close, and
    write the next training of the same process into the same run.
    """
    kinds = tuple(get_reporting_integration_callbacks(trainer.args.report_to))
    trackers: list[Any] = [callback for callback in trainer.callback_handler.callbacks if isinstance(callback, kinds)]
    for tracker in trackers:
        tracker.on_train_end = _stay_open
    try:
        yield
    finally:
        for tracker in trackers:
            del tracker.on_train_end
            tracker.on_train_end(
                trainer.args,
                trainer.state,
                trainer.control,
                model=trainer.model,
                processing_class=trainer.processing_class,
            )
        wandb = sys.modules.get("wandb")
        if wandb is not None and "wandb" in (trainer.args.report_to or ()) and wandb.run is not None:
            wandb.finish(exit_code=int(sys.exc_info()[0] is not None))


def _stay_open(*args: Any, **kwargs: Any) -> None:
    pass
