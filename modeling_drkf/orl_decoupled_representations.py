"""DR: projection g and learnt temperature of PCMI (Eq. 13), and Emodality shuffling (sec. 3.4.2)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .configuration_drkf import DRKFConfig
from .orl_modality_encoding import Modality


def projection(config: DRKFConfig) -> nn.Sequential:
    """g of Eq. 13: d -> d -> projection size."""
    return nn.Sequential(
        nn.Linear(config.hidden_size, config.hidden_size),
        nn.ReLU(),
        nn.Linear(config.hidden_size, config.projection_size),
    )


class DecoupledRepresentations(nn.Module):
    """Projects raw and augmented summaries of each modality into the space of Eq. 14-16."""

    def __init__(self, config: DRKFConfig):
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


@dataclass
class ShuffledPairs:
    """The pairs (S_i, T_j), i != j, of a batch; the matched pairs are its diagonal and are fused elsewhere.

    Attributes:
        speech_index, text_index: i and j of each pair, (P,).
        weights: each pair's share of the mean over all pairs of Eq. 19, the matched pairs' first, (M + P,).
    """

    speech_index: Tensor
    text_index: Tensor
    weights: Tensor


def shuffle_emodalities(
    num_speech: int, num_text: int, first: int = 0, max_pairs: int | None = None, sample: bool = True,
    device: torch.device | str = "cpu",
) -> ShuffledPairs:  # fmt: skip
    """Emodality shuffling: which speech meets which text (sec. 3.4.2).

    Args:
        num_speech: speech samples at hand. num_text: M, texts to pair them with; more than `num_speech` where texts
            were gathered from other processes. first: the text that matches the first speech sample.
        max_pairs: most pairs a sample takes part in, the matched one counted. Cyclic shifts are drawn without
            replacement, so that each text is met as often as each speech and the mean of Eq. 19 stays unbiased.
        sample: draw the shifts at random; if not, they are spread evenly, for an evaluation that can be repeated and
            does not pair neighbours of a sorted corpus only.
    """
    num_shifts = num_text - 1
    if max_pairs is None or max_pairs > num_shifts:
        shifts = torch.arange(1, num_text, device=device)
    elif sample:
        shifts = torch.randperm(num_shifts, device=device)[: max_pairs - 1] + 1
    else:
        steps = torch.arange(max_pairs - 1, device=device)
        shifts = (2 * steps + 1) * num_shifts // (2 * (max_pairs - 1)) + 1
    rows = torch.arange(num_speech, device=device).repeat_interleave(len(shifts))
    columns = (rows + first + shifts.repeat(num_speech)) % num_text
    total = num_speech * num_text
    matched = torch.full((num_speech,), 1 / total, device=device)
    shuffled = torch.full((len(rows),), num_shifts / max(len(shifts), 1) / total, device=device)
    return ShuffledPairs(rows, columns, torch.cat([matched, shuffled]))
