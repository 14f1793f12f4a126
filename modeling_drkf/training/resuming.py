"""A `Trainer` that resumes from what is whole: a checkpoint counts once it is sealed."""

from pathlib import Path
from typing import Any, Literal

from accelerate.utils import broadcast_object_list
from torch import nn
from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, TrainOutput
from transformers.utils import logging

from .checkpoints import (
    CheckpointError,
    is_finished,
    last_checkpoint,
    require_complete,
    require_state,
    resuming_from,
    rotate,
    saving_to,
    sealed,
)
from .finite import require_finite_weights

logger = logging.get_logger(__name__)


class ResumingTrainer(Trainer):
    """`Trainer` whose checkpoints survive: one that was killed half-way, or was damaged later, is not resumed from."""

    _resumed_from = "the checkpoint"

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> TrainOutput:
        """
        Args:
            resume_from_checkpoint: a checkpoint's folder; or True for the last complete one of `output_dir`, and
                without any, from the beginning.
            args, kwargs: see `Trainer.train`.

        Raises:
            CheckpointError: the named checkpoint, or every one of `output_dir`, is damaged; or one cannot be written.
            NonFiniteError: a weight is not finite when a checkpoint is saved.
        """
        if resume_from_checkpoint:
            resume_from_checkpoint = broadcast_object_list([self._checkpoint_of(resume_from_checkpoint)])[0]
            self._resumed_from = str(resume_from_checkpoint)
        return super().train(resume_from_checkpoint or None, *args, **kwargs)

    def _checkpoint_of(self, asked: str | Literal[True]) -> str | None:
        if not self.is_world_process_zero():
            return None
        if asked is not True:
            require_complete(Path(asked))
            require_state(Path(asked))
            return asked
        last = last_checkpoint(Path(str(self.args.output_dir)))
        if last is None:
            logger.warning(f"No checkpoint in {self.args.output_dir} yet: training starts from the beginning.")
            return None
        require_state(last)
        return str(last)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """As the base class does; where data cannot be read, what was trained so far is saved before the error.

        Several processes cannot save when one of them fails: their last checkpoint stands.
        """
        try:
            return super().get_batch_samples(*args, **kwargs)
        except Exception:
            if self.args.world_size == 1 and self.state.global_step and not is_finished(self._checkpoint_folder()):
                self._save_checkpoint(self.model, trial=None)  # type: ignore[arg-type]
            raise

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        with resuming_from(resume_from_checkpoint, "weights"):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with resuming_from(str(checkpoint), "state of the random numbers"):
            super()._load_rng_state(checkpoint)

    def _load_scaler(self, checkpoint: str | None) -> None:
        with resuming_from(str(checkpoint), "loss scale"):
            super()._load_scaler(checkpoint)

    def _load_callback_state(self) -> None:
        with resuming_from(self._resumed_from, "state of the callbacks"):
            super()._load_callback_state()

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with resuming_from(str(checkpoint), "state of the optimizer"):
            try:
                super()._load_optimizer_and_scheduler(checkpoint)
            except ValueError as error:  # of a parameter group
                raise CheckpointError(
                    f"{checkpoint} was made while other parameters were trained ({error}): resume with the same "
                    "freezing and LoRA options"
                ) from error

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """See `Trainer.save_model`; raises CheckpointError where the folder cannot be written."""
        with saving_to(Path(output_dir or str(self.args.output_dir))):
            super().save_model(output_dir, _internal_call)

    def _checkpoint_folder(self, trial: Any = None) -> Path:
        return Path(self._get_output_dir(trial=trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        require_finite_weights(model, f"checkpoint at step {self.state.global_step}")
        folder = self._checkpoint_folder(trial)
        limit, self.args.save_total_limit = self.args.save_total_limit, None  # nothing is deleted before the seal
        try:
            with sealed(folder, self.args.should_save):
                super()._save_checkpoint(model, trial)
                self.accelerator.wait_for_everyone()
        finally:
            self.args.save_total_limit = limit
        if self.args.should_save:
            best = self.state.best_model_checkpoint
            rotate(folder.parent, limit, folder, Path(best) if best else None)
