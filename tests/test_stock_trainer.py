"""What users of transformers' Trainer do by habit works, with Trainer itself and with DRKFTrainer."""

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from helpers.tiny import tiny_batch, tiny_model, tiny_processor
from helpers.trainers import rows, trainer
from transformers import EvalPrediction, Trainer, TrainingArguments
from transformers.utils import logging

from modeling_drkf import DRKFForEmotionClassification, DRKFTrainer, DRKFTrainingArguments
from processing.collator import DRKFDataCollator
from processing.errors_drkf import InputError

LABELS = [0, 1, 2, 0]


def stock_trainer(folder: Path, data: Any = None, compute_metrics: Any = None, **options: Any) -> Trainer:
    data = rows() if data is None else data
    arguments = TrainingArguments(
        str(folder), per_device_train_batch_size=4, report_to="none", use_cpu=True, remove_unused_columns=False,
        **options,
    )  # fmt: skip
    collator = DRKFDataCollator(tiny_processor())
    model = tiny_model(max_fusion_positions=600)
    return Trainer(
        model, arguments, data_collator=collator, train_dataset=data, eval_dataset=data,
        compute_metrics=compute_metrics,
    )  # fmt: skip


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The warnings that are given once, as if none had been given before."""
    logging.warning_once.cache_clear()
    given: list[str] = []
    monkeypatch.setattr(logging.get_logger("modeling_drkf.paper_modeling_drkf"), "warning", given.append)
    return given


def test_a_model_in_training_mode_without_labels_says_so_once(warnings: list[str]):
    model, batch = tiny_model().train(), tiny_batch()
    assert model(**batch).loss is None
    model(**batch)
    assert len(warnings) == 1
    assert "gets no labels" in warnings[0]
    assert "label_smoothing" in warnings[0]


def test_no_other_use_of_a_model_warns(warnings: list[str]):
    tiny_model()(**tiny_batch())
    tiny_model().train()(**tiny_batch(labels=LABELS))
    assert warnings == []


def test_label_smoothing_of_a_stock_trainer_warns_and_that_of_drkf_trainer_trains_every_term(
    tmp_path: Path, warnings: list[str]
):
    stock_trainer(tmp_path / "stock", max_steps=1, label_smoothing_factor=0.1).train()
    assert len(warnings) == 1
    run = trainer(tmp_path / "drkf", max_steps=1, logging_steps=1, label_smoothing_factor=0.1)
    run.train()
    assert len(warnings) == 1
    logged = run.state.log_history[0]
    assert {name for name in logged if name.endswith("_loss")} == set(run.model.config.loss_weights)


# Predictions, labels and lengths.


def accuracy(evaluation: EvalPrediction) -> dict[str, float]:
    """The `compute_metrics` of transformers' examples."""
    return {"accuracy": float((np.argmax(evaluation.predictions, axis=1) == evaluation.label_ids).mean())}


@pytest.mark.parametrize("train", [stock_trainer, trainer])
def test_predictions_are_the_logits(tmp_path: Path, train: Any):
    run, data = train(tmp_path), rows()
    output = run.predict(data)
    with torch.no_grad():
        batch = DRKFDataCollator(tiny_processor())([data[index] for index in range(len(data))])
        expected = run.model(**batch).logits
    np.testing.assert_allclose(output.predictions, expected, atol=1e-5)
    assert np.argmax(output.predictions, -1).tolist() == expected.argmax(-1).tolist()
    assert output.label_ids.tolist() == data["label"][:]
    run.compute_metrics = accuracy
    right = (expected.argmax(-1) == batch["labels"]).float().mean().item()
    assert run.evaluate()["eval_accuracy"] == pytest.approx(right)


@pytest.mark.parametrize("train", [stock_trainer, trainer])
def test_predictions_without_labels(tmp_path: Path, train: Any):
    run = train(tmp_path)
    unlabelled = rows().remove_columns("label").add_column("utterance_id", list("abcdefgh"))
    output = run.predict(unlabelled)
    np.testing.assert_allclose(output.predictions, run.predict(rows()).predictions, atol=1e-6)
    assert output.label_ids is None


@pytest.mark.parametrize("train", [stock_trainer, trainer])
def test_class_ids_may_stand_in_a_column_labels(tmp_path: Path, train: Any):
    run = train(tmp_path)
    losses = [run.evaluate(data)["eval_loss"] for data in (rows(), rows().rename_column("label", "labels"))]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("strategy", ["group_by_length", "batch_rebalance"])
