"""DRKF as a transformers model: configuration, model, trainer.

Importing it registers the classes with the Auto classes and the pipelines of transformers. The trainer, which needs
more of transformers than answering does, is imported when it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from transformers import AutoConfig, AutoModel, AutoModelForAudioClassification, AutoProcessor
from transformers.pipelines import PIPELINE_REGISTRY

from processing.pipeline_drkf import TASK, MultimodalEmotionRecognitionPipeline
from processing.processing_drkf import DRKFProcessor

from .configuration_drkf import DRKFConfig
from .modeling_drkf import DRKFForEmotionClassification, DRKFModel

if TYPE_CHECKING:
    from .training.arguments import DRKFTrainingArguments
    from .training.trainer import DRKFTrainer

__all__ = ["DRKFConfig", "DRKFForEmotionClassification", "DRKFModel", "DRKFTrainer", "DRKFTrainingArguments"]

_TRAINING = {"DRKFTrainer": "trainer", "DRKFTrainingArguments": "arguments"}


def __getattr__(name: str) -> Any:
    if name not in _TRAINING:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".training.{_TRAINING[name]}", __name__), name)


AutoConfig.register(DRKFConfig.model_type, DRKFConfig, exist_ok=True)
AutoModel.register(DRKFConfig, DRKFModel, exist_ok=True)
AutoModelForAudioClassification.register(DRKFConfig, DRKFForEmotionClassification, exist_ok=True)
AutoProcessor.register(DRKFConfig, DRKFProcessor, exist_ok=True)
PIPELINE_REGISTRY.register_pipeline(
    TASK, MultimodalEmotionRecognitionPipeline, pt_model=AutoModelForAudioClassification, type="multimodal"
)

# A saved checkpoint then carries this code.
DRKFConfig.register_for_auto_class()
DRKFModel.register_for_auto_class("AutoModel")
DRKFForEmotionClassification.register_for_auto_class("AutoModelForAudioClassification")
DRKFProcessor.register_for_auto_class()
