"""The card of an exported graph."""

from pathlib import Path

from processing.processing_drkf import DRKFProcessor

from ..configuration_drkf import DRKFConfig
from .card import limits

MEANINGS = {
    "input_values": "what the feature extractor makes of the clips",
    "audio_attention_mask": "1 where a clip is, 0 where it is padded",
    "input_ids": "what the tokenizer makes of the words",
    "attention_mask": "1 where a text is, 0 where it is padded",
    "logits": "{activation} gives the probability of each class",
    "consistency_logits": "higher where voice and words express the same emotion; its sigmoid is not calibrated",
    "consistency": "the calibrated probability that voice and words express the same emotion",
    "modality_shares": "share of the attention on the voice and on the words; they sum to 1",
}
USAGE = """```python
from processing.onnx_recognizer import OnnxEmotionRecognizer

recognize = OnnxEmotionRecognizer.from_pretrained("{folder}")
recognize({{"audio": "clip.wav", "text": "What is said in it."}})
```"""


def onnx_card(graph: Path, config: DRKFConfig, processor: DRKFProcessor, licence: str | None) -> str:
    """The README of an exported folder: the contract of its graph, its licence and its limits.

    Args:
        graph: the exported file; its inputs, outputs and metadata are listed as they are.
        config, processor, licence: the checkpoint's.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    activation = "a sigmoid" if config.is_multi_label else "a softmax"
    extractor, rate = processor.feature_extractor, processor.feature_extractor.sampling_rate
    metadata = session.get_modelmeta().custom_metadata_map
    lines = [
        *(["---", f"license: {licence}", "---", ""] if licence else []),
        "# DRKF as an ONNX graph",
        "",
        "What a speaker feels, from the voice and the words together. "
        f"`{graph.name}` is the graph, the other files are its processor's.",
        "",
        USAGE.format(folder=graph.parent.name),
        "",
        "That needs the package (`pip install --no-deps drkf` will do), onnxruntime 1.23 or later, soundfile, soxr "
        "and transformers, but no torch. Any other ONNX runtime with opset 23 takes the graph:",
        "",
        "| | type | shape | |",
        "|---|---|---|---|",
    ]
    for value in (*session.get_inputs(), *session.get_outputs()):
        shape = ", ".join(map(str, value.shape))
        meaning = MEANINGS[value.name].format(activation=activation)
        lines.append(f"| `{value.name}` | {value.type.removeprefix('tensor(').rstrip(')')} | {shape} | {meaning} |")
    lines += [
        "",
        f"- Classes, in the order of the logits: {', '.join(config.label_names)}.",
        f"- Clips: mono, {rate} Hz, {'without their silence, ' if processor.skip_silence else ''}"
        f"at least {processor.min_audio_samples} samples (shorter ones are padded with "
        f"zeros that count as valid), then `{type(extractor).__name__}`. Clips and texts are padded to the "
        "longest of the batch.",
        f"- Speech frames + text tokens + 3 must not exceed {config.max_fusion_positions}.",
        f"- No words: the empty text. No voice: {processor.min_audio_samples} samples of silence. "
        + (
            "This checkpoint was trained for both."
            if getattr(config, "modality_dropout", 0.0)
            else "This checkpoint was not trained for either."
        ),
        *_precision_note(metadata["precision"]),
        "",
        "The graph's `metadata_props`, each value as JSON:",
        "",
        *(f"- `{name}`: {value}" for name, value in metadata.items()),
        "",
        "## Licence",
        "",
        f"The weights: {licence}, as the card of the checkpoint says."
        if licence
        else "The weights have the licence of what they were trained from; the checkpoint names none.",
        "",
        limits(),
    ]
    return "\n".join(lines) + "\n"


def _precision_note(precision: str) -> list[str]:
    if precision == '"float32"':
        return ["- float32: probabilities are within 1e-4 of the checkpoint's, alone and in any batch."]
    return [
        "- int8: the weights of linear layers per channel, inputs when run, scaled over the batch: "
        "probabilities differ a little from the checkpoint's and from batch to batch.",
        "- int8 makes the file smaller. With instructions for 8 bits (VNNI) it is faster than the float32 graph, 1.2 "
        "times for a small model; with AVX2 alone it depends, 1.3 times for the starter, 0.88 times for the demo's.",
    ]
