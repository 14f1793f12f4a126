"""A checkpoint as one ONNX graph beside its processor: what `drkf export onnx` writes."""

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.utils import CONFIG_NAME

from processing.errors_drkf import DependencyError, OptionError
from processing.onnx_recognizer import GRAPH_FILE

from ..configuration_drkf import DRKFConfig
from .graph_card import onnx_card
from .licences import encoder_licence
from .loading import load_checkpoint, training_data_of
from .onnx_graph import InferenceGraph

AXES = {
    "input_values": ("batch", "audio_length", "audio_length"),  # Whisper has its frames last
    "audio_attention_mask": ("batch", "audio_length"),
    "input_ids": ("batch", "text_length"),
    "attention_mask": ("batch", "text_length"),
}
TOLERANCE = 1e-4
"""How far a probability of the float32 graph may be from torch's."""

OPSET = 23  # the first with an operator for attention as a whole
EXTERNAL_DATA_FROM = 1_500_000_000  # bytes; a protobuf file ends at 2 GiB
QUANTISED_OPERATORS = ["MatMul", "Gemm"]
KEPT_IN_FLOAT32 = ("feature_projection",)
"""Layers that read raw features of a wide range: quantised, the first alone makes a third of the error."""


def export_onnx(
    checkpoint: str | Path, folder: str | Path, int8: bool = False, progress: Callable[[str], None] = lambda step: None
) -> Path:
    """Writes `model.onnx`, the processor's files and a README with the graph's contract into a folder.

    Batch, audio and text lengths are dynamic; padding is masked inside the graph. The float32 graph is run on other
    shapes than it was traced with, and kept only if it gives torch's probabilities.

    Args:
        checkpoint: folder or Hub id of a [`DRKFForEmotionClassification`] with its processor.
        folder: is made where it does not exist; must hold no checkpoint.
        int8: quantise the weights of linear layers (per channel) and their inputs (when run).
        progress: is called with the name of each step as it begins.

    Returns: the path of the graph.

    Raises:
        DependencyError: onnx, onnxruntime or onnxscript is not installed.
        FileError: the checkpoint cannot be loaded.
        OptionError: the folder holds a checkpoint, or the encoders cannot be exported.
        ValueError: the graph does not give torch's probabilities.
    """
    _require_onnx()
    folder = Path(folder)
    if (folder / CONFIG_NAME).exists():
        raise OptionError(f"{folder} holds a checkpoint, whose card the export would replace: name another folder")
    progress("loading the checkpoint")
    model, processor = load_checkpoint(checkpoint, dtype=torch.float32)
    config: Any = model.config
    graph = InferenceGraph(model.eval())
    traced, *others = _batches(processor)
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as scratch:
        float32 = Path(scratch) / GRAPH_FILE
        progress("tracing the model, which takes longest")
        _write_graph(graph, traced, others, float32)
        progress("comparing the graph with the model")
        _check_graph(graph, others, float32)
        progress("quantising the weights" if int8 else "writing the graph")
        path = _finish(float32, folder / GRAPH_FILE, _metadata(config, int8), int8)
    processor.save_pretrained(folder)
    if made_from := training_data_of(checkpoint):
        made_from.save(folder)
    (folder / "README.md").write_text(
        onnx_card(path, config, processor, encoder_licence(str(checkpoint))), encoding="utf-8"
    )
    return path


def _require_onnx() -> None:
    if missing := [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]:
        raise DependencyError(f"exporting needs {', '.join(missing)}: pip install {' '.join(missing)}")


def _batches(processor: Any) -> list[dict[str, Tensor]]:
    """Noise and words in four shapes: to trace with, then the shortest legal clip and text, alone and in a batch."""
    rng = np.random.default_rng(0)
    shortest, rate = processor.min_audio_samples, processor.feature_extractor.sampling_rate

    def batch(clips: Sequence[float], texts: Sequence[str]) -> dict[str, Tensor]:
        audio = [0.1 * rng.standard_normal(int(length * shortest)).astype(np.float32) for length in clips]
        inputs = processor(audio=audio, text=list(texts), sampling_rate=rate, return_tensors="pt")
        return {name: inputs[name] for name in AXES}

    return [
        batch([1.5, 1.2], ["never mind", "a, b, c, d"]),
        batch([1.1, 1.9, 1], ["a, b, c, d, e, f", "", "oh"]),
        batch([1], [""]),
        batch([1.7], ["so happy that you came back"]),
    ]


