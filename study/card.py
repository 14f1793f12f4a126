"""Puts the study's tables into its card, each between `<!-- table: NAME -->` and `<!-- end -->`.

python -m study.card --tables model_cards/study --card model_cards/study.md
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas

from processing.evaluation.records import BY_SPEAKER

from .pictures import ALONE, NAMES
from .runs import CORPORA

TABLE4 = ("row1", "row2", "row3", "row4", "row5", "row6")
SHORT = {name: name.replace("row", "row ") for name in TABLE4} | {
    "speech": "voice alone",
    "text": "words alone",
    "halves": "late fusion of the halves",
    "voice": "support vector machine, voice",
    "late": "late fusion of the baselines",
    "starter": "row 1, ED on the halves",
    "row6_halves": "row 6, ED on the halves",
}
LESS = (
    *((row, other) for row in ("row1", "row6", "starter") for other in ("speech", "halves", "late")),
    *((row, "row1") for row in ("row2", "row3", "row4", "row5", "row6", "starter")),
    ("row6_halves", "starter"),
    *((row, f"{row}{ALONE}") for row in ("speech", "row1", "row6", "starter")),
    *(
        (f"{row}{ALONE}", f"{other}{ALONE}")
        for row, other in (("row1", "speech"), ("row6", "speech"), ("row6", "row1"))
    ),
)
ALONE_WITH_NAME = "name and words"
CONTEXTS = {
    "words": "the utterance without its speaker's name",
    ALONE_WITH_NAME: "the utterance alone",
    "vectors beside": "the vectors of the {} before beside its own",
    "pair": "encoded after the {} before",
    "pair, current first": "encoded before the {} before",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, default=Path("model_cards/study"))
    parser.add_argument("--card", type=Path, default=Path("model_cards/study.md"))
    options = parser.parse_args(arguments)

    def filled(match: re.Match[str]) -> str:
        name = match["name"]
        return f"<!-- table: {name} -->\n\n{TABLES[name](options.tables)}\n\n<!-- end -->"

    pattern = re.compile(r"<!-- table: (?P<name>\w+) -->.*?<!-- end -->", re.DOTALL)
    options.card.write_text(pattern.sub(filled, options.card.read_text(encoding="utf-8")), encoding="utf-8")
    print(options.card)
    return 0


def accuracies(folder: Path) -> str:
    """Each row with its interval."""
    return _accuracies(folder, "", list(NAMES))


def accuracies_alone(folder: Path) -> str:
    """The same of what EC alone answers."""
    return _accuracies(folder, ALONE, ["speech", *TABLE4, "starter", "row6_halves"])


def trained(folder: Path) -> str:
    """Rows whose encoders train, and what they differ from row 1 by."""
    found = pandas.read_csv(folder / "trained.csv")
    lines = [
        [
            NAMES[str(line.row)],
            f"{line.unweighted_accuracy:.3f} [{line.low:.3f}, {line.high:.3f}]",
            ""
            if pandas.isna(line.less_row1)
            else f"{line.less_row1:+.3f} [{line.less_row1_low:+.3f}, {line.less_row1_high:+.3f}]",
            "no ED" if pandas.isna(line.consistency_auc) else f"{line.consistency_auc:.3f}",
            str(line.seeds),
        ]
        for line in found.itertuples()
    ]
    return _markdown(["", "ravdess_paired, two folds", "less row 1", "AUC", "seeds"], lines)


def interaction(folder: Path) -> str:
    """What depends on voice and words together: each half, their late fusion, and FE."""
    found = pandas.read_csv(folder / "interaction.csv")
    lines = [
        [
            f"{line.corpus}, {SHORT[str(line.row)]}",
            f"{line.unweighted_accuracy:.3f} [{line.low:.3f}, {line.high:.3f}]",
            f"{line.irony:.3f}",
            str(line.seeds),
        ]
        for line in found.itertuples()
    ]
    return _markdown(["", "unweighted accuracy", "ironic pairs called contradictions", "seeds"], lines)


def bounds(folder: Path) -> str:
    """What any fusion of the two halves can reach, and what it is made of."""
    found = pandas.read_csv(folder / "bound.csv").groupby(["corpus", "standardised_by"]).mean(numeric_only=True)
    columns = [(corpus, kind) for corpus in CORPORA for kind in ("training", "speaker")]
    titles = {
        "voice": "voice alone, calibrated",
        "words": "words alone, calibrated",
        "late": "late fusion of the halves",
        "bound": "**bound: Bayes' rule**",
        "agreement_auc": "AUC of the agreement of pairs",
        "told_apart": "pairs told apart",
    }

    def cell(key: tuple[str, str], name: str) -> str:
        return f"{found.loc[key][name]:.3f}" if key in found.index else "not run"

    lines = [[title, *(cell(key, name) for key in columns)] for name, title in titles.items()]
    return _markdown(["", *(title for corpus in CORPORA for title in (corpus, "by speaker"))], lines)


def _accuracies(folder: Path, kind: str, rows: Sequence[str]) -> str:
    found = pandas.read_csv(folder / "rows.csv").set_index(["corpus", "row"])

    def cell(key: tuple[str, str]) -> str:
        if key not in found.index:
            return "not run"
        line = found.loc[key]
        return f"{line.unweighted_accuracy:.3f} [{line.low:.3f}, {line.high:.3f}]"

    columns = [(corpus, kind + suffix) for corpus in CORPORA for suffix in ("", BY_SPEAKER)]
    worded = {"text", "words"}
    lines = [
        [
            NAMES[row],
            *(
                "" if row in worded and suffix.endswith(BY_SPEAKER) else cell((c, row + suffix))
                for c, suffix in columns
            ),
            _seeds(found, row),
        ]
        for row in rows
        if ("paired", row + kind) in found.index or ("ravdess_paired", row + kind) in found.index
    ]
    return _markdown(["", *(title for corpus in CORPORA for title in (corpus, "by speaker")), "seeds"], lines)


def _seeds(found: pandas.DataFrame, row: str) -> str:
    return str(int(min(found.loc[(corpus, row)].seeds for corpus in CORPORA if (corpus, row) in found.index)))


def folds(folder: Path) -> str:
    """Fold by fold, without the speaker's other clips."""
    found = pandas.read_csv(folder / "folds.csv")
    found = found[found.standardised_by == "training"].drop(columns=["corpus", "standardised_by"])
    means = found.groupby("row").first()  # one corpus fills the columns that the other leaves empty
    lines = [
        [NAMES[row], *("not run" if pandas.isna(value) else f"{value:.3f}" for value in means.loc[row])]
        for row in NAMES
        if row in means.index
    ]
    return _markdown(["", *means.columns], lines)


