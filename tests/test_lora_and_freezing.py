"""Frozen encoders and LoRA adapters: what trains and what does not, resuming, and what is saved in the end."""

import json
import sys
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from helpers.runs import ENCODERS, assert_predictions_are_the_models, train
from helpers.tiny import AUDIO_ENCODERS, TEXT_ENCODERS, encode, perturb, tiny_batch, tiny_model
from helpers.tones import write_recipe, write_tones
from helpers.trainers import trainer
from safetensors.torch import load_file

from modeling_drkf.experiments.building import build_model_and_processor
from modeling_drkf.experiments.options import parse_arguments
from modeling_drkf.training.optimization import add_lora, default_lora_targets, merge_lora
from train_drkf import main

BOTH = ["--freeze_speech_encoder", "true", "--freeze_text_encoder", "true"]
ALL_ENCODERS = [*((audio, "roberta") for audio in AUDIO_ENCODERS), *(("wav2vec2", text) for text in TEXT_ENCODERS)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tones")
    write_tones(folder)
    write_recipe(folder)
    return folder


def saved(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))


def test_a_frozen_encoder_stays_as_it_was_through_resuming_while_the_rest_learns(corpus: Path, tmp_path: Path):
    options = ["--freeze_text_encoder", "true", "--learning_rate", 1e-2]
    train(corpus, tmp_path, *options, "--num_train_epochs", 1)
    before = saved(checkpoints(tmp_path)[0])
    train(corpus, tmp_path, *options, "--num_train_epochs", 2, "--resume_from_checkpoint", "true")
    after = saved(checkpoints(tmp_path)[-1])
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not [name for name in changed if name.startswith(ENCODERS[1])]
    assert {name for name in before if name.startswith("drkf.fusion_encoder.layers")} <= changed
    assert any(name.startswith(ENCODERS[0]) for name in changed)


