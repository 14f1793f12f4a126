"""EC and ED: two independent multilayer perceptrons over the fused vector (sec. 3.4.2-3.4.3).

Outside Table 4: what each half says alone, for the answer and for another ED.
"""

import torch
from torch import Tensor, nn

from .configuration_drkf import DRKFConfig
from .orl_modality_encoding import Modality, masked_mean


class EmotionHead(nn.Module):
    """Linear, GELU, dropout, linear. EC has a logit per class; ED has one: do both halves bear the same emotion?"""

    def __init__(self, config: DRKFConfig, num_outputs: int):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = nn.GELU()
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.output = nn.Linear(config.hidden_size, num_outputs)

    def forward(self, fused: Tensor) -> Tensor:
        """(batch, d) to (batch, outputs)."""
        return self.output(self.dropout(self.activation(self.dense(fused))))


class HalfClassifiers(nn.Module):
    """A linear probe of each half. They learn from the labels, and with them the encoders; FE does not."""

    def __init__(self, config: DRKFConfig):
        super().__init__()
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.speech = nn.Linear(config.hidden_size, len(config.label_names))
        self.text = nn.Linear(config.hidden_size, len(config.label_names))

    def forward(self, speech: Modality, text: Modality) -> tuple[Tensor, Tensor]:
        """Logits of the voice alone, of S_cls, and of the words alone, of the mean of T_seq: (batch, classes) each."""
        words = masked_mean(text.sequence, text.mask)
        return self.speech(self.dropout(speech.summary)), self.text(self.dropout(words))


class HalvesDiscriminator(nn.Module):
    """ED that reads what [`HalfClassifiers`] find.

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
        """Logits (..., classes) of both halves, which are broadcast, to ED's (...)."""
        speech, text = self.probabilities(speech_logits), self.probabilities(text_logits)
        return ((speech @ self.agreement.float()) * text).sum(-1) + self.bias
