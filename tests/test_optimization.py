"""Choices of optimisation in real runs: learning rates, precision, early stopping, batches, class weights."""

import json
import math
from pathlib import Path

import pandas
import pytest
import torch
from datasets import Dataset
from helpers.runs import ENCODERS, assert_predictions_are_the_models, train
from helpers.tiny import assert_equal_gradients, tiny_batch, tiny_model
from helpers.tones import write_recipe, write_tones
from helpers.trainers import trainer
from safetensors.torch import load_file
from transformers import AutoModelForAudioClassification

from modeling_drkf import DRKFTrainingArguments
from modeling_drkf.training.optimization import balanced_class_weights
from train_drkf import main

NO_STOCHASTIC_TERMS = {"representation": "none", "emotion_discrimination": False}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tones")
    write_tones(folder)
    write_recipe(folder)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_encoders_have_a_learning_rate_of_their_own_under_any_schedule(corpus: Path, tmp_path: Path):
    """Warm-up, cosine, clipping and batches by length in one run; predictions stay with their utterances."""
    options = [
        "--encoder_learning_rate",
        1e-4,
        "--warmup_steps",
        3,
        "--num_train_epochs",
        3,
        "--lr_scheduler_type",
        "cosine",
    ]
    options += ["--max_grad_norm", 0.01, "--train_sampling_strategy", "group_by_length", "--weight_decay", 0.1]
    logs = [log for log in train(corpus, tmp_path, *options)["log_history"] if "learning_rate" in log]
    rates = [log["learning_rate"] for log in logs]
    assert rates[:4] == pytest.approx([0, 1e-3, 2e-3, 3e-3])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert 0 < rates[-1] < 1.5e-3
    assert [log["encoder_learning_rate"] for log in logs] == pytest.approx([rate / 30 for rate in rates])
    assert_predictions_are_the_models(tmp_path, corpus)


