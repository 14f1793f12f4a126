"""`fused_sdpa` against transformers' `sdpa`."""

from typing import Any

import pytest
import torch
from helpers.numbers import random_numbers
from helpers.tiny import tiny_batch, tiny_config
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from modeling_drkf import DRKFForEmotionClassification
from modeling_drkf.attention_drkf import FUSED_SDPA, drop_keys, fused_sdpa_forward

BATCH, HEADS, QUERIES, KEYS, SIZE = 3, 2, 4, 5, 6
MASK = torch.arange(KEYS) < torch.tensor([5, 3, 1])[:, None, None, None]
BIAS = random_numbers(1, HEADS, QUERIES, KEYS, seed=7)


class Attention(nn.Module):
    is_causal = False


def heads(dtype: torch.dtype) -> list[Tensor]:
    lengths = (QUERIES, KEYS, KEYS)
    return [random_numbers(BATCH, HEADS, n, SIZE, seed=k).to(dtype).requires_grad_() for k, n in enumerate(lengths)]


def attend(attention: Any, inputs: list[Tensor], **options: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    attended, _ = attention(Attention(), *inputs, options.pop("attention_mask", None), scaling=0.3, **options)
    probe = random_numbers(*attended.shape, seed=9).to(attended.dtype)
    return attended.detach(), torch.autograd.grad((attended * probe).sum(), inputs)


@pytest.mark.parametrize("options", [{}, {"attention_mask": MASK}, {"attention_mask": MASK, "position_bias": BIAS}])
def test_without_dropout_it_is_sdpa(options: dict[str, Tensor]):
    inputs = heads(torch.float64)
    actual, expected = (
        attend(attention, inputs, **options) for attention in (fused_sdpa_forward, sdpa_attention_forward)
    )
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", [{}, {"attention_mask": MASK, "position_bias": BIAS}])
def test_half_precision_is_float32_rounded_once(dtype: torch.dtype, autocast: bool, options: dict[str, Tensor]):
    inputs = heads(dtype)
    options = {name: value.to(dtype) if value.is_floating_point() else value for name, value in options.items()}
    with torch.autocast("cpu", dtype, enabled=autocast):
        attended, gradients = attend(fused_sdpa_forward, inputs, **options)
    wide = [tensor.detach().float().requires_grad_() for tensor in inputs]
    options = {name: value.float() if value.is_floating_point() else value for name, value in options.items()}
    expected, _ = attend(sdpa_attention_forward, wide, **options)
    torch.testing.assert_close(attended, expected.to(dtype), rtol=0, atol=0)
    assert [gradient.dtype for gradient in gradients] == [dtype] * 3


def test_dropout_is_that_of_keys():
    query, key, value = heads(torch.float64)
    torch.manual_seed(0)
    attended, _ = fused_sdpa_forward(Attention(), query, key, value, MASK, dropout=0.5)
    torch.manual_seed(0)
    dropped = drop_keys(value, 0.5)
    expected, _ = sdpa_attention_forward(Attention(), query, key, dropped, MASK)
    torch.testing.assert_close(attended, expected)
    assert not torch.equal(dropped, value)


@pytest.mark.parametrize("encoder", ["speech_encoder", "text_encoder"])
def test_dropout_acts_in_training_encoders(encoder: str):
    """Two copies of a sample hear other keys in training, with no other dropout, and the same in evaluation."""
    config: Any = tiny_config()
    config.audio_config.attention_dropout = config.text_config.attention_probs_dropout_prob = 0.5
    module = getattr(DRKFForEmotionClassification(config).drkf.modality_encoding, encoder)
    assert module.config._attn_implementation == FUSED_SDPA
    batch = tiny_batch()
    row = batch["input_values" if encoder == "speech_encoder" else "input_ids"][:1]
    for mode in (False, True):
        first, second = module.train(mode)(row.repeat(2, 1)).last_hidden_state
        assert torch.equal(first, second) is not mode
