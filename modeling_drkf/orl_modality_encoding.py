"""ME: speech and text encoders, adapters to the common width, masked pooling (sec. 3.2)."""

import torch
from torch import Tensor, nn
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs

from .encoders_drkf import EncoderStates, build_encoder, encode_speech, encode_text, output_width
from .outputs_drkf import VECTOR_ONLY, Modality, Requested
from .paper_configuration_drkf import PaperConfig


class ModalityEncoding(nn.Module):
    """Encodes raw speech and text into two sequences of the common width d."""

    def __init__(self, config: PaperConfig):
        super().__init__()
        self.speech_encoder = build_encoder(config.audio_config)
        self.text_encoder = build_encoder(config.text_config)
        self.speech_adapter = adapter(output_width(config.audio_config), config.hidden_size)
        self.text_adapter = adapter(output_width(config.text_config), config.hidden_size)

    def forward(
        self,
        input_values: Tensor,
        audio_attention_mask: Tensor | None,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        requested: Requested = VECTOR_ONLY,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[Modality, Modality]:
        """Speech and text at the common width; see [`PaperModel.forward`] for the arguments."""
        speech = self.encode_speech(input_values, audio_attention_mask, requested)
        text = self.encode_text(input_ids, attention_mask, requested)
        return self.adapt_speech(speech), self.adapt_text(text)

    def encode_speech(
        self, input_values: Tensor, mask: Tensor | None, requested: Requested = VECTOR_ONLY
    ) -> EncoderStates:
        """The speech encoder's frames, (batch, frames, width)."""
        return encode_speech(self.speech_encoder, input_values, mask, **requested.of_encoders)

    def encode_text(self, input_ids: Tensor, mask: Tensor | None, requested: Requested = VECTOR_ONLY) -> EncoderStates:
        """The text encoder's tokens, (batch, tokens, width)."""
        return encode_text(self.text_encoder, input_ids, mask, **requested.of_encoders)

    def adapt_speech(self, states: EncoderStates) -> Modality:
        """S_seq, and S_cls as its mean over valid frames."""
        speech = self.speech_adapter(states.sequence)  # (batch, frames, d)
        return Modality(speech, states.mask, masked_mean(speech, states.mask), states.hidden_states, states.attentions)

    def adapt_text(self, states: EncoderStates) -> Modality:
        """T_seq, and T_cls as its first token."""
        text = self.text_adapter(states.sequence)  # (batch, tokens, d)
        first = text[:, 0] * states.mask[:, :1].to(text.dtype)
        return Modality(text, states.mask, first, states.hidden_states, states.attentions)


def adapter(width: int, hidden_size: int) -> nn.Module:
    """A linear map from an encoder's width to d; the identity where they are equal."""
    return nn.Identity() if width == hidden_size else nn.Linear(width, hidden_size)


def masked_mean(sequence: Tensor, mask: Tensor) -> Tensor:
    """Mean over valid positions, summed in float32 or better: (batch, length, d) and (batch, length) to (batch, d)."""
    wide = sequence.to(torch.promote_types(sequence.dtype, torch.float32))
    weights = mask.unsqueeze(-1).to(wide.dtype)
    return ((wide * weights).sum(1) / weights.sum(1).clamp(min=1)).to(sequence.dtype)
