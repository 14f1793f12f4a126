"""Checkpoints and graphs whose fields hold what they must not: an error that names the folder, never a traceback."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny import tiny_model, tiny_processor

from drkf_cli.checkpoint import open_pipeline
from processing.errors_drkf import FileError
from processing.onnx_recognizer import FACTS, graph_facts

WRONG: list[Any] = ["x", -1, [None], {"a": 1}]
FIELDS = {
    "config.json": (
        *("architectures", "dtype", "id2label", "hidden_size", "augmentation_sizes", "class_weights", "audio_config"),
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
