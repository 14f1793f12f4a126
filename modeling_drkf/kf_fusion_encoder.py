"""FE: the fusion encoder as self-attention (FE_s, Eq. 18) or bidirectional cross-attention (FE_c, Table 4)."""

from collections.abc import Iterable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .attention_drkf import attention_function, drop_keys, key_mask, never_empty
from .orl_modality_encoding import masked_mean
from .outputs_drkf import VECTOR_ONLY, Modality, Requested, States
from .paper_configuration_drkf import PaperConfig


class Fused(NamedTuple):
    """What a fusion encoder returns; all but the vector on request.

    Attributes:
        vector: X_fusion, (batch, d).
        speech_attention, text_attention: CLS attention to each frame (batch, frames) and token (batch, tokens), mean
            over layers and heads; None for FE_c, which has no CLS over both.
        hidden_states: the embeddings and each layer's output, (batch, length, d); of FE_c speech, then text.
        attentions: a tensor a layer, (batch, heads, length, length); of FE_c two, speech to text and back.
    """

    vector: Tensor
    speech_attention: Tensor | None = None
    text_attention: Tensor | None = None
    hidden_states: States = None
    attentions: States = None

    @property
    def modality_shares(self) -> Tensor | None:
        """CLS attention on speech and on text, normalised to 1: (batch, 2), or None where it is not known."""
        if self.speech_attention is None or self.text_attention is None:
            return None
        mass = torch.stack([self.speech_attention.sum(-1), self.text_attention.sum(-1)], dim=-1)
        return mass / mass.sum(-1, keepdim=True)


LAYER_NORM_EPSILON = 1e-12  # BERT's; PyTorch's 1e-5 is 0.8 % of the variance of a new CLS embedding


