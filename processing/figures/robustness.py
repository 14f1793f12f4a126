"""A score under several conditions, as points with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .style import PALETTE, new_figure, save, set_title


def plot_robustness(scores: Mapping[str, Mapping[str, Any]], metric: str, path: str | Path, title: str) -> Path:
    """Draw the score of each condition with its interval, the first one, of clean speech, as a line through all.

    Args:
        scores: name -> `score` and `interval`, from the top down.
        path: the image to write; its ending chooses the format (.png, .svg, .pdf).

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure = new_figure(7, 1.4 + 0.3 * len(scores))
    axes = figure.subplots()
    for height, scored in enumerate(scores.values()):
        axes.plot(scored["interval"], [height, height], color=PALETTE[0], linewidth=2)
        axes.plot(scored["score"], height, "o", color=PALETTE[0])
    axes.axvline(next(iter(scores.values()))["score"], color=PALETTE[6], linestyle=":", linewidth=1)
    axes.set_yticks(range(len(scores)), list(scores))
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel(metric.replace("_", " "))
    set_title(figure, title)
    return save(figure, path)
