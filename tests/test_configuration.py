"""DRKFConfig: defaults of the paper, validation, sub-configurations, JSON; each switch and what it takes away."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import TABLE_4, tiny_batch, tiny_config, tiny_model
from huggingface_hub.errors import StrictDataclassFieldValidationError
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, BertConfig, HubertConfig, Wav2Vec2Config, WhisperConfig

from modeling_drkf import DRKFConfig

WEIGHTS = {
    "reconstruction_weight": 0.3,
    "contrastive_weight": 0.5,
    "classification_weight": 0.7,
    "discrimination_weight": 1.1,
}
TERMS = {
    "1-bme": {"classification_loss": 0.7},
    "2-cmie": {"classification_loss": 0.7, "contrastive_loss": 0.5, "critic_loss": 0.5},
    "3-pcmi": {
        "classification_loss": 0.7,
        "reconstruction_loss": 0.3,
        "label_divergence_loss": 1.0,
        "contrastive_loss": 0.5,
    },
    "4-ed": {"classification_loss": 0.7, "discrimination_loss": 1.1},
}
TERMS["6-drkf"] = TERMS["5-cross"] = TERMS["3-pcmi"] | TERMS["4-ed"]

BASE = {"drkf.modality_encoding", "emotion_classifier"}
FE_S = {f"drkf.fusion_encoder.{part}" for part in ("special_tokens", "embeddings", "layers")}
FE_C = {f"drkf.fusion_encoder.{part}" for part in ("embeddings", "speech_layers", "text_layers", "output")}
PCMI, ED = {"augmentation", "representations"}, {"emotion_discriminator"}
PREFIXES = {
    "1-bme": BASE | FE_S,
    "2-cmie": BASE | FE_S | {"mutual_information"},
    "3-pcmi": BASE | FE_S | PCMI,
    "4-ed": BASE | FE_S | ED,
    "5-cross": BASE | FE_C | PCMI | ED,
    "6-drkf": BASE | FE_S | PCMI | ED,
}


def prefix(name: str) -> str:
    depth = {"drkf.fusion_encoder": 3, "drkf.modality_encoding": 2}.get(".".join(name.split(".")[:2]), 1)
    return ".".join(name.split(".")[:depth])


# --- defaults --------------------------------------------------------------------------------------------------------


def test_defaults_are_those_of_the_paper() -> None:
    config = DRKFConfig()
    weights = {
        "reconstruction_loss": 0.2,  # alpha
        "label_divergence_loss": 1.0,
        "contrastive_loss": 0.2,  # beta
        "classification_loss": 1.0,  # gamma
        "discrimination_loss": 0.2,  # delta
    }
    assert config.loss_weights == weights
    assert (config.representation, config.fusion, config.emotion_discrimination) == ("pcmi", "self", True)
    assert (config.hidden_size, config.projection_size, config.num_augmentation_blocks) == (1024, 1024, 5)
    assert list(config.augmentation_sizes) == [256, 128, 64]
    assert (config.num_fusion_layers, config.num_fusion_heads, config.max_fusion_positions) == (6, 8, 2800)
    assert (config.fusion_dropout, config.augmentation_dropout, config.initial_temperature_logit) == (0.1, 0.0, 1.0)
    assert (config.discrimination_pairs, config.class_weights, config.label_smoothing) == (None, None, 0.0)
    assert not config.is_multi_label


# --- switches of Table 4 ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", TABLE_4)
def test_each_row_of_table_4_has_exactly_its_terms_and_parameters(row: str) -> None:
    model = tiny_model(**TABLE_4[row], **WEIGHTS)
    assert {prefix(name) for name, _ in model.named_parameters()} == PREFIXES[row]
    assert model.config.loss_weights == TERMS[row]

    output = model(**tiny_batch(labels=[0, 1, 0, 2]))
    assert output.loss_terms.keys() == TERMS[row].keys()
    expected = sum(TERMS[row][name] * term for name, term in output.loss_terms.items())
    torch.testing.assert_close(output.loss.detach(), expected)
    assert (output.consistency_logits is None) == (not TABLE_4[row]["emotion_discrimination"])


# --- validation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_labels": 1}, "num_labels"),
        ({"num_labels": 1, "problem_type": "multi_label_classification"}, "num_labels must be at least 2, got 1"),
        (
            {"hidden_size": 30, "num_fusion_heads": 4},
            r"hidden_size \(30\) must be a multiple of num_fusion_heads \(4\)",
        ),
        ({"discrimination_pairs": 1}, "discrimination_pairs must be at least 2"),
        ({"num_labels": 3, "class_weights": [1.0, 2.0]}, "class_weights has 2 entries for .*3"),
        ({"score_temperature": 0}, "score_temperature must be positive, got 0"),
        ({"label_smoothing": 1.0}, r"label_smoothing must be in \[0, 1\), got 1.0"),
        ({"label_smoothing": -0.1}, r"label_smoothing must be in \[0, 1\), got -0.1"),
        ({"label_smoothing": 0.1, "problem_type": "multi_label_classification"}, "label_smoothing applies to single"),
        ({"audio_config": {"model_type": "no-such-encoder"}}, "no-such-encoder"),
    ],
)
def test_a_field_out_of_its_range_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DRKFConfig(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"representation": "pcm"},
        {"fusion": "concat"},
        {"problem_type": "regression"},
        {"emotion_discrimination": "yes"},
        {"hidden_size": 64.0},
        {"audio_config": "wav2vec2"},
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(StrictDataclassFieldValidationError, match=next(iter(fields))):
        DRKFConfig(**fields)


# --- sub-configurations ----------------------------------------------------------------------------------------------


def test_sub_configurations_default_to_the_papers_families() -> None:
    config = DRKFConfig()
    assert isinstance(config.audio_config, Wav2Vec2Config)
    assert config.text_config.model_type == "roberta"


@pytest.mark.parametrize("as_dict", [False, True])
def test_sub_configurations_are_taken_as_objects_or_dicts(as_dict: bool) -> None:
    parts: dict[str, Any] = {"audio_config": HubertConfig(hidden_size=24), "text_config": BertConfig(hidden_size=36)}
    config = DRKFConfig(**{name: part.to_dict() if as_dict else part for name, part in parts.items()})
    assert isinstance(config.audio_config, HubertConfig)
    assert isinstance(config.text_config, BertConfig)
    assert (config.audio_config.hidden_size, config.text_config.hidden_size) == (24, 36)


def test_a_dict_without_model_type_means_the_default_family() -> None:
    config = DRKFConfig(audio_config={"hidden_size": 24, "num_hidden_layers": 3})
    assert isinstance(config.audio_config, Wav2Vec2Config)
    assert (config.audio_config.hidden_size, config.audio_config.num_hidden_layers) == (24, 3)


@pytest.mark.parametrize(
    ("audio", "field"),
    [(Wav2Vec2Config(layerdrop=0.3), "layerdrop"), (WhisperConfig(encoder_layerdrop=0.3), "encoder_layerdrop")],
    ids=["wav2vec2", "whisper"],
)
def test_layer_drop_is_switched_off(audio: Any, field: str) -> None:
    for given_config in (audio.to_dict(), audio):
        assert getattr(DRKFConfig(audio_config=given_config).audio_config, field) == 0.0


def test_the_callers_configuration_is_left_as_it_was() -> None:
    audio = Wav2Vec2Config(layerdrop=0.3)
    DRKFConfig(audio_config=audio)
    assert audio.layerdrop == 0.3


# --- JSON ------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(
    fields=st.fixed_dictionaries(
        {},
        optional={
            "representation": st.sampled_from(["pcmi", "cmie", "none"]),
            "fusion": st.sampled_from(["self", "cross"]),
            "emotion_discrimination": st.booleans(),
            "discrimination_pairs": st.none() | st.integers(2, 99),
            "augmentation_sizes": st.lists(st.integers(1, 64), min_size=1, max_size=4),
            "class_weights": st.none() | st.lists(st.floats(0.1, 9), min_size=3, max_size=3),
            "label_smoothing": st.floats(0, 0.9),
            "fusion_intermediate_size": st.none() | st.integers(1, 64),
            "initial_temperature_logit": st.floats(-5, 5),
            "reconstruction_weight": st.floats(0, 9) | st.integers(0, 9),
        },
    )
)
def test_json_round_trip(fields: dict[str, Any]) -> None:
    config = DRKFConfig(
        num_labels=3, hidden_size=64, audio_config={"model_type": "hubert", "layerdrop": 0.5}, **fields
    )
    restored = DRKFConfig.from_dict(json.loads(config.to_json_string()))
    assert restored.to_dict() == config.to_dict()
    assert {name: getattr(restored, name) for name in fields} == fields
    assert restored.loss_weights == config.loss_weights


def test_saved_configuration_loads_through_auto_config_and_leaks_no_path(tmp_path: Path) -> None:
    folders = {"audio_config": tmp_path / "audio", "text_config": tmp_path / "text"}
    Wav2Vec2Config(hidden_size=24).save_pretrained(folders["audio_config"])
    BertConfig(hidden_size=36).save_pretrained(folders["text_config"])
    encoders = {name: AutoConfig.from_pretrained(folder) for name, folder in folders.items()}
    assert encoders["audio_config"]._name_or_path == str(folders["audio_config"])  # what could leak
    for k, parts in enumerate((encoders, {name: part.to_dict() for name, part in encoders.items()})):
        first, second = tmp_path / f"first-{k}", tmp_path / f"second-{k}"
        DRKFConfig(id2label={0: "sad", 1: "happy", 2: "angry"}, fusion="cross", **parts).save_pretrained(first)
        config = AutoConfig.from_pretrained(first)
        config.save_pretrained(second)
        for folder in (first, second):
            assert str(tmp_path) not in (folder / "config.json").read_text()
        assert isinstance(config, DRKFConfig)
        assert (config.audio_config.hidden_size, config.text_config.hidden_size, config.fusion) == (24, 36, "cross")
        assert config.id2label == {0: "sad", 1: "happy", 2: "angry"}
        assert config.num_labels == 3


def test_problem_type_defaults_to_single_label() -> None:
    assert DRKFConfig(problem_type=None).problem_type == "single_label_classification"
    assert tiny_config(problem_type="multi_label_classification").is_multi_label
