"""Opening a checkpoint, as every verb that uses one does."""

from pathlib import Path
from typing import Any

from transformers import pipeline

import modeling_drkf  # noqa: F401  (registers the classes)
from modeling_drkf.release.licences import HUB_ID
from processing.onnx_recognizer import GRAPH_FILE, OnnxEmotionRecognizer
from processing.pipeline_drkf import TASK

from . import DEMO_CHECKPOINT


def open_pipeline(model: str, device: Any = None, **options: Any) -> Any:
    """What answers for a model: the pipeline of a checkpoint (folder or Hub id), or the recogniser of a folder that
    `drkf export onnx` wrote. Both take the same inputs and options.

    Raises:
        ValueError, OSError: there is no such checkpoint, or it is none of DRKF's.
    """
    if model == DEMO_CHECKPOINT and not Path(model).is_dir():
        raise ValueError(f"there is no {model} yet: run `drkf demo`, or name a checkpoint with --model")
    check_name(model)
    if (Path(model) / GRAPH_FILE).is_file():
        return OnnxEmotionRecognizer.from_pretrained(model, **options)
    return pipeline(TASK, model=model, device=device, **options)  # type: ignore[call-overload]


def check_name(model: str) -> None:
    """ValueError if `model` is neither a folder nor of the form of a Hub id."""
    if not Path(model).is_dir() and not HUB_ID.fullmatch(model):
        raise ValueError(f"{model} is neither the folder of a checkpoint nor a Hub id (owner/name)")


def renamed(answer: dict[str, Any], number: int, name: str) -> dict[str, Any]:
    """The pipeline's answer to its input `number`, called `name` in its error, if it is one."""
    beginning = f"input {number}"
    error = answer.get("error", "")
    return {"error": name + error.removeprefix(beginning)} if error.startswith(beginning) else answer
