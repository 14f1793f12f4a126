"""Attention functions: transformers' own, and one that keeps PyTorch's fused kernel on a CPU, in training, too."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import create_bidirectional_mask, sdpa_mask

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
    """transformers' `sdpa`; on a CPU with dropout of keys, and in float32 where the inputs are in half precision.

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


def eager_attention_forward(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float, **kwargs,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    weights = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None:
        weights = weights + attention_mask
    weights = weights.softmax(-1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


AttentionInterface.register(FUSED_SDPA, fused_sdpa_forward)
AttentionMaskInterface.register(FUSED_SDPA, sdpa_mask)
ATTENTION_FUNCTIONS = AttentionInterface()
ATTENTION_FUNCTIONS["sdpa"] = fused_sdpa_forward
READ_ONE_MASK_FOR_ALL_QUERIES = ("eager", "sdpa", FUSED_SDPA)


def attention_function(config: PreTrainedConfig) -> Callable[..., tuple[Tensor, Tensor | None]]:
    """What the model's `attn_implementation` names."""
    return ATTENTION_FUNCTIONS.get_interface(config._attn_implementation, eager_attention_forward)


def key_mask(config: PreTrainedConfig, hidden: Tensor, context: Tensor, mask: Tensor) -> Any:
    """The valid keys, `mask` of (batch, length), in the form that the attention implementation reads.

    All queries see the same keys: where one row for all of them will do, no mask of (queries, keys) is made. ONNX's
    attention takes no such row.
    """
    if config._attn_implementation in READ_ONE_MASK_FOR_ALL_QUERIES and not torch.compiler.is_exporting():
        hidden = hidden[:, :1]
    return create_bidirectional_mask(config, hidden, mask, context)


def never_empty(mask: Tensor) -> Tensor:
    """Attention over nothing is not a number: a sample without any valid position attends to its first."""
    first = torch.arange(mask.shape[1], device=mask.device) == 0
    return mask | (first & ~mask.any(1, keepdim=True))
