"""Checkpoints and graphs whose fields hold what they must not: an error that names the folder, never a traceback."""

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import tiny_model, tiny_processor
from safetensors.torch import load_file, save_file
from transformers import pipeline

from drkf_cli.checkpoint import open_pipeline
from modeling_drkf.experiments.building import build_model_and_processor
from modeling_drkf.experiments.model_options import ModelArguments
from modeling_drkf.modeling_drkf import DRKFForEmotionClassification
from modeling_drkf.release.loading import load_checkpoint
from processing.errors_drkf import FileError, InputError, OptionError
from processing.handler import EndpointHandler
from processing.onnx_recognizer import FACTS, graph_facts
from processing.pipeline_drkf import TASK

WRONG: list[Any] = ["x", -1, [None], {"a": 1}]
FIELDS = {
    "config.json": (
        *("dtype", "id2label", "hidden_size", "augmentation_sizes", "class_weights", "audio_config"),
        *("audio_config.hidden_act", "audio_config.model_type", "text_config.hidden_act", "text_config.model_type"),
    ),
    "processor_config.json": (
        *("feature_extractor", "feature_extractor.auto_map", "feature_extractor.feature_extractor_type"),
        *("feature_extractor.sampling_rate", "processor_class"),
    ),
    "tokenizer_config.json": ("bos_token", "model_max_length", "pad_token", "tokenizer_class", "unk_token"),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "whole"
    tiny_model().save_pretrained(path)
    tiny_processor(max_audio_seconds=0.6).save_pretrained(path)
    return path


@pytest.mark.parametrize(("file", "field"), [(file, field) for file, fields in FIELDS.items() for field in fields])
def test_wrongly_typed_fields_are_the_packages_error(checkpoint: Path, tmp_path: Path, file: str, field: str):
    folder = tmp_path / "damaged"
    shutil.copytree(checkpoint, folder)
    refusals = []
    for value in WRONG:
        content = json.loads((checkpoint / file).read_text())
        *outer, name = field.split(".")
        inner = content
        for key in outer:
            inner = inner[key]
        inner[name] = value
        (folder / file).write_text(json.dumps(content))
        try:
            open_pipeline(str(folder))
        except FileError as error:
            refusals.append(str(error))
    assert refusals
    assert all(str(folder) in refusal for refusal in refusals)


def cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def reshape(folder: Path) -> None:
    change_bias(folder, lambda bias: torch.zeros(17))


def change_bias(folder: Path, change: Callable[[torch.Tensor], torch.Tensor | None]) -> None:
    weights = load_file(folder / "model.safetensors")
    changed = change(weights.pop("emotion_classifier.dense.bias"))
    kept = weights if changed is None else weights | {"emotion_classifier.dense.bias": changed}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})


def write(name: str, content: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_text(content)


UNLOADABLE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "weights cut": (cut, "weights are damaged, or only half copied"),
    "weights of nothing": (write("model.safetensors", ""), "weights are damaged, or only half copied"),
    "weights of another size": (reshape, "weights are not of the sizes in config.json"),
    "config null": (write("config.json", "null"), "config.json is damaged: it holds no JSON object"),
    "config a list": (write("config.json", "[1]"), "config.json is damaged: it holds no JSON object"),
    "config half": (write("config.json", '{"model_type":'), "config.json cannot be read"),
    "no processor": (lambda folder: (folder / "processor_config.json").unlink(), "has no processor_config.json: save"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "cannot be loaded: .*tokenizer"),
    "processor null": (write("processor_config.json", "null"), "processor_config.json is damaged"),
    "tokenizer of nothing": (write("tokenizer.json", '{"a": 1}'), "a field of .* has no valid value .*added_tokens"),
}


@pytest.mark.parametrize("kind", UNLOADABLE)
def test_damaged_files_are_the_packages_error(checkpoint: Path, tmp_path: Path, kind: str):
    damage, message = UNLOADABLE[kind]
    folder = tmp_path / "damaged"
    shutil.copytree(checkpoint, folder)
    damage(folder)
    with pytest.raises(FileError, match=f"(?s)^{folder}.*{message}"):
        open_pipeline(str(folder))
    with pytest.raises(FileError, match=f"^{folder}"):  # as exports do
        load_checkpoint(folder)
    with pytest.raises(ValueError, match=f"^the checkpoint {folder} cannot be loaded"):
        EndpointHandler(str(folder))


def test_a_training_does_not_go_on_from_half_weights(checkpoint: Path, tmp_path: Path):
    folder = tmp_path / "damaged"
    shutil.copytree(checkpoint, folder)
    cut(folder)
    rows: Any = {"text": ["a", "b"], "label": [0, 1]}
    with pytest.raises(OptionError, match=f"{folder}|deserializing"):
        build_model_and_processor(
            ModelArguments(model_name_or_path=str(folder)), ["L0", "L1"], "single_label_classification", rows
        )


def test_weights_that_are_missing_are_not_drawn_at_random(checkpoint: Path, tmp_path: Path):
    folder = tmp_path / "damaged"
    shutil.copytree(checkpoint, folder)
    change_bias(folder, lambda bias: None)
    lacks = f"{folder} lacks 1 of its weights, emotion_classifier.dense.bias among them"
    for open_checkpoint in (open_pipeline, load_checkpoint, partial(pipeline, TASK)):
        with pytest.raises(FileError, match=f"^{lacks}"):
            open_checkpoint(str(folder))
    with pytest.raises(ValueError, match=rf"^the checkpoint {folder} cannot be loaded \(FileError: {lacks}"):
        EndpointHandler(str(folder))


