"""What the models return, and which of it was requested."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.utils import ModelOutput

from .configuration_drkf import DRKFConfig
from .kf_fusion_encoder import Fused, FusionFlags
from .orl_modality_encoding import Modality

OUTPUT_ARGUMENTS = ("output_hidden_states", "output_attentions", "return_dict")


@dataclass
class DRKFModelOutput(ModelOutput):
    """
    Attributes:
        pooler_output: X_fusion, the fused vector, (batch, d).
        speech_hidden_state: S_seq, (batch, frames, d). speech_mask: (batch, frames), true where valid.
        text_hidden_state: T_seq, (batch, tokens, d), valid tokens first. text_mask: (batch, tokens).
        speech_summary, text_summary: S_cls and T_cls, each modality alone, (batch, d).
        speech_attention, text_attention: with `output_modality_attention`, CLS attention to each frame
            (batch, frames) and token (batch, tokens), mean over layers and heads. None for FE_c, which has no CLS over
            both.
        modality_shares: with `output_modality_attention`, the share of that attention on speech and on text,
            (batch, 2); the larger one is the dominant modality (sec. 3.2).
        hidden_states: with `output_hidden_states`, the fusion encoder's embeddings and each layer's output,
            (batch, 3 + frames + tokens, d); FE_c's without CLS and SEP.
        attentions: with `output_attentions` and `attn_implementation="eager"`, the fusion encoder's weights, a tensor
            (batch, heads, length, length) a layer; FE_c's two a layer, from speech to text and back.
        speech_hidden_states, speech_attentions, text_hidden_states, text_attentions: likewise, of the encoders.
    """

    pooler_output: Tensor | None = None
    speech_hidden_state: Tensor | None = None
    speech_mask: Tensor | None = None
    text_hidden_state: Tensor | None = None
    text_mask: Tensor | None = None
    speech_summary: Tensor | None = None
    text_summary: Tensor | None = None
    speech_attention: Tensor | None = None
    text_attention: Tensor | None = None
    modality_shares: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    speech_hidden_states: tuple[Tensor, ...] | None = None
    speech_attentions: tuple[Tensor, ...] | None = None
    text_hidden_states: tuple[Tensor, ...] | None = None
    text_attentions: tuple[Tensor, ...] | None = None

    def modalities(self) -> tuple[Modality, Modality]:
        """Speech and text as the modules read them."""
        names = ("hidden_state", "mask", "summary")
        speech, text = ([self[f"{half}_{name}"] for name in names] for half in ("speech", "text"))
        return Modality(*speech), Modality(*text)


@dataclass
class DRKFClassifierOutput(ModelOutput):
    """
    Attributes:
        loss: Eq. 21, where labels were given.
        logits: EC's, or the mean of EC's and of both halves', (batch, classes); see `DRKFConfig.classifier`.
        consistency_logits: ED, (batch,): do voice and words bear the same emotion? None without
            `emotion_discrimination`.
        consistency: the probability that they do, (batch,), where `consistency_prior` of the pairs do; None where
            the configuration has no `consistency_calibration`.
        speech_logits, text_logits: of the voice and of the words alone, (batch, classes), where there are probes.
        loss_terms: each unweighted term of Eq. 21 by name, detached.
        pooler_output and what follows it: see [`DRKFModelOutput`].
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    consistency_logits: Tensor | None = None
    consistency: Tensor | None = None
    speech_logits: Tensor | None = None
    text_logits: Tensor | None = None
    loss_terms: dict[str, Tensor] | None = None
    pooler_output: Tensor | None = None
    speech_summary: Tensor | None = None
    text_summary: Tensor | None = None
    speech_attention: Tensor | None = None
    text_attention: Tensor | None = None
    modality_shares: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    speech_hidden_states: tuple[Tensor, ...] | None = None
    speech_attentions: tuple[Tensor, ...] | None = None
    text_hidden_states: tuple[Tensor, ...] | None = None
    text_attentions: tuple[Tensor, ...] | None = None


def modality_shares(fused: Fused) -> Tensor | None:
    """CLS attention on speech and on text, normalised to 1: (batch, 2), or None where it is not known."""
    if fused.speech_attention is None or fused.text_attention is None:
        return None
    mass = torch.stack([fused.speech_attention.sum(-1), fused.text_attention.sum(-1)], dim=-1)
    return mass / mass.sum(-1, keepdim=True)


def requested_outputs(config: DRKFConfig, modality_attention: bool | None, kwargs: Mapping[str, Any]) -> FusionFlags:
    """The outputs requested by arguments, or where those are None by the configuration."""
    if unknown := [name for name, value in kwargs.items() if name not in OUTPUT_ARGUMENTS and value is not None]:
        raise TypeError(f"DRKF's forward has no argument {', '.join(map(repr, unknown))}")
    requested = {"output_modality_attention": modality_attention, **kwargs}
    chosen = {}
    for name in FusionFlags._fields:
        value = requested.get(name)
        chosen[name] = bool(getattr(config, name) if value is None else value)
    return FusionFlags(**chosen)
