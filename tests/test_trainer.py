"""DRKFTrainer: what it logs, gradient accumulation, resuming."""

from pathlib import Path

import pytest
import torch
from datasets import Value
from helpers.trainers import trainer

from modeling_drkf import DRKFTrainingArguments
from processing.errors_drkf import InputError, OptionError


@pytest.mark.parametrize("representation", ["pcmi", "cmie", "none"])
def test_every_term_is_logged_and_sums_to_the_loss(tmp_path: Path, representation: str):
    run = trainer(
        tmp_path,
        model_options={"representation": representation},
        max_steps=2,
        logging_steps=2,
        eval_strategy="steps",
        eval_steps=2,
        per_device_eval_batch_size=3,
    )
    run.train()
    weights = run.model.config.loss_weights
    logs = run.state.log_history
    train_log = next(log for log in logs if "loss" in log)
    eval_log = next(log for log in logs if "eval_loss" in log)
    for prefix, log in (("", train_log), ("eval_", eval_log)):
        total = sum(weight * log[prefix + name] for name, weight in weights.items())
        assert total == pytest.approx(log[prefix + "loss"], rel=1e-4)
    assert {name for name in train_log if name.endswith("_loss")} == set(weights)


def test_an_epoch_shorter_than_logging_steps_logs_its_terms(tmp_path: Path, capfd):
    run = trainer(tmp_path, num_train_epochs=2, logging_steps=500, eval_strategy="epoch", disable_tqdm=False)
    run.train()
    logs = [log for log in run.state.log_history if "loss" in log]
    assert [log["epoch"] for log in logs] == [1.0, 2.0]
    for log in logs:
        weights = run.model.config.loss_weights
        assert sum(weight * log[name] for name, weight in weights.items()) == pytest.approx(log["loss"], rel=1e-4)
    shown = [line for line in capfd.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert len(shown) == 2
    assert all("classification " in line.partition(" | ")[0] for line in shown)
    silent = trainer(tmp_path / "b", num_train_epochs=1, logging_strategy="no")
    silent.train()
    assert not any("loss" in log for log in silent.state.log_history)


def test_evaluation_terms_are_means_over_samples_not_over_batches(tmp_path: Path):
    """Three batches of 3, 3 and 2: terms that do not depend on the batch equal those of single samples."""
    run = trainer(tmp_path, per_device_eval_batch_size=3)
    metrics = run.evaluate()
    alone = trainer(tmp_path, per_device_eval_batch_size=1).evaluate()
    for name in ("eval_classification_loss", "eval_reconstruction_loss", "eval_label_divergence_loss"):
        assert metrics[name] == pytest.approx(alone[name], rel=1e-4)


def test_four_accumulated_steps_of_one_equal_one_step_of_four(tmp_path: Path):
    options = {"representation": "none", "emotion_discrimination": False}
    common = {"max_steps": 1, "data_seed": 0, "seed": 0, "logging_steps": 1, "optim": "sgd", "learning_rate": 0.1}
    together = trainer(tmp_path / "a", model_options=options, **common)
    apart = trainer(
        tmp_path / "b",
        model_options=options,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=4,
        **common,
    )
    start = {name: value.clone() for name, value in together.model.state_dict().items()}
    for run in (together, apart):
        run.train()
    other = apart.model.state_dict()
    for name, value in together.model.state_dict().items():
        torch.testing.assert_close(value, other[name], rtol=1e-4, atol=1e-6, msg=name)
    assert any(not torch.equal(value, start[name]) for name, value in together.model.state_dict().items())
    logged = [next(log["loss"] for log in run.state.log_history if "loss" in log) for run in (together, apart)]
    assert logged[0] == pytest.approx(logged[1], rel=1e-4)


def test_resuming_gives_the_weights_of_an_uninterrupted_run(tmp_path: Path):
    whole = trainer(tmp_path / "whole", max_steps=4, save_steps=2)
    whole.train()
    resumed = trainer(tmp_path / "whole", max_steps=4)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_checkpoints_hold_processor_and_code(tmp_path: Path):
    trainer(tmp_path, max_steps=1, save_steps=1).train()
    names = {path.name for path in (tmp_path / "checkpoint-1").iterdir()}
    expected = {
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "modeling_drkf.py",
        "processing_drkf.py",
    }
    assert expected <= names


def test_labels_may_be_names(tmp_path: Path):
    run = trainer(tmp_path, max_steps=1, learning_rate=0.0)
    names = run.train_dataset.map(lambda row: {"label": run.model.config.id2label[row["label"]]}, features=None)
    numbers, named = (run.evaluate(rows) for rows in (run.train_dataset, names.cast_column("label", Value("string"))))
    assert named["eval_loss"] == numbers["eval_loss"]
    with pytest.raises(InputError, match="row 1: label 'angri' is none of 'LABEL_0'"):
        run.data_collator([{**run.train_dataset[0], "label": "angri"}])


def test_several_gpus_in_one_process_are_refused_with_the_command_to_use(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(DRKFTrainingArguments, "n_gpu", property(lambda arguments: 2))
    with pytest.raises(OptionError, match="accelerate launch --multi_gpu"):
        trainer(tmp_path)


def test_logging_leaves_the_callers_figures_alone(tmp_path: Path):
    run = trainer(tmp_path, max_steps=1, logging_steps=5)
    run.train()
    run._terms.clear()
    run._terms["training"].add({"classification_loss": torch.tensor(2.0)}, 4)
    logs = {"loss": 1.0}
    run.log(logs)
    assert logs == {"loss": 1.0}
    assert run.state.log_history[-1]["classification_loss"] == 2.0
