"""A small recurrent speech encoder for machines without a GPU: waveform -> mel energies -> LSTM layers."""

from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.audio_utils import mel_filter_bank
from transformers.modeling_outputs import BaseModelOutput

POSITIVE_FIELDS = (
    *("sampling_rate", "num_mel_bins", "window_size", "hop_size"),
    *("hidden_size", "num_hidden_layers", "output_layers"),
)
SILENCE = 1e-12  # added to the mean square of a clip that its volume is divided by


@strict
class SpeechLSTMConfig(PreTrainedConfig):
    """
    Configuration of a [`SpeechLSTMModel`]. Defaults are those of the speaker encoder of Wan et al. 2018 ("Generalized
    end-to-end loss for speaker verification") as the package Resemblyzer trained it, with two of its three layers.

    Args:
        sampling_rate: of the waveform, Hz.
        num_mel_bins: mel bands from 0 Hz to half the sampling rate (Slaney's scale and norm).
        window_size, hop_size: of the spectrogram, in samples.
        volume: root mean square that every clip is scaled to, dBFS.
        hidden_size, num_hidden_layers: width and number of the LSTM's layers.
        output_layers: so many of the last layers' states, side by side, are the encoder's output.

    Raises:
        ValueError: a size is below 1, or more layers are read than there are.
    """

    model_type = "speech-lstm"

    sampling_rate: int = 16_000
    num_mel_bins: int = 40
    window_size: int = 400
    hop_size: int = 160
    volume: float | int = -30.0
    hidden_size: int = 256
    num_hidden_layers: int = 2
    output_layers: int = 1

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        for name in POSITIVE_FIELDS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.output_layers > self.num_hidden_layers:
            raise ValueError(f"output_layers is {self.output_layers}, there are {self.num_hidden_layers} layers")

    @property
    def output_hidden_size(self) -> int:
        """Width of `last_hidden_state`."""
        return self.output_layers * self.hidden_size


class MelEnergies(nn.Module):
    """Waveform to mel energies (power, not its logarithm) of 25 ms windows, 10 ms apart, at one volume for all."""

    fourier: Tensor
    mel: Tensor

    def __init__(self, config: SpeechLSTMConfig):
        super().__init__()
        self.config = config
        size, bins = config.window_size, config.window_size // 2 + 1
        angles = 2 * torch.pi * torch.outer(torch.arange(bins), torch.arange(size)).double() / size
        window = torch.hann_window(size, dtype=torch.float64)
        fourier = torch.cat([angles.cos(), angles.sin()]) * window  # (2 * bins, window)
        mel = mel_filter_bank(
            bins, config.num_mel_bins, 0.0, config.sampling_rate / 2, config.sampling_rate, "slaney", "slaney"
        )
        self.register_buffer("fourier", fourier.float().unsqueeze(1), persistent=False)
        self.register_buffer("mel", torch.as_tensor(mel, dtype=torch.float32), persistent=False)

    def forward(self, waveform: Tensor, mask: Tensor) -> Tensor:
        """(batch, samples), zero where the mask is, to (batch, 1 + samples // hop, bins)."""
        count = mask.sum(-1, keepdim=True)
        power = (waveform.square().sum(-1, keepdim=True) / count + SILENCE).sqrt()
        waveform = waveform * (10 ** (self.config.volume / 20) / power)
        half = self.config.window_size // 2
        padded = nn.functional.pad(waveform, (half, half)).unsqueeze(1)
        real, imaginary = nn.functional.conv1d(padded, self.fourier, stride=self.config.hop_size).chunk(2, dim=1)
        return (real.square() + imaginary.square()).transpose(1, 2) @ self.mel


class SpeechLSTMModel(PreTrainedModel):
    """Reads raw waveforms, as wav2vec2 does (feature extractor: `Wav2Vec2FeatureExtractor` without normalisation).

    It reads from left to right, so that padding on the right reaches no valid frame.
    """

    config_class = SpeechLSTMConfig
    base_model_prefix = "speech_lstm"
    main_input_name = "input_values"
    _no_split_modules = ["LSTM"]

    def __init__(self, config: SpeechLSTMConfig):
        super().__init__(config)
        widths = [config.num_mel_bins, *[config.hidden_size] * config.num_hidden_layers]
        self.mel_energies = MelEnergies(config)
        self.layers = nn.ModuleList(nn.LSTM(size, config.hidden_size, batch_first=True) for size in widths[:-1])
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.LSTM):
            module.reset_parameters()
        elif isinstance(module, MelEnergies):  # buffers of a model that was made on the meta device
            fresh = MelEnergies(module.config)
            module.fourier.copy_(fresh.fourier)
            module.mel.copy_(fresh.mel)

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutput:
        """
        Args:
            input_values: waveforms in [-1, 1], (batch, samples).
            attention_mask: 1 where valid, padded on the right, (batch, samples); all, if not given.
            output_hidden_states: also return each layer's states.

        Returns: `last_hidden_state`, (batch, 1 + samples // hop, output_hidden_size).
        """
        waveform = input_values.to(self.mel_energies.fourier.dtype)  # float32, whatever the weights were loaded in
        mask = torch.ones_like(waveform) if attention_mask is None else attention_mask.to(waveform.dtype)
        hidden = self.mel_energies(waveform * mask, mask).to(input_values.dtype)
        states = []
        for layer in self.layers:
            hidden = layer(hidden)[0]
            states.append(hidden)
        hidden = torch.cat(states[-self.config.output_layers :], dim=-1)
        return BaseModelOutput(hidden, tuple(states) if output_hidden_states else None)

    def _get_feat_extract_output_lengths(self, samples: Tensor) -> Tensor:
        """Frames of clips of so many samples; the name under which transformers' encoders tell it."""
        return 1 + samples // self.config.hop_size


AutoConfig.register(SpeechLSTMConfig.model_type, SpeechLSTMConfig, exist_ok=True)
AutoModel.register(SpeechLSTMConfig, SpeechLSTMModel, exist_ok=True)
