"""One run of training is one run of TensorBoard, trackio, wandb, ...: from the first step to the final scores."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import Trainer
from transformers.integrations import get_reporting_integration_callbacks


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
