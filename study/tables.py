"""Tables of the study: means over folds with intervals, and paired differences between rows.

    python -m study.tables --output model_cards/study

`predictions.parquet` holds every test utterance's label and prediction, of every row and seed that has all folds.
Unweighted accuracy is averaged over seeds, then over folds. Intervals are percentiles of a bootstrap over utterances
within speakers; of a difference, over the same utterances for both.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas

from .pairs import disagreement, separation
from .runs import CORPORA, FOLDER, FROZEN, INTERACTION, KINDS, ROWS, TRAINED, collect

RESAMPLES = 2000
OF_PREDICTIONS = ["utterance_id", "fold", "label", "prediction"]
BASELINES = ("words", "voice", "late", "voice_by_speaker", "late_by_speaker")
DIFFERENCES = (
    *(
        (row, other)
        for row in ("row6", "row1", "starter", "row6_halves")
        for other in ("speech", "text", "halves", "voice", "late")
    ),
    *(
        (f"{row}_by_speaker", f"{other}_by_speaker")
        for row in ("row6", "row1", "starter", "row6_halves")
        for other in ("speech", "halves", "voice", "late")
    ),
    *((f"row6_halves{suffix}", f"starter{suffix}") for suffix in ("", "_by_speaker")),
    *((row, "row1") for row in ("row2", "row3", "row4", "row5", "row6", "starter", "row6_halves")),
    *(
        (f"{row}_by_speaker", "row1_by_speaker")
        for row in ("row2", "row3", "row4", "row5", "row6", "starter", "row6_halves")
    ),
    *(
        (f"{row}{suffix}", f"{row}_alone{suffix}")
        for row in ("speech", "row1", "row6", "starter")
        for suffix in ("", "_by_speaker")
    ),
    *(
        (f"{row}_alone{suffix}", f"{other}_alone{suffix}")
        for row, other in (("row6", "row1"), ("row1", "speech"), ("row6", "speech"))
        for suffix in ("", "_by_speaker")
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("model_cards/study"))
    output = parser.parse_args(arguments).output
    output.mkdir(parents=True, exist_ok=True)
    collect()
    for name in ("runs.csv", "bound.csv"):
        if (FOLDER / name).exists():
            shutil.copy(FOLDER / name, output / name)
    rows, differences, predictions = [], [], []
    corpora = corpora_of(FROZEN)
    for corpus in corpora:
        table = Table(corpus)
        predictions.append(table.predictions.assign(corpus=corpus))
        rows += [{"corpus": corpus, "row": name, **table.summary(name)} for name in table.right]
        for name, other in DIFFERENCES:
            if name in table.right and other in table.right:
                differences.append({"corpus": corpus, "row": name, "less": other, **table.difference(name, other)})
    pandas.concat(predictions).astype(str).astype("category").to_parquet(output / "predictions.parquet", index=False)
    tables = {
        "rows": rows,
        "folds": [line for corpus in corpora for line in fold_by_fold(corpus)],
        "differences": differences,
        "disagreement": [line for corpus in corpora for line in disagreement(corpus)],
        "separation": [line for corpus in corpora for line in separation(corpus)],
        "trained": [line for corpus in corpora_of(TRAINED) for line in trained_encoders(corpus)],
        "interaction": [line for corpus in corpora_of(INTERACTION) for line in interaction(corpus)],
    }
    for name, lines in tables.items():
        if not lines:
            continue
        table = pandas.DataFrame(lines)
        table.to_csv(output / f"{name}.csv", index=False)
        print(f"\n{name}\n{table.to_string(index=False)}")
    return 0


def corpora_of(kind: str) -> list[str]:
    """Those that have finished runs."""
    return [corpus for corpus in CORPORA if any((FOLDER / kind / corpus).glob("*/*/metrics.json"))]


def interaction(corpus: str) -> list[dict[str, object]]:
    """A line a row on pairs of `study.interaction`: accuracy, and how many ironic pairs are called contradictions."""
    table = Table(corpus, INTERACTION)
    pairs = pandas.read_csv(FOLDER / INTERACTION / f"{corpus}.csv").set_index("utterance_id").sort_index()
    ironic = (pairs.irony & (pairs.label == "contradiction")).to_numpy()
    lines = []
    for name in [row for row in (*KINDS[INTERACTION].rows, "halves") if row in table.right]:
        right = table.right[name]
        gap = table.difference(name, "halves") if name == "row1" and "halves" in table.right else {}
        less = {f"less_halves{'' if key == 'difference' else f'_{key}'}": value for key, value in gap.items()}
        irony = {"irony": round(float(right[ironic].mean()), 4)}
        lines.append({"corpus": corpus, "row": name, **table.summary(name), **less, **irony})
    return lines


def fold_by_fold(corpus: str) -> list[dict[str, object]]:
    """Unweighted accuracy of each row on each fold, the mean over its seeds."""
    runs = pandas.read_csv(FOLDER / "runs.csv", dtype={"fold": str})
    runs = runs[runs.corpus == corpus]
    found = runs.pivot_table("unweighted_accuracy", ["row", "standardised_by"], "fold")
    return [{"corpus": corpus, **line} for line in found.round(3).reset_index().to_dict("records")]


def trained_encoders(corpus: str) -> list[dict[str, object]]:
    """A line a row of the paper's training: accuracy, what it differs from row 1 by, and `consistency`."""
    table, judged = Table(corpus, TRAINED), {line["row"]: line for line in disagreement(corpus, TRAINED)}
    lines = []
    for name in table.right:
        gap = table.difference(name, "row1") if "row1" in table.right and name != "row1" else {}
        less = {f"less_row1{'' if key == 'difference' else f'_{key}'}": value for key, value in gap.items()}
        facts = {"consistency_auc": judged[name]["consistency_auc"], "runs": judged[name]["runs"]}
        lines.append({"corpus": corpus, "row": name, **table.summary(name), **less, **facts})
    return lines


