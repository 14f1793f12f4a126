"""A checkpoint, loaded whole or refused."""

from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HTTPError
from transformers import AutoModelForAudioClassification, AutoProcessor

from processing.corpora.training_data import TRAINING_DATA, TrainingData
from processing.damage import refused, require_safe
from processing.errors_drkf import FileError
from processing.pipeline_drkf import require_weights
from processing.processing_drkf import DRKFProcessor

from ..modeling_drkf import DRKFForEmotionClassification


def training_data_of(checkpoint: str | Path) -> TrainingData | None:
    """What a checkpoint (folder or Hub id) says it was made from; None where it does not, or the Hub is out of reach.

    Raises:
        FileError: the file is damaged.
    """
    path = Path(checkpoint, TRAINING_DATA)
    if not Path(checkpoint).is_dir():
        try:
            path = Path(hf_hub_download(str(checkpoint), TRAINING_DATA))
        except (OSError, HTTPError, ValueError):
            return None
    return TrainingData.load(path) if path.is_file() else None


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
