"""`drkf plot`: the pictures of a run, or of a cross-validation, drawn anew."""

import sys
from pathlib import Path

from processing.figures.run import SPLITS, draw_pooled, draw_run, run_folders


def run_plot(folder: Path, split: str | None, ending: str) -> int:
    """Draws and names the pictures; returns the exit status."""
    try:
        if (folder / "metrics.json").is_file():
            pictures = draw_run(folder, (split,) if split else SPLITS, ending)
        elif run_folders(folder):
            pictures = draw_pooled(folder, split or "test", ending)
        else:
            raise ValueError(
                f"{folder} is neither a run (metrics.json) nor a cross-validation (folders <fold>-seed<seed>)"
            )
    except (ImportError, OSError, ValueError, KeyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for picture in pictures:
        print(picture)
    return 0
