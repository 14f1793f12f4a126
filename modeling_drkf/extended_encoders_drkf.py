"""What this project adds to speech encoders, off by default: their first layers alone, a learnt sum of their layers'
states, and Whisper on clips of their own length."""

from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.whisper.modeling_whisper import WhisperEncoder
from transformers.utils.output_capturing import capture_outputs

from .attention_drkf import key_mask
from .encoders_drkf import build_encoder, tuned

LAYERED = ("hubert", "unispeech", "unispeech-sat", "wav2vec2", "wav2vec2-bert", "wavlm", "whisper")
"""Encoders whose `hidden_states` are what their first layer reads and what each layer gives, frame by frame."""


def check_layers(config: Any, layers: int | None) -> None:
    """Raises ValueError for an encoder whose layers cannot be read one by one, or one with fewer of them."""
    if config.model_type not in LAYERED or getattr(config, "add_adapter", False):
        adapted = " with an adapter" if config.model_type in LAYERED else ""
        raise ValueError(
            f"speech_layers and speech_layer_sum need a speech encoder of type {', '.join(LAYERED)}, without an "
            f"adapter; audio_config is {config.model_type}{adapted}"
        )
    if layers is not None and layers > config.num_hidden_layers:
        raise ValueError(f"speech_layers is {layers}, the speech encoder has {config.num_hidden_layers} layers")


def build_speech_encoder(config: Any, layers: int | None, summed: bool, unpadded: bool) -> PreTrainedModel:
    """The encoder of a config: its first layers alone, where they are given, and Whisper without its window.

    The states of a layer are what it gives to the next one: those of the whole encoder's `hidden_states[layers]`. The
    norm behind the last layer of a pre-norm Transformer is trained for the states of that layer, and stands only where
    they alone are read.

    Args:
        config: of all layers. layers: so many are built; all, if not given. summed: whether all of them are read.
    """
    shortened = deepcopy(config)
    if layers is not None:
        shortened.num_hidden_layers = layers
    encoder: Any = tuned(UnpaddedWhisperEncoder(shortened)) if unpadded else build_encoder(shortened)
    if summed or shortened.num_hidden_layers < config.num_hidden_layers:
        if config.model_type == "whisper":
            encoder.layer_norm = nn.Identity()
        elif getattr(config, "do_stable_layer_norm", False):
            encoder.encoder.layer_norm = nn.Identity()
    return encoder


class UnpaddedWhisperEncoder(WhisperEncoder):
    """Whisper's encoder on clips of any length up to its window: positions count from a clip's first frame, and
    padding is masked, in convolutions and in attention. The weights are those of [`WhisperEncoder`]."""

    @capture_outputs
    def forward(self, input_features: Tensor, attention_mask: Tensor | None = None, **kwargs: Any) -> BaseModelOutput:
        """
        Args:
            input_features: (batch, bins, mel frames).
            attention_mask: (batch, mel frames); all are valid, if not given.

        Returns: `last_hidden_state`, (batch, frames, width), a frame of two mel frames.

        Raises:
            ValueError: there are more frames than positions.
        """
        hidden = nn.functional.gelu(self.conv1(_blanked(input_features, attention_mask)))
        hidden = nn.functional.gelu(self.conv2(_blanked(hidden, attention_mask))).transpose(1, 2)
        count = hidden.shape[1]
        if not torch.compiler.is_compiling() and count > self.max_source_positions:
            raise ValueError(f"Whisper has {self.max_source_positions} positions, the longest clip {count} frames")
        positions = torch.arange(count, device=hidden.device)
        hidden = hidden + self.embed_positions(positions)
        hidden = nn.functional.dropout(hidden, self.dropout, self.training)
        keys = None
        if attention_mask is not None:
            lengths = self._get_feat_extract_output_lengths(cast(Any, attention_mask.sum(-1)))
            valid = positions < lengths[:, None]
            keys = key_mask(self.config, hidden, hidden, valid)
        for layer in self.layers:
            hidden = layer(hidden, keys, **kwargs)
        return BaseModelOutput(self.layer_norm(hidden))


def _blanked(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """(batch, channels, length), zero where the mask is, as a convolution pads a clip that stands alone."""
    return hidden if mask is None else hidden * mask.unsqueeze(1).to(hidden.dtype)


class LayerSum(nn.Module):
    """The sum of all layers' states by learnt weights, which are positive and add up to one (SUPERB, Yang et al.,
    Interspeech 2021, sec. 2). They start alike."""

    def __init__(self, layers: int):
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(layers))

    def forward(self, states: Tensor) -> Tensor:
        """All layers side by side, (..., layers * width), to (..., width)."""
        by_layer = states.unflatten(-1, (len(self.weights), -1))
        return (by_layer * self.weights.softmax(0).to(states.dtype).unsqueeze(-1)).sum(-2)
