"""One step of DRKF in the straightforward way: the method to read, to test against, and to time the package against.

Every pair (S_i, T_j) is fused alone and the matched pairs once more for EC; every layer is computed whole; padding is
carried along and masked. Row 6 of Table 4: PCMI, FE_s, ED.
"""

from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModel

from modeling_drkf import DRKFForEmotionClassification
from modeling_drkf.encoders_drkf import encoder_options
from modeling_drkf.losses_drkf import (
    classification_loss,
    composite_loss,
    contrastive_mi_loss,
    discrimination_loss,
    label_distribution,
    label_divergence_loss,
    reconstruction_loss,
)

Sequence = tuple[Tensor, Tensor]
"""A sequence (batch, length, d) and its mask (batch, length), true where valid."""


def with_plain_encoders(model: DRKFForEmotionClassification) -> DRKFForEmotionClassification:
    """A copy of the model, both encoders of which are built and run as transformers does."""
    copy = deepcopy(model)
    encoding = copy.drkf.modality_encoding
    for name in ("speech_encoder", "text_encoder"):
        encoder = getattr(encoding, name)
        encoder.config._attn_implementation = "sdpa"
        plain = AutoModel.from_config(encoder.config, **encoder_options(encoder.config))
        plain.load_state_dict(encoder.state_dict())
        setattr(encoding, name, plain.to(model.device).train(encoder.training))
    return copy


def training_loss(model: DRKFForEmotionClassification, batch: dict[str, Tensor]) -> Tensor:
    """L, Eq. 21, of a batch as the processor makes it, with labels (M,)."""
    speech, text = encode(model, batch)
    labels = batch["labels"]
    target = label_distribution(labels, len(model.config.label_names))
    summaries = {"speech": masked_mean(*speech), "text": text[0][:, 0]}
    augmented = {
        "speech": (model.augmentation.speech_autoencoder(speech[0]), speech[1]),
        "text": (model.augmentation.text_autoencoder(text[0]), text[1]),
    }
    project_speech, project_text = model.representations.speech_projection, model.representations.text_projection
    terms = {
        "classification_loss": classification_loss(model.emotion_classifier(fuse(model, speech, text)), target),
        "reconstruction_loss": reconstruction_loss(
            speech[0], augmented["speech"][0], speech[1], text[0], augmented["text"][0], text[1]
        ),
        "label_divergence_loss": label_divergence_loss(
            model.emotion_classifier(fuse(model, augmented["speech"], augmented["text"])), target
        ),
        "contrastive_loss": contrastive_mi_loss(
            project_speech(summaries["speech"]),
            project_speech(masked_mean(*augmented["speech"])),
            project_text(summaries["text"]),
            project_text(masked_mean(*augmented["text"])),
            model.representations.temperature,
        ),
        "discrimination_loss": discrimination_loss(*every_pair(model, speech, text, labels)),
    }
    return composite_loss(terms, model.config.loss_weights)


def every_pair(
    model: DRKFForEmotionClassification, speech: Sequence, text: Sequence, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """ED's logits of all M^2 pairs of Eq. 19, fused one by one, and which of them have one label: both (M^2,)."""
    size = len(labels)
    logits = [
        model.emotion_discriminator(fuse(model, one(speech, i), one(text, j)))  # type: ignore[misc]
        for i in range(size)
        for j in range(size)
    ]
    return torch.cat(logits), (labels[:, None] == labels[None]).flatten().float()


def predict(model: DRKFForEmotionClassification, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """EC's logits (M, C) and ED's (M,) of the matched pairs."""
    fused = fuse(model, *encode(model, batch))
    return model.emotion_classifier(fused), model.emotion_discriminator(fused)  # type: ignore[misc]


def encode(model: DRKFForEmotionClassification, batch: dict[str, Tensor]) -> tuple[Sequence, Sequence]:
    """S_seq and T_seq: what both encoders and adapters alone cost."""
    encoding = model.drkf.modality_encoding
    speech, text = encoding(
        input_values=batch["input_values"],
        audio_attention_mask=batch["audio_attention_mask"],
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
    )
    return (speech.sequence, speech.mask), (text.sequence, text.mask)


def fuse(model: DRKFForEmotionClassification, speech: Sequence, text: Sequence) -> Tensor:
    """X_fusion, Eq. 18: (batch, d)."""
    encoder: Any = model.drkf.fusion_encoder
    batch, frames, _ = speech[0].shape
    cls, sep = encoder.special_tokens.weight.expand(batch, 2, -1).split(1, dim=1)
    always = torch.ones(batch, 1, dtype=torch.bool, device=cls.device)
    hidden = torch.cat([cls, speech[0], sep, text[0], sep], dim=1)
    mask = torch.cat([always, speech[1], always, text[1], always], dim=1)
    segments = (torch.arange(hidden.shape[1], device=hidden.device) >= frames + 2).long()
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    embeddings = encoder.embeddings
    hidden = embeddings.norm(hidden + embeddings.segment(segments) + embeddings.position(positions))
    hidden = embeddings.dropout(hidden)
    for layer in encoder.layers:
        hidden = layer.attention_norm(hidden + layer.dropout(attend(layer.attention, hidden, mask)))
        hidden = layer.output_norm(hidden + layer.dropout(layer.feed_forward(hidden)))
    return hidden[:, 0]


def attend(attention: Any, hidden: Tensor, mask: Tensor) -> Tensor:
    """Multi-head self-attention of whole sequences, (batch, length, d), under a dense mask."""
    query, key, value = (
        linear(hidden).unflatten(-1, (-1, attention.head_size)).transpose(1, 2)
        for linear in (attention.query, attention.key, attention.value)
    )
    dropout = attention.dropout if attention.training else 0.0
    dense = mask[:, None, None].expand(-1, 1, mask.shape[1], -1)
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=dense, dropout_p=dropout)
    return attention.output(attended.transpose(1, 2).flatten(2))


def masked_mean(sequence: Tensor, mask: Tensor) -> Tensor:
    return (sequence * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def one(sequence: Sequence, index: int) -> Sequence:
    return sequence[0][index : index + 1], sequence[1][index : index + 1]