@pytest.mark.slow
def test_resuming_without_the_freezing_is_refused(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    train(corpus, tmp_path, *BOTH, "--num_train_epochs", 1)
    options = ["--manifest", corpus / "clips.csv", "--output_dir", tmp_path, "--resume_from_checkpoint", "true"]
    assert main([str(corpus / "tiny.yaml"), *map(str, options), "--num_train_epochs", "2"]) == 1
    assert "parameter group" in capsys.readouterr().err


def test_frozen_encoders_run_without_dropout_and_the_others_with_it():
    model = tiny_model(dropout=0.5, max_fusion_positions=400).train()
    batch = tiny_batch()
    encoding = model.drkf.modality_encoding

    def differs(modality: str) -> bool:
        first, second = (encode(encoding, batch)[modality == "text"].sequence for _ in range(2))
        return not torch.equal(first, second)

    assert differs("speech")
    assert differs("text")
    model.freeze_speech_encoder()
    model.train()
    assert not differs("speech")
    assert differs("text")
    model.freeze_text_encoder()
    model.train()
    assert not differs("text")
    assert model.drkf.fusion_encoder.training
    encoding.requires_grad_(True)
    model.train()
    assert differs("speech")


@pytest.mark.parametrize(("audio", "text"), ALL_ENCODERS)
def test_default_adapters_learn_and_merge_for_every_encoder(audio: str, text: str):
    model = perturb(tiny_model(audio=audio, text=text, max_fusion_positions=400))
    batch = tiny_batch(audio, labels=[0, 1, 2, 0])
    plain, names = model(**batch).logits, set(model.state_dict())
    encoding = model.drkf.modality_encoding
    for encoder in (encoding.speech_encoder, encoding.text_encoder):
        add_lora(encoder, {})
    torch.testing.assert_close(model(**batch).logits, plain)
    adapters = {name: value for name, value in encoding.named_parameters() if "lora_" in name}
    trained = {name for name, value in encoding.named_parameters() if value.requires_grad}
    assert trained - {"speech_adapter.weight", "speech_adapter.bias"} == adapters.keys()
    for value in adapters.values():
        torch.nn.init.normal_(value, std=0.1)
    model.train()(**batch).loss.backward()
    assert [name for name, value in adapters.items() if value.grad is None or not value.grad.any()] == []
    adapted = model.eval()(**batch).logits
    merge_lora(model)
    assert set(model.state_dict()) == names
    torch.testing.assert_close(model(**batch).logits, adapted, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(adapted, plain, atol=1e-3)


def test_a_run_with_lora_resumes_and_ends_as_an_ordinary_checkpoint(corpus: Path, tmp_path: Path):
    options = [
        "--lora",
        '{"r": 2}',
        "--learning_rate",
        3e-2,
        "--num_train_epochs",
        2,
        "--load_best_model_at_end",
        "no",
    ]
    train(corpus, tmp_path / "whole", *options)
    first = saved(checkpoints(tmp_path / "whole")[0])
    assert any("lora_A" in name for name in first)
    train(corpus, tmp_path / "resumed", *options, "--resume_from_checkpoint", checkpoints(tmp_path / "whole")[0])
    whole, resumed = (saved(tmp_path / name) for name in ("whole", "resumed"))
    assert whole.keys() == resumed.keys()
    assert [name for name in whole if not torch.allclose(whole[name], resumed[name])] == []
    assert not [name for name in whole if "lora" in name or "base_layer" in name]
    started = {name.replace(".base_layer", ""): value for name, value in first.items()}
    changed = {name for name in whole if name.startswith(ENCODERS) and not torch.equal(whole[name], started[name])}
    targets = ("linear_q.weight", "linear_v.weight", "query.weight", "value.weight")
    assert {name for name in whole if name.startswith(ENCODERS) and name.endswith(targets)} == changed
    assert_predictions_are_the_models(tmp_path / "whole", corpus)


@pytest.mark.parametrize("frozen", ["speech", "text"])
def test_lora_leaves_a_frozen_encoder_alone(corpus: Path, frozen: str):
    options = [str(corpus / "tiny.yaml"), "--manifest", "x.csv", "--lora", "{}", f"--freeze_{frozen}_encoder", "true"]
    rows = Dataset.from_dict({"text": ["all is quiet"], "label": [0]})
    problem_type = "single_label_classification"
    model, _ = build_model_and_processor(parse_arguments(options)[0], ["calm", "tense"], problem_type, rows)
    trained = {name for name, value in model.drkf.named_parameters() if value.requires_grad and "_encoder." in name}
    adapted = {name.split("_encoder.")[0] for name in trained if "lora_" in name}
    assert adapted == {"modality_encoding." + ("text" if frozen == "speech" else "speech")}
    assert not [name for name in trained if f"{frozen}_encoder." in name]


def test_adapters_take_the_encoders_learning_rate(tmp_path: Path):
    run = trainer(tmp_path, encoder_learning_rate=1e-3, learning_rate=1e-5, max_steps=1)
    encoding = run.model.drkf.modality_encoding
    add_lora(encoding.text_encoder, {})
    rates = {id(value): group["lr"] for group in run.create_optimizer().param_groups for value in group["params"]}
    for name, value in run.model.named_parameters():
        if value.requires_grad:
            assert rates[id(value)] == (1e-3 if name.startswith(ENCODERS) else 1e-5), name


@pytest.mark.parametrize(
    ("audio", "options", "message"),
    [
        ("wav2vec2", {"target_modules": ["nowhere"]}, "Target modules .*nowhere.* not found"),
        ("wav2vec2", {"rank": 4}, "unexpected keyword argument 'rank'"),
        ("wavlm", {"target_modules": ["q_proj"]}, "adapters there would learn nothing"),
    ],
)
def test_adapters_that_cannot_work_are_refused(audio: str, options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        add_lora(tiny_model(audio=audio).drkf.modality_encoding.speech_encoder, options)


def test_an_encoder_of_unknown_make_needs_target_modules():
    encoder = tiny_model().drkf.modality_encoding.text_encoder
    encoder.encoder.layer = torch.nn.ModuleList()
    with pytest.raises(ValueError, match="name its linear modules"):
        default_lora_targets(encoder)


def test_without_peft_the_command_says_what_to_install(corpus: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "peft", None)
    options = ["--manifest", corpus / "clips.csv", "--output_dir", tmp_path, "--lora", json.dumps({"r": 4})]
    assert main([str(corpus / "tiny.yaml"), *map(str, options)]) == 1
    assert "pip install 'drkf[lora]'" in capsys.readouterr().err


@pytest.mark.parametrize("task_type", [None, "FEATURE_EXTRACTION", "SEQ_CLS"])
def test_peft_wraps_the_model_under_any_of_these_task_types(task_type):
    peft = pytest.importorskip("peft")
    targets = ["q_proj", "v_proj", "query", "value"]
    batch, plain = tiny_batch(labels=[0, 1, 2, 0]), tiny_model()
    wrapped = peft.get_peft_model(
        tiny_model(), peft.LoraConfig(task_type=task_type, r=2, target_modules=targets)
    ).eval()
    output = wrapped(**batch)
    torch.testing.assert_close(output.loss, plain(**batch).loss)  # a new adapter adds nothing yet
    output.loss.backward()
    trained = {name for name, parameter in wrapped.named_parameters() if parameter.grad is not None}
    assert any("lora_A" in name for name in trained)
