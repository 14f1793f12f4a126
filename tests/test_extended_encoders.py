"""Speech encoders by the project's own options: the first layers alone, a learnt sum of layers, Whisper unpadded.

Each is compared with a computation by hand out of transformers' own modules.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.remote import REMOTE
from helpers.tiny import (
    AUDIO_ENCODERS,
    NUM_BINS,
    TEXT_ENCODERS,
    WHISPER_WINDOW,
    alone,
    encoder_config,
    perturb,
    tiny_batch,
    tiny_config,
    tiny_model,
    tiny_processor,
)
from torch import Tensor, nn
from transformers import AutoModel, BertModel, WhisperFeatureExtractor, WhisperForConditionalGeneration
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from modeling_drkf import DRKFForEmotionClassification
from modeling_drkf.encoders_drkf import encode_speech, encoder_of
from modeling_drkf.extended_encoders_drkf import LAYERED, UnpaddedWhisperEncoder
from processing import DRKFProcessor

UNPADDED = {"audio": "whisper", "unpadded_speech": True}
FULL = {**UNPADDED, "speech_layers": 1, "speech_layer_sum": True, "speech_statistics": True, "speech_pooling": 3}
FULL |= {"standardize_states": True}
READ_BY_LAYERS = [
    name for name, options in AUDIO_ENCODERS.items() if options["model_type"] in LAYERED and name != "wav2vec2-adapter"
]
LABELS = [0, 1, 2, 0]
DEPTH = 3


def whisper(seed: int = 0) -> WhisperEncoder:
    """transformers' encoder, with random norms and biases."""
    torch.manual_seed(seed)
    return perturb(encoder_of(AutoModel.from_config(encoder_config(AUDIO_ENCODERS["whisper"]))).eval(), seed)


def unpadded_whisper(source: WhisperEncoder) -> UnpaddedWhisperEncoder:
    encoder = UnpaddedWhisperEncoder(source.config).eval()
    encoder.load_state_dict(source.state_dict())
    return encoder


def by_hand(encoder: WhisperEncoder, clip: Tensor) -> Tensor:
    """What the layers of transformers' encoder make of one clip (bins, mel frames) of its own length."""
    hidden = nn.functional.gelu(encoder.conv2(nn.functional.gelu(encoder.conv1(clip[None])))).transpose(1, 2)
    hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
    for layer in encoder.layers:
        hidden = layer(hidden, None)
    return encoder.layer_norm(hidden)[0]


def clip_alone(batch: dict[str, Tensor], row: int) -> dict[str, Tensor]:
    """A sample of a batch of Whisper's without any padding."""
    sample = alone(batch, row)
    length = int(sample["audio_attention_mask"].sum())
    sample["audio_attention_mask"] = sample["audio_attention_mask"][:, :length]
    return sample | {"input_values": sample["input_values"][..., :length]}


# Whisper without padding.


