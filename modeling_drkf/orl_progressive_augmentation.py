"""PA: a residual autoencoder per modality learns the optimal augmented modality (sec. 3.3.2, Eq. 8-12)."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from .losses_drkf import label_divergence_loss, reconstruction_loss
from .orl_modality_encoding import masked_mean
from .outputs_drkf import Modality
from .paper_configuration_drkf import PaperConfig


class AutoencoderBlock(nn.Sequential):
    """Linear layers down to the bottleneck and up again; no activation at the bottleneck nor at the output."""

    def __init__(self, hidden_size: int, sizes: Sequence[int], dropout: float):
        down, up = [hidden_size, *sizes], [*reversed(sizes), hidden_size]
        layers: list[nn.Module] = []
        for widths, activation in ((down, nn.LeakyReLU), (up, nn.ReLU)):
            for width, next_width in pairwise(widths):
                layers += [nn.Linear(width, next_width), activation(), nn.Dropout(dropout)]
            layers = layers[:-2]
        super().__init__(*layers)


class ResidualAutoencoder(nn.Module):
    """f_AE of Eq. 8-9: each block adds its output to what it reads; a two-layer transition ends the sum.

    The cascade residual autoencoder of MMIN (Zhao et al., ACL 2021).
    """

    def __init__(self, config: PaperConfig):
        super().__init__()
        d = config.hidden_size
        self.blocks = nn.ModuleList(
            AutoencoderBlock(d, config.augmentation_sizes, config.augmentation_dropout)
            for _ in range(config.num_augmentation_blocks)
        )
        self.transition = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, d))

    def forward(self, sequence: Tensor) -> Tensor:
        """(batch, length, d) to (batch, length, d)."""
        for block in self.blocks:
            sequence = sequence + block(sequence)
        return self.transition(sequence)


class ProgressiveAugmentation(nn.Module):
    """Both modalities' autoencoders. Used in training only; inference never runs it."""

    def __init__(self, config: PaperConfig):
        super().__init__()
        self.multi_label = config.is_multi_label
        self.speech_autoencoder = ResidualAutoencoder(config)
        self.text_autoencoder = ResidualAutoencoder(config)

    def forward(self, speech: Modality, text: Modality) -> tuple[Modality, Modality]:
        """S~ and T~, whose summaries are means over valid positions."""
        return self._augment(self.speech_autoencoder, speech), self._augment(self.text_autoencoder, text)

    @staticmethod
    def _augment(autoencoder: ResidualAutoencoder, modality: Modality) -> Modality:
        augmented = autoencoder(modality.sequence)
        return Modality(augmented, modality.mask, masked_mean(augmented, modality.mask))

    def terms(
        self,
        originals: tuple[Modality, Modality],
        augmented: tuple[Modality, Modality],
        logits: Tensor,
        target: Tensor,
    ) -> dict[str, Tensor]:
        """L_MSE (Eq. 10) and L_KLD (Eq. 11), whose weighted sum is L_a (Eq. 12).

        Args:
            originals, augmented: speech and text, and S~ and T~.
            logits: what FE and EC predict from the augmented pair, (batch, classes). target: y, (batch, classes).
        """
        speech, text = (
            (before.sequence.float(), after.sequence.float(), before.mask)
            for before, after in zip(originals, augmented, strict=True)
        )
        return {
            "reconstruction_loss": reconstruction_loss(*speech, *text),
            "label_divergence_loss": label_divergence_loss(logits.float(), target, self.multi_label),
        }
