"""The graph that is exported to ONNX: the model with padding masked inside, tensors in and tensors out."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from processing.errors_drkf import OptionError

from ..encoders_drkf import reads_padding
from ..modeling_drkf import DRKFForEmotionClassification

OUTPUTS = ("logits", "consistency_logits", "consistency", "modality_shares")


class InferenceGraph(nn.Module):
    """What is exported: tensors in, a tuple of those `OUTPUTS` that the model has out.

    Encoders with a group norm over time, which the model reads clip by clip, get one that leaves padding out: the same
    frames, in one batch.

    Raises:
        OptionError: padding reaches the frames of the speech encoder in another way.
    """

    def __init__(self, model: DRKFForEmotionClassification):
        super().__init__()
        self.model = model
        self.clips = SimpleNamespace(samples=None)  # no tensor attribute: tracing forbids to assign those
        encoder = model.drkf.modality_encoding.speech_encoder
        if getattr(encoder.config, "feat_extract_norm", None) == "group":
            self._mask_group_norm(encoder)
        if reads_padding(encoder.config):
            raise OptionError(
                f"{type(encoder).__name__} cannot be exported: padding reaches its valid frames, so that a clip's "
                "answer would depend on its neighbours (it has unmasked convolutions or a norm over the batch)"
            )
        config = model.config
        has = {
            "consistency_logits": config.emotion_discrimination,
            "consistency": config.emotion_discrimination and config.consistency_calibration is not None,
            "modality_shares": config.fusion == "self",
        }
        self.output_names = [name for name in OUTPUTS if has.get(name, True)]

    def _mask_group_norm(self, encoder: PreTrainedModel) -> None:
        config = encoder.config
        first: Any = encoder.feature_extractor.conv_layers[0]  # type: ignore[union-attr, index]
        first.layer_norm = MaskedGroupNorm(first.layer_norm, config.conv_kernel[0], config.conv_stride[0], self.clips)
        config.feat_extract_norm = "layer"  # as far as `reads_padding` asks

    def forward(
        self, input_values: Tensor, audio_attention_mask: Tensor, input_ids: Tensor, attention_mask: Tensor
    ) -> tuple[Tensor, ...]:
        """See [`DRKFModel.forward`]."""
        self.clips.samples = audio_attention_mask.sum(-1)
        output = self.model(
            input_values, input_ids, audio_attention_mask, attention_mask, output_modality_attention=True
        )
        return tuple(output[name] for name in self.output_names)


class MaskedGroupNorm(nn.Module):
    """`nn.GroupNorm` with a group a channel, whose mean and variance are those of each clip's own frames.

    Args:
        norm: the encoder's. kernel, stride: of the convolution before it.
        clips: its `samples` are the clips' lengths, (batch,).
    """

    def __init__(self, norm: nn.GroupNorm, kernel: int, stride: int, clips: SimpleNamespace):
        super().__init__()
        self.norm, self.kernel, self.stride, self.clips = norm, kernel, stride, clips

    def forward(self, hidden: Tensor) -> Tensor:
        """(batch, channels, frames) to the same."""
        frames = torch.div(self.clips.samples - self.kernel, self.stride, rounding_mode="floor") + 1  # (batch,)
        valid = torch.arange(hidden.shape[-1], device=hidden.device) < frames[:, None]
        weights = (valid / frames[:, None])[:, None]  # (batch, 1, frames)
        centred = hidden - (hidden * weights).sum(-1, keepdim=True)
        variance = (centred.square() * weights).sum(-1, keepdim=True)
        weight, bias = self.norm.weight[:, None], self.norm.bias[:, None]
        return centred * torch.rsqrt(variance + self.norm.eps) * weight + bias
