"""EC and ED: two independent multilayer perceptrons over the fused vector (sec. 3.4.2-3.4.3)."""

from torch import Tensor, nn

from .configuration_drkf import DRKFConfig


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