def differences(folder: Path) -> str:
    """Of the same utterances, with intervals."""
    found = pandas.read_csv(folder / "differences.csv").set_index(["corpus", "row", "less"])

    def cell(key: tuple[str, str, str]) -> str:
        if key not in found.index:
            return "not run"
        line = found.loc[key]
        return f"{line.difference:+.3f} [{line.low:+.3f}, {line.high:+.3f}]"

    lines = []
    for row, other in LESS:
        pairs = [(corpus, row + suffix, other + suffix) for corpus in CORPORA for suffix in ("", BY_SPEAKER)]
        if not {*pairs}.isdisjoint(found.index):
            lines.append([f"{_title(row)} less {_title(other)}", *map(cell, pairs)])
    return _markdown(["", *(title for corpus in CORPORA for title in (corpus, "by speaker"))], lines)


def _title(name: str) -> str:
    return f"{SHORT[name.removesuffix(ALONE)]}{' (EC alone)' if name.endswith(ALONE) else ''}"


def disagreements(folder: Path) -> str:
    """Pairs of other emotions, and `consistency`."""
    found = pandas.read_csv(folder / "disagreement.csv")
    lines = []
    for line in found[found.row.isin([*TABLE4, "starter", "row6_halves"])].itertuples():
        share = "no CLS" if pandas.isna(line.voice_dominates) else f"{line.voice_dominates:.0%}"
        judged = (
            ["no ED", "", ""]
            if pandas.isna(line.consistency_auc)
            else [
                f"{line.told_apart:.3f}",
                f"{line.consistency_auc:.3f}",
                f"{line.consistency_brier:.3f}; {line.consistency_brier_of_prior:.3f}",
            ]
        )
        title = f"{line.corpus}, {SHORT[str(line.row)]}"
        lines.append([title, f"{line.on_voice:.3f}", f"{line.on_words:.3f}", share, *judged])
    titles = ["", "by the voice", "by the words", "voice dominates", "told apart", "AUC", "Brier; of always 0.5"]
    return _markdown(titles, lines)


