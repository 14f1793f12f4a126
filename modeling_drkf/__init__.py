"""DRKF as a transformers model: configuration, model, trainer.

Importing it registers the Auto classes and the pipeline.
"""

from transformers import AutoConfig, AutoModel, AutoModelForAudioClassification, AutoProcessor
from transformers.pipelines import PIPELINE_REGISTRY

from processing.pipeline_drkf import TASK, MultimodalEmotionRecognitionPipeline
from processing.processing_drkf import DRKFProcessor

from .configuration_drkf import DRKFConfig
from .modeling_drkf import DRKFForEmotionClassification, DRKFModel
from .training.arguments import DRKFTrainingArguments
from .training.trainer import DRKFTrainer

AutoConfig.register("drkf", DRKFConfig, exist_ok=True)
AutoModel.register(DRKFConfig, DRKFModel, exist_ok=True)
AutoModelForAudioClassification.register(DRKFConfig, DRKFForEmotionClassification, exist_ok=True)
AutoProcessor.register(DRKFConfig, DRKFProcessor, exist_ok=True)
PIPELINE_REGISTRY.register_pipeline(
    TASK, MultimodalEmotionRecognitionPipeline, pt_model=AutoModelForAudioClassification, type="multimodal"
)

# A saved checkpoint then carries this code and loads where the package is not installed.
DRKFConfig.register_for_auto_class()
DRKFModel.register_for_auto_class("AutoModel")
DRKFForEmotionClassification.register_for_auto_class("AutoModelForAudioClassification")
DRKFProcessor.register_for_auto_class()

__all__ = ["DRKFConfig", "DRKFForEmotionClassification", "DRKFModel", "DRKFTrainer", "DRKFTrainingArguments"]
