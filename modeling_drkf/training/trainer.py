"""Fine-tuning of DRKF with the transformers `Trainer`."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.utils.data import DataLoader, Sampler, SequentialSampler
from transformers import EvalPrediction, ProcessorMixin, ProgressCallback, TrainerCallback, TrainingArguments
from transformers.trainer_utils import BestRun, EvalLoopOutput, TrainOutput

from processing.collator import DRKFDataCollator, collate_features
from processing.errors_drkf import OptionError
from processing.evaluation.decisions import compute_metrics_fn
from processing.processing_drkf import DRKFProcessor

from ..configuration_drkf import DRKFConfig
from ..modeling_drkf import DRKFForEmotionClassification
from .arguments import DRKFTrainingArguments
from .batches import TermMeans, filled_up, with_lengths
from .callbacks import BestCheckpointCallback, EpochCallback, EpochProgress, InterruptCallback
from .finite import require_finite_loss
from .optimization import EarlyStopping, decaying, encoder_learning_rate, set_encoder_learning_rate
from .publishing import PublishingTrainer
from .resuming import ResumingTrainer

SAMPLED_BY_LENGTH = ("group_by_length", "batch_rebalance")


class DRKFTrainer(ResumingTrainer, PublishingTrainer):
    """`Trainer` that logs every term of Eq. 21 under its own name, in training (`contrastive_loss`) and in evaluation
    (`eval_contrastive_loss`), and that survives what happens to long runs.

    Its arguments are those of `Trainer`, in the same order. `args` may be plain `TrainingArguments`; columns are then
    kept all the same, because the collator reads raw ones. `processing_class` is a [`DRKFProcessor`]; collator and
    metrics default to DRKF's. `label_smoothing_factor` sets the `label_smoothing` of the model's configuration, and
    `compute_loss_func` gets the outputs of a model that has seen the labels: `outputs["loss"]` is Eq. 21.
    `interrupted` says whether a signal ended the training, and which.

    - A checkpoint counts once it is sealed: one that was killed half-way, or was damaged later, is not resumed from.
    - A loss that is not finite ends training with the names of term and utterances. Rows name themselves by their
      `utterance_id`. Labels are class ids or, by the configuration's `label2id`, names.
    - Evaluation counts every utterance once, computes each batch as one process would, and leaves the random numbers
      of training alone: its figures do not depend on the number of processes.

    Raises:
        OptionError: `label_smoothing_factor` with multi-label classification, or beside another `label_smoothing`; or
            several GPUs in one process.
    """

    loss_is_scaled_for_ga: bool | None = False

    def __init__(
        self,
        model: DRKFForEmotionClassification | None = None,
        args: TrainingArguments | None = None,
        data_collator: Callable[[Sequence[Any]], dict[str, Any]] | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: DRKFProcessor | None = None,
        model_init: Callable[..., DRKFForEmotionClassification] | None = None,
        compute_loss_func: Callable[..., Tensor] | None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[Optimizer | None, LambdaLR | None] = (None, None),
        optimizer_cls_and_kwargs: tuple[type[Optimizer], dict[str, Any]] | None = None,
        preprocess_logits_for_metrics: Callable[[Any, Tensor], Any] | None = None,
    ):
        args = DRKFTrainingArguments("tmp_trainer") if args is None else args
        if args.n_gpu > 1:
            raise OptionError(
                f"{args.n_gpu} GPUs in one process would train replicas that see parts of the loss: start one process "
                "a GPU with `accelerate launch --multi_gpu`, or choose one with CUDA_VISIBLE_DEVICES=0"
            )
        if data_collator is None:
            args.remove_unused_columns = False
        if model is not None:
            _apply_arguments(model, args, processing_class)
        super().__init__(
            model,
            args,
            data_collator=data_collator,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            model_init=model_init,
            compute_loss_func=compute_loss_func,
            compute_metrics=compute_metrics,
            callbacks=callbacks,
            optimizers=optimizers,
            optimizer_cls_and_kwargs=optimizer_cls_and_kwargs,
            preprocess_logits_for_metrics=preprocess_logits_for_metrics,
        )
        trained = cast(DRKFForEmotionClassification, self.model)
        config = cast(DRKFConfig, trained.config)
        self.label_smoother = None  # the objective smooths the labels
        if compute_loss_func is not None:
            self.loss_is_scaled_for_ga = None  # as Trainer takes it
        if data_collator is None:
            self.data_collator = collate_features
            if processing_class is not None:
                self.data_collator = DRKFDataCollator(
                    processing_class, label2id=cast(dict[str, int], config.label2id), utterance_ids=True
                )
        if compute_metrics is None:
            self.compute_metrics = compute_metrics_fn(config.label_names, str(config.problem_type))
        if self.is_fsdp_enabled:
            shard_by_layer(self.accelerator.state.fsdp_plugin, trained)
        patience = getattr(args, "early_stopping_patience", None)
        if patience is not None:
            self.add_callback(EarlyStopping(patience))
        self._terms: defaultdict[str, TermMeans] = defaultdict(TermMeans)
        self._encoder_learning_rate: float | None = None
        self._counted_rows: int | None = None
        self._interrupt = InterruptCallback()
        self.add_callback(self._interrupt)
        self.add_callback(BestCheckpointCallback())
        self.add_callback(EpochCallback())
        self._progress = EpochProgress()
        if self.pop_callback(ProgressCallback) is not None:
            self.add_callback(self._progress)

    @property
    def interrupted(self) -> int | None:
        """The number of the signal that ended the training, None if none did."""
        return self._interrupt.signal

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> TrainOutput:
        """See [`ResumingTrainer.train`]; also raises NonFiniteError where a loss is not finite."""
        try:
            return super().train(resume_from_checkpoint, *args, **kwargs)
        finally:
            self._progress.close()

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """See `Trainer.call_model_init`; each new model gets what the arguments say of it."""
        model = super().call_model_init(trial)
        _apply_arguments(model, self.args, getattr(self, "processing_class", None))
        return model

    def hyperparameter_search(
        self,
        hp_space: Callable[[Any], dict[str, Any]] | None = None,
        compute_objective: Callable[[dict[str, float]], float] | None = None,
        n_trials: int = 20,
        direction: str | list[str] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> BestRun | list[BestRun]:
        """See `Trainer.hyperparameter_search`, whose objective is the sum of all metrics, here of losses and scores.

        Args:
            compute_objective: `metric_for_best_model`, or `eval_loss` where there is none, if not given.
            direction: the better one for that metric, or "minimize" beside `compute_objective`, if not given.
        """
        better = "minimize"
        if compute_objective is None:
            metric = str(self.args.metric_for_best_model or "loss")
            compute_objective = itemgetter(f"eval_{metric.removeprefix('eval_')}")
            better = "maximize" if self.args.greater_is_better else better
        return super().hyperparameter_search(  # type: ignore[return-value]
            hp_space, compute_objective, n_trials, direction or better, *args, **kwargs
        )

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

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler:
        """See `Trainer`; raises OptionError where `lr_scheduler_kwargs` are not those of the schedule."""
        try:
            return super().create_scheduler(num_training_steps, optimizer)
        except (TypeError, ValueError) as error:
            raise OptionError(f"lr_scheduler_kwargs: {error}") from error

    def _get_learning_rate(self) -> float:
        """Read for the logs before the schedule moves on, so the encoders' rate is noted at the same time."""
        self._encoder_learning_rate = encoder_learning_rate(self.optimizer)
        return super()._get_learning_rate()

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        while hasattr(dataset, "rows"):  # CachedFeatures, ModalityDropout: lengths are a column of the rows below
            dataset = dataset.rows
        if self.args.train_sampling_strategy in SAMPLED_BY_LENGTH:
            dataset = with_lengths(dataset, self.args.length_column_name)
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
        ids = inputs.pop("utterance_id", None)
        labels = inputs.get("labels")
        forward: Any = model
        if self.compute_loss_func is not None and labels is not None:
            forward = partial(model, labels=labels)  # Trainer takes the labels out of the inputs
        loss, outputs = super().compute_loss(forward, inputs, True, num_items_in_batch)
        part = "training" if model.training else "evaluation"
        require_finite_loss({**outputs, "loss": loss}, ids, f"{part} at step {self.state.global_step}")
        samples = len(outputs["logits"]) if model.training or self._counted_rows is None else self._counted_rows
        self._terms[part].add(outputs["loss_terms"], samples)
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if "loss" in logs:
            logs = logs | self._terms["training"].pop(self)
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
        self._terms["evaluation"] = TermMeans()
        with self._apart_from_training():
            output = super().evaluation_loop(
                dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix=metric_key_prefix
            )
        terms = self._terms["evaluation"].pop(self)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in terms.items()}
        return output._replace(metrics={**(output.metrics or {}), **metrics})

    @contextmanager
    def _apart_from_training(self) -> Iterator[None]:
        model: Any = self.accelerator.unwrap_model(self.model)
        gathers, model.gather_across_processes = model.gather_across_processes, False
        device = self.args.device
        try:
            with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                yield
        finally:
            model.gather_across_processes = gathers

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor | None, Any, Any]:
        """As the base class does, without the rows that repeat others to fill up the last batch of each process."""
        rows = len(next(iter(inputs.values())))
        self._counted_rows = self._own_rows(rows)
        # A batch of nothing but filling is of no weight. Processes that share the weights must compute alike.
        kept = rows if self.is_fsdp_enabled else self._counted_rows or rows
        own = {name: value[:kept] for name, value in inputs.items()}
        if "labels" not in own:
            own.pop("utterance_id", None)  # `compute_loss` reads it, which is not called then
        if ignore_keys is None:
            ignore_keys = self.accelerator.unwrap_model(self.model).config.keys_to_ignore_at_inference
        loss, logits, labels = super().prediction_step(model, own, prediction_loss_only, [*ignore_keys, "loss_terms"])
        return loss, filled_up(logits, rows), filled_up(labels, rows)

    def _own_rows(self, rows: int) -> int:
        state = self.accelerator.gradient_state
        if self.args.world_size == 1 or not state.end_of_dataloader or state.remainder <= 0:
            return rows
        return min(rows, max(0, state.remainder - self.args.process_index * rows))


