"""The whole model: what must not depend on the batch, memory and precision, inference, saving, adapters."""

from functools import partial

import numpy as np
import pytest
import torch
from helpers.tiny import (
    OBJECTIVE_NAMES,
    OBJECTIVES,
    TABLE_4,
    alone,
    assert_equal_gradients,
    fused_batch_sizes,
    gradients,
    perturb,
    select,
    tiny_batch,
    tiny_config,
    tiny_model,
)
from torch import Tensor, nn

from modeling_drkf import DRKFForEmotionClassification, DRKFModel
from modeling_drkf.attention_drkf import FUSED_SDPA
from modeling_drkf.kf_fusion_encoder import FusionLayer

LABELS = [0, 1, 2, 0]


def with_noise_as_padding(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    mask = batch["audio_attention_mask"].bool()
    noise = 100 * torch.randn(mask.shape, generator=torch.Generator().manual_seed(7))
    return batch | {"input_values": batch["input_values"].where(mask, noise)}


# What is computed for a sample never depends on its neighbours.


@pytest.mark.parametrize("audio", ["wav2vec2", "wav2vec2-group-norm"])
@pytest.mark.parametrize("fusion", ["self", "cross"])
@torch.no_grad()
def test_a_sample_scores_the_same_alone_and_in_a_padded_batch(fusion, audio):
    model = perturb(tiny_model(audio=audio, fusion=fusion))
    batch = tiny_batch(audio)
    together = model(**with_noise_as_padding(batch), output_modality_attention=True)
    for row in range(4):
        single = model(**alone(batch, row), output_modality_attention=True)
        for name in ("logits", "consistency_logits", "modality_shares"):
            if fusion == "cross" and name == "modality_shares":
                assert together.modality_shares is None
            else:
                assert (together[name][row] - single[name][0]).abs().max() < 1e-5, name
    assert together.logits.std(0).min() > 1e-2  # the samples differ


@torch.no_grad()
def test_without_masks_everything_counts_as_valid():
    model = perturb(tiny_model())
    batch = alone(tiny_batch(), 0)
    bare = {name: batch[name] for name in ("input_values", "input_ids")}
    torch.testing.assert_close(model(**bare).logits, model(**batch).logits, atol=1e-6, rtol=0)


@pytest.mark.parametrize("fusion", ["self", "cross"])
@torch.no_grad()
def test_the_order_of_a_batch_only_orders_the_output(fusion):
    model = perturb(tiny_model(fusion=fusion))
    batch, order = tiny_batch(labels=LABELS), [2, 0, 3, 1]
    output, shuffled = model(**batch), model(**select(batch, order))
    torch.testing.assert_close(shuffled.logits, output.logits[order], atol=1e-5, rtol=0)
    torch.testing.assert_close(shuffled.consistency_logits, output.consistency_logits[order], atol=1e-5, rtol=0)
    for name, term in output.loss_terms.items():
        torch.testing.assert_close(shuffled.loss_terms[name], term, atol=1e-5, rtol=1e-5, msg=name)


@torch.no_grad()
def test_modality_shares_are_the_attention_mass_on_valid_positions():
    model = perturb(tiny_model(), scale=0.3)
    batch = tiny_batch()
    output = model(**batch, output_modality_attention=True)
    frames = model.drkf(**batch).speech_mask
    assert (output.speech_attention[~frames] == 0).all()
    assert (output.text_attention[batch["attention_mask"] == 0] == 0).all()
    mass = torch.stack([output.speech_attention.sum(-1), output.text_attention.sum(-1)], -1)
    assert (mass.sum(-1) < 1).all()  # CLS and SEP keep the rest
    torch.testing.assert_close(output.modality_shares, mass / mass.sum(-1, keepdim=True))


# Memory and precision.


@pytest.mark.parametrize("row", ["5-cross", "6-drkf"])
def test_gradient_checkpointing_recomputes_and_gives_equal_gradients(row):
    models = [tiny_model(dropout=0.1, **TABLE_4[row]).train() for _ in range(2)]
    models[1].activation_checkpointing_enable()
    kinds = ("FusionLayer", "RobertaLayer", "Wav2Vec2EncoderLayerStableLayerNorm")
    calls: list[list[str]] = []
    for model in models:
        runs: list[str] = []
        for layer in model.modules():
            if type(layer).__name__ in kinds:
                hook = partial(lambda runs, kind, *_: runs.append(kind), runs, type(layer).__name__)
                layer.attention.register_forward_pre_hook(hook)
        torch.manual_seed(3)
        np.random.seed(3)
        model(**tiny_batch(labels=LABELS)).loss.backward()
        calls.append(runs)
    for kind in kinds:
        assert calls[1].count(kind) == 2 * calls[0].count(kind) > 0, kind
    assert_equal_gradients(models[1], models[0])


@pytest.mark.parametrize("fusion", ["self", "cross"])
def test_eager_and_sdpa_attention_agree(fusion):
    sdpa, eager = (
        DRKFForEmotionClassification._from_config(tiny_config(fusion=fusion), attn_implementation=name).eval()
        for name in ("sdpa", "eager")
    )
    perturb(sdpa)
    eager.load_state_dict(sdpa.state_dict())
    for model, name in ((sdpa, "sdpa"), (eager, "eager")):
        encoding = model.drkf.modality_encoding
        parts = (encoding.speech_encoder, encoding.text_encoder, model.drkf.fusion_encoder)
        of_encoders = FUSED_SDPA if name == "sdpa" else name
        assert [part.config._attn_implementation for part in parts] == [of_encoders, of_encoders, name]
    batch = tiny_batch(labels=LABELS)
    outputs = [model(**batch) for model in (sdpa, eager)]
    torch.testing.assert_close(outputs[1].logits, outputs[0].logits, atol=1e-5, rtol=0)
    for output in outputs:
        output.loss.backward()
    assert_equal_gradients(eager, sdpa, atol=1e-5)


@pytest.mark.parametrize("mode", ["weights", "autocast"])
@pytest.mark.parametrize(("options", "labels"), OBJECTIVES, ids=OBJECTIVE_NAMES)
def test_bfloat16_is_finite_and_near_float32(options, labels, mode):
    model = perturb(tiny_model(**options), scale=0.02)
    batch = tiny_batch(labels=labels)
    with torch.no_grad():
        expected = model(**batch)
    model.train()
    if mode == "weights":
        model.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=mode == "autocast"):
        output = model(**batch)
    output.loss.backward()
    assert all(gradient.isfinite().all() for gradient in gradients(model).values())
    assert len(gradients(model)) == len(list(model.parameters()))
    assert (output.logits.float() - expected.logits).abs().max() < 0.1
    for name, term in expected.loss_terms.items():
        assert float(output.loss_terms[name]) == pytest.approx(float(term), rel=0.05, abs=0.05), name


