"""Any speech and any text encoder of transformers: padding, gradients, SpecAugment, pretrained weights."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny import (
    AUDIO_ENCODERS,
    GROUP_NORM,
    TEXT_ENCODERS,
    WAVE_ENCODER,
    alone,
    encode,
    encoder_config,
    perturb,
    tiny_batch,
    tiny_config,
    tiny_model,
)
from safetensors.torch import save_file
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoModel,
    BertForMaskedLM,
    ClapAudioConfig,
    HubertForCTC,
    ParakeetEncoderConfig,
    PreTrainedModel,
    RobertaForSequenceClassification,
    RobertaModel,
    Wav2Vec2ForSequenceClassification,
    Wav2Vec2Model,
    WhisperForConditionalGeneration,
)

from modeling_drkf import DRKFForEmotionClassification
from modeling_drkf.attention_drkf import FUSED_SDPA
from modeling_drkf.encoders_drkf import check_reads_both_ways, frame_mask

LABELS = [0, 1, 2, 0]
SPEC_AUGMENTED = [name for name in AUDIO_ENCODERS if name != "whisper"]
WITH_CONVOLUTIONS = [name for name in AUDIO_ENCODERS if name not in ("whisper", "wav2vec2-bert")]
READS_ITS_PADDING: dict[str, dict[str, Any]] = {
    "sew-layer-norm": {"model_type": "sew", **WAVE_ENCODER, "squeeze_factor": 2},
    "hubert-batch-norm": {"model_type": "hubert", **WAVE_ENCODER, "conv_pos_batch_norm": True},
    "wav2vec2-conformer": {
        "model_type": "wav2vec2-conformer", **WAVE_ENCODER, "conv_depthwise_kernel_size": 5,
        "position_embeddings_type": "relative",
    },
}  # fmt: skip


def assert_every_parameter_has_a_gradient(model: nn.Module) -> None:
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert [name for name, parameter in trainable.items() if parameter.grad is None] == []
    assert [name for name, parameter in trainable.items() if not parameter.grad.isfinite().all()] == []


@torch.no_grad()
def assert_batch_invariant(model: DRKFForEmotionClassification, batch: dict[str, torch.Tensor]) -> None:
    together = model(**batch)
    for row in range(4):
        single = model(**alone(batch, row))
        assert (together.logits[row] - single.logits[0]).abs().max() < 1e-5
        assert (together.consistency_logits[row] - single.consistency_logits[0]).abs().max() < 1e-5
    assert together.logits.std(0).min() > 1e-3


# Speech encoders.


@pytest.mark.parametrize("audio", AUDIO_ENCODERS)
def test_every_speech_encoder_learns(audio):
    np.random.seed(0)  # SpecAugment draws from numpy
    model = tiny_model(audio=audio, dropout=0.1).train()
    batch = tiny_batch(audio, labels=LABELS)
    loss = model(**batch).loss
    assert loss.isfinite()
    loss.backward()
    assert_every_parameter_has_a_gradient(model)
    silent = [
        name for name, parameter in model.named_parameters() if parameter.requires_grad and not parameter.grad.any()
    ]
    assert silent == []


@pytest.mark.parametrize("audio", AUDIO_ENCODERS)
def test_padding_never_changes_a_sample_of_any_speech_encoder(audio):
    assert_batch_invariant(perturb(tiny_model(audio=audio)), tiny_batch(audio))


@pytest.mark.parametrize("name", READS_ITS_PADDING)
def test_encoders_that_read_padding_never_see_it(name):
    audio_config = encoder_config(READS_ITS_PADDING[name]).to_dict()
    assert_batch_invariant(perturb(tiny_model(audio_config=audio_config)), tiny_batch())


@pytest.mark.parametrize("audio", ["wav2vec2", "wav2vec2-group-norm", "wav2vec2-bert", "data2vec-audio"])
@torch.no_grad()
def test_frames_and_summary_of_a_clip_are_the_encoders_own(audio):
    model = perturb(tiny_model(audio=audio))
    encoding, batch = model.drkf.modality_encoding, tiny_batch(audio)
    speech, _ = encode(encoding, batch)
    for row in range(4):
        clip = alone(batch, row)["input_values"]
        frames = encoding.speech_encoder(clip).last_hidden_state[0]
        assert speech.mask[row].tolist() == [index < len(frames) for index in range(speech.mask.shape[1])]
        torch.testing.assert_close(speech.sequence[row, : len(frames)], frames, atol=1e-5, rtol=0)
        torch.testing.assert_close(speech.summary[row], frames.mean(0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("audio", SPEC_AUGMENTED)
@pytest.mark.parametrize("samples", [(120, 100, 80, 60), (120, 120, 120, 120)], ids=["padded", "equal"])
def test_spec_augment_bears_clips_shorter_than_its_masks(audio, samples):
    np.random.seed(0)
    model = tiny_model(audio=audio, dropout=0.1).train()
    assert model.config.audio_config.mask_time_length == 10
    batch = tiny_batch(audio, samples=samples, labels=LABELS)
    loss = model(**batch).loss
    assert loss.isfinite()
    loss.backward()
    assert_every_parameter_has_a_gradient(model)


@torch.no_grad()
def test_spec_augment_masks_while_training_only():
    audio_config = encoder_config(AUDIO_ENCODERS["wav2vec2"]).to_dict()
    model = tiny_model(audio_config=audio_config | {"apply_spec_augment": True, "mask_time_prob": 0.5})
    model.drkf.modality_encoding.speech_encoder.masked_spec_embed.fill_(3.0)
    batch = tiny_batch()
    expected = model(**batch).logits
    assert torch.equal(model(**batch).logits, expected)
    np.random.seed(0)
    model.train()  # no dropout here
    assert (model(**batch).logits - expected).abs().max() > 1e-4


def test_a_mask_embedding_that_spec_augment_never_uses_is_not_trained():
    """Wav2Vec2-BERT 2.0 has a mask embedding and SpecAugment switched off: unused, it would stop DDP."""
    audio_config = encoder_config(AUDIO_ENCODERS["wav2vec2-bert"]).to_dict()
    model = tiny_model(audio_config=audio_config | {"apply_spec_augment": False, "mask_time_prob": 0.05}).train()
    model(**tiny_batch("wav2vec2-bert", labels=LABELS)).loss.backward()
    assert_every_parameter_has_a_gradient(model)


@pytest.mark.parametrize("audio", WITH_CONVOLUTIONS)
def test_the_convolutions_of_every_waveform_encoder_can_be_frozen(audio):
    model = tiny_model(audio=audio)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    model.freeze_feature_encoder()
    frozen = trained - {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert frozen == {name for name, _ in model.named_parameters() if ".speech_encoder.feature_extractor." in name}
    assert frozen


def test_layer_drop_is_switched_off():
    audio_config = encoder_config(AUDIO_ENCODERS["wav2vec2"]).to_dict() | {"layerdrop": 0.5}
    model = tiny_model(audio_config=audio_config)
    assert model.drkf.modality_encoding.speech_encoder.config.layerdrop == 0
    whisper = encoder_config(AUDIO_ENCODERS["whisper"]).to_dict() | {"encoder_layerdrop": 0.5}
    model = tiny_model(audio_config=whisper)
    assert model.drkf.modality_encoding.speech_encoder.layerdrop == 0


def test_an_encoder_that_cannot_tell_its_padding_says_so():
    config = ParakeetEncoderConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, num_mel_bins=16,
        subsampling_conv_channels=8, conv_kernel_size=5,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"ParakeetEncoder .* does not tell which are valid"):
        frame_mask(AutoModel.from_config(config), torch.ones(1, 32), num_frames=4)


def test_an_encoder_that_auto_model_does_not_build_is_named():
    with pytest.raises(ValueError, match="clap_audio_model"):
        tiny_model(audio_config=ClapAudioConfig().to_dict())


def test_a_clip_too_short_for_a_frame_is_an_error_in_a_batch_too():
    model = tiny_model()
    batch = tiny_batch(samples=(640, 420, 8, 311))
    with pytest.raises(ValueError, match="sample 3"):
        model(**batch)


# Text encoders.


@pytest.mark.parametrize("text", TEXT_ENCODERS)
def test_every_text_encoder_learns(text):
    np.random.seed(0)
    model = tiny_model(text=text, dropout=0.1).train()
    model(**tiny_batch(labels=LABELS)).loss.backward()
    assert_every_parameter_has_a_gradient(model)
    silent = [
        name for name, parameter in model.named_parameters() if parameter.requires_grad and not parameter.grad.any()
    ]
    assert silent == []


@pytest.mark.parametrize("text", TEXT_ENCODERS)
def test_padding_never_changes_a_sample_of_any_text_encoder(text):
    model = perturb(tiny_model(text=text))
    assert_batch_invariant(model, tiny_batch())
    assert not [name for name, _ in model.named_parameters() if "pooler" in name]


@torch.no_grad()
def test_the_text_summary_is_the_first_token():
    encoding, batch = perturb(tiny_model()).drkf.modality_encoding, tiny_batch()
    _, text = encode(encoding, batch)
    hidden = encoding.text_encoder(batch["input_ids"], batch["attention_mask"]).last_hidden_state
    assert torch.equal(text.sequence, hidden)
    assert torch.equal(text.summary, hidden[:, 0])


@pytest.mark.parametrize("hidden_size", [32, 40])
def test_encoders_are_adapted_only_where_the_widths_differ(hidden_size):
    encoding = tiny_model(hidden_size=hidden_size).drkf.modality_encoding
    expected = nn.Identity if hidden_size == 32 else nn.Linear
    assert type(encoding.speech_adapter) is type(encoding.text_adapter) is expected


# Pretrained encoders.


class AudeeringHead(nn.Module):
    def __init__(self, size: int):
        super().__init__()
        self.dense, self.out_proj = nn.Linear(size, size), nn.Linear(size, 3)


class EmulatedAudeering(PreTrainedModel):
    """The layout of audeering's dimensional emotion checkpoint: an encoder `wav2vec2` under a head of its own."""

    def __init__(self, config: Any):
        super().__init__(config)
        self.wav2vec2, self.classifier = Wav2Vec2Model(config), AudeeringHead(config.hidden_size)
        self.post_init()


