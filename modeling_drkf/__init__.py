"""DRKF as a transformers model: configuration, model, trainer.

Importing it registers the Auto classes and the pipeline. Its names are imported when they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import registration

if TYPE_CHECKING:
    from .configuration_drkf import DRKFConfig
    from .modeling_drkf import DRKFForEmotionClassification, DRKFModel
    from .training.arguments import DRKFTrainingArguments
    from .training.trainer import DRKFTrainer

__all__ = ["DRKFConfig", "DRKFForEmotionClassification", "DRKFModel", "DRKFTrainer", "DRKFTrainingArguments"]

_MODULES = {
    "DRKFConfig": "configuration_drkf",
    "DRKFForEmotionClassification": "modeling_drkf",
    "DRKFModel": "modeling_drkf",
    "DRKFTrainer": "training.trainer",
    "DRKFTrainingArguments": "training.arguments",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


registration.install()