def test_a_frozen_feature_encoder_stays_as_it_is():
    model = tiny_model().train()
    model.freeze_feature_encoder()
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in model.named_parameters() if ".feature_extractor." in name}
    assert frozen
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-3)
    model(**tiny_batch(labels=LABELS)).loss.backward()
    optimizer.step()
    assert {name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])} == frozen


def test_freezing_what_does_not_exist_says_so():
    with pytest.raises(ValueError, match="Wav2Vec2BertModel has no convolutional feature encoder"):
        tiny_model(audio="wav2vec2-bert").freeze_feature_encoder()


# Inference.


@pytest.mark.parametrize("row", ["2-cmie", "5-cross", "6-drkf"])
@torch.no_grad()
def test_inference_needs_neither_augmentation_nor_chance(row):
    model = perturb(tiny_model(dropout=0.1, **TABLE_4[row]))
    expected = model(**tiny_batch()).logits
    for name in ("augmentation", "representations", "mutual_information"):
        for parameter in getattr(model, name, nn.Module()).parameters():
            parameter.fill_(float("nan"))
    sizes = fused_batch_sizes(model)
    torch.manual_seed(5)
    np.random.seed(5)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), np.random.get_state()[2]
    output = model(**tiny_batch())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1].tolist(), np.random.get_state()[2]) == states[1:]
    assert torch.equal(output.logits, expected)
    assert sizes == [4]
    assert output.loss is None
    assert output.loss_terms is None


@torch.no_grad()
def test_the_base_model_returns_what_the_classifier_reads():
    model = perturb(tiny_model())
    batch = tiny_batch()
    output = model.drkf(**batch)
    assert isinstance(model.drkf, DRKFModel)
    torch.testing.assert_close(model.emotion_classifier(output.pooler_output), model(**batch).logits)
    valid = output.speech_mask[1].sum()
    torch.testing.assert_close(output.speech_summary[1], output.speech_hidden_state[1, :valid].mean(0))
    torch.testing.assert_close(output.text_summary, output.text_hidden_state[:, 0])


