"""The encoders of ME (sec. 3.2): built from a configuration or loaded, run, and what they say about padding.

Any encoder of transformers goes in here, and a sequence with the mask of its valid positions comes out.
"""

import inspect
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, NamedTuple, cast

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
from .outputs_drkf import States

logger = logging.get_logger(__name__)

# Speech encoders whose valid frames never depend on padding, as long as `reads_padding` finds nothing else.
MASKS_ITS_PADDING = ("hubert", "unispeech", "unispeech-sat", "wav2vec2", "wav2vec2-bert", "wavlm", "whisper")
MASK_EMBEDDING = "masked_spec_embed"  # SpecAugment's; many checkpoints lack it, and training learns it
LAYER_DROP_FIELDS = ("layerdrop", "encoder_layerdrop")
CONVOLUTIONS = ("conv_kernel", "conv_stride")
RECORDED = ("hidden_states", "attentions")


class EncoderStates(NamedTuple):
    """What an encoder computes of a batch.

    Attributes:
        sequence: frames or tokens, (batch, length, width), the valid ones first. mask: (batch, length).
        hidden_states, attentions: a tensor a layer, where they were requested.
    """

    sequence: Tensor
    mask: Tensor
    hidden_states: States = None
    attentions: States = None


def without_layer_drop(config: Any) -> PreTrainedConfig:
    """A copy of an encoder's configuration: a dropped layer leaves parameters without a gradient."""
    config = deepcopy(config)
    config._name_or_path = ""
    for field in LAYER_DROP_FIELDS:
        if hasattr(config, field):
            setattr(config, field, 0.0)
    return config


def output_width(config: Any) -> int:
    """Width of an encoder's last hidden state."""
    widens = getattr(config, "add_adapter", False) or getattr(config, "output_layers", 1) > 1
    return config.output_hidden_size if widens else config.hidden_size


def encode_speech(
    encoder: PreTrainedModel, input_values: Tensor, mask: Tensor | None, **recorded: bool
) -> EncoderStates:
    """Runs a speech encoder.

    Args:
        input_values: what it reads, (batch, samples) or (batch, input frames, bins).
        mask: 1 or true where valid, (batch, samples) or (batch, input frames); all, if not given.
        recorded: `output_hidden_states` and `output_attentions`.
    """
    input_values = input_values.to(encoder.dtype)
    mask = None if mask is None else mask.long()
    if mask is not None and reads_padding(encoder.config) and not bool(mask.all()):
        return _encode_one_by_one(encoder, input_values, mask, recorded)
    output = _encode(encoder, input_values, mask, recorded)
    frames = output.last_hidden_state
    valid = None if mask is None else frame_mask(encoder, mask, frames.shape[1])
    return EncoderStates(frames, valid_of(frames, valid), *(output.get(name) for name in RECORDED))


def encode_text(encoder: PreTrainedModel, input_ids: Tensor, mask: Tensor | None, **recorded: bool) -> EncoderStates:
    """Runs a text encoder.

    Args:
        input_ids: (batch, tokens). mask: 1 or true where valid, padded on either side; all, if not given.
    """
    mask = torch.ones_like(input_ids) if mask is None else mask.long()
    input_ids, mask = valid_first(input_ids, mask)
    read = torch.cat([torch.ones_like(mask[:, :1]), mask[:, 1:]], dim=1)  # attention over nothing is not a number
    output = encoder(input_ids=input_ids, attention_mask=read, **recorded)
    return EncoderStates(output.last_hidden_state, mask.bool(), *(output.get(name) for name in RECORDED))


def valid_of(sequence: Tensor, mask: Tensor | None) -> Tensor:
    """The mask of a sequence, (batch, length), as booleans; all true, if not given."""
    return sequence.new_ones(sequence.shape[:2], dtype=torch.bool) if mask is None else mask.bool()


def valid_first(sequence: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Turns what is padded on the left into what is padded on the right; both are (batch, length)."""
    positions = torch.arange(mask.shape[1], device=mask.device)
    shifted = positions + mask.argmax(-1, keepdim=True)
    order = torch.minimum(shifted, positions[-1])
    return sequence.gather(1, order), mask.gather(1, order) * (shifted == order)


def _encode(encoder: PreTrainedModel, input_values: Tensor, mask: Tensor | None, recorded: dict[str, bool]) -> Any:
    """SpecAugment refuses clips with fewer frames than its masks: those stay whole."""
    config = encoder.config
    options: dict[str, Any] = dict(recorded)
    if encoder.training and uses_mask_embedding(config):
        num_frames = input_values.shape[1]
        for kernel, stride in zip(*(getattr(config, name, ()) for name in CONVOLUTIONS), strict=True):
            num_frames = (num_frames - kernel) // stride + 1
        if num_frames < config.mask_time_length:
            shape = len(input_values), num_frames
            options["mask_time_indices"] = torch.zeros(shape, dtype=torch.bool, device=input_values.device)
    return encoder(input_values, attention_mask=mask, **options)


def _encode_one_by_one(
    encoder: PreTrainedModel, input_values: Tensor, mask: Tensor, recorded: dict[str, bool]
) -> EncoderStates:
    outputs = [
        _encode(encoder, values[None, :length], None, recorded)
        for values, length in zip(input_values, mask.sum(-1).tolist(), strict=True)
    ]
    lengths = torch.tensor([output.last_hidden_state.shape[1] for output in outputs], device=mask.device)
    layers = (
        tuple(joined(layer) for layer in zip(*(output[name] for output in outputs), strict=True))
        if outputs[0].get(name) is not None
        else None
        for name in RECORDED
    )
    frames = joined([output.last_hidden_state for output in outputs])
    return EncoderStates(frames, torch.arange(frames.shape[1], device=mask.device) < lengths[:, None], *layers)


def build_encoder(config: Any) -> PreTrainedModel:
    """The encoder that `AutoModel` builds for a config: without decoder, without pooler (neither would be trained).

    See [`tuned`] for what is changed about it.
    """
    return tuned(encoder_of(AutoModel.from_config(config, **encoder_options(config))))


def tuned(encoder: PreTrainedModel) -> PreTrainedModel:
    """An encoder that computes the same, but trains faster on a CPU, and whose trained parameters are all used.

    Where its attention would be transformers' `sdpa`, it is `fused_sdpa` (`set_attn_implementation` takes either), and
    convolutions' activations read no transposed tensors.
    """
    if encoder.config._attn_implementation == "sdpa":
        encoder.config._attn_implementation = FUSED_SDPA
    for layer in getattr(getattr(encoder, "feature_extractor", None), "conv_layers", ()):
        layer.activation.register_forward_pre_hook(_contiguous)
    for name, parameter in encoder.named_parameters():
        if name == MASK_EMBEDDING and not uses_mask_embedding(encoder.config):
            parameter.requires_grad_(False)
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
    """Gives an encoder the weights of a checkpoint, in float32; the checkpoint's heads, decoder and further layers are
    left out.

    Args:
        encoder: of `build_encoder` or `build_speech_encoder`. name: folder or Hub id.

    Raises:
        ValueError: the checkpoint lacks weights of the encoder; the message names them.
    """
    loaded = AutoModel.from_pretrained(
        name, dtype=torch.float32, output_loading_info=True, **encoder_options(encoder.config)
    )
    pretrained, info = cast(tuple[PreTrainedModel, dict[str, Any]], loaded)
    source = encoder_of(pretrained)
    weights = source.state_dict(keep_vars=True)
    used = [key for key in encoder.state_dict() if key in weights]
    own = {id(weights[key]) for key in used}
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
    encoder.load_state_dict({key: weights[key] for key in used})


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