def saved_audeering(folder: Path, file_format: str) -> dict[str, torch.Tensor]:
    """Saves one as its authors did, with the weight norm's old names; returns the encoder's weights by today's."""
    config = encoder_config(AUDIO_ENCODERS["wav2vec2"], dropout=0.1)
    config.vocab_size, config.architectures = None, ["Wav2Vec2ForSpeechClassification"]
    model = perturb(EmulatedAudeering(config))
    renamed = {
        "parametrizations.weight.original0": "weight_g",
        "parametrizations.weight.original1": "weight_v",
    }
    weights = {}
    for name, value in model.state_dict().items():
        for new, old in renamed.items():
            name = name.replace(new, old)
        weights[name] = value.clone()
    assert "wav2vec2.encoder.pos_conv_embed.conv.weight_g" in weights
    assert "classifier.out_proj.weight" in weights
    config.save_pretrained(folder)
    if file_format == "safetensors":
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        torch.save(weights, folder / "pytorch_model.bin")
    return model.wav2vec2.state_dict()


def saved_text(folder: Path) -> dict[str, torch.Tensor]:
    """Saves a text classifier, pooler and head included; returns its encoder's weights."""
    model = perturb(RobertaForSequenceClassification(encoder_config(TEXT_ENCODERS["roberta"])))
    model.save_pretrained(folder)
    return model.roberta.state_dict()


