"""From raw clips and words to batches and answers: processor, pipeline, collator, corpora, evaluation, figures.

Its names are imported when they are used: reading a corpus loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .collator import DRKFDataCollator
    from .pipeline_drkf import MultimodalEmotionRecognitionPipeline
    from .processing_drkf import DRKFProcessor

__all__ = ["DRKFDataCollator", "DRKFProcessor", "MultimodalEmotionRecognitionPipeline"]

_MODULES = {
    "DRKFDataCollator": "collator",
    "DRKFProcessor": "processing_drkf",
    "MultimodalEmotionRecognitionPipeline": "pipeline_drkf",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
