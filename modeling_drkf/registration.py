"""Registers DRKF with the Auto classes and pipelines of transformers as soon as either side of a pair is imported.

Registering imports torch and the model, which `import modeling_drkf` spares whoever needs neither. Nothing can look
DRKF up before it is registered: a lookup has to import the Auto class first.
"""

import sys
import threading
from collections.abc import Callable
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def _register_config() -> None:
    from transformers import AutoConfig

    from .configuration_drkf import DRKFConfig

    AutoConfig.register("drkf", DRKFConfig, exist_ok=True)
    DRKFConfig.register_for_auto_class()  # a saved checkpoint then carries this code


def _register_models() -> None:
    from transformers import AutoModel, AutoModelForAudioClassification

    from .modeling_drkf import DRKFConfig, DRKFForEmotionClassification, DRKFModel

    AutoModel.register(DRKFConfig, DRKFModel, exist_ok=True)
    AutoModelForAudioClassification.register(DRKFConfig, DRKFForEmotionClassification, exist_ok=True)
    DRKFModel.register_for_auto_class("AutoModel")
    DRKFForEmotionClassification.register_for_auto_class("AutoModelForAudioClassification")


def _register_processor() -> None:
    from transformers import AutoProcessor

    from processing.processing_drkf import DRKFProcessor

    from .configuration_drkf import DRKFConfig

    AutoProcessor.register(DRKFConfig, DRKFProcessor, exist_ok=True)
    DRKFProcessor.register_for_auto_class()


def _register_pipeline() -> None:
    from transformers import AutoModelForAudioClassification
    from transformers.pipelines import PIPELINE_REGISTRY

    from processing.pipeline_drkf import TASK, MultimodalEmotionRecognitionPipeline

    PIPELINE_REGISTRY.register_pipeline(
        TASK, MultimodalEmotionRecognitionPipeline, pt_model=AutoModelForAudioClassification, type="multimodal"
    )


REGISTRATIONS: dict[tuple[str, str], Callable[[], None]] = {
    ("transformers.models.auto.configuration_auto", "modeling_drkf.configuration_drkf"): _register_config,
    ("transformers.models.auto.modeling_auto", "modeling_drkf.modeling_drkf"): _register_models,
    ("transformers.models.auto.processing_auto", "processing.processing_drkf"): _register_processor,
    ("transformers.pipelines", "processing.pipeline_drkf"): _register_pipeline,
}
PACKAGES = ("modeling_drkf.", "processing.")


class Registrar(MetaPathFinder):
    """Runs each registration once one of its two modules is imported and no module of either side is half-way."""

    def __init__(self) -> None:
        self.pending = dict(REGISTRATIONS)
        self.importing = threading.local()

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not (name.startswith(PACKAGES) or any(name == theirs for theirs, _ in self.pending)):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = partial(self._execute, spec.loader.exec_module)  # type: ignore[method-assign]
        return spec

    def register(self) -> None:
        """Runs the registrations that are due."""
        for modules in list(self.pending):
            if any(module in sys.modules for module in modules) and (run := self.pending.pop(modules, None)):
                run()
        if not self.pending and self in sys.meta_path:
            sys.meta_path.remove(self)

    def _execute(self, execute: Callable[[ModuleType], None], module: ModuleType) -> None:
        depth = getattr(self.importing, "depth", 0)
        self.importing.depth = depth + 1
        try:
            execute(module)
        finally:
            self.importing.depth = depth
        if depth == 0:
            self.register()


def install() -> None:
    """Registers what can be registered now, and the rest when it is imported; nothing where there is no torch."""
    if find_spec("torch") is None:
        return
    registrar = Registrar()
    sys.meta_path.insert(0, registrar)
    registrar.register()