def _write_graph(
    graph: InferenceGraph, traced: Mapping[str, Tensor], others: Sequence[Mapping[str, Tensor]], path: Path
) -> None:
    """An axis is dynamic if its size differs between the batches: a fixed window stays fixed."""
    shapes = {
        name: {
            axis: label
            for axis, label in enumerate(AXES[name][: tensor.dim()])
            if any(other[name].shape[axis] != tensor.shape[axis] for other in others)
        }
        for name, tensor in traced.items()
    }
    encoding = graph.model.drkf.modality_encoding
    size = sum(parameter.nbytes for parameter in graph.parameters())
    try:
        with torch.no_grad(), _quiet():
            torch.onnx.export(
                graph,
                kwargs=dict(traced),
                f=path,
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=shapes,
                input_names=list(traced),
                output_names=graph.output_names,
                external_data=size > EXTERNAL_DATA_FROM,
                verbose=False,
            )
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        raise OptionError(
            f"torch.onnx cannot export {type(encoding.speech_encoder).__name__} with "
            f"{type(encoding.text_encoder).__name__}: {error}"
        ) from error


def _check_graph(graph: InferenceGraph, batches: Sequence[Mapping[str, Tensor]], path: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in batches:
        with torch.no_grad():
            expected = graph(**batch)
        try:
            actual = session.run(None, {name: tensor.numpy() for name, tensor in batch.items()})
        except Exception as error:  # onnxruntime's errors share no other base
            raise ValueError(f"the exported graph does not run on {_shapes(batch)}: {error}") from error
        for name, ours, theirs in zip(graph.output_names, actual, expected, strict=True):
            difference = float(
                (_probabilities(torch.from_numpy(ours), name) - _probabilities(theirs, name)).abs().max()
            )
            if not difference <= TOLERANCE:
                raise ValueError(
                    f"the exported graph's {name} are {difference:.1e} from torch's on {_shapes(batch)}: these "
                    "encoders cannot be exported"
                )


def _probabilities(values: Tensor, name: str) -> Tensor:
    if name == "modality_shares":
        return values
    return values.softmax(-1) if name == "logits" else values.sigmoid()


def _shapes(batch: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in batch.items())


def _metadata(config: DRKFConfig, int8: bool) -> dict[str, str]:
    """All values are JSON."""
    facts = {
        "labels": config.label_names,
        "problem_type": config.problem_type,
        "modality_dropout": getattr(config, "modality_dropout", 0.0),
        "max_fusion_positions": config.max_fusion_positions,
        "precision": "int8" if int8 else "float32",
    }
    return {name: json.dumps(value, ensure_ascii=False) for name, value in facts.items()}


def _finish(float32: Path, path: Path, metadata: Mapping[str, str], int8: bool) -> Path:
    """Quantises where asked, adds the metadata, and puts the graph in its place."""
    import onnx

    source = float32
    large = float32.with_name(float32.name + ".data").exists()
    if int8:
        from onnxruntime.quantization import QuantType, quantize_dynamic
        from onnxruntime.quantization.shape_inference import quant_pre_process

        folded, source = float32.with_name("folded.onnx"), float32.with_name("quantised.onnx")
        with _quiet():
            quant_pre_process(
                float32,
                folded,
                skip_optimization=large,  # onnxruntime writes one file
                skip_symbolic_shape=True,
                save_as_external_data=large,
            )
            quantize_dynamic(
                folded,
                source,
                op_types_to_quantize=QUANTISED_OPERATORS,
                per_channel=True,
                weight_type=QuantType.QInt8,
                reduce_range=True,  # of 8-bit weights, CPUs without VNNI let the sum of two products overflow
                nodes_to_exclude=_nodes_of(float32, KEPT_IN_FLOAT32),
                use_external_data_format=large,
            )
    proto = onnx.load(source)
    onnx.helper.set_model_props(proto, dict(metadata))
    path.unlink(missing_ok=True)
    path.with_name(path.name + ".data").unlink(missing_ok=True)
    onnx.save(proto, path, save_as_external_data=large, location=path.name + ".data")
    return path


def _nodes_of(path: Path, modules: Sequence[str]) -> list[str]:
    """The graph's nodes that come from these modules of the model, by the exporter's notes."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    return [
        node.name
        for node in graph.node
        if any(module in note.value for note in node.metadata_props for module in modules)
    ]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on its own inner workings."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