@torch.no_grad()
def test_outputs_as_a_tuple():
    model = tiny_model()
    batch = tiny_batch(labels=LABELS)
    named, plain = model(**batch), model(**batch, return_dict=False)
    assert isinstance(plain, tuple)
    names = [
        "loss",
        "logits",
        "consistency_logits",
        "loss_terms",
        "pooler_output",
        "speech_summary",
        "text_summary",
        "fused_logits",
        "consistency",
    ]
    assert list(named) == names
    for name, value in zip(names, plain, strict=True):
        assert value.keys() == named[name].keys() if name == "loss_terms" else torch.equal(value, named[name])


@pytest.mark.parametrize("fusion", ["self", "cross"])
def test_torch_export_of_inference_with_any_lengths(fusion):
    model = perturb(tiny_model(fusion=fusion))
    batch = tiny_batch()
    dynamic = {name: {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} for name in batch}
    with torch.no_grad():
        program = torch.export.export(model, (), batch, dynamic_shapes=dynamic, strict=False).module()
        other = tiny_batch(samples=(700, 900), tokens=(12, 4), seed=1)
        torch.testing.assert_close(program(**other).logits, model(**other).logits, atol=1e-5, rtol=0)


# Saving.


@pytest.mark.parametrize("row", TABLE_4)
@torch.no_grad()
def test_saving_and_loading_keeps_every_bit(row, tmp_path):
    model = perturb(tiny_model(**TABLE_4[row]))
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    loaded, info = DRKFForEmotionClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert torch.equal(loaded(**tiny_batch()).logits, model(**tiny_batch()).logits)
    assert torch.equal(
        DRKFModel.from_pretrained(tmp_path)(**tiny_batch()).pooler_output, model.drkf(**tiny_batch())[0]
    )


def test_loading_an_encoder_only_checkpoint_initialises_the_rest_sanely(tmp_path):
    """Parameters that a checkpoint lacks must be set by `_init_weights`, not left as uninitialised memory."""
    perturb(tiny_model(representation="none", emotion_discrimination=False)).drkf.save_pretrained(tmp_path)
    loaded = DRKFForEmotionClassification.from_pretrained(tmp_path, representation="pcmi", emotion_discrimination=True)
    assert float(loaded.representations.temperature_logit) == 1.0
    for name, parameter in loaded.named_parameters():
        if not name.startswith("drkf."):
            assert parameter.abs().max() <= 1.5, name  # Xavier-uniform, zeros or theta
    for name in ("speech_projection", "text_projection"):
        assert float(getattr(loaded.representations, name)[0].weight.std()) > 0.05


# Adapters.


def test_lora_on_the_encoders(tmp_path):
    peft = pytest.importorskip("peft")
    base = perturb(tiny_model())
    original = {name: parameter.detach().clone() for name, parameter in base.named_parameters()}
    saved = ["fusion_encoder", "augmentation", "representations", "emotion_classifier", "emotion_discriminator"]
    lora = peft.LoraConfig(
        r=2, target_modules=r".*(speech|text)_encoder.*\.(q_proj|v_proj|query|value)", modules_to_save=saved
    )
    base.save_pretrained(tmp_path / "base")
    model = peft.get_peft_model(base, lora).train()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert any("speech_encoder" in name and "lora" in name for name in trainable)
    assert any("text_encoder" in name and "lora" in name for name in trainable)
    assert all("lora_" in name or any(f".{module}." in name for module in saved) for name in trainable)
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-2, weight_decay=0.0)
    for _ in range(2):  # lora_A only moves once lora_B is no longer zero
        optimizer.zero_grad()
        model(**tiny_batch(labels=LABELS)).loss.backward()
        optimizer.step()
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == trainable
    with torch.no_grad():
        expected = model.eval()(**tiny_batch()).logits
        model.save_pretrained(tmp_path / "adapter")
        fresh = DRKFForEmotionClassification.from_pretrained(tmp_path / "base")
        assert all(torch.equal(parameter, original[name]) for name, parameter in fresh.named_parameters())
        merged = peft.PeftModel.from_pretrained(fresh, tmp_path / "adapter").eval()
        torch.testing.assert_close(merged(**tiny_batch()).logits, expected, atol=1e-6, rtol=0)
        merged = merged.merge_and_unload()
        torch.testing.assert_close(merged(**tiny_batch()).logits, expected, atol=1e-5, rtol=0)
        assert sum(isinstance(module, FusionLayer) for module in merged.modules()) == 2
        merged.save_pretrained(tmp_path / "merged")
        plain = DRKFForEmotionClassification.from_pretrained(tmp_path / "merged")
        torch.testing.assert_close(plain(**tiny_batch()).logits, expected, atol=1e-5, rtol=0)
