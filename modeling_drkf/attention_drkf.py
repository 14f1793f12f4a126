"""Scaled dot product attention that keeps PyTorch's fused kernel on a CPU, in training, too."""

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

FUSED_SDPA = "fused_sdpa"


def drop_keys(value: Tensor, probability: float) -> Tensor:
    """Dropout of attention: each head leaves out keys, the same ones for all of a sample's queries.

    Broadcast along the queries as in Tensor2Tensor: unlike dropout of single weights, it leaves the softmax whole, so
    that every attention implementation keeps its fused kernel. Where there is one query, both are the same.

    Args:
        value: (batch, heads, keys, head size).
    """
    return value * nn.functional.dropout(value.new_ones(*value.shape[:3], 1), probability)


def fused_sdpa_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    position_bias: Tensor | None = None,
    **kwargs,
) -> tuple[Tensor, None]:
    """transformers' `sdpa`; on a CPU with dropout of keys, and in float32 where it was asked for half of it.

    The fused kernel of a CPU takes no dropout of weights, and its backward pass is up to six times slower in bfloat16.
    """
    on_cpu = value.device.type == "cpu"
    if on_cpu and dropout:
        value, dropout = drop_keys(value, dropout), 0.0
    if on_cpu and value.dtype in (torch.bfloat16, torch.float16):
        mask, bias = _in_float32(attention_mask), _in_float32(position_bias)
        with torch.autocast("cpu", enabled=False):
            attended, _ = sdpa_attention_forward(
                module, query.float(), key.float(), value.float(), mask, position_bias=bias, **kwargs
            )
        return attended.to(value.dtype), None
    return sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, position_bias=position_bias, **kwargs
    )


def _in_float32(tensor: Tensor | None) -> Tensor | None:
    return tensor.float() if tensor is not None and tensor.is_floating_point() else tensor


AttentionInterface.register(FUSED_SDPA, fused_sdpa_forward)
AttentionMaskInterface.register(FUSED_SDPA, sdpa_mask)
