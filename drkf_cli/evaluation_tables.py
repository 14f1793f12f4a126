"""The figures of an evaluation as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from processing.evaluation.groups import SMALLEST
from processing.evaluation.metrics import FORMULAS
from processing.evaluation.rounding import rounded
from processing.printable import plural, printable


def scores_table(record: Mapping[str, Any], suffix: str = "", remark: str = "") -> Table:
    """One row a metric, then one a class; of the split, or of what a suffix names."""
    metrics = record[f"{record['split']}{suffix}"]
    table = Table(
        "",
        "",
        "95 % interval",
        "",
        title=escape(f"{record['corpus']}, {record['split']}: {plural(record['utterances'], 'clip')}{remark}"),
    )
    for name in (name for name in FORMULAS if name in metrics):
        low, high = metrics["intervals"][name]
        table.add_row(
            name.replace("_", " "),
            rounded(metrics[name]),
            f"{rounded(low)} to {rounded(high)}",
            FORMULAS[name].formula,
        )
    table.add_section()
    for label, scores in metrics["per_class"].items():
        low, high = metrics["intervals"][f"f1_{label}"]
        counted = plural(scores["support"], "clip")
        detail = f"precision {rounded(scores['precision'])}, recall {rounded(scores['recall'])}, {counted}"
        table.add_row(escape(f"F1 of {label}"), rounded(scores["f1"]), f"{rounded(low)} to {rounded(high)}", detail)
    return table


def groups_table(column: str, groups: Mapping[str, Any]) -> Table:
    """One row a group, see `group_scores`."""
    metric = groups["metric"].replace("_", " ")
    table = Table(escape(printable(column)), "clips", "speakers", metric, "95 % interval", "from the others", "p")
    for name, one in groups["groups"].items():
        is_worst = name == groups["worst"]
        cells = [
            printable(name),
            str(one["utterances"]),
            "-" if one["speakers"] is None else str(one["speakers"]),
            rounded(one["score"]),
            " to ".join(map(rounded, one["interval"])),
            "-" if one["difference"] is None else f"{one['difference']:+.3f}",
            "-" if one["p_value"] is None else f"{one['p_value']:.3f}",
        ]
        table.add_row(*map(escape, cells), style="bold" if is_worst else None)
    return table


def finding(column: str, groups: Mapping[str, Any]) -> str:
    """Which group is the worst, and whether the groups differ by more than chance."""
    unknown = f" {plural(groups['unknown'], 'clip')} without {column} left out." if groups["unknown"] else ""
    if groups["worst"] is None:
        return f"{column}: nothing to compare; two groups of at least {SMALLEST} clips are needed.{unknown}"
    worst = groups["groups"][groups["worst"]]
    finding = "differ by more than chance" if groups["p_value"] < 0.05 else "show no difference beyond chance"
    return (
        f"{column}: the worst group is {groups['worst']} ({rounded(worst['score'])}); the groups {finding} "
        f"(p = {groups['p_value']:.3f}, {groups['permuted']} permuted).{unknown}"
    )
