"""ME: speech and text encoders, adapters to the common width, masked pooling (sec. 3.2)."""

import inspect
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import MODEL_MAPPING, AutoModel, PreTrainedConfig, PreTrainedModel

from .configuration_drkf import DRKFConfig


@dataclass
class Modality:
    """One modality of a batch.

    Attributes:
        sequence: S_seq or T_seq, (batch, length, d). mask: (batch, length), true where valid.
        summary: S_cls or T_cls, (batch, d).
    """

    sequence: Tensor
    mask: Tensor
    summary: Tensor

    def select(self, index: Tensor) -> "Modality":
        """The samples of the given indices, (P,), in that order; the summary is left out."""
        return Modality(self.sequence[index], self.mask[index], self.summary)


def masked_mean(sequence: Tensor, mask: Tensor) -> Tensor:
    """Mean over valid positions: (batch, length, d) and (batch, length) to (batch, d)."""
    weights = mask.to(sequence.dtype).unsqueeze(-1)
    return (sequence * weights).sum(1) / weights.sum(1).clamp(min=1)


def build_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """The encoder that `AutoModel` builds for a config: without decoder, without pooler (neither would be trained)."""
    return encoder_of(AutoModel.from_config(config, **encoder_options(config)))


def encoder_options(config: PreTrainedConfig) -> dict[str, bool]:
    accepted = inspect.signature(cast(Any, MODEL_MAPPING[type(config)])).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in accepted else {}


def encoder_of(model: PreTrainedModel) -> PreTrainedModel:
    return model.get_encoder() if model.config.is_encoder_decoder else model


def frame_mask(encoder: Any, mask: Tensor, num_frames: int) -> Tensor:
    """Which of an audio encoder's frames are valid, by the encoder's own length arithmetic.

    Args:
        mask: over the encoder's input, (batch, samples) or (batch, input frames).

    Returns: (batch, num_frames), bool.

    Raises:
        ValueError: where the encoder does not tell how its input's length maps to frames.
    """
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


class ModalityEncoding(nn.Module):
    """Encodes raw speech and text into two sequences of the common width d."""

    def __init__(self, config: DRKFConfig):
        super().__init__()
        audio_config = cast(PreTrainedConfig, config.audio_config)
        text_config = cast(PreTrainedConfig, config.text_config)
        self.speech_encoder = build_encoder(audio_config)
        self.text_encoder = build_encoder(text_config)
        self.speech_adapter = self._adapter(audio_config, config.hidden_size)
        self.text_adapter = self._adapter(text_config, config.hidden_size)

    @staticmethod
    def _adapter(encoder_config: PreTrainedConfig, hidden_size: int) -> nn.Module:
        has_own_adapter = getattr(encoder_config, "add_adapter", False)
        width = encoder_config.output_hidden_size if has_own_adapter else encoder_config.hidden_size
        return nn.Identity() if width == hidden_size else nn.Linear(width, hidden_size)

    def forward(
        self,
        input_values: Tensor,
        audio_attention_mask: Tensor | None,
        input_ids: Tensor,
        attention_mask: Tensor | None,
    ) -> tuple[Modality, Modality]:
        """See [`DRKFModel.forward`]; returns speech and text."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        return self.encode_speech(input_values, audio_attention_mask), self.encode_text(input_ids, attention_mask)

    def encode_speech(self, input_values: Tensor, mask: Tensor | None) -> Modality:
        input_values = input_values.to(self.speech_encoder.dtype)
        input_values, mask = self._lengthen_for_spec_augment(input_values, mask)
        if mask is not None and self._reads_padding() and not bool(mask.all()):
            frames, valid = self._encode_one_by_one(input_values, mask)
        else:
            frames = self.speech_encoder(input_values, attention_mask=mask).last_hidden_state
            valid = (
                torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device)
                if mask is None
                else frame_mask(self.speech_encoder, mask, frames.shape[1])
            )
        speech = self.speech_adapter(frames)  # (batch, frames, d)
        return Modality(speech, valid, masked_mean(speech, valid))

    def encode_text(self, input_ids: Tensor, mask: Tensor) -> Modality:
        tokens = self.text_encoder(input_ids=input_ids, attention_mask=mask).last_hidden_state
        text = self.text_adapter(tokens)  # (batch, tokens, d)
        return Modality(text, mask.bool(), text[:, 0])

    def freeze_feature_encoder(self) -> None:
        """Freezes the speech encoder's convolutions.

        Raises:
            ValueError: where the speech encoder has none.
        """
        if not hasattr(self.speech_encoder, "freeze_feature_encoder"):
            raise ValueError(f"{type(self.speech_encoder).__name__} has no convolutional feature encoder to freeze")
        cast(Any, self.speech_encoder).freeze_feature_encoder()

    def _reads_padding(self) -> bool:
        """A group norm over time (wav2vec2-base, HuBERT-base) takes statistics over the padding, too."""
        return getattr(self.speech_encoder.config, "feat_extract_norm", None) == "group"

    def _encode_one_by_one(self, input_values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        frames = [
            self.speech_encoder(values[None, :length]).last_hidden_state[0]
            for values, length in zip(input_values, mask.sum(-1).tolist(), strict=True)
        ]
        valid = [torch.ones(len(sample), dtype=torch.bool, device=sample.device) for sample in frames]
        return nn.utils.rnn.pad_sequence(frames, True), nn.utils.rnn.pad_sequence(valid, True)

    def _lengthen_for_spec_augment(self, input_values: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """SpecAugment refuses a batch with fewer frames than one of its masks is long: adds padding that is masked."""
        config = self.speech_encoder.config
        augments = self.training and getattr(config, "apply_spec_augment", False) and config.mask_time_prob > 0
        if not augments or input_values.ndim != 2 or self._reads_padding():
            return input_values, mask
        samples_per_frame = getattr(config, "inputs_to_logits_ratio", 1)
        missing = (config.mask_time_length + 1) * samples_per_frame - input_values.shape[1]
        if missing <= 0:
            return input_values, mask
        mask = torch.ones_like(input_values, dtype=torch.long) if mask is None else mask
        return F.pad(input_values, (0, missing)), F.pad(mask, (0, missing))
