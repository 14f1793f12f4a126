"""A checkpoint, loaded whole or refused."""

from pathlib import Path
from typing import Any

from transformers import AutoModelForAudioClassification, AutoProcessor

from processing.damage import refused
from processing.errors_drkf import FileError
from processing.processing_drkf import DRKFProcessor

from ..modeling_drkf import DRKFForEmotionClassification


def load_checkpoint(checkpoint: str | Path, **options: Any) -> tuple[DRKFForEmotionClassification, DRKFProcessor]:
    """Model and processor of a folder or Hub id.

    Args:
        options: of `from_pretrained` of the model.

    Raises:
        FileError: it cannot be loaded, is no DRKF checkpoint, or lacks weights, which transformers draws at random.
    """
    with refused(checkpoint):
        loading: dict[str, Any] = {"trust_remote_code": False, "output_loading_info": True}  # None asks for the former
        model, report = AutoModelForAudioClassification.from_pretrained(checkpoint, **loading, **options)
        if not isinstance(model, DRKFForEmotionClassification):
            raise FileError(f"{checkpoint} is not a DRKF checkpoint: its model_type is {model.config.model_type}")
        if missing := sorted(report["missing_keys"]):
            raise FileError(
                f"{checkpoint} lacks {len(missing)} of its weights, {missing[0]} among them: restore the file of the "
                "weights from its source"
            )
        return model, AutoProcessor.from_pretrained(checkpoint, trust_remote_code=False)