def separations(folder: Path) -> str:
    """Silhouettes of the fused vectors."""
    found = pandas.read_csv(folder / "separation.csv").pivot(index="row", columns="corpus", values="fused")

    def cell(row: str, corpus: str) -> str:
        return "not run" if pandas.isna(found.loc[row, corpus]) else f"{found.loc[row, corpus]:.3f}"

    lines = [[SHORT[row], *(cell(row, corpus) for corpus in CORPORA)] for row in TABLE4 if row in found.index]
    return _markdown(["", *CORPORA], lines)


def variations(folder: Path) -> str:
    """One thing at a time, on validation speakers; means over seeds."""
    found = pandas.read_csv(folder / "variations.csv")
    means = found.groupby(["name", "corpus"], sort=False).mean(numeric_only=True)

    def number(name: str, corpus: str, column: str) -> str:
        if (name, corpus) not in means.index:
            return "not run"
        value = means.loc[(name, corpus)][column]
        return "" if pandas.isna(value) else f"{value:.3f}"

    columns = ("unweighted_accuracy", "by_speaker", "consistency_auc")
    seeds = found.groupby("name").seed.nunique()
    lines = [
        [name, *(number(name, corpus, column) for corpus in CORPORA for column in columns), str(seeds[name])]
        for name in found.name.unique()
    ]
    return _markdown(["", *(title for corpus in CORPORA for title in (corpus, "by speaker", "AUC")), "seeds"], lines)


def context(folder: Path) -> str:
    """Words alone on MELD's dev part, without and with the utterances before; differences from the name and words."""
    found = pandas.read_csv(folder / "context.csv")
    lines = [
        [
            f"{line.kind}: {CONTEXTS[str(line.form)].format(line.before)}",
            f"{line.weighted_f1:.3f} [{line.weighted_f1_low:.3f}, {line.weighted_f1_high:.3f}]",
            f"{line.difference:+.3f} [{line.difference_low:+.3f}, {line.difference_high:+.3f}]"
            if line.form != ALONE_WITH_NAME
            else "",
            f"{line.held_out:.3f}",
            str(line.seeds),
        ]
        for line in found.itertuples()
    ]
    return _markdown(["", "dev", "less the utterance alone", "held-out dialogues", "seeds"], lines)


def _markdown(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = "|" + "---|" * len(titles)
    return "\n".join([f"| {' | '.join(titles)} |", rule, *(f"| {' | '.join(line)} |" for line in lines)])


TABLES: dict[str, Callable[[Path], str]] = {
    "rows": accuracies,
    "alone": accuracies_alone,
    "trained": trained,
    "bound": bounds,
    "interaction": interaction,
    "folds": folds,
    "differences": differences,
    "disagreement": disagreements,
    "separation": separations,
    "variations": variations,
    "context": context,
}


if __name__ == "__main__":
    sys.exit(main())
