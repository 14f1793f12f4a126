"""What the models return, and which of it was requested."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from torch import Tensor
from transformers import PreTrainedConfig
from transformers.utils import ModelOutput

States = tuple[Tensor | None, ...] | None


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
    hidden_states: States = None
    attentions: States = None


class Requested(NamedTuple):
    """What a model returns beside its answer; some hidden states are requested by the numbers of their layers."""

    output_modality_attention: bool = False
    output_hidden_states: bool | int | list[int] = False
    output_attentions: bool = False

    @property
    def of_encoders(self) -> dict[str, bool]:
        """The arguments by which an encoder records the same; all of its hidden states, if some are requested."""
        return {
            "output_hidden_states": bool(self.output_hidden_states),
            "output_attentions": self.output_attentions,
        }

    def layers(self, hidden_states: States) -> States:
        """All hidden states, with None in place of those that were not requested, as every model returns them."""
        if hidden_states is None or isinstance(self.output_hidden_states, bool):
            return hidden_states
        layers = (
            [self.output_hidden_states] if isinstance(self.output_hidden_states, int) else self.output_hidden_states
        )
        count = len(hidden_states)
        chosen = {layer % count for layer in layers if -count <= layer < count}
        return tuple(states if layer in chosen else None for layer, states in enumerate(hidden_states))


def requested_outputs(
    config: PreTrainedConfig, output_modality_attention: bool | None, kwargs: Mapping[str, Any]
) -> Requested:
    """The outputs requested by arguments, or where those are None by the configuration."""
    arguments = {"output_modality_attention": output_modality_attention, **kwargs}
    given = {name: arguments.get(name) for name in Requested._fields}
    return Requested(**{name: getattr(config, name) if value is None else value for name, value in given.items()})


VECTOR_ONLY = Requested()


@dataclass
class SharedOutput(ModelOutput):
    """
    Attributes:
        pooler_output: X_fusion, the fused vector, (batch, d).
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
    speech_summary: Tensor | None = None
    text_summary: Tensor | None = None
    speech_attention: Tensor | None = None
    text_attention: Tensor | None = None
    modality_shares: Tensor | None = None
    hidden_states: States = None
    attentions: States = None
    speech_hidden_states: States = None
    speech_attentions: States = None
    text_hidden_states: States = None
    text_attentions: States = None


@dataclass
class DRKFModelOutput(SharedOutput):
    """
    Attributes:
        speech_hidden_state: S_seq, (batch, frames, d). speech_mask: (batch, frames), true where valid.
        text_hidden_state: T_seq, (batch, tokens, d), valid tokens first. text_mask: (batch, tokens).
        pooler_output and the others: see [`SharedOutput`].
    """

    speech_hidden_state: Tensor | None = None
    speech_mask: Tensor | None = None
    text_hidden_state: Tensor | None = None
    text_mask: Tensor | None = None

    def modalities(self) -> tuple[Modality, Modality]:
        """Speech and text as the boxes read them."""
        names = ("hidden_state", "mask", "summary")
        speech, text = ([self[f"{modality}_{name}"] for name in names] for modality in ("speech", "text"))
        return Modality(*speech), Modality(*text)

    def shared(self) -> dict[str, Any]:
        """What a classifier returns of it, too."""
        return {entry.name: getattr(self, entry.name) for entry in fields(SharedOutput)}


@dataclass
class EmotionOutput(ModelOutput):
    """
    Attributes:
        loss: Eq. 21, where labels were given.
        logits: EC's, (batch, classes).
        consistency_logits: ED's, (batch,): do voice and words express the same emotion? None without
            `emotion_discrimination`.
        loss_terms: each unweighted term of Eq. 21 by name, detached.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    consistency_logits: Tensor | None = None
    loss_terms: dict[str, Tensor] | None = None


@dataclass
class PaperClassifierOutput(SharedOutput, EmotionOutput):
    """What the paper's classifier returns: the attributes of [`EmotionOutput`], then those of [`SharedOutput`]."""
