"""What all pictures share: colours, names that fit, figures and files.

matplotlib is imported where it is used, without pyplot: no global figure, no change of the caller's backend.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors_drkf import DependencyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PALETTE = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#222222", "#997700")
"""Paul Tol's "bright" colours, which the colour-blind can tell apart, then black and brown."""

LONGEST_LINE = 16


def short_names(names: Sequence[str]) -> list[str]:
    """Names for axes and legends: long ones are broken between words and cut after two lines; `$` stays a `$`."""
    lines = [textwrap.wrap(name, LONGEST_LINE, max_lines=2, placeholder=" ...") for name in names]
    return ["\n".join(broken).replace("$", r"\$") for broken in lines]


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches. ImportError: matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyError("Figures need matplotlib: pip install 'drkf[plots]'.") from error
    return Figure(figsize=(width, height), layout="constrained")


def set_title(figure: Figure, title: str) -> None:
    """A title that keeps within the figure; a line break in it stays."""
    width = int(10 * figure.get_figwidth())
    figure.suptitle(
        "\n".join(textwrap.fill(line, width) for line in title.split("\n")).replace("$", r"\$"), fontsize=11
    )


def save(figure: Figure, path: str | Path) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return path