def from_encoders(audio: Path, text: Path) -> DRKFForEmotionClassification:
    config = tiny_config()
    fields = ("hidden_size", "projection_size", "num_augmentation_blocks", "augmentation_sizes", "num_fusion_layers",
              "num_fusion_heads", "max_fusion_positions")  # fmt: skip
    return DRKFForEmotionClassification.from_encoders(
        str(audio), str(text), num_labels=3, **{name: getattr(config, name) for name in fields}
    )


def assert_same_weights(encoder: nn.Module, expected: dict[str, torch.Tensor]) -> None:
    actual = encoder.state_dict()
    assert actual.keys() == expected.keys()
    assert [name for name in actual if not torch.equal(actual[name], expected[name])] == []


@pytest.mark.parametrize("file_format", ["safetensors", "bin"])
def test_from_encoders_takes_audeerings_checkpoint(file_format, tmp_path):
    speech_weights = saved_audeering(tmp_path / "audio", file_format)
    text_weights = saved_text(tmp_path / "text")
    model = from_encoders(tmp_path / "audio", tmp_path / "text")
    encoding = model.drkf.modality_encoding
    assert_same_weights(encoding.speech_encoder, speech_weights)
    assert_same_weights(encoding.text_encoder, text_weights)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert str(tmp_path) not in model.config.to_json_string()
    parts = (model, model.drkf.fusion_encoder, encoding.speech_encoder, encoding.text_encoder)
    assert [part.config._attn_implementation for part in parts] == ["sdpa", "sdpa", FUSED_SDPA, FUSED_SDPA]
    assert model(**tiny_batch(labels=LABELS)).loss.isfinite()


