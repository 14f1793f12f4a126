"""Do the utterances before help to name the emotion of the current one? Words alone, on MELD's train and dev parts.

    python -m study.context --data DATA   # DATA/meld holds MELD's csv files; the same command goes on

An utterance reads "Name: words". Its context is the N utterances before it in the dialogue, joined, as the first
segment of a pair (EmoBERTa, Kim and Vossen, 2021): "[CLS] context [SEP] Name: words [SEP]". What is too long loses its
oldest words, the current ones stay whole. Vectors are means over the states of the current tokens.

`frozen`: sentence vectors and logistic regression. `tuned`: the encoder's upper two layers of six and a linear head
train together, once over the dialogues; the layers below are frozen, so that their states are computed once. A tenth
of the dialogues of the train part is held out: it chooses the regularisation and, with the first seed, the learning
rate. Dev is scored, and chooses nothing. `runs/study/context.csv` gets a line a run, `context.csv` in the output
folder has the table.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas
import torch
from sklearn.model_selection import GroupShuffleSplit

from processing.corpora.readers.meld import LABELS
from processing.evaluation.metrics import utterance_counts

from .context_models import ALONE, BESIDE, FIRST, LAST, NAMELESS, Trials
from .runs import FOLDER

RUNS = FOLDER / "context.csv"
RATES = (1e-4, 3e-4)
RESAMPLES = 2000
FROZEN = ((ALONE, 0), (NAMELESS, 0), (BESIDE, 2), (FIRST, 2), (LAST, 2), (LAST, 4))
TUNED = ((ALONE, 0), (LAST, 2), (LAST, 4))
SEARCHED = TUNED[:2]  # the learning rate of the others is that of their form


class Run(NamedTuple):
    """One training."""

    kind: str
    form: str
    before: int
    seed: int
    setting: float  # learning rate; 0: chosen in the run


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds meld/{train,dev}_sent_emo.csv")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("model_cards/study"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    table = read_parts(options.data / "meld")
    trials = Trials(table)
    for run in planned(options.seeds):
        began = time.perf_counter()
        found = trials.tuned(*run[1:]) if run.kind == "tuned" else trials.frozen(run.form, run.before)
        line = run._asdict() | found | {"seconds": round(time.perf_counter() - began)}
        pandas.DataFrame([line]).to_csv(RUNS, mode="a", header=not RUNS.exists(), index=False)
        print({name: value for name, value in line.items() if name != "answers"}, flush=True)
    dev = table[table.part == "dev"]
    summary = pandas.DataFrame(summarised(finished(), dev.label.to_numpy(), dev.dialogue.to_numpy()))
    options.output.mkdir(parents=True, exist_ok=True)
    summary.to_csv(options.output / "context.csv", index=False)
    print(summary.to_string(index=False))
    return 0


def planned(seeds: Sequence[int]) -> Iterator[Run]:
    """The runs that are not finished, each when those before it are."""
    first = seeds[0]
    searched = [Run("tuned", *each, first, rate) for each in SEARCHED for rate in RATES]
    yield from (run for run in searched if is_open(run))
    runs = finished()
    rates = {}
    for form, before in SEARCHED:
        own = runs[(runs.kind == "tuned") & (runs.form == form) & (runs.before == before) & (runs.seed == first)]
        rates[form] = float(own.setting[own.held_out.idxmax()])
    frozen = [Run("frozen", *each, 0, 0.0) for each in FROZEN]
    tuned = [Run("tuned", form, before, seed, rates[form]) for seed in seeds for form, before in TUNED]
    yield from (run for run in [*tuned[: len(TUNED)], *frozen, *tuned[len(TUNED) :]] if is_open(run))


def is_open(run: Run) -> bool:
    """Whether no line of `runs/study/context.csv` has this run."""
    if not RUNS.exists():
        return True
    chosen = 4 if run.kind == "frozen" else 5
    return run[:chosen] not in {tuple(row)[:chosen] for row in finished()[list(Run._fields)].itertuples(index=False)}


def finished() -> pandas.DataFrame:
    """A line a run."""
    return pandas.read_csv(RUNS, dtype={"answers": str})


def summarised(runs: pandas.DataFrame, labels: np.ndarray, dialogues: np.ndarray) -> Iterator[dict[str, Any]]:
    """A line a form: weighted F1 on dev, the mean over its seeds, and its difference from the current utterance with
    its name alone; 95 % bootstrap intervals over dialogues, the same ones for both.

    Args:
        labels, dialogues: of the dev part's utterances, (utterances,).
    """
    names, dialogue_of = np.unique(dialogues, return_inverse=True)
    draws = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES)
    draws = np.vstack([np.ones(len(names), int), draws])

    def scores(answers: str) -> np.ndarray:
        counts, score = utterance_counts(np.array(list(answers), int), labels, LABELS)
        sums = np.zeros((len(names), counts.shape[1]))
        np.add.at(sums, dialogue_of, counts)
        return score(draws @ sums, len(LABELS))[0]["weighted_f1"]

    best = runs.sort_values("held_out").drop_duplicates(["kind", "form", "before", "seed"], keep="last")
    for kind, forms in (("frozen", FROZEN), ("tuned", TUNED)):
        alone = np.zeros(RESAMPLES + 1)
        for form, before in forms:
            own = best[(best.kind == kind) & (best.form == form) & (best.before == before)]
            if own.empty:
                continue
            found = np.mean([scores(answers) for answers in own.answers], axis=0)
            alone = found if form == ALONE else alone
            line = {"kind": kind, "form": form, "before": before, "seeds": len(own)}
            line |= _interval("weighted_f1", found) | _interval("difference", found - alone)
            yield line | {"held_out": round(own.held_out.mean(), 4)}


def _interval(name: str, scores: np.ndarray) -> dict[str, float]:
    low, high = np.quantile(scores[1:], (0.025, 0.975))
    return {
        name: round(float(scores[0]), 4),
        f"{name}_low": round(float(low), 4),
        f"{name}_high": round(float(high), 4),
    }


def read_parts(folder: Path) -> pandas.DataFrame:
    """Both files in the order of their dialogues, with `part` (train, held_out or dev), `label` and `line`."""
    tables = [
        pandas.read_csv(folder / f"{part}_sent_emo.csv", keep_default_na=False).assign(part=part)
        for part in ("train", "dev")
    ]
    table = pandas.concat(tables, ignore_index=True)
    table["dialogue"] = table.part + "_" + table.Dialogue_ID.astype(str)
    table["label"] = table.Emotion.map(LABELS.index)
    table["line"] = table.Speaker + ": " + table.Utterance
    table = table.sort_values(["part", "Dialogue_ID", "Utterance_ID"], ignore_index=True)
    train = np.flatnonzero(table.part == "train")
    splitter = GroupShuffleSplit(n_splits=1, test_size=0.1, random_state=0)
    held_out = train[next(splitter.split(train, groups=table.dialogue[train]))[1]]
    table.loc[held_out, "part"] = "held_out"
    return table


if __name__ == "__main__":
    sys.exit(main())
