"""The encoders of ME: built from a configuration or loaded, and what they say about padding (sec. 3.2)."""

import inspect
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_MAPPING,
    AutoModel,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import logging

from .attention_drkf import FUSED_SDPA

logger = logging.get_logger(__name__)

# Speech encoders whose valid frames never depend on padding, as long as `reads_padding` finds nothing else.
MASKS_ITS_PADDING = (
    "hubert",
    "speech-lstm",
    "unispeech",
    "unispeech-sat",
    "wav2vec2",
    "wav2vec2-bert",
    "wavlm",
    "whisper",
)
MASK_EMBEDDING = "masked_spec_embed"  # SpecAugment's; many checkpoints lack it, and training learns it


def build_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """The encoder that `AutoModel` builds for a config: without decoder, without pooler (neither would be trained).

    It says the same, but trains faster on a CPU: where its attention would be transformers' `sdpa`, it is `fused_sdpa`
    (`set_attn_implementation` takes either), and convolutions' activations read no transposed tensors.
    """
    encoder = encoder_of(AutoModel.from_config(config, **encoder_options(config)))
    if encoder.config._attn_implementation == "sdpa":
        encoder.config._attn_implementation = FUSED_SDPA
    for layer in getattr(getattr(encoder, "feature_extractor", None), "conv_layers", ()):
        layer.activation.register_forward_pre_hook(_contiguous)
    return encoder


def _contiguous(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What layer norms leave transposed, which the next convolution would copy anyway: activations are slow on it."""
    return tuple(tensor.contiguous() for tensor in inputs)


def encoder_options(config: PreTrainedConfig) -> dict[str, bool]:
    if type(config) not in MODEL_MAPPING:
        raise ValueError(f"AutoModel builds no encoder of type {config.model_type!r}")
    accepted = inspect.signature(cast(Any, MODEL_MAPPING[type(config)])).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in accepted else {}


def encoder_of(model: PreTrainedModel) -> PreTrainedModel:
    return model.get_encoder() if model.config.is_encoder_decoder else model


def load_pretrained_encoder(encoder: PreTrainedModel, name: str) -> None:
    """Gives an encoder the weights of a checkpoint, in float32; the checkpoint's heads and decoder are left out.

    Args:
        encoder: of `build_encoder`. name: folder or Hub id.

    Raises:
        ValueError: the checkpoint lacks weights of the encoder; the message names them.
    """
    loaded = AutoModel.from_pretrained(
        name, dtype=torch.float32, output_loading_info=True, **encoder_options(encoder.config)
    )
    pretrained, info = cast(tuple[PreTrainedModel, dict[str, Any]], loaded)
    source = encoder_of(pretrained)
    own = {id(tensor) for tensor in source.state_dict(keep_vars=True).values()}
    tensors = pretrained.state_dict(keep_vars=True)
    missing = sorted(key for key in info["missing_keys"] if id(tensors[key]) in own)
    if lacking := [key for key in missing if not key.endswith(MASK_EMBEDDING)]:
        shown = ", ".join(lacking[:5]) + (f" and {len(lacking) - 5} more" if len(lacking) > 5 else "")
        raise ValueError(
            f"{name} is no complete {type(source).__name__}: it lacks {shown}. Name a checkpoint of that model, or "
            "give a configuration to train an encoder from scratch"
        )
    if missing:
        logger.warning(f"{name} has no {MASK_EMBEDDING}: SpecAugment's embedding starts at random")
    encoder.load_state_dict(source.state_dict())


def check_reads_both_ways(config: PreTrainedConfig) -> None:
    """Raises ValueError for a text encoder whose first token, T_cls, sees no later one."""
    kind = type(config)
    causal = kind in MODEL_FOR_CAUSAL_LM_MAPPING and kind not in MODEL_FOR_MASKED_LM_MAPPING
    if getattr(config, "is_decoder", False) or (causal and not config.is_encoder_decoder):
        raise ValueError(
            f"{config.model_type} reads from left to right: its first token, which stands for the text (T_cls), "
            "knows none of the words. Choose an encoder such as BERT, RoBERTa or DeBERTa"
        )


def uses_mask_embedding(config: PreTrainedConfig) -> bool:
    """Whether training replaces frames by a learnt embedding (SpecAugment along time)."""
    return getattr(config, "apply_spec_augment", True) and getattr(config, "mask_time_prob", 0.0) > 0


def frame_mask(encoder: Any, mask: Tensor, num_frames: int) -> Tensor:
    """Which of an audio encoder's frames are valid, by the encoder's own length arithmetic.

    Args:
        mask: over the encoder's input, (batch, samples) or (batch, input frames).

    Returns: (batch, num_frames), bool.

    Raises:
        ValueError: where the encoder does not tell how its input's length maps to frames.
    """
    if hasattr(encoder, "_get_feat_extract_output_lengths"):
        lengths = encoder._get_feat_extract_output_lengths(mask.sum(-1))
        if not torch.compiler.is_compiling() and bool((lengths < 1).any()):
            short = int(lengths.argmin())
            raise ValueError(
                f"sample {short + 1} of the batch is too short for one frame ({int(mask[short].sum())} samples): "
                "pad it (min_audio_samples of the processor)"
            )
    if hasattr(encoder, "_get_feature_vector_attention_mask"):
        return encoder._get_feature_vector_attention_mask(num_frames, mask).bool()
    if mask.shape[1] == num_frames:
        return mask.bool()
    if hasattr(encoder, "_get_feat_extract_output_lengths"):
        lengths = encoder._get_feat_extract_output_lengths(mask.sum(-1))
        return torch.arange(num_frames, device=mask.device) < lengths[:, None]
    raise ValueError(
        f"{type(encoder).__name__} turns {mask.shape[1]} inputs into {num_frames} frames and does not tell which are "
        "valid (_get_feature_vector_attention_mask is missing): choose an encoder that masks padding"
    )


def reads_padding(config: PreTrainedConfig) -> bool:
    """Whether padding reaches a clip's valid frames, through norms over time or unmasked convolutions."""
    return (
        config.model_type not in MASKS_ITS_PADDING
        or getattr(config, "feat_extract_norm", None) == "group"
        or getattr(config, "conv_pos_batch_norm", False)
        or getattr(config, "add_adapter", False)
    )


def joined(samples: Sequence[Tensor]) -> Tensor:
    """One batch of tensors (1, ...) that are padded at the end of every dimension to the largest."""
    shape = [max(sizes) for sizes in zip(*(sample.shape[1:] for sample in samples), strict=True)]
    padded = []
    for sample in samples:
        missing = [longest - size for longest, size in zip(shape, sample.shape[1:], strict=True)]
        padded.append(nn.functional.pad(sample, [end for size in reversed(missing) for end in (0, size)]))
    return torch.cat(padded)
