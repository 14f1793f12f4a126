"""DR: projection g, learnt temperature and contrastive terms of PCMI (sec. 3.3.3, Eq. 13-17)."""

import torch
from torch import Tensor, nn

from .losses_drkf import contrastive_mi_loss
from .outputs_drkf import Modality
from .paper_configuration_drkf import PaperConfig


def projection(config: PaperConfig) -> nn.Sequential:
    """g of Eq. 13: d -> d -> projection size."""
    return nn.Sequential(
        nn.Linear(config.hidden_size, config.hidden_size),
        nn.ReLU(),
        nn.Linear(config.hidden_size, config.projection_size),
    )


class DecoupledRepresentations(nn.Module):
    """Projects raw and augmented summaries of each modality into the space of Eq. 14-16."""

    def __init__(self, config: PaperConfig):
        super().__init__()
        self.speech_projection = projection(config)
        self.text_projection = projection(config)
        self.temperature_logit = nn.Parameter(torch.full((1,), float(config.initial_temperature_logit)))

    @property
    def temperature(self) -> Tensor:
        """tau = sigmoid(theta)."""
        return self.temperature_logit.sigmoid().squeeze()

    def forward(
        self, speech: Modality, augmented_speech: Modality, text: Modality, augmented_text: Modality
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """z_S, z~_S, z_T, z~_T of Eq. 13, each (batch, projection size)."""
        return (
            self.speech_projection(speech.summary),
            self.speech_projection(augmented_speech.summary),
            self.text_projection(text.summary),
            self.text_projection(augmented_text.summary),
        )

    def terms(self, *projected: Tensor) -> dict[str, Tensor]:
        """L_c, Eq. 17, of z_S, z~_S, z_T and z~_T, each (M, projection size)."""
        speech, augmented_speech, text, augmented_text = (vectors.float() for vectors in projected)
        loss = contrastive_mi_loss(speech, augmented_speech, text, augmented_text, self.temperature)
        return {"contrastive_loss": loss}
