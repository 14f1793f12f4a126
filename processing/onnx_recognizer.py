"""Emotion recognition with an exported ONNX graph: the pipeline's inputs, options and answers, without torch."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from .damage import refused
from .errors_drkf import DependencyError, DRKFError, FileError, InputError
from .processing_drkf import DRKFProcessor
from .recognition_drkf import EmotionRecognizer

GRAPH_FILE = "model.onnx"
FACTS: dict[str, Callable[[Any], bool]] = {
    "labels": lambda value: isinstance(value, list) and value != [] and all(isinstance(name, str) for name in value),
    "problem_type": lambda value: value in ("single_label_classification", "multi_label_classification"),
    "max_fusion_positions": lambda value: type(value) is int and value > 0,
    "modality_dropout": lambda value: type(value) in (int, float),
}
"""What the metadata of a graph must hold, as JSON, and whether it does."""


class OnnxEmotionRecognizer(EmotionRecognizer):
    """An [`EmotionRecognizer`] whose backend is a folder that `drkf export onnx` wrote.

    Args:
        processor: the folder's `DRKFProcessor`.
        session: an `onnxruntime.InferenceSession` of the folder's graph.
        options: defaults of the options of `RecognitionOptions`.

    Example:

    ```python
    recognize = OnnxEmotionRecognizer.from_pretrained("exported", batch_size=8)
    recognize({"audio": "clip.wav", "text": "You find me furious after the contract."})
    ```
    """

    def __init__(self, processor: DRKFProcessor, session: Any, **options: Any):
        facts = graph_facts(session.get_modelmeta().custom_metadata_map, str(options.get("checkpoint", "the graph")))
        self.session = session
        self.max_fusion_positions = facts["max_fusion_positions"]
        self._outputs = [output.name for output in session.get_outputs()]
        super().__init__(
            processor,
            self._infer,
            facts["labels"],
            facts["problem_type"] == "multi_label_classification",
            facts["modality_dropout"],
            **options,
        )

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        num_threads: int | None = None,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        **options: Any,
    ) -> "OnnxEmotionRecognizer":
        """
        Args:
            folder: what `drkf export onnx` wrote.
            num_threads: of one operator; onnxruntime takes every core if not given.
            providers: onnxruntime's execution providers, the preferred one first.
            options: see `RecognitionOptions`.

        Raises:
            FileNotFoundError: the folder holds no exported graph.
            ValueError: the graph or the processor cannot be loaded, or the graph lacks what `drkf export onnx` writes.
            ImportError: onnxruntime is not installed.
        """
        graph = Path(folder) / GRAPH_FILE
        if not graph.is_file():
            raise FileError(f"{folder} holds no {GRAPH_FILE}; write one with `drkf export onnx CHECKPOINT DIR`")
        try:
            import onnxruntime
        except ImportError as error:
            raise DependencyError("running an exported graph needs onnxruntime: pip install onnxruntime") from error
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = num_threads or 0
        try:
            session = onnxruntime.InferenceSession(graph, settings, providers=list(providers))
        except Exception as error:  # onnxruntime's errors share no other base
            raise DRKFError(f"{graph} cannot be loaded; is it damaged, or only half copied? ({error})") from error
        with refused(folder):
            processor = DRKFProcessor.from_pretrained(folder)
        return cls(processor, session, checkpoint=str(folder), **options)

    def _infer(self, features: dict[str, np.ndarray]) -> Mapping[str, np.ndarray | None]:
        try:
            values = self.session.run(self._outputs, features)
        except Exception as error:  # onnxruntime's errors share no other base
            shapes = ", ".join(f"{name} {tensor.shape}" for name, tensor in features.items())
            raise InputError(
                f"the graph cannot read {shapes}; speech frames + text tokens + 3 may be at most "
                f"{self.max_fusion_positions} ({error})"
            ) from error
        outputs: dict[str, np.ndarray | None] = {"consistency": None, "modality_shares": None}
        return outputs | dict(zip(self._outputs, values, strict=True))


def graph_facts(metadata: Mapping[str, str], graph: str) -> dict[str, Any]:
    """What `drkf export onnx` has written into a graph.

    Raises:
        FileError: an entry is missing or damaged.
    """
    facts = {}
    for name, value in metadata.items():
        with suppress(ValueError, RecursionError):
            facts[name] = json.loads(value)
    for name, is_right in FACTS.items():
        if name not in facts or not is_right(facts[name]):
            what = "is damaged" if name in metadata else "is missing"
            raise FileError(
                f"{graph}: the entry {name!r} of the graph's metadata {what}; write the graph again with "
                "`drkf export onnx CHECKPOINT DIR`"
            )
    return facts
