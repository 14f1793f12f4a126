"""The terms of the training objective, Eq. 21, of a labelled batch: PA and Emodality shuffling run here."""

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from .gathering_drkf import batch_offset, gather_rows, is_distributed
from .kf_emotion_heads import HalvesDiscriminator
from .kf_shuffled_pairs import fuse_pairs
from .losses_drkf import (
    classification_loss,
    contrastive_mi_loss,
    discrimination_loss,
    label_distribution,
    label_divergence_loss,
    present_weights,
    reconstruction_loss,
    same_labels,
)
from .orl_decoupled_representations import shuffle_emodalities
from .orl_modality_encoding import Modality
from .outputs_drkf import DRKFModelOutput

if TYPE_CHECKING:
    from .modeling_drkf import DRKFForEmotionClassification

Terms = dict[str, Tensor]
Present = tuple[Tensor | None, Tensor | None]


def loss_terms(
    model: "DRKFForEmotionClassification",
    encoded: DRKFModelOutput,
    logits: Tensor,
    consistency_logits: Tensor | None,
    halves: tuple[Tensor, Tensor] | None,
    labels: Tensor,
    present: Present,
) -> Terms:
    """What Eq. 21 adds up, by name, unweighted.

    Args:
        encoded, logits, consistency_logits: of the matched pairs; logits are EC's. halves: logits of speech and of
            text, where there are probes.
        labels, present: see [`DRKFForEmotionClassification.forward`].

    Raises:
        ValueError: a label is none of the classes.
    """
    config = model.config
    speech, text = encoded.modalities()
    target = label_distribution(labels, logits.shape[-1], config.label_smoothing).float()
    weights = None if config.class_weights is None else target.new_tensor(config.class_weights)
    terms = {"classification_loss": classification_loss(logits.float(), target, config.is_multi_label, weights)}
    if config.representation == "pcmi":
        terms |= _pcmi_terms(model, speech, text, target)
    elif config.representation == "cmie":
        projected = _gathered(model, *model.mutual_information.project(speech, text), target)
        terms["contrastive_loss"], terms["critic_loss"] = model.mutual_information(*projected)
    if halves is not None:
        of_halves = [classification_loss(half.float(), target, config.is_multi_label, weights) for half in halves]
        terms["halves_loss"] = torch.stack(of_halves).mean()
    if halves is not None and config.discriminates_halves:
        terms["discrimination_loss"] = _halves_discrimination_term(model, halves, target, present)
    elif consistency_logits is not None:
        terms["discrimination_loss"] = _discrimination_term(model, speech, text, consistency_logits, target, present)
    return terms


def _pcmi_terms(model: "DRKFForEmotionClassification", speech: Modality, text: Modality, target: Tensor) -> Terms:
    augmented_speech, augmented_text = model.augmentation(speech, text)
    logits = model.emotion_classifier(model.drkf.fusion_encoder(augmented_speech, augmented_text).vector).float()
    projected = _gathered(model, *model.representations(speech, augmented_speech, text, augmented_text))
    z_speech, z_augmented_speech, z_text, z_augmented_text = (vectors.float() for vectors in projected)
    return {
        "reconstruction_loss": reconstruction_loss(
            speech.sequence.float(), augmented_speech.sequence.float(), speech.mask,
            text.sequence.float(), augmented_text.sequence.float(), text.mask,
        ),
        "label_divergence_loss": label_divergence_loss(logits, target, model.config.is_multi_label),
        "contrastive_loss": contrastive_mi_loss(
            z_speech, z_augmented_speech, z_text, z_augmented_text, model.representations.temperature
        ),
    }  # fmt: skip


def _discrimination_term(
    model: "DRKFForEmotionClassification",
    speech: Modality,
    text: Modality,
    matched_logits: Tensor,
    labels: Tensor,
    present: Present,
) -> Tensor:
    here = _weights_of(present, labels)
    sequence, mask, text_labels, text_here = _gathered(model, text.sequence, text.mask.long(), labels, here[1])
    pairs = shuffle_emodalities(
        len(labels),
        len(text_labels),
        first=batch_offset(len(labels), labels.device) if _gathers(model) else 0,
        max_pairs=model.config.discrimination_pairs,
        sample=model.training,
        device=labels.device,
    )
    i, j = pairs.speech_index, pairs.text_index
    logits, same = [matched_logits], [torch.ones_like(matched_logits)]
    if len(i):
        texts = Modality(sequence, mask.bool(), sequence[:, 0])
        recompute = not model.is_activation_checkpointing
        shuffled = fuse_pairs(model.drkf.fusion_encoder, speech, texts, j.view(len(labels), -1), recompute)
        logits.append(model.emotion_discriminator(shuffled).squeeze(-1))  # type: ignore[misc]
        same.append(same_labels(labels[i], text_labels[j], model.config.is_multi_label))
    weights = pairs.weights
    if any(half is not None for half in present):
        weights = present_weights(weights, torch.cat([here[0] * here[1], here[0][i] * text_here[j]]))
    return discrimination_loss(torch.cat(logits).float(), torch.cat(same).float(), weights)


def _halves_discrimination_term(
    model: "DRKFForEmotionClassification", halves: tuple[Tensor, Tensor], labels: Tensor, present: Present
) -> Tensor:
    here = _weights_of(present, labels)
    text_logits, text_labels, text_here = _gathered(model, halves[1], labels, here[1])
    discriminator = cast(HalvesDiscriminator, model.emotion_discriminator)
    logits = discriminator(halves[0].unsqueeze(1), text_logits)  # (batch, texts)
    same = same_labels(labels.unsqueeze(1), text_labels, model.config.is_multi_label)
    weights = present_weights(torch.full_like(logits, 1 / logits.numel()), here[0].unsqueeze(1) * text_here)
    return discrimination_loss(logits.float(), same.float(), weights)


def _weights_of(present: Present, labels: Tensor) -> list[Tensor]:
    return [labels.new_ones(len(labels)) if half is None else half.to(labels.dtype) for half in present]


def _gathers(model: "DRKFForEmotionClassification") -> bool:
    return model.gather_across_processes and is_distributed()


def _gathered(model: "DRKFForEmotionClassification", *tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(gather_rows(tensor) for tensor in tensors) if _gathers(model) else tensors
