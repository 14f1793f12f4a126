"""What all pictures share: colours, names that fit, figures and files.

matplotlib is imported where it is used, without pyplot: no global figure, no change of the caller's backend.
"""

from __future__ import annotations

import logging
import textwrap
import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors_drkf import DependencyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PALETTE = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#222222", "#997700")
"""Paul Tol's "bright" colours, which the colour-blind can tell apart, then black and brown."""

LONGEST_LINE = 16
WIDE_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans Mono CJK SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei"),
    *("Microsoft YaHei", "SimHei", "PingFang SC", "Heiti SC", "Droid Sans Fallback"),
)

logger = logging.getLogger(__name__)


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


def wide_fonts() -> list[str]:
    """The fonts of this machine that have Chinese, Japanese and Korean."""
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    return [family for family in WIDE_FONTS if family in installed]


def is_wide(text: str) -> bool:
    return any(unicodedata.east_asian_width(character) in "WF" for character in text)


def _write_wide_texts(figure: Figure) -> None:
    """Texts in Chinese, Japanese or Korean get a font that has it; a warning where the machine has none."""
    from matplotlib.text import Text

    wide = [text for text in figure.findobj(Text) if is_wide(text.get_text())]  # type: ignore[attr-defined]
    fonts = wide_fonts() if wide else []
    for text in wide:
        text.set_fontfamily([*text.get_fontfamily(), *fonts])
    if wide and not fonts:
        logger.warning(
            f"No font here can write {wide[0].get_text()!r}: the picture has boxes. Install fonts-noto-cjk, or "
            "another font with Chinese, and draw it again."
        )


def save(figure: Figure, path: str | Path) -> Path:
    """Writes the figure; its ending chooses the format."""
    path = Path(path)
    _write_wide_texts(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # said in words above
        figure.savefig(path, dpi=150)
    return path
