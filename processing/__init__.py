"""From raw clips and words to batches: processor, collator, corpora, protocols, metrics."""

from .collator_drkf import DRKFDataCollator
from .processing_drkf import DRKFProcessor

__all__ = ["DRKFDataCollator", "DRKFProcessor"]
