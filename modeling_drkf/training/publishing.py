"""A `Trainer` whose uploads are complete: weights, code and card in one commit."""

from pathlib import Path

from huggingface_hub import CommitInfo
from huggingface_hub.errors import HTTPError
from transformers import Trainer
from transformers.trainer_utils import HubStrategy
from transformers.utils import logging

from ..release.hub import PublishError, publish

logger = logging.get_logger(__name__)


class PublishingTrainer(Trainer):
    """`Trainer` that publishes its folders as [`publish`] does."""

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """See `Trainer`; raises `PublishError`, before any training, where the Hub cannot be reached or refuses."""
        try:
            super().init_hf_repo(token, private)
        except (OSError, HTTPError) as error:
            raise PublishError(
                f"the Hub repository {self.args.hub_model_id or self.args.output_dir} cannot be written to "
                f"({type(error).__name__}: {error}). Log in with `hf auth login`, or leave --push-to-hub out"
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
        """A checkpoint folder is complete, code included; a failed upload is logged, and training goes on."""
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
