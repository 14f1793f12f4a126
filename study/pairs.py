"""What the study says beside accuracy: pairs that disagree, and how far the emotions stand apart.

`study.tables` writes it.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from sklearn.metrics import silhouette_score

from processing.evaluation.records import read_embeddings

from .runs import FOLDER, FROZEN, ROWS

OF_CONSISTENCY = ("auc", "brier", "brier_of_prior")


def runs_of(corpus: str, row: str, kind: str = FROZEN) -> list[Path]:
    """Folders of the finished runs."""
    return sorted(path.parent for path in (FOLDER / kind / corpus / row).glob("*/metrics.json"))


def disagreement(corpus: str, kind: str = FROZEN) -> list[dict[str, Any]]:
    """A line a row: test clips with a text of another emotion, and what `consistency` says of all test pairs.

    `on_voice` and `on_words` are unweighted accuracies by the label of either modality, means over folds and seeds;
    `voice_dominates` is the share of these pairs with more attention on the voice; `told_apart` the share of own and
    other texts that `consistency` tells apart at 0.5 (`study.interaction`).
    """
    return _lines(corpus, _disagreement, kind)


def _disagreement(folder: Path) -> dict[str, float]:
    table = pandas.read_csv(folder / "disagreement_predictions.csv")
    facts = {
        f"on_{modality}": float((table.prediction == table[column]).groupby(table[column]).mean().mean())
        for modality, column in (("voice", "label"), ("words", "text_label"))
    }
    known = table.dominant_modality.notna()
    facts["voice_dominates"] = float((table.dominant_modality[known] == "speech").mean()) if known.any() else np.nan
    own = pandas.read_csv(folder / "test_predictions.csv").consistency
    right = ((own > 0.5).mean() + (table.consistency < 0.5).mean()) / 2
    facts["told_apart"] = float(right) if own.notna().all() else np.nan
    of_pairs = json.loads((folder / "metrics.json").read_text())["test"].get("consistency") or {}
    return facts | {f"consistency_{name}": of_pairs.get(name, np.nan) for name in OF_CONSISTENCY}


def separation(corpus: str) -> list[dict[str, Any]]:
    """A line a row: mean silhouette of the emotions of test clips, cosine distance, means over folds and seeds; of
    the fused vectors and of both modalities (Figure 4)."""
    return _lines(corpus, _separation)


def _separation(folder: Path) -> dict[str, float]:
    table = pandas.read_csv(folder / "test_predictions.csv")
    vectors = read_embeddings(folder / "test_embeddings.npz", list(table.utterance_id))
    return {name: float(silhouette_score(points, table.label, metric="cosine")) for name, points in vectors.items()}


def _lines(corpus: str, of_run: Callable[[Path], dict[str, float]], kind: str = FROZEN) -> list[dict[str, Any]]:
    """Means over the finished runs of each row."""
    lines = []
    for row in ROWS:
        found = [of_run(folder) for folder in runs_of(corpus, row, kind)]
        if found:
            means = pandas.DataFrame(found).mean().round(4).to_dict()
            lines.append({"corpus": corpus, "row": row, "runs": len(found), **means})
    return lines
