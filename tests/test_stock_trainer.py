"""What users of transformers' Trainer do by habit works, with Trainer itself and with DRKFTrainer."""

from pathlib import Path
from typing import Any

import pytest
from helpers.tiny import tiny_batch, tiny_model, tiny_processor
from helpers.trainers import rows, trainer
from transformers import Trainer, TrainingArguments
from transformers.utils import logging

from processing.collator import DRKFDataCollator

LABELS = [0, 1, 2, 0]


def stock_trainer(folder: Path, data: Any = None, **options: Any) -> Trainer:
    data = rows() if data is None else data
    arguments = TrainingArguments(
        str(folder), per_device_train_batch_size=4, report_to="none", use_cpu=True, remove_unused_columns=False,
        **options,
    )  # fmt: skip
    collator = DRKFDataCollator(tiny_processor())
    model = tiny_model(max_fusion_positions=600)
    return Trainer(model, arguments, data_collator=collator, train_dataset=data, eval_dataset=data)


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
