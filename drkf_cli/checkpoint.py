"""Opening a checkpoint, as every verb that uses one does."""

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model_cards import STARTER, packaged, starter_folder
from processing.errors_drkf import FileError
from processing.hub_ids import HUB_ID

if TYPE_CHECKING:
    from processing.onnx_recognizer import OnnxEmotionRecognizer
    from processing.pipeline_drkf import MultimodalEmotionRecognitionPipeline

__all__ = [
    "STARTER",
    "ModelOption",
    "model_title",
    "open_pipeline",
    "packaged",
    "require_checkpoint",
    "starter_folder",
]

EXAMPLE_CLIP, EXAMPLE_TEXT = "example.flac", "You find me furious after the contract."  # of synthetic speech
DEMO_CHECKPOINT = "runs/demo/both"
CONFIG = "config.json"
PROCESSOR = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json", "tokenizer.json")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


def model_title(model: str) -> str:
    """The heading of a checkpoint's card; its name where it has none."""
    card = Path(model) / "README.md"
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines() if card.is_file() else []
    headings = (line.removeprefix("# ").strip() for line in lines if line.startswith("# "))
    return next(filter(None, headings), Path(model).resolve().name)


ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        help="A DRKF checkpoint: a folder, a Hub id, or `starter`, which comes with the package.",
        callback=packaged,
    ),
]


def open_pipeline(
    model: str, device: Any = None, dtype: Any = "auto", graph: bool = True, **options: Any
) -> "MultimodalEmotionRecognitionPipeline | OnnxEmotionRecognizer":
    """What answers for a model: the pipeline of a checkpoint (folder or Hub id), or the recogniser of a folder that
    `drkf export onnx` wrote. Both take the same inputs and options.

    Args:
        device, dtype: where a checkpoint's weights lie, and as what. A graph has its own.
        graph: see [`require_checkpoint`].

    Raises:
        FileError: there is no such checkpoint, or it cannot be loaded.
    """
    require_checkpoint(model, graph)
    with _loading():
        from processing.quiet import quieten

        quieten()
        if _is_graph(Path(model)):
            from processing.onnx_recognizer import OnnxEmotionRecognizer

            return OnnxEmotionRecognizer.from_pretrained(model, **options)
        from transformers import pipeline

        from modeling_drkf.release.loading import load_checkpoint
        from processing.damage import refused
        from processing.pipeline_drkf import TASK

        loaded, processor = load_checkpoint(model, dtype=dtype)
        with refused(model):
            return pipeline(TASK, model=loaded, processor=processor, device=device, **options)  # type: ignore[call-overload]


@contextmanager
def _loading() -> Iterator[None]:
    """Keeps the garbage collector from what is imported and loaded inside, for good: it is no garbage, and looking
    through it, again and again and once more at the end, takes a third of the time of a short command."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def require_checkpoint(model: str, graph: bool = True) -> None:
    """Checks what `--model` names before anything heavy is imported, and loads no weights.

    Args:
        graph: whether a folder that `drkf export onnx` wrote will do.

    Raises:
        FileError: it is neither the folder of a DRKF checkpoint or of an exported graph, nor of the form of a Hub id.
    """
    folder = Path(model)
    if model == DEMO_CHECKPOINT and not folder.is_dir():
        raise FileError(f"there is no {model} yet: run `drkf demo`, or name a checkpoint with --model")
    if folder.is_file():
        raise FileError(f"{model} is a file: --model takes the folder that holds a checkpoint")
    if folder.is_dir():
        if not _is_graph(folder):
            _require_files(folder)
        elif not graph:
            raise FileError(f"{model} is an exported graph: name the checkpoint that it was made from")
    elif not HUB_ID.fullmatch(model):
        raise FileError(f"{model} is neither the folder of a checkpoint nor a Hub id (owner/name)")


def _is_graph(folder: Path) -> bool:
    return any(folder.glob("*.onnx"))


def _require_files(folder: Path) -> None:
    from processing.damage import read_object, require_safe

    if not (folder / CONFIG).is_file():
        inside = sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))
        hint = f"; there is one in {', '.join(map(str, inside[:3]))}" if inside else ""
        raise FileError(f"{folder} is not the folder of a checkpoint: it has no {CONFIG}{hint}")
    kind = read_object(folder / CONFIG).get("model_type")
    if kind != "drkf":
        raise FileError(f"{folder} is not a DRKF checkpoint: model_type in its {CONFIG} is {json.dumps(kind)}")
    if not any((folder / name).is_file() for name in WEIGHTS):
        raise FileError(f"{folder} has no weights ({WEIGHTS[0]}): the checkpoint is incomplete")
    if not any((folder / name).is_file() for name in PROCESSOR[:2]):
        raise FileError(f"{folder} has no {PROCESSOR[0]}: save the processor beside the model")
    for name in PROCESSOR:
        if (folder / name).is_file():
            read_object(folder / name)
    require_safe(folder)
