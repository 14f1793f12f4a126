"""`drkf predict`: one clip, one answer."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForAudioClassification, AutoProcessor

import modeling_drkf  # noqa: F401  (registers the Auto classes)
from processing.audio_drkf import AudioError

from . import DEMO_CHECKPOINT


def classify(model: Any, processor: Any, audio: Any, text: str) -> dict[str, Any]:
    """
    Args:
        model, processor: a DRKF checkpoint's. audio: anything that the processor takes. text: what is said.

    Returns: `scores` {label: probability}, most probable first; `consistency`, the probability that voice and words
        bear the same emotion, and `dominant_modality` with both `modality_shares`, each None where the model has no
        such answer.
    """
    with torch.inference_mode():
        output = model(**processor(audio=audio, text=text, return_tensors="pt"), output_modality_attention=True)
    logits = output.logits[0]
    probabilities = logits.sigmoid() if model.config.is_multi_label else logits.softmax(-1)
    scores = dict(zip(model.config.label_names, probabilities.tolist(), strict=True))
    shares = None if output.modality_shares is None else output.modality_shares[0].tolist()
    return {
        "text": text,
        "scores": dict(sorted(scores.items(), key=lambda item: -item[1])),
        "consistency": None if output.consistency_logits is None else output.consistency_logits.sigmoid().item(),
        "dominant_modality": None if shares is None else ("speech" if shares[0] >= shares[1] else "text"),
        "modality_shares": None if shares is None else dict(zip(("speech", "text"), shares, strict=True)),
    }


def answers_table(answers: Sequence[dict[str, Any]], titles: Sequence[str], labels: Sequence[str]) -> Table:
    """One column an answer, one row a class, then agreement and dominant modality."""
    table = Table()
    table.add_column("")
    for title in titles:
        table.add_column(title, justify="right")
    for label in labels:
        cells = [f"{answer['scores'][label]:.3f}" for answer in answers]
        best = [
            f"[bold]{cell}[/bold]" if next(iter(a["scores"])) == label else cell
            for cell, a in zip(cells, answers, strict=True)
        ]
        table.add_row(label, *best)
    table.add_section()
    agreement = ["-" if a["consistency"] is None else f"{a['consistency']:.3f}" for a in answers]
    table.add_row("voice and words agree", *agreement)
    dominant = [
        "-" if (name := a["dominant_modality"]) is None else f"{name} ({a['modality_shares'][name]:.0%})"
        for a in answers
    ]
    table.add_row("dominant modality", *dominant)
    return table


def run_predict(audio: Path, text: str, model_name: str, as_json: bool) -> int:
    """Prints the answer; returns the exit status."""
    if model_name == DEMO_CHECKPOINT and not Path(model_name).is_dir():
        print(
            f"error: there is no {model_name} yet: run `drkf demo`, or name a checkpoint with --model", file=sys.stderr
        )
        return 1
    if not text.strip():
        print("note: no words were given; the answer rests on the voice alone", file=sys.stderr)
    try:
        processor = AutoProcessor.from_pretrained(model_name)
        model = AutoModelForAudioClassification.from_pretrained(model_name).eval()
        answer = classify(model, processor, audio, text)
    except (AudioError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps({"audio": str(audio), **answer}, indent=2, ensure_ascii=False))
    else:
        Console().print(answers_table([answer], [audio.name], model.config.label_names))
    return 0