def shard_by_layer(plugin: Any, model: DRKFForEmotionClassification) -> None:
    """Names the layers that FSDP shards one by one, unless the plugin names some.

    A module that may not be split and holds the input embedding is none: accelerate shards the embedding itself.
    """
    embedding = model.get_input_embeddings()
    whole = [module for module in model.modules() if type(module).__name__ in (model._no_split_modules or ())]
    if not plugin.transformer_cls_names_to_wrap:
        names = {type(module).__name__ for module in whole if not any(part is embedding for part in module.modules())}
        plugin.transformer_cls_names_to_wrap = sorted(names)


def _apply_arguments(model: nn.Module, args: TrainingArguments, processor: Any) -> None:
    """Sets what a model takes from the arguments and from its processor."""
    model.gather_across_processes = getattr(args, "gather_across_processes", False)  # type: ignore[assignment]
    config: Any = model.config
    if isinstance(processor, ProcessorMixin):
        config.empty_text_ids = processor(text="")["input_ids"][0]
    factor = args.label_smoothing_factor
    if not factor:
        return
    if config.is_multi_label:
        raise OptionError("label_smoothing_factor applies to single-label classification only")
    if config.label_smoothing not in (0, factor):
        raise OptionError(
            f"label_smoothing_factor is {factor}, the model's label_smoothing {config.label_smoothing}: give one"
        )
    config.label_smoothing = factor