class Table:
    """Which utterances of a corpus each row gets right, averaged over its seeds; rows with all folds only.

    Args:
        kind: of the runs, `FROZEN` or `TRAINED`.
    """

    def __init__(self, corpus: str, kind: str = FROZEN):
        self.kind = kind
        self.right: dict[str, np.ndarray] = {}
        self.runs: dict[str, int] = {}
        self.by_seed: dict[str, dict[str, np.ndarray]] = {}
        self.facts: pandas.DataFrame | None = None
        found: list[pandas.DataFrame] = []
        for suffix in ("", "_by_speaker", "_alone", "_alone_by_speaker"):
            scored = {row: self._scored(row, corpus, f"test{suffix}_predictions.csv") for row in ROWS}
            both = scored["speech"].keys() & scored["text"].keys()
            scored["halves"] = {seed: late_fusion(scored["speech"][seed], scored["text"][seed]) for seed in both}
            for row, seeds in scored.items():
                if seeds:
                    name = row + suffix
                    self.by_seed[name] = {seed: self._right(table) for seed, table in seeds.items()}
                    found += [table[OF_PREDICTIONS].assign(row=name, seed=seed) for seed, table in seeds.items()]
                    self.runs[name], self.right[name] = len(seeds), np.mean(list(self.by_seed[name].values()), axis=0)
        for name in BASELINES if kind == FROZEN else ():
            path = FOLDER / "baselines" / corpus / f"{name}.csv"
            if path.exists():
                table = pandas.read_csv(path)
                self.right[name], self.runs[name] = self._right(table), 1
                found.append(table[OF_PREDICTIONS].assign(row=name, seed="0"))
        self.predictions = pandas.concat(found)
        self.weights = self._weights()

    def _scored(self, row: str, corpus: str, name: str) -> dict[str, pandas.DataFrame]:
        """The predictions of each seed that has all folds."""
        found: dict[str, list[pandas.DataFrame]] = {}
        for path in sorted((FOLDER / self.kind / corpus / row).glob(f"*/{name}")):
            found.setdefault(path.parent.name.rpartition("-seed")[2], []).append(pandas.read_csv(path))
        folds = json.loads((FOLDER / "folds" / f"{corpus}.json").read_text())["folds"]
        expected = len(KINDS[self.kind].folds.get(corpus, folds))
        return {seed: pandas.concat(tables) for seed, tables in found.items() if len(tables) == expected}

    def _right(self, table: pandas.DataFrame) -> np.ndarray:
        table = table.set_index("utterance_id").sort_index()
        if self.facts is None:
            self.facts = table[["fold", "label"]].astype(str)
        if list(table.index) != list(self.facts.index):
            raise SystemExit("the runs have scored different utterances")
        return (table.label == table.prediction).to_numpy(dtype=float)

    def _weights(self) -> np.ndarray:
        """How often each utterance is drawn, (resamples, utterances); utterances are drawn within their speaker."""
        facts = self.facts
        if facts is None:
            raise SystemExit("no row is finished: run study.runs or study.baselines first")
        speakers = facts.index.to_series().map(speaker_of).to_numpy()
        rng, weights = np.random.default_rng(0), np.zeros((RESAMPLES, len(facts)))
        for speaker in np.unique(speakers):
            own = np.flatnonzero(speakers == speaker)
            weights[:, own] = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), size=RESAMPLES)
        return weights

    def accuracy(self, right: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Unweighted accuracy, the mean over folds: (utterances,) and (resamples, utterances) to (resamples,)."""
        facts = self.facts
        assert facts is not None
        folds = []
        for fold in sorted(set(facts.fold)):
            recalls = []
            for label in sorted(set(facts.label)):
                own = ((facts.fold == fold) & (facts.label == label)).to_numpy()
                if own.any():
                    total = weights[:, own].sum(1)
                    recalls.append(np.where(total > 0, weights[:, own] @ right[own] / np.maximum(total, 1), np.nan))
            folds.append(np.nanmean(recalls, axis=0))
        return np.mean(folds, axis=0)

    def summary(self, name: str) -> dict[str, float]:
        """Mean, interval, and the deviation between seeds."""
        once = np.ones((1, len(self.right[name])))
        low, high = np.quantile(self.accuracy(self.right[name], self.weights), (0.025, 0.975))
        seeds = [float(self.accuracy(each, once)[0]) for each in self.by_seed.get(name, {}).values()]
        return {
            "unweighted_accuracy": round(float(self.accuracy(self.right[name], once)[0]), 4),
            "low": round(float(low), 4),
            "high": round(float(high), 4),
            "seeds": self.runs[name],
            "between_seeds": round(float(np.std(seeds)), 4) if len(seeds) > 1 else float("nan"),
        }

    def difference(self, name: str, other: str) -> dict[str, float]:
        """Of two rows over the seeds that both have, with its interval; a baseline is compared with all."""
        ours, theirs = self.by_seed.get(name, {}), self.by_seed.get(other, {})
        common = ours.keys() & theirs.keys()
        gaps = [ours[seed] - theirs[seed] for seed in common] or [self.right[name] - self.right[other]]
        gap, once = np.mean(gaps, axis=0), np.ones((1, len(self.right[name])))
        low, high = np.quantile(self.accuracy(gap, self.weights), (0.025, 0.975))
        return {"difference": round(float(self.accuracy(gap, once)[0]), 4)} | {
            "low": round(float(low), 4),
            "high": round(float(high), 4),
        }


def late_fusion(voice: pandas.DataFrame, words: pandas.DataFrame) -> pandas.DataFrame:
    """The predictions of both modalities: the emotion with the greatest product of their probabilities."""
    words = words.set_index("utterance_id").loc[list(voice.utterance_id)]
    voice = voice.set_index("utterance_id")
    columns = [name for name in voice.columns if name.startswith("probability_")]
    product = np.log(voice[columns]) + np.log(words[columns])
    return voice.assign(prediction=product.idxmax(axis=1).str.removeprefix("probability_")).reset_index()


def speaker_of(utterance_id: str) -> str:
    """RAVDESS names a folder after the actor, nEMO starts a file's name with the speaker."""
    path = Path(utterance_id)
    return path.parent.name if path.parent.name.startswith("Actor") else path.name.partition("_")[0]


if __name__ == "__main__":
    sys.exit(main())
