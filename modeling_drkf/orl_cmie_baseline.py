"""CMIE, the baseline of Table 4, row 2: FactorCL-SUP (Liang et al., NeurIPS 2023), without augmentation."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .losses_drkf import club_bound, info_nce
from .orl_decoupled_representations import projection
from .outputs_drkf import Modality
from .paper_configuration_drkf import PaperConfig


class Critic(nn.Module):
    """f(x_1, x_2) or f(x_1, x_2, y) of Eq. 6-7: a perceptron over concatenated inputs."""

    def __init__(self, num_inputs: int, size: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(num_inputs * size, size), nn.ReLU(), nn.Linear(size, 1, bias=False))

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Scores of all pairs, (M, M), of rows and columns, (M, size) or, with labels, (M, 2 size)."""
        shape = (len(rows), len(columns), -1)
        return self.layers(torch.cat([rows[:, None].expand(shape), columns[None].expand(shape)], -1)).squeeze(-1)

    def frozen(self, *inputs: Tensor) -> Tensor:
        """The same scores with constant parameters: gradients reach the inputs only."""
        return functional_call(self, {name: value.detach() for name, value in self.named_parameters()}, inputs)


def labelled(speech: Tensor, text: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Each vector beside its own sample's label, (M, 2 size): what a conditional critic reads.

    A negative text without its label would turn I(S;T|Y) into I(S,Y;T) = I(S;T|Y) + I(T;Y).
    """
    return torch.cat([speech, label], dim=-1), torch.cat([text, label], dim=-1)


class ContrastiveMutualInformation(nn.Module):
    """Shared and modality-specific projections, trained by bounds on mutual information with the labels.

    Shared: I(S;T) up, I(S;T|Y) down. Specific: I(S;Y), I(T;Y) and I(S;T|Y) up, I(S;T) down. Up is InfoNCE, down is
    CLUB, whose critics learn from detached features by the likelihood of the matched partner.
    """

    def __init__(self, config: PaperConfig):
        super().__init__()
        size = config.projection_size
        self.speech_shared, self.text_shared = projection(config), projection(config)
        self.speech_specific, self.text_specific = projection(config), projection(config)
        self.label_embedding = nn.Linear(len(config.label_names), size, bias=False)
        self.shared_critic, self.speech_label_critic, self.text_label_critic = (Critic(2, size) for _ in range(3))
        self.specific_critic = Critic(4, size)
        self.shared_club_critic, self.specific_club_critic = Critic(4, size), Critic(2, size)

    def forward(self, speech: Modality, text: Modality) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Shared and specific vectors of speech, then of text, each (batch, projection size)."""
        return (
            self.speech_shared(speech.summary),
            self.speech_specific(speech.summary),
            self.text_shared(text.summary),
            self.text_specific(text.summary),
        )

    def terms(
        self,
        speech_shared: Tensor,
        speech_specific: Tensor,
        text_shared: Tensor,
        text_specific: Tensor,
        target: Tensor,
    ) -> dict[str, Tensor]:
        """The objective, and the CLUB critics' negative log-likelihood.

        Args:
            speech_shared, speech_specific, text_shared, text_specific: (M, projection size). target: y, (M, C).
        """
        label = self.label_embedding(target.to(speech_shared.dtype))
        shared = info_nce(self.shared_critic(speech_shared, text_shared)) + club_bound(
            self.shared_club_critic.frozen(*labelled(speech_shared, text_shared, label.detach()))
        )
        specific = (
            info_nce(self.speech_label_critic(speech_specific, label))
            + info_nce(self.text_label_critic(text_specific, label))
            + info_nce(self.specific_critic(*labelled(speech_specific, text_specific, label)))
            + club_bound(self.specific_club_critic.frozen(speech_specific, text_specific))
        )
        likelihood = info_nce(
            self.shared_club_critic(*labelled(speech_shared.detach(), text_shared.detach(), label.detach()))
        ) + info_nce(self.specific_club_critic(speech_specific.detach(), text_specific.detach()))
        return {"contrastive_loss": shared + specific, "critic_loss": likelihood}