def test_every_trained_parameter_is_in_one_group_with_its_rate_and_decay(tmp_path: Path):
    run = trainer(tmp_path, encoder_learning_rate=1e-4, learning_rate=1e-3, weight_decay=0.1)
    run.model.freeze_feature_encoder()
    groups = run.create_optimizer().param_groups
    found = {id(parameter): group for group in groups for parameter in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(found)
    trained = {name: parameter for name, parameter in run.model.named_parameters() if parameter.requires_grad}
    assert found.keys() == {id(parameter) for parameter in trained.values()}
    for name, parameter in trained.items():
        assert found[id(parameter)]["lr"] == (1e-4 if name.startswith(ENCODERS) else 1e-3), name
        decays = parameter.ndim > 1 and "norm" not in name.lower()
        assert found[id(parameter)]["weight_decay"] == (0.1 if decays else 0.0), name
    assert found[id(run.model.representations.temperature_logit)]["weight_decay"] == 0


def test_a_plateau_lowers_both_rates(tmp_path: Path):
    run = trainer(
        tmp_path, encoder_learning_rate=1e-4, learning_rate=1e-3, lr_scheduler_type="reduce_lr_on_plateau",
        lr_scheduler_kwargs={"patience": 0, "threshold": 10.0}, eval_strategy="epoch", save_strategy="epoch",
        metric_for_best_model="loss", num_train_epochs=2,
    )  # fmt: skip
    run.train()
    assert sorted({group["lr"] for group in run.optimizer.param_groups}) == pytest.approx([1e-6, 1e-5])


def test_resuming_keeps_both_rates(tmp_path: Path):
    options = {"encoder_learning_rate": 1e-4, "learning_rate": 1e-2, "lr_scheduler_type": "cosine", "max_steps": 4}
    whole = trainer(tmp_path, save_steps=2, **options)
    whole.train()
    resumed = trainer(tmp_path, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_training_stops_early_and_a_resumed_one_stops_with_it(corpus: Path, tmp_path: Path):
    options = ["--learning_rate", 0, "--num_train_epochs", 9, "--early_stopping_patience", 2]
    assert train(corpus, tmp_path, *options)["epoch"] == 3
    first = min(int(path.name.split("-")[1]) for path in tmp_path.glob("checkpoint-*"))
    options += ["--resume_from_checkpoint", tmp_path / f"checkpoint-{first}"]
    assert train(corpus, tmp_path / "resumed", *options)["epoch"] == 3


def test_early_stopping_needs_evaluations(tmp_path: Path):
    with pytest.raises(ValueError, match="set eval_strategy to epoch or steps"):
        DRKFTrainingArguments(str(tmp_path), early_stopping_patience=2)


def test_bf16_and_checkpointed_gradients_train(corpus: Path, tmp_path: Path):
    plain, cheap = (tmp_path / name for name in ("plain", "cheap"))
    expected = train(corpus, plain, "--num_train_epochs", 1)["log_history"][0]
    options = ["--bf16", "true", "--use_cpu", "true", "--activation_checkpointing", "true", "--num_train_epochs", 1]
    first = train(corpus, cheap, *options)["log_history"][0]
    assert first["loss"] == pytest.approx(expected["loss"], rel=0.02)
    assert first["loss"] != expected["loss"]
    assert {value.dtype for value in weights(cheap).values()} == {torch.float32}
    assert_predictions_are_the_models(cheap, corpus, tolerance=5e-3)


@pytest.mark.parametrize("fusion", ["self", "cross"])
def test_checkpointing_changes_no_gradient(fusion: str):
    models = [tiny_model(fusion=fusion, max_fusion_positions=200).train() for _ in range(2)]
    models[1].activation_checkpointing_enable()
    for model in models:
        torch.manual_seed(0)
        model(**tiny_batch(labels=[0, 1, 2, 0])).loss.backward()
    assert_equal_gradients(models[1], models[0])
    assert any(getattr(module, "gradient_checkpointing", False) for module in models[1].drkf.fusion_encoder.modules())


def test_batches_group_clips_of_like_length_also_through_wrappers(tmp_path: Path):
    from modeling_drkf.experiments.datasets import ModalityDropout

    durations = [(index * 7 % 32) / 10 for index in range(32)]
    data = Dataset.from_dict({"duration": durations, "text": [""] * 32})
    run = trainer(tmp_path, train_sampling_strategy="group_by_length", per_device_train_batch_size=2)

    def spread(dataset: object) -> float:
        torch.manual_seed(0)
        order = list(run._get_train_sampler(dataset))
        assert sorted(order) == list(range(32))
        return sum(abs(durations[a] - durations[b]) for a, b in zip(order[::2], order[1::2], strict=True)) / 16

    assert spread(data) == pytest.approx(spread(ModalityDropout(data, {}, 0.5)))
    run.args.train_sampling_strategy = "random"
    random = spread(data)
    run.args.train_sampling_strategy = "group_by_length"
    assert spread(data) < random / 2


def test_balanced_class_weights_count_the_training_part_only(corpus: Path, tmp_path: Path):
    table = pandas.read_csv(corpus / "clips.csv")
    table["audio"] = [str(corpus / name) for name in table.audio]
    lacking = table.audio.str.contains("(?:ada_tense|cleo_tense|dan_tense)_1")
    table[~lacking].to_csv(tmp_path / "clips.csv", index=False)
    options = [corpus / "tiny.yaml", "--manifest", tmp_path / "clips.csv", "--output_dir", tmp_path / "out"]
    options += ["--protocol", "leave_one_speaker_out", "--fold", "bob", "--class_weights", "balanced"]
    assert main([*map(str, options), "--num_train_epochs", "1"]) == 0
    fold = json.loads((tmp_path / "out" / "fold.json").read_text())["folds"][0]
    calm, tense = (sum(f"_{label}_" in name for name in fold["train"]) for label in ("calm", "tense"))
    assert calm > tense > 0
    config = AutoModelForAudioClassification.from_pretrained(tmp_path / "out").config
    mean = (1 / calm + 1 / tense) / 2
    assert config.class_weights == pytest.approx([1 / calm / mean, 1 / tense / mean])


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"label": [0, 0, 0, 2]}, [0.5, 1.0, 1.5]),
        ({"labels": [[0.5, 0.5, 0], [1, 0, 0], [0, 0, 1.0]]}, [0.5454545, 1.6363636, 0.8181818]),
    ],
)
def test_class_weights_are_inverse_to_frequency_with_mean_one(columns: dict, expected: list[float]):
    assert balanced_class_weights(Dataset.from_dict(columns), 3) == pytest.approx(expected)


