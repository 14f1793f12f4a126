"""The curves of a training run: every loss term and every metric against the epoch."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors_drkf import OptionError
from .style import PALETTE, new_figure, save, set_title

NOT_CURVES = ("epoch", "step", "learning_rate", "grad_norm", "total_flos", "num_input_tokens_seen")
NOT_CURVES_BEGINNINGS = ("f1_", "test_")
NOT_CURVES_ENDINGS = ("runtime", "_per_second")
LOGARITHMIC_FROM = 100
TRAINING, VALIDATION = PALETTE[:2]


def plot_loss_curves(
    log_history: Sequence[Mapping[str, Any]], path: str | Path, title: str = "", best_epoch: float | None = None
) -> Path:
    """Draw every term of a training run against the epoch, one small panel each, training and validation together.

    Terms that are 0 throughout, and the only term of a loss, are left out; those that span more than two powers of ten
    have a logarithmic axis.

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
    terms = sorted(curves, key=lambda term: (term != "loss", not term.endswith("_loss")))
    columns = _columns(len(terms))
    rows = -(-len(terms) // columns)

    figure = new_figure(4 * columns, 0.9 + 2.6 * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True).flat
    shown = {}
    for number, (axes, term) in enumerate(zip(grid, terms, strict=False)):
        for kind, colour, marker in (("training", TRAINING, "."), ("validation", VALIDATION, "o")):
            points = curves[term][kind]
            if points:
                style = {"color": colour, "marker": marker, "markersize": 4, "label": kind}
                shown[kind] = axes.plot(*zip(*points, strict=True), **style)[0]
        if best_epoch is not None:
            shown["best epoch"] = axes.axvline(best_epoch, color="#555555", linestyle=":", label="best epoch")
        if _spreads(curves[term]):
            axes.set_yscale("log")
        axes.set_title(term.replace("_", " ").replace("f1", "F1"), fontsize=10)
        axes.grid(alpha=0.3)
        if number + columns >= len(terms):
            axes.set_xlabel("epoch")
        axes.tick_params(labelbottom=True)
    for unused in grid[len(terms) :]:
        unused.remove()
    figure.legend(handles=list(shown.values()), loc="outside lower center", ncols=len(shown), frameon=False)
    if title:
        set_title(figure, title)
    return save(figure, path)


def has_curves(log_history: Sequence[Mapping[str, Any]]) -> bool:
    """Whether there is anything to draw."""
    return bool(_curves(log_history))


def _columns(panels: int) -> int:
    """At most four panels in a row, and the last row as full as can be."""
    return panels if panels < 4 else max((3, 4), key=lambda columns: (-(-panels % columns), columns))


def _spreads(curve: Mapping[str, Sequence[tuple[float, float]]]) -> bool:
    values = [value for points in curve.values() for _, value in points if math.isfinite(value)]
    return bool(values) and min(values) > 0 and max(values) > LOGARITHMIC_FROM * min(values)


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
    drawn = {
        term: kinds for term, kinds in curves.items() if any(v != 0 for points in kinds.values() for _, v in points)
    }
    losses = [term for term in drawn if term.endswith("_loss")]
    if "loss" in drawn and len(losses) == 1:
        del drawn[losses[0]]
    return drawn
