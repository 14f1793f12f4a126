"""From raw clips and words to batches and answers: processor, pipeline, collator, corpora, protocols, metrics.

What needs torch is imported when it is asked for: the processor and the recognition core work without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .processing_drkf import DRKFProcessor

if TYPE_CHECKING:
    from .collator import DRKFDataCollator
    from .pipeline_drkf import MultimodalEmotionRecognitionPipeline

_NEEDS_TORCH = {"DRKFDataCollator": "collator", "MultimodalEmotionRecognitionPipeline": "pipeline_drkf"}

__all__ = ["DRKFDataCollator", "DRKFProcessor", "MultimodalEmotionRecognitionPipeline"]


def __getattr__(name: str) -> Any:
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_NEEDS_TORCH[name]}", __name__), name)