def test_given_class_weights_enter_the_loss(corpus: Path, tmp_path: Path):
    """With weight 0 on one class, the loss is that of the other class' utterances."""
    drkf = json.dumps({"hidden_size": 16, "num_fusion_layers": 1, "num_fusion_heads": 2} | NO_STOCHASTIC_TERMS)
    options = ["--class_weights", "[0, 3]", "--drkf", drkf, "--num_train_epochs", 1]
    train(corpus, tmp_path, *options)
    loss = json.loads((tmp_path / "metrics.json").read_text())["test"]["losses"]["classification_loss"]
    table = pandas.read_csv(tmp_path / "test_predictions.csv")
    part = [-3 * math.log(row.probability_tense) if row.label == "tense" else 0 for row in table.itertuples()]
    assert loss == pytest.approx(sum(part) / len(table), rel=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--class_weights", "sqrt"], "takes balanced or a list"),
        (["--lora", "8"], "takes fields of LoraConfig"),
        (["--lora", "{}", "--freeze_speech_encoder", "true", "--freeze_text_encoder", "true"], "and both are"),
        (["--modality_dropout", "0.2", "--modality", "text"], "has nothing to do"),
        (["--early_stopping_patience", "0"], "must be at least 1"),
    ],
)
def test_choices_that_cannot_be_meant_are_told(corpus: Path, options: list[str], message: str, capsys):
    with pytest.raises(SystemExit):
        main([str(corpus / "tiny.yaml"), "--manifest", str(corpus / "clips.csv"), *options])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--class_weights", "[1, 2, 3]"], "class_weights has 3 entries for 2 labels"),
        (["--class_weights", '[1, "a"]'], "class_weights"),
        (["--modality_dropout", "1.5"], "modality_dropout must be in [0, 1), got 1.5"),
    ],
)
@pytest.mark.parametrize("going_on", [False, True])
def test_wrong_values_stop_a_run_before_it_trains(
    corpus: Path, tmp_path: Path, options: list[str], message: str, going_on: bool, capsys
):
    tiny_model(num_labels=2, id2label={0: "calm", 1: "tense"}).save_pretrained(tmp_path / "model")
    start = ["--model_name_or_path", str(tmp_path / "model")] if going_on else []
    fixed = [str(corpus / "tiny.yaml"), "--manifest", str(corpus / "clips.csv"), "--output_dir", str(tmp_path / "out")]
    assert main([*fixed, *start, *options, "--drkf", "{}"] if going_on else [*fixed, *options]) == 1
    assert message in capsys.readouterr().err


def test_label_smoothing_factor_is_the_configurations_label_smoothing(tmp_path: Path):
    model_options = NO_STOCHASTIC_TERMS
    asked = trainer(tmp_path, label_smoothing_factor=0.2, model_options=model_options)
    configured = trainer(tmp_path, model_options=model_options | {"label_smoothing": 0.2})
    plain = trainer(tmp_path, model_options=model_options)
    losses = [run.evaluate()["eval_classification_loss"] for run in (asked, configured, plain)]
    assert losses[0] == losses[1] != losses[2]
    assert asked.model.config.label_smoothing == 0.2


@pytest.mark.parametrize(
    ("model_options", "message"),
    [
        ({"label_smoothing": 0.1}, "label_smoothing_factor is 0.2, the model's label_smoothing 0.1"),
        ({"problem_type": "multi_label_classification"}, "single-label classification only"),
    ],
)
def test_label_smoothing_is_not_ignored(tmp_path: Path, model_options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        trainer(tmp_path, label_smoothing_factor=0.2, model_options=model_options)