@pytest.mark.parametrize("kind", ["dataset", "list", "decoders", "excerpts", "column"])
def test_batches_of_like_length_need_no_column_of_lengths(tmp_path: Path, strategy: str, kind: str):
    """The clips of `rows` last longer and longer; the excerpts, shorter and shorter."""
    data: Any = rows()
    seconds = [(4000 + 300 * index) / 16_000 for index in range(8)]
    if kind == "list":
        data = list(data)
    elif kind == "decoders":
        data = data.with_transform(decoded)
    elif kind == "excerpts":
        data = [{**row, "start": index / 100, "end": 0.2} for index, row in enumerate(data)]
        seconds = [0.2 - index / 100 for index in range(8)]
    elif kind == "column":
        seconds = [float(8 - index) for index in range(8)]
        data = data.add_column("duration", seconds)
    run = trainer(tmp_path, train_sampling_strategy=strategy, max_steps=2)
    run.train_dataset = data
    batches = run.get_train_dataloader().batch_sampler
    assert list(getattr(batches, "sampler", batches).lengths) == pytest.approx(seconds)
    run.train()
    assert run.state.global_step == 2


def test_a_stock_trainer_takes_lengths_from_their_column(tmp_path: Path):
    data = rows().add_column("duration", [float(index) for index in range(8)])
    run = stock_trainer(tmp_path, data, train_sampling_strategy="group_by_length", length_column_name="duration")
    assert list(run.get_train_dataloader().batch_sampler.sampler.lengths) == data["duration"][:]


@pytest.mark.parametrize("make", [list, lambda data: data])
def test_recordings_without_a_processor_are_refused_in_plain_words(tmp_path: Path, make: Any):
    arguments = DRKFTrainingArguments(str(tmp_path), max_steps=1, report_to="none", use_cpu=True)
    with pytest.raises(InputError, match=r"processing_class=AutoProcessor\.from_pretrained"):
        DRKFTrainer(tiny_model(), arguments, train_dataset=make(rows())).train()


def test_model_inputs_of_one_length_need_no_processor(tmp_path: Path):
    batch = tiny_batch(labels=LABELS)
    features = [{name: values[index] for name, values in batch.items()} for index in range(4)]
    arguments = DRKFTrainingArguments(str(tmp_path), report_to="none", use_cpu=True)
    run = DRKFTrainer(tiny_model(), arguments, eval_dataset=features)
    with torch.no_grad():
        assert run.evaluate()["eval_loss"] == pytest.approx(tiny_model()(**batch).loss.item(), rel=1e-5)


# Rows of datasets since version 4.


class AudioDecoder:
    """What torchcodec's AudioDecoder has: samples (channels, samples) and their rate."""

    def __init__(self, clip: dict[str, Any]):
        self.clip = clip

    def get_all_samples(self) -> SimpleNamespace:
        return SimpleNamespace(data=torch.tensor(self.clip["array"])[None], sample_rate=self.clip["sampling_rate"])


