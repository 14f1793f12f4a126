"""What this project adds to EC, ED and the objective, off by default: a linear probe of each modality, an ED that
reads the probes, sampled pairs, pairs without a blanked modality, label smoothing and class weights."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configuration_drkf import DRKFConfig
from .losses_drkf import same_labels
from .orl_modality_encoding import masked_mean
from .outputs_drkf import Modality


class ModalityProbes(nn.Module):
    """A linear probe of each modality. They learn from the labels, and with them the encoders; FE does not.

    What they read is standardised over its dimensions: of the scale that the adapters give, a probe's loss begins far
    above chance, and the voice is heard worse by it than by EC alone.
    """

    def __init__(self, config: DRKFConfig):
        super().__init__()
        self.normalization = nn.LayerNorm(config.hidden_size, elementwise_affine=False)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.speech = nn.Linear(config.hidden_size, len(config.label_names))
        self.text = nn.Linear(config.hidden_size, len(config.label_names))

    def forward(self, speech: Modality, text: Modality) -> dict[str, Tensor]:
        """Logits of the voice alone, of S_cls, and of the words alone, of the mean of T_seq: (batch, classes) each."""
        words = masked_mean(text.sequence, text.mask)
        return {
            "speech_logits": self.speech(self.dropout(self.normalization(speech.summary))),
            "text_logits": self.text(self.dropout(self.normalization(words))),
        }


class ProbeDiscriminator(nn.Module):
    """ED that reads what [`ModalityProbes`] find.

    The logit is p^T W q + b for the class probabilities p of the voice and q of the words. No pair can be learnt by
    heart, and all M^2 pairs cost no fusion.
    """

    def __init__(self, config: DRKFConfig):
        super().__init__()
        num_labels = len(config.label_names)
        self.multi_label = config.is_multi_label
        self.agreement = nn.Parameter(torch.empty(num_labels, num_labels))
        self.bias = nn.Parameter(torch.empty(()))

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits.float().sigmoid() if self.multi_label else logits.float().softmax(-1)

    def forward(self, speech_logits: Tensor, text_logits: Tensor) -> Tensor:
        """Logits (..., classes) of both modalities, which are broadcast, to ED's (...)."""
        speech, text = self.probabilities(speech_logits), self.probabilities(text_logits)
        return ((speech @ self.agreement.float()) * text).sum(-1) + self.bias

    def terms(
        self, speech_logits: Tensor, labels: Tensor, text_logits: Tensor, text_labels: Tensor, present: Tensor
    ) -> dict[str, Tensor]:
        """L_b, Eq. 19, over the pairs (S_i, T_j) of which `present`, (batch, M), is 1; labels are (., classes)."""
        logits = self(speech_logits.unsqueeze(1), text_logits)  # (batch, M)
        same = same_labels(labels.unsqueeze(1), text_labels, self.multi_label)
        weights = present_weights(torch.full_like(logits, 1 / logits.numel()), present)
        return {"discrimination_loss": weighted_discrimination_loss(logits.float(), same, weights)}


def sampled_shifts(text_index: Tensor, max_pairs: int | None, sample: bool) -> Tensor:
    """Some of the texts that `shuffle_emodalities` gives each speech: (batch, texts) to (batch, fewer texts).

    A shift is left out for all samples together, so that each text is met as often as each speech and the mean of
    Eq. 19 stays unbiased.

    Args:
        max_pairs: most pairs a sample takes part in, the matched one counted; None keeps all.
        sample: draw the shifts at random; if not, they are spread evenly, for an evaluation that can be repeated and
            does not pair neighbours of a sorted corpus only.
    """
    num_shifts = text_index.shape[1]
    if max_pairs is None or max_pairs > num_shifts:
        return text_index
    if sample:
        return text_index[:, torch.randperm(num_shifts, device=text_index.device)[: max_pairs - 1]]
    steps = torch.arange(max_pairs - 1, device=text_index.device)
    return text_index[:, (2 * steps + 1) * num_shifts // (2 * (max_pairs - 1))]


def pair_weights(text_index: Tensor, num_text: int) -> Tensor:
    """Each pair's share of the mean over all M^2 pairs, the matched pairs first: (batch + pairs,).

    Args:
        text_index: of `sampled_shifts`. num_text: M.
    """
    num_speech, shifts = text_index.shape
    total = num_speech * num_text
    matched = torch.full((num_speech,), 1 / total, device=text_index.device)
    shuffled = torch.full((num_speech * shifts,), (num_text - 1) / max(shifts, 1) / total, device=text_index.device)
    return torch.cat([matched, shuffled])


def present_weights(weights: Tensor, present: Tensor) -> Tensor:
    """The weights of the pairs both of whose modalities are present, scaled to the sum of all; 0 for every other pair.

    Args:
        weights: each pair's share, (P,). present: 1 or true where both modalities of the pair are there, (P,).
    """
    kept = weights * present
    return kept * (weights.sum() / kept.sum().clamp(min=torch.finfo(kept.dtype).tiny))


def weighted_discrimination_loss(logits: Tensor, same: Tensor, weights: Tensor) -> Tensor:
    """L_b, Eq. 19, where pairs are sampled: the weighted sum of binary cross-entropies; all are (P,)."""
    per_pair = F.binary_cross_entropy_with_logits(logits, same.to(logits.dtype), reduction="none")
    return (per_pair * weights.to(per_pair.dtype)).sum()


def weighted_classification_loss(logits: Tensor, target: Tensor, weights: Tensor, multi_label: bool = False) -> Tensor:
    """L_f, Eq. 20, with a weight for each class's part. The mean is over samples, not over weights.

    Args:
        logits, target: (M, C). weights: (C,).
    """
    if multi_label:
        per_class = F.binary_cross_entropy_with_logits(logits, target, reduction="none") / logits.shape[-1]
    else:
        per_class = -target * logits.log_softmax(-1)
    return (per_class * weights.to(per_class.dtype)).sum(-1).mean()


def smoothed(target: Tensor, share: float) -> Tensor:
    """A distribution, (M, C), of which a share is spread evenly over the classes."""
    return target if share == 0 else (1 - share) * target + share / target.shape[-1]
