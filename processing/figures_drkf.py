"""Figures for reports and model cards: a confusion matrix, and the curves of a training run.

matplotlib is imported where it is used, without pyplot: no global figure, no change of the caller's backend.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOT_CURVES = ("epoch", "step", "learning_rate", "grad_norm", "total_flos", "num_input_tokens_seen")
NOT_CURVES_BEGINNINGS = ("f1_", "test_")
NOT_CURVES_ENDINGS = ("runtime", "_per_second")
TRAINING, VALIDATION = "#4477aa", "#cc6677"


def plot_confusion_matrix(
    matrix: Any, label_names: Sequence[str], path: str | Path, title: str = "Confusion matrix"
) -> Path:
    """Draw a confusion matrix; each cell holds the count and its share of the row (on the diagonal: the recall).

    Args:
        matrix: counts (classes, classes), rows are references, as `emotion_metrics` returns them.
        path: the image to write; its ending chooses the format (.png, .svg, .pdf).

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: a matrix that is not (classes, classes) for the label names.
    """
    counts = np.asarray(matrix)
    size = len(label_names)
    if counts.shape != (size, size):
        raise ValueError(f"The confusion matrix has the shape {counts.shape}, and there are {size} label names.")
    support = counts.sum(axis=1)
    percent = 100 * counts / np.maximum(support, 1)[:, None]

    figure = _figure(2.4 + 0.9 * size, 1.9 + 0.75 * size)
    axes = figure.subplots()
    image = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for row, column in np.ndindex(size, size):
        share = f"{percent[row, column]:.0f}%" if support[row] else "-"
        colour = "white" if percent[row, column] > 55 else "black"
        axes.text(column, row, f"{counts[row, column]}\n{share}", ha="center", va="center", color=colour)
    axes.set_xticks(range(size), label_names, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(size), [f"{name} ({total})" for name, total in zip(label_names, support, strict=True)])
    axes.set_xlabel("predicted")
    axes.set_ylabel("true (utterances)")
    figure.suptitle(textwrap.fill(title, int(9 * figure.get_figwidth())))
    figure.colorbar(image, ax=axes, label="% of the true class")
    return _save(figure, path)


def plot_loss_curves(log_history: Sequence[Mapping[str, Any]], path: str | Path) -> Path:
    """Draw every term of a training run against the epoch, one small panel each, training and validation together.

    Args:
        log_history: `Trainer.state.log_history`. Losses come first, then metrics; each class' F1, test scores and
            bookkeeping are left out.
        path: the image to write; its ending chooses the format (.png, .svg, .pdf).

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the history holds no curve.
    """
    curves = _curves(log_history)
    if not curves:
        raise ValueError("The log history holds no losses: was the trainer's logging_steps longer than the run?")
    terms = sorted(curves, key=lambda term: (term != "loss", not term.endswith(("_loss", "_divergence"))))
    columns = min(3, len(terms))
    rows = -(-len(terms) // columns)

    figure = _figure(4 * columns, 0.6 + 2.6 * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True).flat
    for axes, term in zip(grid, terms, strict=False):
        for kind, colour, marker in (("training", TRAINING, "."), ("validation", VALIDATION, "o")):
            points = curves[term][kind]
            if points:
                axes.plot(*zip(*points, strict=True), color=colour, marker=marker, markersize=4, label=kind)
        axes.set_title(term.replace("_", " "), fontsize=10)
        axes.grid(alpha=0.3)
        axes.tick_params(labelbottom=True)
        axes.legend(fontsize=8)
    for unused in grid[len(terms) :]:
        unused.remove()
    figure.supxlabel("epoch")
    return _save(figure, path)


def _curves(log_history: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """{term: {"training" | "validation": [(epoch, value)]}}."""
    curves: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: {"training": [], "validation": []})
    for entry in log_history:
        if "train_runtime" in entry:  # the summary at the end of training, no point of a curve
            continue
        for name, value in entry.items():
            term = name.removeprefix("eval_")
            if term in NOT_CURVES or term.startswith(NOT_CURVES_BEGINNINGS) or term.endswith(NOT_CURVES_ENDINGS):
                continue
            curves[term]["training" if term == name else "validation"].append((entry["epoch"], value))
    return dict(curves)


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Figures need matplotlib: pip install 'drkf[demo]'.") from error
    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Figure, path: str | Path) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return path
