"""ME: speech and text encoders, adapters to the common width, masked pooling (sec. 3.2)."""

import inspect
from collections.abc import Iterator, Sequence
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
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import logging

from .configuration_drkf import DRKFConfig

logger = logging.get_logger(__name__)

RECORDED = ("hidden_states", "attentions")
CONVOLUTIONS = ("conv_kernel", "conv_stride")
# Speech encoders whose valid frames never depend on padding, as long as `reads_padding` finds nothing else.
MASKS_ITS_PADDING = ("hubert", "unispeech", "unispeech-sat", "wav2vec2", "wav2vec2-bert", "wavlm", "whisper")
MASK_EMBEDDING = "masked_spec_embed"  # SpecAugment's; many checkpoints lack it, and training learns it


class Modality(NamedTuple):
    """One modality of a batch.

    Attributes:
        sequence: S_seq or T_seq, (batch, length, d). mask: (batch, length), true where valid.
        summary: S_cls or T_cls, (batch, d).
        hidden_states, attentions: of the encoder, a tensor a layer, where they were requested.
    """

    sequence: Tensor
    mask: Tensor
    summary: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None

    def select(self, index: Tensor) -> "Modality":
        """The samples of the given indices, (P,), in that order."""
        # The gradient of sequence[index] is summed by several threads in whatever order they come.
        sequence, mask, summary = (tensor.index_select(0, index) for tensor in self[:3])
        return Modality(sequence, mask, summary)


def masked_mean(sequence: Tensor, mask: Tensor) -> Tensor:
    """Mean over valid positions, summed in float32: (batch, length, d) and (batch, length) to (batch, d)."""
    weights = mask.unsqueeze(-1).float()
    return ((sequence.float() * weights).sum(1) / weights.sum(1).clamp(min=1)).to(sequence.dtype)


