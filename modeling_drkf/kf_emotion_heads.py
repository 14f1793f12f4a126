"""EC and ED: two independent multilayer perceptrons over the fused vector (sec. 3.4.2-3.4.3)."""

import torch
from torch import Tensor, nn

from .kf_emodality_shuffling import fuse_pairs, shuffle_emodalities
from .losses_drkf import classification_loss, discrimination_loss, same_labels
from .outputs_drkf import Modality
from .paper_configuration_drkf import PaperConfig


class EmotionHead(nn.Module):
    """Linear, GELU, dropout, linear."""

    def __init__(self, config: PaperConfig, num_outputs: int):
        super().__init__()
        self.multi_label = config.is_multi_label
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = nn.GELU()
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.output = nn.Linear(config.hidden_size, num_outputs)

    def forward(self, fused: Tensor) -> Tensor:
        """(batch, d) to (batch, outputs)."""
        return self.output(self.dropout(self.activation(self.dense(fused))))


class EmotionClassifier(EmotionHead):
    """EC: which emotion is it?"""

    def __init__(self, config: PaperConfig):
        super().__init__(config, len(config.label_names))

    def terms(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """L_f, Eq. 20; logits and target are (batch, classes)."""
        return {"classification_loss": classification_loss(logits.float(), target, self.multi_label)}


class EmotionDiscriminator(EmotionHead):
    """ED: do voice and words express the same emotion?"""

    def __init__(self, config: PaperConfig):
        super().__init__(config, 1)

    def forward(self, fused: Tensor) -> Tensor:
        """(batch, d) to (batch,)."""
        return super().forward(fused).squeeze(-1)

    def terms(
        self,
        fusion_encoder: nn.Module,
        matched_logits: Tensor,
        speech: Modality,
        labels: Tensor,
        texts: Modality,
        text_labels: Tensor,
    ) -> dict[str, Tensor]:
        """L_b, Eq. 19, over all pairs (S_i, T_j).

        Args:
            matched_logits: of the pairs (S_i, T_i), which are fused already, (batch,).
            speech, labels: S_i, and y of each, (batch, classes).
            texts, text_labels: T_j, those of S_i first and in its order, and y of each, (M, classes).
        """
        text_index = shuffle_emodalities(len(labels), len(text_labels), labels.device)  # (batch, M - 1)
        logits, same = self.shuffled(fusion_encoder, speech, labels, texts, text_labels, text_index)
        logits, same = torch.cat([matched_logits, logits]), torch.cat([torch.ones_like(matched_logits), same])
        return {"discrimination_loss": discrimination_loss(logits.float(), same)}

    def shuffled(
        self,
        fusion_encoder: nn.Module,
        speech: Modality,
        labels: Tensor,
        texts: Modality,
        text_labels: Tensor,
        text_index: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """ED's logits of the pairs that `text_index` names, and 1. where both have one label: (pairs,) each."""
        if text_index.shape[1] == 0:
            return labels.new_zeros(0), labels.new_zeros(0)
        logits = self(fuse_pairs(fusion_encoder, speech, texts, text_index))
        speech_labels = labels.repeat_interleave(text_index.shape[1], dim=0)
        return logits, same_labels(speech_labels, text_labels[text_index.flatten()], self.multi_label)