@pytest.mark.parametrize(
    ("audio", "model_class", "encoder_of"),
    [
        ("wav2vec2", Wav2Vec2ForSequenceClassification, lambda model: model.wav2vec2),
        ("hubert-group-norm", HubertForCTC, lambda model: model.hubert),
        ("whisper", WhisperForConditionalGeneration, lambda model: model.model.encoder),
    ],
    ids=["wav2vec2", "hubert", "whisper"],
)
def test_from_encoders_leaves_heads_and_decoders_out(audio, model_class, encoder_of, tmp_path):
    pretrained = perturb(model_class(encoder_config(AUDIO_ENCODERS[audio])))
    pretrained.save_pretrained(tmp_path / "audio")
    bert = perturb(BertForMaskedLM(encoder_config(TEXT_ENCODERS["bert"])))
    bert.save_pretrained(tmp_path / "text")
    model = from_encoders(tmp_path / "audio", tmp_path / "text")
    encoding = model.drkf.modality_encoding
    assert_same_weights(encoding.speech_encoder, encoder_of(pretrained).state_dict())
    assert_same_weights(encoding.text_encoder, bert.bert.state_dict())
    assert not [name for name, _ in model.named_parameters() if "pooler" in name or "decoder" in name]
    model.save_pretrained(tmp_path / "model")
    assert torch.equal(
        DRKFForEmotionClassification.from_pretrained(tmp_path / "model")(**tiny_batch(audio)).logits,
        model.eval()(**tiny_batch(audio)).logits,
    )


def test_from_encoders_scores_like_its_encoders(tmp_path):
    """The encoders' outputs inside the model are those of the checkpoints that `AutoModel` loads, pooler or not."""
    perturb(Wav2Vec2Model(encoder_config(AUDIO_ENCODERS["wav2vec2"] | GROUP_NORM))).save_pretrained(tmp_path / "audio")
    perturb(RobertaModel(encoder_config(TEXT_ENCODERS["roberta"]))).save_pretrained(tmp_path / "text")
    encoding = from_encoders(tmp_path / "audio", tmp_path / "text").eval().drkf.modality_encoding
    batch = alone(tiny_batch(), 0)
    with torch.no_grad():
        speech = AutoModel.from_pretrained(tmp_path / "audio")(batch["input_values"]).last_hidden_state
        text = AutoModel.from_pretrained(tmp_path / "text")(batch["input_ids"]).last_hidden_state
        own_speech, own_text = encode(encoding, batch | {"audio_attention_mask": None})
        torch.testing.assert_close(own_speech.sequence, speech)
        torch.testing.assert_close(own_text.sequence, text)


def test_from_encoders_names_the_weights_that_a_checkpoint_lacks(tmp_path):
    saved_text(tmp_path / "text")
    pretrained = Wav2Vec2Model(encoder_config(AUDIO_ENCODERS["wav2vec2"]))
    weights = {name: value for name, value in pretrained.state_dict().items() if ".layers.1.feed_forward" not in name}
    pretrained.save_pretrained(tmp_path / "audio", state_dict=dict(weights))
    with pytest.raises(ValueError, match=r"no complete Wav2Vec2Model: it lacks encoder\.layers\.1\.feed_forward\..*"):
        from_encoders(tmp_path / "audio", tmp_path / "text")


def test_from_encoders_takes_a_checkpoint_without_a_mask_embedding_and_says_so(tmp_path, caplog):
    saved_text(tmp_path / "text")
    pretrained = Wav2Vec2Model(encoder_config(AUDIO_ENCODERS["wav2vec2"], dropout=0.1))
    weights = {name: value for name, value in pretrained.state_dict().items() if name != "masked_spec_embed"}
    pretrained.save_pretrained(tmp_path / "audio", state_dict=dict(weights))
    library = logging.getLogger("transformers")
    library.addHandler(caplog.handler)
    try:
        speech = from_encoders(tmp_path / "audio", tmp_path / "text").drkf.modality_encoding.speech_encoder
    finally:
        library.removeHandler(caplog.handler)
    assert_same_weights(speech, weights | {"masked_spec_embed": speech.masked_spec_embed})
    assert speech.masked_spec_embed.isfinite().all()
    assert "has no masked_spec_embed" in caplog.text


@pytest.mark.parametrize(
    "text", [{"model_type": "gpt2"}, {"model_type": "qwen2"}, {"model_type": "bert", "is_decoder": True}]
)
def test_a_text_encoder_that_reads_from_left_to_right_is_refused(text):
    with pytest.raises(ValueError, match="reads from left to right"):
        DRKFForEmotionClassification.from_encoders(AUDIO_ENCODERS["wav2vec2"], text)


@pytest.mark.parametrize("text", [*TEXT_ENCODERS, "t5", "modernbert", "bart"])
def test_text_encoders_that_read_both_ways_are_not_refused(text):
    model_type = TEXT_ENCODERS.get(text, {}).get("model_type", text)
    check_reads_both_ways(CONFIG_MAPPING[model_type]())