@torch.no_grad()
def test_unpadded_whisper_is_its_layers_run_on_each_clip_by_itself():
    source, batch = whisper(), tiny_batch("whisper", samples=(640, 420, 555, 311))
    encoder = unpadded_whisper(source)
    states = encode_speech(encoder, batch["input_values"], batch["audio_attention_mask"])
    lengths = batch["audio_attention_mask"].sum(-1).tolist()
    assert lengths == [32, 21, 27, 15]
    for row, length in enumerate(lengths):
        clip = batch["input_values"][row, :, :length]
        expected = by_hand(source, clip)
        assert states.mask[row].sum() == len(expected) == (length + 1) // 2
        torch.testing.assert_close(states.sequence[row, : len(expected)], expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(encoder(clip[None]).last_hidden_state[0], expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_clip_that_fills_the_window_is_read_as_transformers_reads_it_and_a_shorter_one_is_not():
    source = whisper()
    encoder = unpadded_whisper(source)
    clips = torch.randn(2, NUM_BINS, WHISPER_WINDOW, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(encoder(clips).last_hidden_state, source(clips).last_hidden_state, atol=1e-5, rtol=0)
    clips[:, :, 20:] = 0
    expected = source(clips).last_hidden_state[:, :10]
    assert (encoder(clips[:, :, :20]).last_hidden_state - expected).abs().max() > 1e-2


@torch.no_grad()
def test_what_padding_holds_reaches_no_frame():
    encoder, batch = unpadded_whisper(whisper()), tiny_batch("whisper")
    mask = batch["audio_attention_mask"]
    noise = torch.randn(batch["input_values"].shape, generator=torch.Generator().manual_seed(1))
    filled = batch["input_values"].where(mask[:, None].bool(), noise)
    quiet, loud = (encode_speech(encoder, values, mask) for values in (batch["input_values"], filled))
    assert (filled - batch["input_values"]).abs().max() > 1
    torch.testing.assert_close(quiet.sequence[quiet.mask], loud.sequence[loud.mask], atol=1e-6, rtol=0)


@pytest.mark.parametrize("options", [UNPADDED, FULL], ids=["unpadded", "all"])
@torch.no_grad()
def test_a_clip_alone_is_answered_as_in_a_batch(options):
    model, batch = perturb(tiny_model(**options)), tiny_batch("whisper")
    together = model(**batch)
    for row in range(4):
        single = model(**clip_alone(batch, row))
        assert (together.logits[row] - single.logits[0]).abs().max() < 1e-5
        assert (together.consistency_logits[row] - single.consistency_logits[0]).abs().max() < 1e-5
    assert together.logits.std(0).min() > 1e-3


def test_what_unpadded_speech_cannot_be_says_so():
    with pytest.raises(ValueError, match="unpadded_speech is for Whisper"):
        tiny_config(unpadded_speech=True)
    with pytest.raises(ValueError, match="Whisper has 20 positions, the longest clip 21 frames"):
        unpadded_whisper(whisper())(torch.zeros(1, NUM_BINS, 41))


# The first layers.


def deep(audio: str) -> dict[str, Any]:
    layers = "encoder_layers" if audio == "whisper" else "num_hidden_layers"
    return encoder_config({**AUDIO_ENCODERS[audio], layers: DEPTH}).to_dict()


def from_folders(folder: Path, audio: str, **options: Any) -> DRKFForEmotionClassification:
    """A model of random encoders of three speech layers, saved and loaded as pretrained ones are."""
    torch.manual_seed(0)
    speech = AutoModel.from_config(encoder_config({"model_type": audio, **deep(audio)}))
    perturb(speech, scale=0.2).save_pretrained(folder / "speech")
    BertModel(encoder_config(TEXT_ENCODERS["bert"])).save_pretrained(folder / "text")
    names = ("hidden_size", "projection_size", "num_augmentation_blocks", "augmentation_sizes", "num_fusion_layers")
    sizes = {name: getattr(tiny_config(), name) for name in (*names, "num_fusion_heads", "max_fusion_positions")}
    return DRKFForEmotionClassification.from_encoders(
        str(folder / "speech"), str(folder / "text"), num_labels=3, **sizes, **options
    ).eval()


@pytest.mark.parametrize("layers", [1, 2, DEPTH])
@pytest.mark.parametrize("audio", ["wav2vec2", "hubert", "wavlm", "wav2vec2-bert", "whisper"])
@torch.no_grad()
def test_the_first_layers_give_the_whole_encoders_hidden_states_of_that_number(audio, layers, tmp_path):
    model = from_folders(tmp_path, audio, speech_layers=layers)
    whole = encoder_of(AutoModel.from_pretrained(tmp_path / "speech"))
    clip = tiny_batch(audio, samples=(800,))["input_values"]
    output = whole(clip, output_hidden_states=True)
    expected = [*output.hidden_states[:DEPTH], output.last_hidden_state]
    encoder = model.drkf.modality_encoding.speech_encoder
    torch.testing.assert_close(encoder(clip).last_hidden_state, expected[layers], atol=1e-5, rtol=0)
    assert (expected[layers] - expected[layers - 1]).abs().max() > 1e-2
    stack = encoder if audio == "whisper" else encoder.encoder
    assert len(stack.layers) == layers
    if audio in ("whisper", "wav2vec2"):
        assert isinstance(stack.layer_norm, nn.LayerNorm if layers == DEPTH else nn.Identity)


@pytest.mark.parametrize("audio", ["wav2vec2-group-norm", "unispeech-sat"])
@torch.no_grad()
def test_encoders_whose_layers_end_in_norms_of_their_own_are_cut_too(audio):
    torch.manual_seed(0)
    config = encoder_config({**AUDIO_ENCODERS[audio], "num_hidden_layers": DEPTH})
    whole = perturb(AutoModel.from_config(config).eval())
    model = tiny_model(audio_config=config.to_dict(), speech_layers=2)
    encoder = model.drkf.modality_encoding.speech_encoder
    kept = {name: value for name, value in whole.state_dict().items() if name in encoder.state_dict()}
    encoder.load_state_dict(kept)
    clip = tiny_batch(audio, samples=(800,))["input_values"]
    expected = whole(clip, output_hidden_states=True).hidden_states[2]
    torch.testing.assert_close(encoder(clip).last_hidden_state, expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_layers_that_are_not_used_are_not_in_the_checkpoint(tmp_path):
    model = from_folders(tmp_path, "whisper", speech_layers=1)
    model.save_pretrained(tmp_path / "one")
    from_folders(tmp_path, "whisper").save_pretrained(tmp_path / "all")
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("one", "all")]
    layer = sum(p.nbytes for p in model.drkf.modality_encoding.speech_encoder.layers[0].parameters())
    assert sizes[1] - sizes[0] >= 2 * layer
    loaded, info = DRKFForEmotionClassification.from_pretrained(tmp_path / "one", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    batch = tiny_batch("whisper")
    assert torch.equal(loaded(**batch).logits, model(**batch).logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speech_layers": 3}, "speech_layers is 3, the speech encoder has 2 layers"),
        ({"speech_layers": 0}, "speech_layers must be at least 1"),
        ({"audio": "sew", "speech_layers": 1}, "audio_config is sew"),
        ({"audio": "data2vec-audio", "speech_layer_sum": True}, "audio_config is data2vec-audio"),
        ({"audio": "wav2vec2-adapter", "speech_layer_sum": True}, "audio_config is wav2vec2 with an adapter"),
    ],
)
def test_layers_that_cannot_be_read_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        tiny_config(**options)


# The sum of layers.


@pytest.mark.parametrize("audio", READ_BY_LAYERS)
@torch.no_grad()
def test_the_sum_of_layers_equals_a_loop(audio):
    model = perturb(tiny_model(audio=audio, speech_layer_sum=True), scale=0.3)
    encoding, batch = model.drkf.modality_encoding, tiny_batch(audio)
    weights = encoding.layer_sum.weights
    assert weights.shape == (3,)
    assert weights.std() > 0.05
    states = encode_speech(
        encoding.speech_encoder, batch["input_values"], batch["audio_attention_mask"], output_hidden_states=True
    )
    share = np.exp(weights.numpy()) / np.exp(weights.numpy()).sum()
    expected = torch.zeros_like(states.sequence)
    for number, layer in enumerate(states.hidden_states):
        expected += float(share[number]) * layer
    output = model(**batch)
    speech = model.drkf(**batch).speech_hidden_state
    torch.testing.assert_close(speech[states.mask], expected[states.mask], atol=1e-5, rtol=0)
    assert output.logits.isfinite().all()


@torch.no_grad()
def test_statistics_of_a_sum_are_the_sum_of_each_layers_statistics():
    model = perturb(tiny_model(**FULL), scale=0.2)
    encoding, batch = model.drkf.modality_encoding, clip_alone(tiny_batch("whisper", samples=(620,), tokens=(4,)), 0)
    layers = encoding.speech_encoder(batch["input_values"], output_hidden_states=True).hidden_states
    assert len(layers) == 2
    usual = encoding.speech_standardization.usual.normal_(1.0, 0.1)
    share = encoding.layer_sum.weights.softmax(0)
    summary, pooled = torch.zeros(3, 32), torch.zeros(6, 32)
    for number, layer in enumerate(layer[0] for layer in layers):
        own = usual[:, :, 32 * number : 32 * (number + 1)]
        found = torch.stack([layer.mean(0), layer.std(0, correction=0), layer.amax(0)])
        summary += share[number] * (found - own[0]) / own[1]
        windows = torch.stack([layer[start : start + 3].mean(0) for start in range(0, len(layer), 3)])
        pooled += share[number] * (windows - own[0, 0]) / own[0, 1]
    expected = torch.cat([encoding.statistics_adapter(summary.flatten())[None], encoding.speech_adapter(pooled)])
    found = model.drkf(**batch)
    torch.testing.assert_close(found.speech_hidden_state[0], expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.speech_summary[0], expected[0], atol=1e-4, rtol=1e-4)


def test_the_weights_start_alike_and_learn():
    model = tiny_model(**FULL, dropout=0.1).train()
    weights = model.drkf.modality_encoding.layer_sum.weights
    assert weights.tolist() == [0.0, 0.0]
    model(**tiny_batch("whisper", labels=LABELS)).loss.backward()
    assert weights.grad.abs().min() > 0


@pytest.mark.parametrize("audio", READ_BY_LAYERS)
def test_every_parameter_is_trained(audio):
    np.random.seed(0)
    unpadded = {"unpadded_speech": True} if audio == "whisper" else {}
    for options in ({"speech_layers": 1}, {"speech_layer_sum": True}):
        model = tiny_model(audio=audio, dropout=0.1, **options, **unpadded).train()
        model(**tiny_batch(audio, labels=LABELS)).loss.backward()
        trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        assert [name for name, parameter in trained.items() if parameter.grad is None] == []
        assert [name for name, parameter in trained.items() if not parameter.grad.any()] == []


@torch.no_grad()
def test_states_in_place_of_inputs_give_the_same_answer():
    model, batch = perturb(tiny_model(**FULL)), tiny_batch("whisper")
    encoding = model.drkf.modality_encoding
    speech = encoding.encode_speech(batch["input_values"], batch["audio_attention_mask"])
    assert speech.sequence.shape[2] == speech.statistics.shape[2] == encoding.widths[0] == 64
    states = {"speech_states": speech.sequence, "speech_statistics": speech.statistics}
    rest = {name: batch[name] for name in ("input_ids", "attention_mask")}
    actual = model(**states, **rest, audio_attention_mask=speech.mask).logits
    torch.testing.assert_close(actual, model(**batch).logits, atol=1e-6, rtol=0)


@torch.no_grad()
def test_hidden_states_are_returned_where_they_are_requested_only():
    model, batch = tiny_model(**FULL), tiny_batch("whisper")
    assert model(**batch).speech_hidden_states is None
    layers = model(**batch, output_hidden_states=True).speech_hidden_states
    assert [layer.shape[2] for layer in layers] == [32, 32]


# Checkpoints.


def window_processor(**options: Any) -> DRKFProcessor:
    return DRKFProcessor(
        WhisperFeatureExtractor(feature_size=NUM_BINS, chunk_length=2), tiny_processor().tokenizer, **options
    )


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, int(16_000 * seconds)).astype(np.float32)


def test_the_processor_leaves_clips_at_their_own_length(tmp_path):
    processor = window_processor(unpadded_speech=True)
    clips = [noise(0.7), noise(0.314, seed=1)]
    batch = processor(audio=clips, text=["so", "oh"], sampling_rate=16_000, return_tensors="pt")
    assert batch["input_values"].shape == (2, NUM_BINS, 70)
    assert batch["audio_attention_mask"].sum(-1).tolist() == [70, 31]
    for row, clip in enumerate(clips):
        own = processor.feature_extractor(clip, sampling_rate=16_000, padding=False, return_tensors="pt")[
            "input_features"
        ][0]
        assert torch.equal(batch["input_values"][row, :, : own.shape[1]], own)
        assert not batch["input_values"][row, :, own.shape[1] :].any()
    assert window_processor()(audio=clips, sampling_rate=16_000)["input_values"][0].shape == (NUM_BINS, 200)
    processor.save_pretrained(tmp_path)
    assert DRKFProcessor.from_pretrained(tmp_path).unpadded_speech is True
    assert processor.max_audio_samples == 32_000


def test_a_checkpoint_of_all_options_loads_by_its_own_code(tmp_path):
    model = perturb(tiny_model(**FULL))
    model.save_pretrained(tmp_path / "model")
    batch = tiny_batch("whisper")
    with torch.no_grad():
        torch.save((batch, model(**batch).logits), tmp_path / "expected.pt")
    script = f"""
import torch
from transformers import AutoModelForAudioClassification

model = AutoModelForAudioClassification.from_pretrained({str(tmp_path / "model")!r}, trust_remote_code=True)
inputs, expected = torch.load({str(tmp_path / "expected.pt")!r})
with torch.no_grad():
    torch.testing.assert_close(model(**inputs).logits, expected, atol=1e-6, rtol=0)
"""
    environment = {"HF_MODULES_CACHE": str(tmp_path / "modules"), "PATH": ""}
    finished = subprocess.run(
        [sys.executable, "-c", REMOTE + script], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert finished.returncode == 0, finished.stderr


@torch.no_grad()
def test_from_encoders_reads_whisper_as_speech_recognisers_save_it(tmp_path):
    torch.manual_seed(0)
    recogniser = perturb(WhisperForConditionalGeneration(encoder_config(AUDIO_ENCODERS["whisper"])))
    recogniser.save_pretrained(tmp_path / "speech")
    BertModel(encoder_config(TEXT_ENCODERS["bert"])).save_pretrained(tmp_path / "text")
    model = DRKFForEmotionClassification.from_encoders(
        str(tmp_path / "speech"), str(tmp_path / "text"), hidden_size=32, num_fusion_heads=4, num_fusion_layers=1,
        unpadded_speech=True,
    )  # fmt: skip
    encoder = model.eval().drkf.modality_encoding.speech_encoder
    clip = torch.randn(NUM_BINS, 18, generator=torch.Generator().manual_seed(0))
    expected = by_hand(recogniser.eval().model.encoder, clip)
    torch.testing.assert_close(encoder(clip[None]).last_hidden_state[0], expected, atol=1e-5, rtol=0)
