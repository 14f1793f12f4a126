"""What users of transformers, accelerate and PEFT expect of any model."""

from pathlib import Path

import pytest
import torch
from accelerate import cpu_offload, disk_offload, infer_auto_device_map
from accelerate.utils import send_to_device
from helpers.tiny import MULTI_HOT, MULTI_LABEL, perturb, select, tiny_batch, tiny_config, tiny_model
from torch import Tensor
from transformers.utils import TransformersKwargs

from modeling_drkf import DRKFConfig, DRKFForEmotionClassification, kf_emodality_shuffling
from modeling_drkf.encoders_drkf import valid_first
from modeling_drkf.extended_objective_drkf import present_weights
from modeling_drkf.losses_drkf import cosine_scores, discrimination_loss
from modeling_drkf.orl_modality_encoding import masked_mean
from modeling_drkf.outputs_drkf import Modality

LABELS = [0, 1, 2, 0]


# Outputs on request.


@pytest.mark.parametrize("fusion", ["self", "cross"])
@torch.no_grad()
def test_hidden_states_and_attentions_of_every_module(fusion: str):
    model, batch = perturb(tiny_model(fusion=fusion)), tiny_batch()
    model.set_attn_implementation("eager")
    output = model(**batch, output_hidden_states=True, output_attentions=True, output_modality_attention=True)
    encoder = model.drkf.modality_encoding.speech_encoder
    own = encoder(batch["input_values"], batch["audio_attention_mask"], output_hidden_states=True)
    torch.testing.assert_close(output.speech_hidden_states, own.hidden_states)
    assert [len(output[name]) for name in ("speech_attentions", "text_attentions", "text_hidden_states")] == [2, 2, 3]
    assert len(output.hidden_states) == 1 + 2
    layers = 2 if fusion == "self" else 4
    assert len(output.attentions) == layers
    for weights in (*output.attentions, *output.speech_attentions, *output.text_attentions):
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    if fusion == "self":
        torch.testing.assert_close(output.hidden_states[-1][:, 0], output.pooler_output)
        of_cls = torch.stack(output.attentions)[:, :, :, 0].mean((0, 2))
        torch.testing.assert_close(of_cls[:, 1 : 1 + output.speech_attention.shape[1]], output.speech_attention)
    plain = model(**batch)
    torch.testing.assert_close(plain.logits, output.logits)
    assert plain.hidden_states is None
    assert plain.attentions is None


@torch.no_grad()
def test_the_configuration_requests_outputs_too():
    model = tiny_model()
    model.config.output_hidden_states = model.config.output_modality_attention = True
    output = model(**tiny_batch())
    assert len(output.hidden_states) == len(output.text_hidden_states) == 3
    torch.testing.assert_close(output.modality_shares.sum(-1), torch.ones(4))
    assert model(**tiny_batch(), output_hidden_states=False).hidden_states is None


@torch.no_grad()
def test_hidden_states_of_clips_that_are_encoded_one_by_one():
    model, batch = tiny_model(audio="wav2vec2-group-norm"), tiny_batch("wav2vec2-group-norm")
    model.set_attn_implementation("eager")
    output = model(**batch, output_hidden_states=True, output_attentions=True)
    for states in output.speech_hidden_states:
        assert states.shape[:2] == output.speech_hidden_states[0].shape[:2]
        assert not states[3, -1].any()  # the shortest clip's padding
    assert output.speech_attentions[0].shape[-2:] == output.speech_hidden_states[0].shape[1:2] * 2


def test_an_argument_that_no_forward_has_is_refused_and_none_is_nothing():
    model = tiny_model()
    with pytest.raises(TypeError, match="no argument 'label'"):
        model(**tiny_batch(), label=torch.tensor(LABELS))
    assert model(**tiny_batch(), inputs_embeds=None).logits.isfinite().all()


# Inputs.


@torch.no_grad()
def test_boolean_masks_are_masks():
    model, batch = perturb(tiny_model()), tiny_batch()
    masks = {name: batch[name].bool() for name in ("attention_mask", "audio_attention_mask")}
    torch.testing.assert_close(model(**{**batch, **masks}).logits, model(**batch).logits)


@pytest.mark.parametrize("text", ["bert", "roberta", "distilbert", "deberta-v2"])
@torch.no_grad()
def test_padding_on_the_left_changes_nothing(text: str):
    model, batch = perturb(tiny_model(text=text)), tiny_batch(tokens=(5, 9, 3, 7))
    left = dict(batch)
    for name in ("input_ids", "attention_mask"):
        rows = [row.roll(9 - length) for row, length in zip(batch[name], (5, 9, 3, 7), strict=True)]
        left[name] = torch.stack(rows)
    assert left["attention_mask"][2].tolist() == [0] * 6 + [1] * 3
    torch.testing.assert_close(model(**left).logits, model(**batch).logits, atol=1e-5, rtol=0)


