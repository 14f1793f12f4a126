"""`drkf doctor` and `drkf prepare`."""

import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import rich

from processing.corpora.doctor import examine, plot_durations
from processing.corpora.prepare import prepare
from processing.corpora.report import CorpusError


def run_doctor(corpus: str, data_dir: str, output_dir: Path | None, skip_damaged: Sequence[str]) -> int:
    """Prints the examination, and writes it where asked; returns the exit status."""

    def look() -> int:
        found = examine(corpus, data_dir, skip_damaged=skip_damaged)
        rich.print(found)
        if output_dir is not None:
            output_dir.mkdir(parents=True, exist_ok=True)
            (output_dir / "report.json").write_text(found.to_json() + "\n", encoding="utf-8")
            if len(found.durations) and find_spec("matplotlib"):
                plot_durations(found.durations, output_dir / "durations.png", found.title)
            print(f"Written to {output_dir}")
        return found.exit_status

    return _told(look)


def run_prepare(corpus: str, data_dir: str, output_dir: Path, skip_damaged: Sequence[str]) -> int:
    """Converts the corpus; returns the exit status."""

    def convert() -> int:
        print(f"Manifest: {prepare(corpus, data_dir, output_dir, skip_damaged=skip_damaged)}")
        return 0

    return _told(convert)


def _told(verb: Callable[[], int]) -> int:
    try:
        return verb()
    except (CorpusError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
