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
from .orl_speech_statistics import (
    STATISTICS,
    SpeechStandardization,
    Standardization,
    pooled_in_time,
    speaker_statistics,
    time_statistics,
)

RECORDED = ("hidden_states", "attentions")
CONVOLUTIONS = ("conv_kernel", "conv_stride")


class Modality(NamedTuple):
    """One modality of a batch.

    Attributes:
        sequence: S_seq or T_seq, (batch, length, d). mask: (batch, length), true where valid.
        summary: S_cls (the mean over time, or the token of statistics where there is one) or T_cls, (batch, d).
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

    def repeated(self, sample: int, times: int) -> "Modality":
        """One sample, several times, without copies."""
        sequence, mask, summary = (tensor[sample].expand(times, *tensor.shape[1:]) for tensor in self[:3])
        return Modality(sequence, mask, summary)

    def cut(self, length: int | None) -> "Modality":
        """The first positions of each sample."""
        return Modality(self.sequence[:, :length], self.mask[:, :length], self.summary)


class SpeechStates(NamedTuple):
    """What the speech encoder says of a batch; of a frozen encoder it can be kept.

    Attributes:
        frames: averaged over `speech_pooling` frames, (batch, frames, width). mask: (batch, frames).
        statistics: over time, before averaging, (batch, 3, width); None without `speech_statistics`.
        hidden_states, attentions: a tensor a layer, where they were requested.
    """

    frames: Tensor
    mask: Tensor
    statistics: Tensor | None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class TextStates(NamedTuple):
    """What the text encoder says of a batch: (batch, tokens, width) and (batch, tokens), valid tokens first."""

    tokens: Tensor
    mask: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


def masked_mean(sequence: Tensor, mask: Tensor) -> Tensor:
    """Mean over valid positions, summed in float32 or better: (batch, length, d) and (batch, length) to (batch, d)."""
    wide = sequence.to(torch.promote_types(sequence.dtype, torch.float32))
    weights = mask.unsqueeze(-1).to(wide.dtype)
    return ((wide * weights).sum(1) / weights.sum(1).clamp(min=1)).to(sequence.dtype)


def valid_of(sequence: Tensor, mask: Tensor | None) -> Tensor:
    """The mask of a sequence, (batch, length), as booleans; all true, if not given."""
    return sequence.new_ones(sequence.shape[:2], dtype=torch.bool) if mask is None else mask.bool()


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
        self.widths = speech_width, text_width = _width(audio_config), _width(text_config)
        self.pooling = config.speech_pooling
        self.speech_adapter = _adapter(speech_width, config.hidden_size)
        self.text_adapter = _adapter(text_width, config.hidden_size)
        self.dropout = nn.Dropout(config.adapter_dropout)
        self.statistics_adapter = self.speech_standardization = self.text_standardization = None
        if config.speech_statistics:
            self.statistics_adapter = nn.Linear(STATISTICS * speech_width, config.hidden_size)
        if config.standardize_states:
            self.speech_standardization = SpeechStandardization(speech_width)
            self.text_standardization = Standardization(text_width)

    @property
    def _no_split_modules(self) -> set[str]:
        """Layers that no device map may split, which transformers collects from the modules below a model."""
        layers = {type(module).__name__ for module in self.modules() if isinstance(module, GradientCheckpointingLayer)}
        return layers.union(*(encoder._no_split_modules or () for encoder in self._encoders()))

    def _encoders(self) -> tuple[Any, Any]:
        return self.speech_encoder, self.text_encoder

    def forward(
        self, speech: SpeechStates, text: TextStates, speaker_statistics: Tensor | None = None
    ) -> tuple[Modality, Modality]:
        """The encoders' states at the common width: speech and text.

        Args:
            speaker_statistics: what is usual for each sample's speaker, (batch, 2, 3, width); see
                [`DRKFModel.forward`].
        """
        return self._adapt_speech(speech, speaker_statistics), self._adapt_text(text)

    def encode_speech(self, input_values: Tensor, mask: Tensor | None, **flags: bool) -> SpeechStates:
        """Runs the speech encoder; see [`DRKFModel.forward`] for the arguments."""
        input_values = input_values.to(self.speech_encoder.dtype)
        mask = None if mask is None else mask.long()
        if mask is not None and reads_padding(self.speech_encoder.config) and not bool(mask.all()):
            output, valid = self._encode_one_by_one(input_values, mask, flags)
        else:
            output = self._encode(input_values, mask, flags)
            frames = output.last_hidden_state
            valid = valid_of(frames, None if mask is None else frame_mask(self.speech_encoder, mask, frames.shape[1]))
        frames = output.last_hidden_state  # (batch, frames, width)
        statistics = None if self.statistics_adapter is None else time_statistics(frames, valid)
        return SpeechStates(*pooled_in_time(frames, valid, self.pooling), statistics, *_recorded(output))

    def encode_text(self, input_ids: Tensor, mask: Tensor | None, **flags: bool) -> TextStates:
        """Runs the text encoder; see [`DRKFModel.forward`] for the arguments."""
        mask = torch.ones_like(input_ids) if mask is None else mask.long()
        input_ids, mask = valid_first(input_ids, mask)
        read = torch.cat([torch.ones_like(mask[:, :1]), mask[:, 1:]], dim=1)  # attention over nothing is no number
        output = self.text_encoder(input_ids=input_ids, attention_mask=read, **flags)
        return TextStates(output.last_hidden_state, mask.bool(), *_recorded(output))

    def speaker_statistics(self, clips: Tensor) -> Tensor:
        """What is usual for a speaker, of `statistics` of some clips: (clips, 3, width) to (2, 3, width)."""
        return speaker_statistics(clips, cast(Any, self.speech_standardization).usual)

    def _adapt_speech(self, states: SpeechStates, usual: Tensor | None) -> Modality:
        frames, mask, statistics, *recorded = states
        if self.speech_standardization is not None:
            frames = self.speech_standardization.frames(frames, usual)
            statistics = None if statistics is None else self.speech_standardization(statistics, usual)
        speech = self.speech_adapter(self.dropout(frames))  # (batch, frames, d)
        summary = masked_mean(speech, mask)
        if self.statistics_adapter is not None:
            if statistics is None:
                raise ValueError("speech_states of this model need speech_statistics beside them")
            there = mask.any(1, keepdim=True)
            summary = self.statistics_adapter(self.dropout(statistics.flatten(1))) * there.to(speech.dtype)
            speech = torch.cat([summary.unsqueeze(1), speech], dim=1)
            mask = torch.cat([there, mask], dim=1)
        return Modality(speech, mask, summary, *recorded)

    def _adapt_text(self, states: TextStates) -> Modality:
        tokens, mask, *recorded = states
        if self.text_standardization is not None:
            tokens = self.text_standardization(tokens)
        text = self.text_adapter(self.dropout(tokens))  # (batch, tokens, d)
        return Modality(text, mask, text[:, 0] * mask[:, :1].to(text.dtype), *recorded)

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


def _width(encoder_config: PreTrainedConfig) -> int:
    widens = getattr(encoder_config, "add_adapter", False) or getattr(encoder_config, "output_layers", 1) > 1
    return encoder_config.output_hidden_size if widens else encoder_config.hidden_size


def _adapter(width: int, hidden_size: int) -> nn.Module:
    return nn.Identity() if width == hidden_size else nn.Linear(width, hidden_size)


def _recorded(output: Any) -> tuple[Any, Any]:
    """Hidden states and attentions of an encoder's output, None where they were not requested."""
    hidden_states, attentions = (output.get(name) for name in RECORDED)
    return hidden_states, attentions
