"""The loss terms of DRKF: pure functions that return unweighted scalars. Weights enter once, in Eq. 21.

M is the batch size, C the number of classes, d a feature width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def label_distribution(labels: Tensor, num_labels: int) -> Tensor:
    """The distribution y of Eq. 11 and 20.

    Args:
        labels: class ids (M,), or a distribution / multi-hot vector per sample (M, C).

    Returns: (M, C), floating point.

    Raises:
        ValueError: a class id is none of 0 to C - 1; -100 is none.
    """
    if labels.ndim == 1:
        if not torch.compiler.is_compiling() and bool(((labels < 0) | (labels >= num_labels)).any()):
            row = int(((labels < 0) | (labels >= num_labels)).int().argmax())
            raise ValueError(
                f"label {int(labels[row])} of sample {row} is none of the classes 0 to {num_labels - 1}: "
                "leave samples without a label out of the batch"
            )
        labels = F.one_hot(labels, num_labels)
    return labels if labels.is_floating_point() else labels.to(torch.get_default_dtype())


def same_labels(left: Tensor, right: Tensor, multi_label: bool) -> Tensor:
    """Emodality target (sec. 3.4.2): 1 where two samples have the same label, for multi-label the same label set.

    Args:
        left, right: class ids (P,), distributions (P, C), whose likeliest class counts, or multi-hot vectors (P, C).

    Returns: (P,), 0. or 1.
    """
    if multi_label:
        return ((left > 0.5) == (right > 0.5)).all(-1).float()
    if left.ndim > 1:
        left, right = left.argmax(-1), right.argmax(-1)
    return (left == right).float()


def sequence_mse(original: Tensor, augmented: Tensor, mask: Tensor) -> Tensor:
    """Squared error between two sequences: mean over a sample's valid positions and features, then over samples.

    Args:
        original, augmented: (M, length, d). mask: (M, length), true where valid. A sample without any counts 0.
    """
    mask = mask.to(original.dtype)
    per_position = (original - augmented).pow(2).mean(-1)
    return ((per_position * mask).sum(1) / mask.sum(1).clamp(min=1)).mean()


def reconstruction_loss(
    speech: Tensor, augmented_speech: Tensor, speech_mask: Tensor,
    text: Tensor, augmented_text: Tensor, text_mask: Tensor,
) -> Tensor:  # fmt: skip
    """L_MSE, Eq. 10: half the sum of both modalities' `sequence_mse`.

    Eq. 10 sums squares; here each sample's are averaged, or the term would grow with the clip's length.
    """
    return (sequence_mse(speech, augmented_speech, speech_mask) + sequence_mse(text, augmented_text, text_mask)) / 2


def label_divergence_loss(logits: Tensor, target: Tensor, multi_label: bool = False) -> Tensor:
    """L_KLD, Eq. 11: KL(y || y^) of what FE and EC predict from the augmented pair; 0 when the prediction is perfect.

    Args:
        logits: (M, C). target: y, (M, C).
        multi_label: mean over the classes of the binary divergence, in place of the sum over one distribution.
    """
    if multi_label:
        negative_entropy = torch.xlogy(target, target) + torch.xlogy(1 - target, 1 - target)
        return (negative_entropy + F.binary_cross_entropy_with_logits(logits, target, reduction="none")).mean()
    return (torch.xlogy(target, target) - target * logits.log_softmax(-1)).sum(-1).mean()


def info_nce(scores: Tensor) -> Tensor:
    """-I(X_1; X_2) of Eq. 6 and 7, and L_MI of Eq. 16: each row's matched score against the M of its row.

    Args:
        scores: (M, M); scores[i, j] is f(x_1 of sample i, x_2 of sample j), the matched pairs on the diagonal.
    """
    return -scores.log_softmax(-1).diagonal().mean()


def club_bound(scores: Tensor) -> Tensor:
    """Contrastive log-ratio upper bound of I(X_1; X_2) (Cheng et al. 2020): matched minus mean of all pairs.

    Args:
        scores: (M, M), matched pairs on the diagonal.
    """
    return scores.diagonal().mean() - scores.mean()


def cosine_scores(left: Tensor, right: Tensor, temperature: Tensor) -> Tensor:
    """sim(left_i, right_j) / tau, in float32 or better: (M, d) and (N, d) to (M, N)."""
    wide = torch.promote_types(left.dtype, torch.float32)
    with torch.autocast(left.device.type, enabled=False):
        return F.normalize(left.to(wide), dim=-1) @ F.normalize(right.to(wide), dim=-1).T / temperature


def intra_modality_mi_loss(projected: Tensor, projected_augmented: Tensor, temperature: Tensor) -> Tensor:
    """L_MI_S or L_MI_T, Eq. 14-15, as NT-Xent over the 2M views (z_i, z~_i) of one modality, both directions averaged.

    Args:
        projected, projected_augmented: z and z~, (M, d). temperature: tau, a scalar.
    """
    views = torch.cat([projected, projected_augmented])
    scores = cosine_scores(views, views, temperature)
    scores = scores.masked_fill(torch.eye(len(views), dtype=torch.bool, device=views.device), float("-inf"))
    partners = torch.arange(len(views), device=views.device).roll(len(projected))
    return F.cross_entropy(scores, partners)


def inter_modality_mi_loss(projected_speech: Tensor, projected_text: Tensor, temperature: Tensor) -> Tensor:
    """L_MI_S&T, Eq. 16: InfoNCE from speech to the M texts of the batch; z_S and z_T are (M, d)."""
    return info_nce(cosine_scores(projected_speech, projected_text, temperature))


def contrastive_mi_loss(
    projected_speech: Tensor, projected_augmented_speech: Tensor,
    projected_text: Tensor, projected_augmented_text: Tensor,
    temperature: Tensor,
) -> Tensor:  # fmt: skip
    """L_c, Eq. 17: the sum of both intra-modality terms and the inter-modality term; each input is (M, d)."""
    return (
        intra_modality_mi_loss(projected_speech, projected_augmented_speech, temperature)
        + intra_modality_mi_loss(projected_text, projected_augmented_text, temperature)
        + inter_modality_mi_loss(projected_speech, projected_text, temperature)
    )


def discrimination_loss(logits: Tensor, same: Tensor) -> Tensor:
    """L_b, Eq. 19: binary cross-entropy, mean over speech-text pairs.

    Args:
        logits: ED's score per pair, (P,). same: 1. where the labels of its speech and of its text are equal, (P,).
    """
    return F.binary_cross_entropy_with_logits(logits, same.to(logits.dtype))


def classification_loss(logits: Tensor, target: Tensor, multi_label: bool = False) -> Tensor:
    """L_f, Eq. 20: cross-entropy; for multi-label the binary cross-entropy, mean over classes.

    Args:
        logits: (M, C). target: y, (M, C).
    """
    if multi_label:
        return F.binary_cross_entropy_with_logits(logits, target)
    return -(target * logits.log_softmax(-1)).sum(-1).mean()


def composite_loss(terms: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """L, Eq. 21: the weighted sum of the terms.

    Raises:
        KeyError: when a term has no weight or a weight no term; nothing vanishes silently.
    """
    if terms.keys() != weights.keys():
        raise KeyError(
            f"loss terms and weights differ: without a weight {sorted(terms.keys() - weights.keys())}, "
            f"without a term {sorted(weights.keys() - terms.keys())}"
        )
    return torch.stack([weight * terms[name] for name, weight in weights.items()]).sum()
