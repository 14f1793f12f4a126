"""`drkf results`: runs that were made apart, as one result."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from processing.evaluation.results import ResultsError, find_runs, merge_runs, results_table, write_results


def run_results(folders: Sequence[Path], output_dir: Path | None) -> int:
    """Prints the table, and writes it where asked; returns the exit status."""
    try:
        runs = find_runs(folders)
        results = merge_runs(runs)
    except (ResultsError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    Console().print(results_table(results))
    if output_dir is not None:
        from modeling_drkf.experiments.report import write_cross_validation_report

        write_results(results, output_dir)
        write_cross_validation_report(results, output_dir, runs)
        print(f"Written to {output_dir}")
    return 0