def valid_first(sequence: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Turns what is padded on the left into what is padded on the right; both are (batch, length)."""
    positions = torch.arange(mask.shape[1], device=mask.device)
    shifted = positions + mask.argmax(-1, keepdim=True)
    order = torch.minimum(shifted, positions[-1])
    return sequence.gather(1, order), mask.gather(1, order) * (shifted == order)


def build_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """The encoder that `AutoModel` builds for a config: without decoder, without pooler (neither would be trained)."""
    return encoder_of(AutoModel.from_config(config, **encoder_options(config)))


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
                f"sample {short} of the batch is too short for one frame ({int(mask[short].sum())} samples): "
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


class ModalityEncoding(nn.Module):
    """Encodes raw speech and text into two sequences of the common width d."""

    def __init__(self, config: DRKFConfig):
        super().__init__()
        audio_config = cast(PreTrainedConfig, config.audio_config)
        text_config = cast(PreTrainedConfig, config.text_config)
        self.speech_encoder = build_encoder(audio_config)
        self.text_encoder = build_encoder(text_config)
        for name, parameter in self.speech_encoder.named_parameters():
            if name == MASK_EMBEDDING and not uses_mask_embedding(audio_config):
                parameter.requires_grad_(False)
        self.speech_adapter = self._adapter(audio_config, config.hidden_size)
        self.text_adapter = self._adapter(text_config, config.hidden_size)

    @staticmethod
    def _adapter(encoder_config: PreTrainedConfig, hidden_size: int) -> nn.Module:
        has_own_adapter = getattr(encoder_config, "add_adapter", False)
        width = encoder_config.output_hidden_size if has_own_adapter else encoder_config.hidden_size
        return nn.Identity() if width == hidden_size else nn.Linear(width, hidden_size)

    @property
    def _no_split_modules(self) -> set[str]:
        """Layers that no device map may split, which transformers collects from the modules below a model."""
        layers = {type(module).__name__ for module in self.modules() if isinstance(module, GradientCheckpointingLayer)}
        return layers.union(*(encoder._no_split_modules or () for encoder in self._encoders()))

    def _encoders(self) -> tuple[Any, Any]:
        return self.speech_encoder, self.text_encoder

    def forward(
        self,
        input_values: Tensor,
        audio_attention_mask: Tensor | None,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        **flags: bool,
    ) -> tuple[Modality, Modality]:
        """See [`DRKFModel.forward`], whose `output_attentions` and `output_hidden_states` are the flags.

        Returns: speech and text.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        return (
            self.encode_speech(input_values, audio_attention_mask, **flags),
            self.encode_text(input_ids, attention_mask, **flags),
        )

    def encode_speech(self, input_values: Tensor, mask: Tensor | None, **flags: bool) -> Modality:
        input_values = input_values.to(self.speech_encoder.dtype)
        mask = None if mask is None else mask.long()
        if mask is not None and reads_padding(self.speech_encoder.config) and not bool(mask.all()):
            output, valid = self._encode_one_by_one(input_values, mask, flags)
        else:
            output = self._encode(input_values, mask, flags)
            frames = output.last_hidden_state
            valid = (
                torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device)
                if mask is None
                else frame_mask(self.speech_encoder, mask, frames.shape[1])
            )
        speech = self.speech_adapter(output.last_hidden_state)  # (batch, frames, d)
        return Modality(speech, valid, masked_mean(speech, valid), *_recorded(output))

    def encode_text(self, input_ids: Tensor, mask: Tensor, **flags: bool) -> Modality:
        input_ids, mask = valid_first(input_ids, mask.long())
        read = torch.cat([torch.ones_like(mask[:, :1]), mask[:, 1:]], dim=1)  # attention over nothing is no number
        output = self.text_encoder(input_ids=input_ids, attention_mask=read, **flags)
        text = self.text_adapter(output.last_hidden_state)  # (batch, tokens, d)
        summary = text[:, 0] * mask[:, :1].to(text.dtype)
        return Modality(text, mask.bool(), summary, *_recorded(output))

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of both encoders; the adapters to the common width count as new modules."""
        for encoder in self._encoders():
            yield from encoder.parameters()

    def train(self, mode: bool = True) -> "ModalityEncoding":
        """As usual, but for a wholly frozen encoder, which stays in evaluation mode.

        It is a fixed extractor of features then: without dropout and SpecAugment, with its batch norms' statistics.
        """
        super().train(mode)
        for encoder in self._encoders():
            if not any(parameter.requires_grad for parameter in encoder.parameters()):
                encoder.eval()
        return self

    def freeze_feature_encoder(self) -> None:
        """Freezes the speech encoder's convolutions.

        Raises:
            ValueError: where the speech encoder has none.
        """
        extractor = getattr(self.speech_encoder, "feature_extractor", None)
        if extractor is None:
            raise ValueError(f"{type(self.speech_encoder).__name__} has no convolutional feature encoder to freeze")
        cast(Any, extractor)._freeze_parameters()

    def _encode_one_by_one(self, input_values: Tensor, mask: Tensor, flags: dict[str, bool]) -> tuple[Any, Tensor]:
        outputs = [
            self._encode(values[None, :length], None, flags)
            for values, length in zip(input_values, mask.sum(-1).tolist(), strict=True)
        ]
        lengths = torch.tensor([output.last_hidden_state.shape[1] for output in outputs], device=mask.device)
        joined = BaseModelOutput(
            last_hidden_state=_joined([output.last_hidden_state for output in outputs]),
            **{
                name: tuple(_joined(layer) for layer in zip(*(output[name] for output in outputs), strict=True))
                for name in RECORDED
                if outputs[0].get(name) is not None
            },
        )
        return joined, torch.arange(int(lengths.max()), device=mask.device) < lengths[:, None]

    def _encode(self, input_values: Tensor, mask: Tensor | None, flags: dict[str, bool]) -> Any:
        """SpecAugment refuses clips with fewer frames than its masks: those stay whole."""
        config = self.speech_encoder.config
        options: dict[str, Any] = dict(flags)
        if self.training and uses_mask_embedding(config):
            num_frames = input_values.shape[1]
            for kernel, stride in zip(*(getattr(config, name, ()) for name in CONVOLUTIONS), strict=True):
                num_frames = (num_frames - kernel) // stride + 1
            if num_frames < config.mask_time_length:
                shape = len(input_values), num_frames
                options["mask_time_indices"] = torch.zeros(shape, dtype=torch.bool, device=input_values.device)
        return self.speech_encoder(input_values, attention_mask=mask, **options)


def _recorded(output: Any) -> tuple[Any, Any]:
    """Hidden states and attentions of an encoder's output, None where they were not requested."""
    hidden_states, attentions = (output.get(name) for name in RECORDED)
    return hidden_states, attentions


def _joined(samples: Sequence[Tensor]) -> Tensor:
    """One batch of tensors (1, ...) that are padded at the end of every dimension to the largest."""
    shape = [max(sizes) for sizes in zip(*(sample.shape[1:] for sample in samples), strict=True)]
    padded = []
    for sample in samples:
        missing = [longest - size for longest, size in zip(shape, sample.shape[1:], strict=True)]
        padded.append(nn.functional.pad(sample, [end for size in reversed(missing) for end in (0, size)]))
    return torch.cat(padded)
