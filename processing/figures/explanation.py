"""The picture of an explanation: attention over the waveform and the words, beside what was recognised."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..explanation import Explanation, Word
from .style import new_figure, save, set_title, wide_fonts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize

COLOURS = "YlOrBr"
BAR, FOUND = "#9aa9bd", "#224477"
LIMIT = "It shows where the model looked, not why it decided: attention is not an explanation of cause."
CAPTION = (
    "Attention of the fusion encoder's CLS (mean over layers and heads), as a multiple of an even spread over the "
    f"frames, or over the tokens. {LIMIT}"
)
COLUMNS = 96  # characters a line of words
ENVELOPE = 2000  # points of a drawn waveform


def plot_explanation(explanation: Explanation, path: str | Path, title: str = "") -> Path:
    """Draw where the model looked: the waveform against seconds and the words, both coloured by their attention, every
    class' probability, the agreement and the share of each modality. Special tokens, which are no words, are left
    out.

    Args:
        path: the image to write; its ending chooses the format (.png, .svg, .pdf).

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure = new_figure(10, 1)
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    frames, attentions, end = explanation.multiples()
    scale = Normalize(0, end)
    rows = _lines(explanation.said)
    scores = explanation.answer["scores"]
    heights = [1.7, 0.3 * len(rows) + 0.1, 0.26 * max(len(scores), 3) + 0.3]
    figure.set_figheight(sum(heights) + 1.8)
    top, middle, bottom = figure.subfigures(  # type: ignore[misc]
        3, 1, height_ratios=[heights[0] + 0.8, heights[1] + 0.2, heights[2] + 0.8]
    )

    waves = top.subplots()
    _draw_waveform(waves, explanation, frames, scale)
    _draw_words(middle.subplots(), rows, attentions, scale)
    left, right = bottom.subplots(1, 2)
    _draw_bars(left, [(entry["label"], entry["score"]) for entry in scores], "probability", first=FOUND)
    if verdicts := _verdicts(explanation.answer):
        _draw_bars(right, verdicts, "agreement and shares of attention")
    else:
        right.set_axis_off()
    top.colorbar(ScalarMappable(scale, COLOURS), ax=waves, label="times an even spread", extend="max", aspect=12)
    set_title(figure, title)
    bottom.supxlabel(textwrap.fill(CAPTION, 118), fontsize=8, color="#444444")
    return save(figure, path)


def _draw_waveform(axes: Axes, explanation: Explanation, frames: np.ndarray, scale: Normalize) -> None:
    wave, seconds = explanation.waveform, explanation.seconds
    step = max(1, len(wave) // ENVELOPE)
    pieces = np.pad(wave, (0, -len(wave) % step)).reshape(-1, step)
    peak = max(float(np.abs(wave).max()), 1e-6) * 1.05
    axes.imshow(frames[None], cmap=COLOURS, norm=scale, aspect="auto", extent=(0, seconds, -peak, peak))
    time = np.arange(len(pieces)) * step / explanation.sampling_rate
    axes.fill_between(time, pieces.min(1), pieces.max(1), color="#222222", linewidth=0.4)
    axes.set_yticks([])
    axes.set_ylabel("voice")
    axes.set_xlabel("seconds")


def _draw_words(axes: Axes, rows: Sequence[Sequence[tuple[int, int, Word]]], words: np.ndarray, scale: Any) -> None:
    """Words as coloured boxes on a grid of characters."""
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    colours = colormaps[COLOURS]
    for line, row in enumerate(rows):
        for column, index, word in row:
            shade = colours(scale(words[index]))
            ink = "white" if scale(words[index]) > 0.6 else "black"
            width = _width(word.text) + 0.6
            axes.add_patch(Rectangle((column - 0.3, line - 0.42), width, 0.84, facecolor=shade, linewidth=0))
            axes.text(
                column, line, _plain(word.text), family=_families(), fontsize=11.3, color=ink, va="center_baseline"
            )
    axes.set_xlim(-0.5, COLUMNS)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_ylabel("words")


def _draw_bars(axes: Axes, bars: Sequence[tuple[str, float]], title: str, first: str = BAR) -> None:
    """Bars from 0 to 1, the first on top, in the colour `first`."""
    names, values = zip(*bars, strict=True) if bars else ((), ())
    axes.barh(range(len(bars)), values, color=[first, *[BAR] * len(bars)][: len(bars)])
    for index, value in enumerate(values):
        inside = value >= 0.9
        side, ink = ("right", "white") if inside else ("left", "black")
        axes.text(value + (-0.01 if inside else 0.01), index, f"{value:.2f}", va="center", ha=side, color=ink)
    axes.set_yticks(range(len(bars)), names)
    axes.set_xlim(0, 1)
    axes.set_ylim(max(len(bars), 1) - 0.5, -0.5)
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def _verdicts(answer: dict[str, Any]) -> list[tuple[str, float]]:
    shares = answer["modality_shares"] or {}
    named = {
        "voice and words agree": answer["consistency"],
        "share of the voice": shares.get("speech"),
        "share of the words": shares.get("text"),
    }
    return [(name, value) for name, value in named.items() if value is not None]


def _lines(words: Sequence[Word]) -> list[list[tuple[int, int, Word]]]:
    """Words wrapped to `COLUMNS`: (column, number, word) by line."""
    lines: list[list[tuple[int, int, Word]]] = [[]]
    column = 0
    for index, word in enumerate(words):
        if lines[-1] and column + _width(word.text) > COLUMNS:
            lines.append([])
            column = 0
        lines[-1].append((column, index, word))
        column += _width(word.text) + 1
    return lines


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _plain(text: str) -> str:
    return text.replace("$", r"\$")  # no formulas


def _families() -> list[str]:
    return ["DejaVu Sans Mono", *wide_fonts()]
