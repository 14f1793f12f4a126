"""Registers the marks of transformers' tests, and sums up their outcomes in one table."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from importlib.metadata import version

import pytest

MARKS = ("accelerate_tests", "flash_attn_test", "flash_attn_3_test", "flash_attn_4_test", "torch_compile_test")
FILES = ("tests/peer/model.py", "tests/peer/processor.py")
NUMBERED = re.compile(r"(?<!flash_attn)_\d+(_.*)?$")  # what `parameterized` appends to the name of a test


class Outcomes:
    """The outcome of each test in each suite, and the reasons of what was skipped."""

    def __init__(self) -> None:
        self.reports: dict[tuple[str, str], list[pytest.TestReport]] = defaultdict(list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file, *suite_and_test = report.nodeid.split("::")
        if file in FILES and (report.when == "call" or not report.passed):
            self.reports[tuple(suite_and_test)].append(report)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.reports:
            terminalreporter.section(f"the tests of transformers {version('transformers')}")
            terminalreporter.write_line("\n".join(self.table()))

    def table(self) -> Iterator[str]:
        """A line a test, with its outcome in each suite and why it was skipped; its variants count together."""
        cells: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
        reasons: dict[str, dict[str, None]] = defaultdict(dict)
        totals: dict[str, Counter[str]] = defaultdict(Counter)
        for (suite, test), reports in self.reports.items():
            name = NUMBERED.sub("", test.removeprefix("test_"))
            outcome = outcome_of(reports)
            cells[name][suite][outcome] += 1
            totals[suite][outcome] += 1
            reasons[name] |= dict.fromkeys(why_skipped(report) for report in reports if report.skipped)
        width = max(map(len, cells))
        yield " ".join(["test".ljust(width), *(suite.ljust(28) for suite in totals), "skipped because"])
        for name, by_suite in sorted(cells.items()):
            row = [name.ljust(width), *(shown(by_suite[suite]) for suite in totals), "; ".join(reasons[name])]
            yield " ".join(row).rstrip()
        yield " ".join(["all".ljust(width), *map(shown, totals.values())])


def outcome_of(reports: list[pytest.TestReport]) -> str:
    """Of a test with its subtests: skipped where nothing was run."""
    if any(report.failed for report in reports):
        return "failed"
    parts = [report for report in reports if isinstance(report, pytest.SubtestReport)] or reports
    return "skipped" if all(report.skipped for report in parts) else "passed"


def why_skipped(report: pytest.TestReport) -> str:
    return str(report.longrepr[2]).removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""


def shown(outcomes: Counter[str]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())).ljust(28)


def pytest_configure(config: pytest.Config) -> None:
    for mark in MARKS:
        config.addinivalue_line("markers", f"{mark}: a mark of transformers' own tests")
    config.pluginmanager.register(Outcomes())
