"""`drkf explain`: where a checkpoint looked while it answered."""

import json
import sys
from pathlib import Path

from processing.explanation_drkf import explain
from processing.figures.explanation import LIMIT, plot_explanation
from processing.onnx_recognizer import OnnxEmotionRecognizer
from processing.transcripts.timelines import PICTURES, check_output

from .checkpoint import open_pipeline


def run_explain(audio: Path, text: str | None, model: str, output: Path | None, as_json: bool) -> int:
    """Draws the picture, prints the figures where asked; returns the exit status."""
    try:
        if output is not None:
            check_output(output, PICTURES)
        pipe = open_pipeline(model)
        if isinstance(pipe, OnnxEmotionRecognizer):
            raise ValueError(f"{model} is an exported graph, which keeps no attention: name the checkpoint itself")
        explanation = explain(pipe, str(audio), text)
        best = explanation.answer["scores"][0]
        if output is not None:
            plot_explanation(explanation, output, f"{audio.name}: {best['label']} {best['score']:.2f}")
    except (ImportError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if warning := explanation.answer.get("warning"):
        print(f"note: {warning}", file=sys.stderr)
    if as_json:
        print(json.dumps({"audio": str(audio), **explanation.to_dict()}, indent=2, ensure_ascii=False))
    else:
        said = [word for word in explanation.words if not word.special]
        strongest = sorted(said, key=lambda word: -word.attention / word.tokens)[:3]
        print(f"{best['label']} {best['score']:.3f}")
        if strongest:
            print("words most attended to: " + ", ".join(f"{w.text} ({w.attention:.1%})" for w in strongest))
        peak = int(explanation.frame_attention.argmax())
        at = (peak + 0.5) * explanation.seconds / len(explanation.frame_attention)
        print(f"moment most attended to: {at:.2f} s ({explanation.frame_attention[peak]:.1%})")
        print(f"Shares of the attention of the fusion encoder's CLS (mean over layers and heads). {LIMIT}")
    if output is not None:
        print(f"Picture: {output}", file=sys.stderr if as_json else sys.stdout)
    return 0