class FusionAttention(nn.Module):
    """Multi-head attention of a sequence to itself or to the other modality."""

    is_causal = False

    def __init__(self, config: PaperConfig):
        super().__init__()
        d = config.hidden_size
        self.config = config
        self.head_size = d // config.num_fusion_heads
        self.scaling = self.head_size**-0.5
        self.dropout = config.fusion_dropout
        self.query, self.key, self.value, self.output = (nn.Linear(d, d) for _ in range(4))

    def _heads(self, projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (-1, self.head_size)).transpose(1, 2)  # (batch, heads, length, head size)

    def forward(
        self, hidden: Tensor, context: Tensor, attention_mask: Tensor | None, output_attentions: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        attention = attention_function(self.config)
        value = self._heads(self.value(context))
        attended, weights = attention(
            self,
            self._heads(self.query(hidden)),
            self._heads(self.key(context)),
            drop_keys(value, self.dropout) if self.training and self.dropout else value,
            attention_mask,
            scaling=self.scaling,
            **({"output_attentions": True} if output_attentions else {}),
        )
        return self.output(attended.flatten(-2)), weights if output_attentions else None

    def cls_attention(self, hidden: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """Attention of the first position, whatever the implementation: mean over heads, (batch, length)."""
        query, key = self._heads(self.query(hidden[:, :1])), self._heads(self.key(context))
        scores = (query @ key.transpose(2, 3)).squeeze(2) * self.scaling  # (batch, heads, length)
        return scores.float().masked_fill(~mask[:, None], float("-inf")).softmax(-1).mean(1)


class FusionLayer(GradientCheckpointingLayer):
    """A post-norm transformer layer; queries come from `hidden`, keys and values from `context`.

    Returns the layer's output, with `output_attentions` its weights, and with `cls_mask`, (batch, length), the
    attention of `hidden`'s first position, (batch, length). The latter is computed in here, for the weights of a layer
    may be whole only while its own `forward` runs.
    """

    def __init__(self, config: PaperConfig):
        super().__init__()
        d = config.hidden_size
        inner = config.fusion_intermediate_size or 4 * d
        self.attention = FusionAttention(config)
        self.attention_norm = nn.LayerNorm(d, LAYER_NORM_EPSILON)
        self.feed_forward = nn.Sequential(nn.Linear(d, inner), nn.GELU(), nn.Linear(inner, d))
        self.output_norm = nn.LayerNorm(d, LAYER_NORM_EPSILON)
        self.dropout = nn.Dropout(config.fusion_dropout)

    def forward(
        self,
        hidden: Tensor,
        context: Tensor,
        attention_mask: Tensor | None,
        cls_mask: Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        cls_attention = None if cls_mask is None else self.attention.cls_attention(hidden, context, cls_mask)
        attended, weights = self.attention(hidden, context, attention_mask, output_attentions)
        hidden = self.attention_norm(hidden + self.dropout(attended))
        return self.output_norm(hidden + self.dropout(self.feed_forward(hidden))), weights, cls_attention


class FusionEmbeddings(nn.Module):
    """Adds a learnt segment and learnt positions, which count valid tokens only: padding never shifts one."""

    def __init__(self, config: PaperConfig):
        super().__init__()
        self.segment = nn.Embedding(2, config.hidden_size)
        self.position = nn.Embedding(config.max_fusion_positions, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, LAYER_NORM_EPSILON)
        self.dropout = nn.Dropout(config.fusion_dropout)

    def forward(self, sequence: Tensor, segments: Tensor, mask: Tensor) -> Tensor:
        """
        Args:
            sequence: (batch, length, d). segments: 0 or 1 per position, (length,). mask: (batch, length).

        Raises:
            ValueError: when a sample has more valid positions than there are embeddings.
        """
        limit = self.position.num_embeddings
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        if (
            not torch.compiler.is_compiling()
            and mask.shape[1] > limit
            and (longest := int(positions.max()) + 1) > limit
        ):
            raise ValueError(
                f"a fused sequence has {longest} positions, max_fusion_positions is {limit}: "
                "cut the clip (max_audio_seconds of the processor) or raise max_fusion_positions"
            )
        return self.dropout(self.norm(sequence + self.segment(segments) + self.position(positions)))


class SelfAttentionFusion(nn.Module):
    """FE_s, Eq. 18: a transformer over [CLS; S_seq; SEP; T_seq; SEP], read out at CLS."""

    def __init__(self, config: PaperConfig):
        super().__init__()
        self.config = config
        self.special_tokens = nn.Embedding(2, config.hidden_size)
        self.embeddings = FusionEmbeddings(config)
        self.layers = nn.ModuleList(FusionLayer(config) for _ in range(config.num_fusion_layers))

    def forward(self, speech: Modality, text: Modality, requested: Requested = VECTOR_ONLY) -> Fused:
        batch, frames, _ = speech.sequence.shape
        device, dtype = speech.sequence.device, speech.sequence.dtype
        tokens = self.special_tokens(torch.arange(2, device=device)).to(dtype)
        cls, sep = tokens.expand(batch, 1, -1, -1).unbind(2)
        valid = speech.mask.new_ones(batch, 1)
        sequence = torch.cat([cls, speech.sequence, sep, text.sequence, sep], dim=1)  # (batch, length, d)
        mask = torch.cat([valid, speech.mask, valid, text.mask, valid], dim=1)  # (batch, length)
        segments = (torch.arange(sequence.shape[1], device=device) > frames + 1).long()
        hidden = self.embeddings(sequence, segments, mask)
        attention_mask = key_mask(self.config, hidden, hidden, mask)
        cls_mask = mask if requested.output_modality_attention else None
        hidden_states, attentions, cls_attentions = [hidden], [], []
        for layer in cast(Iterable[FusionLayer], self.layers):
            query = hidden
            if layer is self.layers[-1] and not (requested.output_hidden_states or requested.output_attentions):
                query = hidden[:, :1]  # nothing else is read out of the last layer
                attention_mask = key_mask(self.config, query, hidden, mask)
            hidden, weights, cls_attention = layer(
                query, hidden, attention_mask, cls_mask, requested.output_attentions
            )
            hidden_states.append(hidden)
            attentions.append(weights)
            cls_attentions.append(cls_attention)
        attention = torch.stack(cls_attentions).mean(0) if requested.output_modality_attention else None
        return Fused(
            hidden[:, 0],
            None if attention is None else attention[:, 1 : frames + 1],
            None if attention is None else attention[:, frames + 2 : -1],
            *_outputs(requested, hidden_states, attentions),
        )


class CrossAttentionFusion(nn.Module):
    """FE_c, Table 4: each modality queries the other; both means, concatenated, are mapped to d."""

    def __init__(self, config: PaperConfig):
        super().__init__()
        self.config = config
        self.embeddings = FusionEmbeddings(config)
        self.speech_layers = nn.ModuleList(FusionLayer(config) for _ in range(config.num_fusion_layers))
        self.text_layers = nn.ModuleList(FusionLayer(config) for _ in range(config.num_fusion_layers))
        self.output = nn.Linear(2 * config.hidden_size, config.hidden_size)

    def forward(self, speech: Modality, text: Modality, requested: Requested = VECTOR_ONLY) -> Fused:
        speech_hidden = self._embed(speech, segment=0)
        text_hidden = self._embed(text, segment=1)
        to_text = key_mask(self.config, speech_hidden, text_hidden, never_empty(text.mask))
        to_speech = key_mask(self.config, text_hidden, speech_hidden, never_empty(speech.mask))
        hidden_states, attentions = [torch.cat([speech_hidden, text_hidden], dim=1)], []
        for speech_layer, text_layer in zip(self.speech_layers, self.text_layers, strict=True):
            (speech_hidden, speech_weights, _), (text_hidden, text_weights, _) = (
                speech_layer(speech_hidden, text_hidden, to_text, None, requested.output_attentions),
                text_layer(text_hidden, speech_hidden, to_speech, None, requested.output_attentions),
            )
            if requested.output_hidden_states:
                hidden_states.append(torch.cat([speech_hidden, text_hidden], dim=1))
            attentions += [speech_weights, text_weights]
        pooled = [masked_mean(speech_hidden, speech.mask), masked_mean(text_hidden, text.mask)]
        vector = self.output(torch.cat(pooled, dim=-1))
        return Fused(vector, None, None, *_outputs(requested, hidden_states, attentions))

    def _embed(self, modality: Modality, segment: int) -> Tensor:
        segments = torch.full((modality.mask.shape[1],), segment, device=modality.mask.device)
        return self.embeddings(modality.sequence, segments, modality.mask)


def _outputs(requested: Requested, hidden_states: list, attentions: list) -> tuple[States, States]:
    """Hidden states and attentions as outputs; the latter are empty where the implementation computes none."""
    return (
        requested.layers(tuple(hidden_states)) if requested.output_hidden_states else None,
        tuple(weights for weights in attentions if weights is not None) if requested.output_attentions else None,
    )


FUSION_ENCODERS = {"self": SelfAttentionFusion, "cross": CrossAttentionFusion}
