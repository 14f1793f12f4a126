"""The parts that a corpus names itself: train, validation and test, also by other common names."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .checks import add_problem
from .report import ProblemKind, Report
from .utterance import ALL, Utterance

OTHER_NAMES = {
    "train": ("training", "trn"),
    "validation": ("dev", "devel", "development", "val", "valid", "validate", "validating"),
    "test": ("testing", "tst", "test1", "heldout"),
}
EVALUATION = ("eval", "evaluation")  # the test part, unless another name says test: then nobody can tell
ENDINGS = ("set", "split", "part", "data")
LISTED = "; ".join(f"{part} ({', '.join(names)})" for part, names in OTHER_NAMES.items())


def standard_split(name: str) -> str | None:
    """train, validation or test for their common names in any case (`Development`, `test_set`), else None."""
    folded = re.sub(r"[\W_]+", "", name.casefold())
    for ending in ENDINGS:
        folded = folded.removesuffix(ending) or folded
    found = (part for part, names in OTHER_NAMES.items() if folded in (part, *names))
    return next(found, "test" if folded in EVALUATION else None)


def is_evaluation(name: str) -> bool:
    """Whether the name may mean the validation part as well as the test part."""
    return standard_split(name) == "test" and name.strip().casefold().startswith("eval")


def check_splits(utterances: Iterable[Utterance], report: Report) -> None:
    """Common names of splits become train, validation and test; others are errors, for training cannot use them."""
    utterances = list(utterances)
    names = {utterance.split for utterance in utterances} - {ALL}
    parts = {name: standard_split(name) for name in names}
    if any(part == "test" and not is_evaluation(name) for name, part in parts.items()):
        parts |= {name: None for name in names if is_evaluation(name)}
    for utterance in utterances:
        if utterance.split == ALL:
            continue
        if part := parts[utterance.split]:
            utterance.split = part
        else:
            split = utterance.split.strip()
            detail = f"{split!r} is none of {LISTED}" if split else "the row names no split"
            if split and is_evaluation(split):
                detail = f"{split!r} may be validation or test, and another name says test"
            add_problem(report, utterance, ProblemKind.UNKNOWN_SPLIT, detail)
