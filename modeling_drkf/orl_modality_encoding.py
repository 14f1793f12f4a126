"""ME: speech and text encoders, adapters to the common width, masked pooling (sec. 3.2)."""

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput

from .configuration_drkf import DRKFConfig
from .orl_encoders import MASK_EMBEDDING, build_encoder, frame_mask, joined, reads_padding, uses_mask_embedding

RECORDED = ("hidden_states", "attentions")
CONVOLUTIONS = ("conv_kernel", "conv_stride")


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
    """Mean over valid positions, summed in float32 or better: (batch, length, d) and (batch, length) to (batch, d)."""
    wide = sequence.to(torch.promote_types(sequence.dtype, torch.float32))
    weights = mask.unsqueeze(-1).to(wide.dtype)
    return ((wide * weights).sum(1) / weights.sum(1).clamp(min=1)).to(sequence.dtype)


def valid_first(sequence: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Turns what is padded on the left into what is padded on the right; both are (batch, length)."""
    positions = torch.arange(mask.shape[1], device=mask.device)
    shifted = positions + mask.argmax(-1, keepdim=True)
    order = torch.minimum(shifted, positions[-1])
    return sequence.gather(1, order), mask.gather(1, order) * (shifted == order)


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
        output = BaseModelOutput(
            last_hidden_state=joined([output.last_hidden_state for output in outputs]),
            **{
                name: tuple(joined(layer) for layer in zip(*(output[name] for output in outputs), strict=True))
                for name in RECORDED
                if outputs[0].get(name) is not None
            },
        )
        return output, torch.arange(int(lengths.max()), device=mask.device) < lengths[:, None]

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
