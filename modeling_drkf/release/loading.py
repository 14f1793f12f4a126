"""A checkpoint, loaded whole or refused."""

from pathlib import Path
from typing import Any

from transformers import AutoModelForAudioClassification, AutoProcessor

from processing.damage import refused, require_safe
from processing.errors_drkf import FileError
from processing.pipeline_drkf import require_weights
from processing.processing_drkf import DRKFProcessor

from ..modeling_drkf import DRKFForEmotionClassification


def load_checkpoint(checkpoint: str | Path, **options: Any) -> tuple[DRKFForEmotionClassification, DRKFProcessor]:
    """Model and processor of a folder or Hub id.

    Args:
        options: of `from_pretrained` of the model.

    Raises:
        FileError: it cannot be loaded, is no DRKF checkpoint, or lacks weights, which transformers draws at random.
    """
    require_safe(checkpoint)
    with refused(checkpoint):
        local: dict[str, Any] = {"trust_remote_code": False}  # None asks for it
        model = AutoModelForAudioClassification.from_pretrained(checkpoint, **local, **options)
        if not isinstance(model, DRKFForEmotionClassification):
            raise FileError(f"{checkpoint} is not a DRKF checkpoint: its model_type is {model.config.model_type}")
        require_weights(model)
        return model, AutoProcessor.from_pretrained(checkpoint, **local)
