"""`drkf predict`: one clip, one answer."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from transformers import pipeline

import modeling_drkf  # noqa: F401  (registers the pipeline)
from processing.pipeline_drkf import TASK

from . import DEMO_CHECKPOINT


def answers_table(answers: Sequence[dict[str, Any]], titles: Sequence[str], labels: Sequence[str]) -> Table:
    """One column an answer, one row a class, then agreement and dominant modality."""
    table = Table()
    table.add_column("")
    for title in titles:
        table.add_column(title, justify="right")
    for label in labels:
        table.add_row(label, *(_score(answer, label) for answer in answers))
    table.add_section()
    agreement = ["-" if a["consistency"] is None else f"{a['consistency']:.3f}" for a in answers]
    table.add_row("voice and words agree", *agreement)
    dominant = [
        "-" if (name := a["dominant_modality"]) is None else f"{name} ({a['modality_shares'][name]:.0%})"
        for a in answers
    ]
    table.add_row("dominant modality", *dominant)
    return table


def _score(answer: dict[str, Any], label: str) -> str:
    score = next(score["score"] for score in answer["scores"] if score["label"] == label)
    return f"[bold]{score:.3f}[/bold]" if label == answer["scores"][0]["label"] else f"{score:.3f}"


def run_predict(audio: Path, text: str, model_name: str, as_json: bool) -> int:
    """Prints the answer; returns the exit status."""
    if model_name == DEMO_CHECKPOINT and not Path(model_name).is_dir():
        print(
            f"error: there is no {model_name} yet: run `drkf demo`, or name a checkpoint with --model", file=sys.stderr
        )
        return 1
    try:
        pipe = pipeline(TASK, model=model_name)  # type: ignore[call-overload]
        answer = pipe({"audio": audio, "text": text})
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if "warning" in answer:
        print(f"note: {answer['warning']}", file=sys.stderr)
    if as_json:
        print(json.dumps({"audio": str(audio), **answer}, indent=2, ensure_ascii=False))
    else:
        Console().print(answers_table([answer], [audio.name], pipe.model.config.label_names))
    return 0
