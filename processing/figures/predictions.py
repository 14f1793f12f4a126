"""What was predicted: confusion matrix, scores of each class, reliability diagram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors_drkf import OptionError
from ..evaluation.calibration import Calibration
from ..evaluation.rounding import rounded
from .style import PALETTE, new_figure, save, set_title, short_names

STRAIGHT = 9  # characters that a column is wide enough for


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
        raise OptionError(f"The confusion matrix has the shape {counts.shape}, and there are {size} label names.")
    support = counts.sum(axis=1)
    percent = 100 * counts / np.maximum(support, 1)[:, None]
    names = short_names(label_names)

    figure = new_figure(3.2 + 0.8 * size, 2.2 + 0.7 * size)
    axes = figure.subplots()
    image = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for row, column in np.ndindex(size, size):
        share = f"{percent[row, column]:.0f}%" if support[row] else "-"
        colour = "white" if percent[row, column] > 55 else "black"
        axes.text(column, row, f"{counts[row, column]}\n{share}", ha="center", va="center", color=colour)
    fits = max(len(line) for name in names for line in name.split("\n")) <= STRAIGHT
    turned: dict[str, Any] = {} if fits else {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(size), names, **turned)
    axes.set_yticks(range(size), [f"{name} ({total})" for name, total in zip(names, support, strict=True)])
    axes.set_xlabel("predicted")
    axes.set_ylabel("true (count)")
    set_title(figure, title)
    figure.colorbar(image, ax=axes, label="% of the true class")
    return save(figure, path)


def plot_class_scores(per_class: Mapping[str, Mapping[str, float]], path: str | Path, title: str) -> Path:
    """Draw precision, recall and F1 of each class as bars; what a confusion matrix cannot show for label sets.

    Args:
        per_class: {class: {precision, recall, f1, support}}, as `emotion_metrics` returns them.
        path, ImportError: as in [`plot_confusion_matrix`].
    """
    names = short_names(list(per_class))
    figure = new_figure(2.4 + 1.2 * len(names), 4.2)
    axes = figure.subplots()
    for number, score in enumerate(("precision", "recall", "f1")):
        positions = np.arange(len(names)) + 0.27 * (number - 1)
        values = [scores[score] for scores in per_class.values()]
        bars = axes.bar(positions, values, 0.26, label=score.replace("f1", "F1"), color=PALETTE[number])
        axes.bar_label(bars, [f"{value:.2f}"[:4].lstrip("0") for value in values], fontsize=8)
    support = [f"{name}\n({scores['support']})" for name, scores in zip(names, per_class.values(), strict=True)]
    axes.set_xticks(range(len(names)), support)
    axes.set_xlabel("class (utterances that bear it)")
    axes.set_ylim(0, 1.05)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    set_title(figure, title)
    return save(figure, path)


def wilson(shares: np.ndarray, counts: np.ndarray, z: float = 1.96) -> tuple[np.ndarray, np.ndarray]:
    """Centre and half width of Wilson's interval of a share among so many decisions, 95 % by default."""
    scale = 1 / (1 + z**2 / counts)
    centre = scale * (shares + z**2 / (2 * counts))
    return centre, scale * z * np.sqrt(shares * (1 - shares) / counts + z**2 / (4 * counts**2))


class Decisions(NamedTuple):
    """What a reliability diagram is about: its axes' labels."""

    right: str
    number: str
    probability: str


SINGLE_LABEL = Decisions("share classified right", "predictions", "probability of the predicted class")
MULTI_LABEL = Decisions("share of classes that were present", "decisions", "probability of a class")
CONSISTENCY = Decisions("share whose voice and words agree", "pairs", "consistency")


def plot_reliability(bins: Calibration, path: str | Path, title: str, decisions: Decisions = SINGLE_LABEL) -> Path:
    """Draw how often decisions were right against the probability that they were given, and how many there were.

    Bars on the diagonal are well calibrated; below it the model is overconfident, above it too modest. The expected
    calibration error stands in the title.

    Args:
        bins: what `calibration` returns. decisions: what they were about.
        path, ImportError: as in [`plot_confusion_matrix`].
    """
    width = bins.edges[1] - bins.edges[0]
    centres = bins.edges[:-1] + width / 2
    filled = bins.counts > 0
    figure = new_figure(5.2, 6.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.bar(centres[filled], bins.accuracy[filled], 0.92 * width, color=PALETTE[0], label="share in the bin")
    centre, half = wilson(bins.accuracy[filled], bins.counts[filled])
    error = {"fmt": "none", "ecolor": "#222222", "capsize": 2, "linewidth": 1, "label": "95 % interval"}
    upper.errorbar(centres[filled], centre, half, **error)
    upper.plot([0, 1], [0, 1], "--", color="#555555", label="perfect calibration")
    points = {"color": PALETTE[1], "label": "mean probability given", "clip_on": False}
    upper.plot(bins.confidence[filled], bins.accuracy[filled], "o", **points)
    upper.set_ylim(0, 1.02)
    upper.set_ylabel(decisions.right)
    bars = lower.bar(centres, bins.counts, 0.92 * width, color="#999999")
    lower.bar_label(bars, [f"{count:,}" if count else "" for count in bins.counts], fontsize=7)
    lower.set_ylabel(decisions.number)
    lower.set_xlabel(decisions.probability)
    lower.set_xlim(0, 1)
    lower.set_xticks(bins.edges[::2])
    lower.margins(y=0.25)
    for axes in (upper, lower):
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
    figure.legend(*upper.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    set_title(figure, f"{title}\nexpected calibration error {rounded(bins.expected_error)}")
    return save(figure, path)