def test_valid_tokens_come_first():
    tokens = torch.tensor([[0, 0, 7, 8], [5, 6, 7, 0], [0, 0, 0, 0]])
    moved, mask = valid_first(tokens, torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0], [0, 0, 0, 0]]))
    assert mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]]
    assert (moved * mask).tolist() == [[7, 8, 0, 0], [5, 6, 7, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("fusion", ["self", "cross"])
def test_a_text_that_is_masked_altogether_gives_numbers(fusion: str):
    model, batch = perturb(tiny_model(fusion=fusion)), tiny_batch(labels=LABELS)
    batch["attention_mask"][2] = 0
    output = model(**batch)
    output.loss.backward()
    assert output.logits.isfinite().all()
    assert output.loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)
    other = dict(batch, input_ids=batch["input_ids"].clone())
    other["input_ids"][2, 1:] = 7  # nobody reads it
    torch.testing.assert_close(model(**other).logits, output.logits)


def test_a_label_that_is_no_class_is_refused():
    with pytest.raises(ValueError, match="label -100 of sample 1 is none of the classes 0 to 2"):
        tiny_model()(**tiny_batch(labels=[0, -100, 1, 2]))


# Precision.


def test_means_of_half_precision_are_summed_in_float32():
    sequence = torch.full((1, 2700, 2), 30.0, dtype=torch.float16)
    mean = masked_mean(sequence, torch.ones(1, 2700, dtype=torch.bool))
    assert mean.dtype == torch.float16
    assert mean.tolist() == [[30.0, 30.0]]


def test_contrastive_scores_ignore_autocast():
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(4, 64, generator=generator) for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        scores = cosine_scores(left, right, torch.tensor(0.7))
    assert torch.equal(scores, cosine_scores(left, right, torch.tensor(0.7)))


# Blanked halves.


@torch.no_grad()
def test_hidden_states_are_selected_by_the_numbers_of_their_layers():
    model, batch = perturb(tiny_model()), tiny_batch()
    whole = model(**batch, output_hidden_states=True)
    for name in ("hidden_states", "speech_hidden_states", "text_hidden_states"):
        for chosen, expected in (([0], [0]), ([-1, 1], [1, 2]), (1, [1]), ([7], [])):
            found = model(**batch, output_hidden_states=chosen)[name]
            assert [layer for layer, states in enumerate(found) if states is not None] == expected
            assert len(found) == len(whole[name])
            for layer in expected:
                torch.testing.assert_close(found[layer], whole[name][layer])


@torch.no_grad()
def test_forward_takes_what_transformers_passes_to_every_model():
    model, batch = tiny_model(), tiny_batch()
    expected = model(**batch).logits
    for name in TransformersKwargs.__annotations__:
        torch.testing.assert_close(model(**batch, **{name: False}).logits, expected)
    with pytest.raises(TypeError, match="no argument 'output_attention'"):
        model(**batch, output_attention=True)


def test_pairs_with_a_blanked_half_stay_out_of_the_discrimination_loss():
    model, batch = perturb(tiny_model()).train(), tiny_batch(labels=LABELS)
    present = {"speech_present": torch.tensor([1, 0, 1, 1]).bool(), "text_present": torch.tensor([1, 1, 1, 0]).bool()}
    term = model(**batch, **present).loss_terms["discrimination_loss"]
    kept = [(i, j) for i in (0, 2, 3) for j in (0, 1, 2)]
    logits, same = [], []
    for i, j in kept:
        speech, text = select(batch, [i]), select(batch, [j])
        pair = {**text, "input_values": speech["input_values"], "audio_attention_mask": speech["audio_attention_mask"]}
        logits.append(model(**{name: value for name, value in pair.items() if name != "labels"}).consistency_logits)
        same.append(float(LABELS[i] == LABELS[j]))
    torch.testing.assert_close(term, discrimination_loss(torch.cat(logits), torch.tensor(same)).detach())


def test_weights_of_present_pairs_by_hand():
    weights = present_weights(torch.tensor([0.25, 0.25, 0.5]), torch.tensor([1.0, 0.0, 1.0]))
    torch.testing.assert_close(weights, torch.tensor([1 / 3, 0.0, 2 / 3]))
    assert present_weights(torch.tensor([0.5, 0.5]), torch.zeros(2)).tolist() == [0.0, 0.0]


# Vocabulary, labels, attention.


@torch.no_grad()
def test_token_embeddings_are_resized(tmp_path: Path):
    model, batch = perturb(tiny_model()), tiny_batch()
    before, size = model(**batch).logits, model.get_input_embeddings().num_embeddings
    model.resize_token_embeddings(size + 3)
    assert model.config.text_config.vocab_size == size + 3
    torch.testing.assert_close(model(**batch).logits, before)
    batch["input_ids"][0, 1] = size + 2
    model.save_pretrained(tmp_path)
    again = DRKFForEmotionClassification.from_pretrained(tmp_path)
    assert torch.equal(again(**batch).logits, model(**batch).logits)


def test_a_checkpoint_with_class_weights_takes_another_label_set(tmp_path: Path):
    tiny_model(class_weights=[1.0, 2.0, 3.0]).save_pretrained(tmp_path)
    assert DRKFConfig.from_pretrained(tmp_path).class_weights == [1.0, 2.0, 3.0]
    model = DRKFForEmotionClassification.from_pretrained(tmp_path, num_labels=5, ignore_mismatched_sizes=True)
    assert model.config.class_weights is None
    assert model(**tiny_batch()).logits.shape == (4, 5)
    assert DRKFConfig.from_pretrained(tmp_path, num_labels=7, class_weights=None).class_weights is None
    weights = [1.0, 2.0, 3.0, 4.0, 5.0]
    assert DRKFConfig.from_pretrained(tmp_path, num_labels=5, class_weights=weights).class_weights == weights
    names = dict(enumerate("abcde"))
    assert DRKFConfig.from_pretrained(tmp_path, id2label=names, class_weights=weights).class_weights == weights
    for labels in ({"num_labels": 5}, {"id2label": names}, {}):
        with pytest.raises(ValueError, match=f"class_weights has 2 entries for {5 if labels else 3} labels"):
            DRKFConfig.from_pretrained(tmp_path, class_weights=[1.0, 2.0], **labels)
    with pytest.raises(ValueError, match="class_weights has 2 entries for 3 labels"):
        tiny_config(class_weights=[1.0, 2.0])


@pytest.mark.slow
@torch.no_grad()
def test_flex_attention_agrees_with_sdpa(tmp_path: Path):
    perturb(tiny_model()).save_pretrained(tmp_path)
    flex = DRKFForEmotionClassification.from_pretrained(tmp_path, attn_implementation="flex_attention").eval()
    assert flex.config._attn_implementation == flex.config.text_config._attn_implementation == "flex_attention"
    sdpa = DRKFForEmotionClassification.from_pretrained(tmp_path, attn_implementation="sdpa").eval()
    torch.testing.assert_close(flex(**tiny_batch()).logits, sdpa(**tiny_batch()).logits, atol=1e-4, rtol=0)


# Devices.


@pytest.mark.parametrize("fusion", ["self", "cross"])
@torch.no_grad()
def test_weights_on_disk_or_in_host_memory_give_the_same_answer(fusion: str, tmp_path: Path):
    expected = perturb(tiny_model(fusion=fusion))(**tiny_batch()).logits
    for offload in (cpu_offload, lambda model: disk_offload(model, str(tmp_path))):
        model = perturb(tiny_model(fusion=fusion))
        offload(model)
        torch.testing.assert_close(model(**tiny_batch()).logits, expected)


def test_no_device_map_splits_a_layer():
    model = tiny_model()
    layers = ("FusionLayer", "Wav2Vec2EncoderLayerStableLayerNorm", "RobertaLayer")
    whole = {name for name, module in model.named_modules() if type(module).__name__ in layers}
    assert len(whole) == 3 * 2
    for first in range(20_000, 400_000, 20_000):
        placed = infer_auto_device_map(
            model, max_memory={0: first, 1: 10**9}, no_split_module_classes=list(model._no_split_modules)
        )
        assert not [part for part in placed for name in whole if part.startswith(f"{name}.")]


def test_a_modality_travels_to_a_device():
    modality = Modality(torch.zeros(2, 3, 4), torch.ones(2, 3, dtype=torch.bool), torch.zeros(2, 4))
    moved = send_to_device(modality, "meta")
    assert isinstance(moved, Modality)
    tensors: list[Tensor] = [tensor for tensor in moved if tensor is not None]
    assert [tensor.device.type for tensor in tensors] == ["meta"] * 3


def test_selecting_samples_selects_their_summaries():
    modality = Modality(torch.arange(6.0).view(3, 2, 1), torch.eye(3, 2).bool(), torch.arange(3.0)[:, None])
    chosen = kf_emodality_shuffling.select(modality, torch.tensor([2, 0, 2]))
    assert chosen.sequence[:, :, 0].tolist() == [[4, 5], [0, 1], [4, 5]]
    assert chosen.mask.tolist() == [[False, False], [True, False], [False, False]]
    assert chosen.summary[:, 0].tolist() == [2, 0, 2]


def test_multi_label_vectors_are_no_class_ids():
    assert tiny_model(**MULTI_LABEL)(**tiny_batch(labels=MULTI_HOT)).loss.isfinite()