def decoded(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {name: list(map(AudioDecoder, values)) if name == "audio" else values for name, values in batch.items()}


@pytest.mark.parametrize("train", [stock_trainer, trainer])
def test_rows_whose_audio_is_a_decoder_train_like_arrays(tmp_path: Path, train: Any):
    arrays, decoders = train(tmp_path / "a", max_steps=1), train(tmp_path / "b", max_steps=1)
    decoders.train_dataset = rows().with_transform(decoded)
    assert decoders.evaluate(decoders.train_dataset)["eval_loss"] == arrays.evaluate()["eval_loss"]
    for run in (arrays, decoders):
        run.train()
    for name, value in arrays.model.state_dict().items():
        assert torch.equal(value, decoders.model.state_dict()[name]), name


# What Trainer takes, DRKFTrainer takes.


def test_the_arguments_are_those_of_trainer_in_the_same_order():
    assert list(inspect.signature(DRKFTrainer).parameters) == list(inspect.signature(Trainer).parameters)


def drkf_trainer(folder: Path, arguments: dict[str, Any] | None = None, **options: Any) -> DRKFTrainer:
    """With stock arguments, which would remove the columns that a model does not read."""
    fields = {"per_device_train_batch_size": 4, "report_to": "none", "use_cpu": True} | (arguments or {})
    stock = TrainingArguments(str(folder), **fields)
    given = {"model": None if "model_init" in options else tiny_model(max_fusion_positions=600)} | options
    return DRKFTrainer(
        args=stock, train_dataset=rows(), eval_dataset=rows(), processing_class=tiny_processor(), **given
    )


def test_stock_arguments_train_the_same_weights(tmp_path: Path):
    stock, own = drkf_trainer(tmp_path / "stock", {"max_steps": 2}), trainer(tmp_path / "own", max_steps=2)
    for run in (stock, own):
        run.train()
    for name, value in own.model.state_dict().items():
        assert torch.equal(value, stock.model.state_dict()[name]), name


def test_no_arguments_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    run = DRKFTrainer(tiny_model(max_fusion_positions=600), eval_dataset=rows(), processing_class=tiny_processor())
    assert run.evaluate()["eval_loss"] == pytest.approx(trainer(tmp_path / "own").evaluate()["eval_loss"], rel=1e-5)


def test_a_model_is_made_for_each_training_and_gets_the_arguments(tmp_path: Path):
    made: list[DRKFForEmotionClassification] = []

    def make() -> DRKFForEmotionClassification:
        made.append(tiny_model(max_fusion_positions=600))
        return made[-1]

    run = drkf_trainer(tmp_path, {"max_steps": 1, "label_smoothing_factor": 0.1}, model_init=make)
    run.train()
    run.train()
    assert len(made) >= 2
    assert run.model is made[-1]
    assert [model.config.label_smoothing for model in made] == [0.1] * len(made)
    with pytest.raises(RuntimeError, match="requires either a `model` or `model_init`"):
        drkf_trainer(tmp_path, model=None)


def test_a_loss_function_gets_the_loss_of_drkf_and_the_labels(tmp_path: Path):
    seen: list[tuple[float, list[int]]] = []

    def doubled(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        seen.append((outputs["loss"].item(), labels.tolist()))
        return 2 * outputs["loss"]

    run = drkf_trainer(tmp_path, compute_loss_func=doubled)
    plain = drkf_trainer(tmp_path).evaluate()
    assert run.evaluate()["eval_loss"] == pytest.approx(2 * plain["eval_loss"], rel=1e-5)
    assert seen[0][0] == pytest.approx(plain["eval_loss"], rel=1e-5)
    assert seen[0][1] == rows()["label"][:]
    assert {f"eval_{name}" for name in run.model.config.loss_weights} < run.evaluate().keys()


def test_an_accumulated_loss_of_a_function_is_not_divided_again(tmp_path: Path):
    """`Trainer` takes such a loss as divided by `num_items_in_batch`, of all accumulated batches."""
    options = {"representation": "none", "emotion_discrimination": False, "max_fusion_positions": 600}

    def mean_over_all(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        return outputs["loss"] * len(labels) / num_items_in_batch

    common = {"max_steps": 1, "data_seed": 0, "optim": "sgd", "learning_rate": 0.1}
    together = drkf_trainer(tmp_path / "a", common, model=tiny_model(**options))
    apart = drkf_trainer(
        tmp_path / "b", common | {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4},
        model=tiny_model(**options), compute_loss_func=mean_over_all,
    )  # fmt: skip
    for run in (together, apart):
        run.train()
    for name, value in together.model.state_dict().items():
        torch.testing.assert_close(apart.model.state_dict()[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_logits_are_processed_before_they_are_scored(tmp_path: Path):
    run = drkf_trainer(
        tmp_path,
        preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(-1),
        compute_metrics=lambda found: {"accuracy": float((found.predictions == found.label_ids).mean())},
    )
    plain = drkf_trainer(tmp_path, compute_metrics=accuracy)
    assert run.evaluate()["eval_accuracy"] == plain.evaluate()["eval_accuracy"]


def test_an_optimizer_is_given_by_its_class(tmp_path: Path):
    run = drkf_trainer(tmp_path, {"max_steps": 1}, optimizer_cls_and_kwargs=(torch.optim.SGD, {"lr": 0.25}))
    run.train()
    optimizer = run.optimizer.optimizer
    assert isinstance(optimizer, torch.optim.SGD)
    assert {group["initial_lr"] for group in optimizer.param_groups} == {0.25}


def test_hyperparameters_are_searched(tmp_path: Path):
    rates = [0.0, 1e-2]
    run = drkf_trainer(
        tmp_path, {"max_steps": 2, "eval_strategy": "steps", "eval_steps": 2},
        model_init=lambda trial: tiny_model(max_fusion_positions=600),
    )  # fmt: skip
    best = run.hyperparameter_search(
        hp_space=lambda trial: {"learning_rate": trial.suggest_categorical("learning_rate", rates)},
        n_trials=2, sampler=optuna.samplers.GridSampler({"learning_rate": rates}, seed=0),
    )  # fmt: skip
    losses = {}
    for rate in rates:
        alone = drkf_trainer(tmp_path / str(rate), {"max_steps": 2, "learning_rate": rate}, model_init=run.model_init)
        alone.train()
        losses[rate] = alone.evaluate()["eval_loss"]
    assert losses[0.0] != losses[1e-2]
    assert best.objective == pytest.approx(min(losses.values()), rel=1e-5)
    assert best.hyperparameters == {"learning_rate": min(losses, key=lambda rate: losses[rate])}


def test_the_metric_of_the_best_model_is_what_is_searched_for(tmp_path: Path):
    scores = iter([0.25, 0.75, 0.5])
    run = drkf_trainer(
        tmp_path, {"max_steps": 1, "metric_for_best_model": "accuracy", "greater_is_better": True},
        model_init=lambda: tiny_model(max_fusion_positions=600),
        compute_metrics=lambda evaluation: {"accuracy": next(scores)},
    )  # fmt: skip
    assert run.hyperparameter_search(hp_space=lambda trial: {}, n_trials=3).objective == 0.75