def test_weights_that_are_missing_may_be_learnt(checkpoint: Path, tmp_path: Path):
    folder = tmp_path / "damaged"
    shutil.copytree(checkpoint, folder)
    change_bias(folder, lambda bias: None)
    model, report = DRKFForEmotionClassification.from_pretrained(folder, output_loading_info=True)
    assert report["missing_keys"] == set(model.missing_weights) == {"emotion_classifier.dense.bias"}
    model.train()
    pipe = pipeline(TASK, model=model, processor=tiny_processor())
    assert len(pipe({"text": "so happy"})["scores"]) == 3


RESIZED = {"num_labels": 5, "ignore_mismatched_sizes": True}


def test_weights_of_another_shape_are_no_weights_of_the_checkpoint(checkpoint: Path):
    """A head for other classes is drawn at random: it is trained, never answered from."""
    lacks = f"{checkpoint} lacks 2 of its weights, emotion_classifier.output.bias among them.*train the model"
    with pytest.raises(FileError, match=f"^{lacks}"):
        pipeline(TASK, model=str(checkpoint), model_kwargs=RESIZED)
    model = DRKFForEmotionClassification.from_pretrained(checkpoint, **RESIZED)
    assert model.missing_weights == ["emotion_classifier.output.bias", "emotion_classifier.output.weight"]
    with pytest.raises(FileError, match=f"^{lacks}"):
        pipeline(TASK, model=model, processor=tiny_processor())
    model.train()
    assert len(pipeline(TASK, model=model, processor=tiny_processor())({"text": "so happy"})["scores"]) == 5
    same = DRKFForEmotionClassification.from_pretrained(checkpoint, ignore_mismatched_sizes=True)
    assert same.missing_weights == []


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_answers_that_are_no_numbers_are_refused(checkpoint: Path, tmp_path: Path, value: float):
    folder = tmp_path / "damaged"
    shutil.copytree(checkpoint, folder)
    change_bias(folder, lambda bias: bias.index_fill(0, torch.tensor([0]), value))
    with pytest.raises(FileError, match=f"^{folder} gives scores that are no numbers: its weights are damaged"):
        open_pipeline(str(folder))({"text": "so happy"})


METADATA = {
    "labels": ["sad", "hap"],
    "problem_type": "single_label_classification",
    "max_fusion_positions": 2800,
    "modality_dropout": 0.3,
}


def encoded(facts: dict[str, Any]) -> dict[str, str]:
    return {name: json.dumps(value) for name, value in facts.items()}


def test_the_metadata_of_a_graph_are_read():
    assert graph_facts(encoded(METADATA) | {"strange": "{"}, "g") == METADATA
    assert set(FACTS) == set(METADATA)


@pytest.mark.parametrize("name", METADATA)
@pytest.mark.parametrize(
    "damage", [lambda value: None, lambda value: value[:-1], lambda value: "null", lambda _: "-1"]
)
def test_a_graph_without_or_with_damaged_metadata_names_the_entry(name: str, damage: Callable[[str], str | None]):
    metadata = encoded(METADATA)
    value = damage(metadata.pop(name))
    what = "missing" if value is None else "damaged"
    if value is not None:
        metadata[name] = value
    if (name, value) in {("modality_dropout", "-1"), ("modality_dropout", "0."), ("max_fusion_positions", "280")}:
        return  # numbers all the same
    with pytest.raises(
        FileError, match=f"exported: the entry '{name}' of the graph's metadata is {what}; .*export onnx"
    ):
        graph_facts(metadata, "exported")


class Evil:
    def __reduce__(self):
        return os.system, ("touch ran",)


def edit_config(**fields: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        for name, value in fields.items():
            *outer, field = name.split("__")
            (config[outer[0]] if outer else config)[field] = value
        (folder / "config.json").write_text(json.dumps(config))

    return edit


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Evil()}, folder / "pytorch_model.bin")


def nested(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "drkf", "a": ' + "[" * 100_000 + "]" * 100_000 + "}")


def long_replacement(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    replace = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 100_000}
    tokenizer["normalizer"] = {"type": "Sequence", "normalizers": [replace]}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "a pickle in place of weights": (pickled, "UnpicklingError"),
    "deep nesting": (nested, "cannot be read"),
    "quantisation": (
        edit_config(quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True}), "cannot be loaded"
    ),
    "somebody's kernel": (edit_config(attn_implementation="someone/kernel"), "names code of a Hub repository"),
    "somebody's kernel, inside": (
        edit_config(text_config___attn_implementation="someone/kernel"), "names code of a Hub repository"
    ),
    "ten million layers": (edit_config(audio_config__num_hidden_layers=10_000_000), "num_hidden_layers is 10,000,000"),
    "a million blocks": (edit_config(num_augmentation_blocks=1_000_000), "num_augmentation_blocks is 1,000,000"),
    "a replacement that grows": (long_replacement, "puts 100,000 characters in place"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_checkpoint_that_would_not_end_or_run_code_is_refused(
    damage: Callable[[Path], None], message: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "hostile"
    shutil.copytree(checkpoint, folder)
    damage(folder)
    with pytest.raises(FileError, match=message):
        open_pipeline(str(folder))
    with pytest.raises(FileError, match=message):
        load_checkpoint(folder)
    assert not (tmp_path / "ran").exists()


def test_a_pattern_of_the_tokenizer_that_backtracks_is_an_error_of_the_text(checkpoint: Path, tmp_path: Path):
    folder = tmp_path / "hostile"
    shutil.copytree(checkpoint, folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    split = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    tokenizer["pre_tokenizer"] = split
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(InputError, match="the tokenizer of this checkpoint cannot read the text"):
        open_pipeline(str(folder))({"text": "a" * 60 + "!"})
