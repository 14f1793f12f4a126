"""Pictures of the study: every row's accuracy with its interval, and the emotions of one fold in rows 1, 2 and 6.

    python -m study.pictures --output model_cards/study

Reads the tables that `study.tables` wrote there, and the embeddings of the runs.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas

from processing.evaluation.records import BY_SPEAKER, read_embeddings
from processing.figures.embeddings import plot_embeddings
from processing.figures.style import PALETTE, new_figure, save

from .runs import CORPORA, FOLDER, FROZEN

NAMES = {
    "words": "words: logistic regression",
    "voice": "voice: support vector machine",
    "late": "late fusion of these two",
    "text": "words alone",
    "speech": "voice alone",
    "halves": "late fusion of these two",
    "row1": "row 1: encoders, FE_s",
    "row2": "row 2: CMIE",
    "row3": "row 3: PCMI",
    "row4": "row 4: ED",
    "row5": "row 5: PCMI, ED, FE_c",
    "row6": "row 6: DRKF",
    "starter": "row 1, ED on the halves",
    "row6_halves": "row 6, ED on the halves",
}
ALONE = "_alone"
OF_FIGURE_4 = ("row1", "row2", "row6")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("model_cards/study"))
    output = parser.parse_args(arguments).output
    print(plot_rows(pandas.read_csv(output / "rows.csv"), output / "rows.png"))
    for corpus in CORPORA:
        print(plot_emotions(corpus, output / f"{corpus}_emotions.png"))
    return 0


def plot_rows(rows: pandas.DataFrame, path: Path) -> Path:
    """Unweighted accuracy of each row with its interval, a panel a corpus; filled where the speaker's other clips are
    known."""
    figure = new_figure(11, 5)
    order = [name for name in NAMES if name in set(rows.row)]
    for axes, corpus in zip(figure.subplots(1, len(CORPORA), sharey=True), CORPORA, strict=True):
        for suffix, shift, color in (("", -0.15, PALETTE[0]), (BY_SPEAKER, 0.15, PALETTE[1])):
            found = rows[rows.corpus == corpus].set_index("row")
            places = [
                (place + shift, name + suffix) for place, name in enumerate(order) if name + suffix in found.index
            ]
            lines = found.loc[[name for _, name in places]]
            middle = lines.unweighted_accuracy
            axes.errorbar(
                middle, [place for place, _ in places], xerr=[middle - lines.low, lines.high - middle], fmt="o",
                color=color, capsize=2, label="its speaker's other clips known" if suffix else "the clip alone",
            )  # fmt: skip
        axes.set_yticks(range(len(order)), [NAMES[name] for name in order])
        axes.set_title(corpus, fontsize=10)
        axes.set_xlabel("unweighted accuracy, speakers unheard")
        axes.grid(axis="x", alpha=0.3)
    figure.axes[0].invert_yaxis()
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return save(figure, path)


def plot_emotions(corpus: str, path: Path) -> Path:
    """Figure 4: the fused vectors of the first fold's test clips, of the first seed, of the rows that are run."""
    vectors, table = {}, pandas.DataFrame()
    for row in OF_FIGURE_4:
        for folder in sorted((FOLDER / FROZEN / corpus / row).glob("*-seed0"))[:1]:
            table = pandas.read_csv(folder / "test_predictions.csv")
            vectors[NAMES[row]] = read_embeddings(folder / "test_embeddings.npz", list(table.utterance_id))["fused"]
    names = sorted(set(table.label))
    references = [names.index(label) for label in table.label]
    return plot_embeddings(
        vectors, references, names, path, f"{corpus}: speakers of fold {table.fold.iloc[0]}, unheard"
    )


if __name__ == "__main__":
    sys.exit(main())
