"""The curves of a training run: every loss term and every metric against the epoch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors_drkf import OptionError
from .style import PALETTE, new_figure, save, set_title

NOT_CURVES = ("epoch", "step", "learning_rate", "grad_norm", "total_flos", "num_input_tokens_seen")
NOT_CURVES_BEGINNINGS = ("f1_", "test_")
NOT_CURVES_ENDINGS = ("runtime", "_per_second")
TRAINING, VALIDATION = PALETTE[:2]


def plot_loss_curves(
    log_history: Sequence[Mapping[str, Any]], path: str | Path, title: str = "", best_epoch: float | None = None
) -> Path:
    """Draw every term of a training run against the epoch, one small panel each, training and validation together.

    Args:
        log_history: `Trainer.state.log_history`. Losses come first, then metrics; each class' F1, test scores and
            bookkeeping are left out.
        path: the image to write; its ending chooses the format (.png, .svg, .pdf).
        best_epoch: marked in each panel.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the history holds no curve.
    """
    curves = _curves(log_history)
    if not curves:
        raise OptionError("The log history holds no losses: was the trainer's logging_steps longer than the run?")
    terms = sorted(curves, key=lambda term: (term != "loss", not term.endswith(("_loss", "_divergence"))))
    columns = min(3, len(terms))
    rows = -(-len(terms) // columns)

    figure = new_figure(4 * columns, 0.6 + 2.6 * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True).flat
    for axes, term in zip(grid, terms, strict=False):
        for kind, colour, marker in (("training", TRAINING, "."), ("validation", VALIDATION, "o")):
            points = curves[term][kind]
            if points:
                axes.plot(*zip(*points, strict=True), color=colour, marker=marker, markersize=4, label=kind)
        if best_epoch is not None:
            axes.axvline(best_epoch, color="#555555", linestyle=":", label="best epoch")
        axes.set_title(term.replace("_", " ").replace("f1", "F1"), fontsize=10)
        axes.grid(alpha=0.3)
        axes.tick_params(labelbottom=True)
        axes.legend(fontsize=8)
    for unused in grid[len(terms) :]:
        unused.remove()
    figure.supxlabel("epoch")
    if title:
        set_title(figure, title)
    return save(figure, path)


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
