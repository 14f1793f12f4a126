"""How long the clips of a corpus are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..printable import plural
from .style import PALETTE, new_figure, save, set_title


def plot_durations(durations: Sequence[float] | np.ndarray, path: str | Path, title: str = "durations") -> Path:
    """Writes a histogram of durations in seconds."""
    figure = new_figure(6, 3)
    axes = figure.subplots()
    axes.hist(durations, bins=60, color=PALETTE[0])
    axes.set(xlabel="duration (s)", ylabel="clips")
    axes.spines[["top", "right"]].set_visible(False)
    set_title(figure, f"{title}: {plural(len(durations), 'clip')}")
    return save(figure, path)
