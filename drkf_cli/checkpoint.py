"""Opening a checkpoint, as every verb that uses one does."""

from pathlib import Path
from typing import Any

from transformers import pipeline

import modeling_drkf  # noqa: F401  (registers the classes)

from . import DEMO_CHECKPOINT

TASK = "multimodal-emotion-recognition"


def open_pipeline(model: str, device: Any = None, **options: Any) -> Any:
    """The pipeline of a folder or Hub id; options are the pipeline's.

    Raises:
        ValueError, OSError: there is no such checkpoint, or it is none of DRKF's.
    """
    if model == DEMO_CHECKPOINT and not Path(model).is_dir():
        raise ValueError(f"there is no {model} yet: run `drkf demo`, or name a checkpoint with --model")
    return pipeline(TASK, model=model, device=device, **options)
