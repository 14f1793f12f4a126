"""Tables of the study: means over folds with intervals, and paired differences between rows.

    python -m benchmarks.study_tables --output model_cards/study

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

from benchmarks.study import CORPORA, FOLDER, ROWS, collect
from benchmarks.study_pairs import disagreement, separation

RESAMPLES = 2000
YARDSTICKS = ("words", "voice", "late", "voice_by_speaker", "late_by_speaker")
DIFFERENCES = (
    *(("row6", other) for other in ("row1", "speech", "text", "late")),
    *(("row6_by_speaker", other) for other in ("row1_by_speaker", "speech_by_speaker", "late_by_speaker")),
    *((row, other) for row in ("row1", "starter") for other in ("speech", "text", "voice", "late")),
    *(
        (f"{row}_by_speaker", f"{other}_by_speaker")
        for row in ("row1", "starter")
        for other in ("speech", "voice", "late")
    ),
    ("starter", "row1"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("model_cards/study"))
    output = parser.parse_args(arguments).output
    output.mkdir(parents=True, exist_ok=True)
    collect()
    shutil.copy(FOLDER / "runs.csv", output / "runs.csv")
    rows, differences = [], []
    for corpus in CORPORA:
        table = Table(corpus)
        rows += [{"corpus": corpus, "row": name, **table.summary(name)} for name in table.right]
        for name, other in DIFFERENCES:
            if name in table.right and other in table.right:
                differences.append({"corpus": corpus, "row": name, "less": other, **table.difference(name, other)})
    tables = {
        "rows": rows,
        "folds": [line for corpus in CORPORA for line in fold_by_fold(corpus)],
        "differences": differences,
        "disagreement": [line for corpus in CORPORA for line in disagreement(corpus)],
        "separation": [line for corpus in CORPORA for line in separation(corpus)],
    }
    for name, lines in tables.items():
        table = pandas.DataFrame(lines)
        table.to_csv(output / f"{name}.csv", index=False)
        print(f"\n{name}\n{table.to_string(index=False)}")
    return 0


def fold_by_fold(corpus: str) -> list[dict[str, object]]:
    """Unweighted accuracy of each row on each fold, the mean over its seeds."""
    runs = pandas.read_csv(FOLDER / "runs.csv", dtype={"fold": str})
    runs = runs[runs.corpus == corpus]
    found = runs.pivot_table("unweighted_accuracy", ["row", "standardised_by"], "fold")
    return [{"corpus": corpus, **line} for line in found.round(3).reset_index().to_dict("records")]


class Table:
    """Which utterances of a corpus each row gets right, averaged over its seeds; rows with all folds only."""

    def __init__(self, corpus: str):
        self.right: dict[str, np.ndarray] = {}
        self.runs: dict[str, int] = {}
        self.by_seed: dict[str, list[np.ndarray]] = {}
        self.facts: pandas.DataFrame | None = None
        for row in ROWS:
            for suffix in ("", "_by_speaker"):
                seeds = self._seeds(FOLDER / "runs" / corpus / row, f"test{suffix}_predictions.csv")
                if seeds:
                    self.by_seed[row + suffix], self.runs[row + suffix] = seeds, len(seeds)
                    self.right[row + suffix] = np.mean(seeds, axis=0)
        for name in YARDSTICKS:
            path = FOLDER / "yardsticks" / corpus / f"{name}.csv"
            if path.exists():
                self.right[name], self.runs[name] = self._right(pandas.read_csv(path)), 1
        self.weights = self._weights()

    def _seeds(self, folder: Path, name: str) -> list[np.ndarray]:
        found: dict[str, list[pandas.DataFrame]] = {}
        for path in sorted(folder.glob(f"*/{name}")):
            found.setdefault(path.parent.name.rpartition("-seed")[2], []).append(pandas.read_csv(path))
        expected = len(json.loads((FOLDER / "folds" / f"{folder.parent.name}.json").read_text())["folds"])
        return [self._right(pandas.concat(tables)) for tables in found.values() if len(tables) == expected]

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
            raise SystemExit("no row is finished: run benchmarks.study or benchmarks.yardsticks first")
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
        seeds = [float(self.accuracy(each, once)[0]) for each in self.by_seed.get(name, [])]
        return {
            "unweighted_accuracy": round(float(self.accuracy(self.right[name], once)[0]), 4),
            "low": round(float(low), 4),
            "high": round(float(high), 4),
            "seeds": self.runs[name],
            "between_seeds": round(float(np.std(seeds)), 4) if len(seeds) > 1 else float("nan"),
        }

    def difference(self, name: str, other: str) -> dict[str, float]:
        """Of two rows, with its interval."""
        gap, once = self.right[name] - self.right[other], np.ones((1, len(self.right[name])))
        low, high = np.quantile(self.accuracy(gap, self.weights), (0.025, 0.975))
        return {"difference": round(float(self.accuracy(gap, once)[0]), 4)} | {
            "low": round(float(low), 4),
            "high": round(float(high), 4),
        }


def speaker_of(utterance_id: str) -> str:
    """RAVDESS names a folder after the actor, nEMO starts a file's name with the speaker."""
    path = Path(utterance_id)
    return path.parent.name if path.parent.name.startswith("Actor") else path.name.partition("_")[0]


if __name__ == "__main__":
    sys.exit(main())
