"""What this project's classifier returns beside the paper's outputs."""

from dataclasses import dataclass, fields

from torch import Tensor

from .outputs_drkf import PaperClassifierOutput


@dataclass
class DRKFClassifierOutput(PaperClassifierOutput):
    """
    Attributes:
        logits: EC's, or their mean or sum with both probes', divided by `score_temperature`, (batch, classes); see
            `DRKFConfig.classifier`.
        fused_logits: as the loss reads them, (batch, classes): EC's, or the sum with both probes'.
        consistency: the probability that voice and words express the same emotion, (batch,), where
            `consistency_prior` of the pairs do; None where the configuration has no `consistency_calibration`.
        speech_logits, text_logits: of the voice and of the words alone, (batch, classes), where there are probes.
        loss and the others: see [`EmotionOutput`] and [`SharedOutput`].
    """

    fused_logits: Tensor | None = None
    consistency: Tensor | None = None
    speech_logits: Tensor | None = None
    text_logits: Tensor | None = None


OUTPUT_NAMES = tuple(entry.name for entry in fields(DRKFClassifierOutput))
