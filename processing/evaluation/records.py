"""The records that a run keeps of each utterance: predictions as CSV, embeddings as NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from ..corpora.utterance import LABEL_SEPARATOR
from ..errors_drkf import FileError

SELECTED_ON_TEST = "epochs were chosen on the test part: these figures are too good"
BY_SPEAKER = "_by_speaker"  # behind a split's name: each clip is judged beside its speaker's other clips
PROBABILITY = "probability_"
MODALITIES = ("speech", "text")
EMBEDDINGS = ("fused", *MODALITIES)


@dataclass(frozen=True)
class Predictions:
    """What was predicted for each utterance of one split, or of several runs one after the other.

    Attributes:
        label_names: (classes). utterance_ids, folds: (utterances).
        references, predictions: class ids (utterances,), or multi-hot label sets (utterances, classes).
        probabilities: (utterances, classes).
        consistency: probability that voice and words bear the same emotion, (utterances,); NaN where the model has
            no ED.
        modality_shares: attention on speech and on text, (utterances, 2); NaN where it is not known (FE_c).
        selection: the part that chose the weights; "none" where the last were kept.
    """

    label_names: Sequence[str]
    utterance_ids: Sequence[str]
    folds: Sequence[str]
    references: np.ndarray
    predictions: np.ndarray
    probabilities: np.ndarray
    consistency: np.ndarray
    modality_shares: np.ndarray
    selection: str = "validation"

    def write(self, path: Path) -> None:
        """A CSV with a row an utterance: utterance_id, fold, selection, label, prediction, `probability_<class>` of
        every class, consistency, dominant_modality, speech_share, text_share.

        Nine digits give back every float32. A label set is joined by `|`; what is not known is left empty.
        """
        speech, text = self.modality_shares.T
        dominant = np.where(speech >= text, *MODALITIES)
        table: dict[str, Any] = {
            "utterance_id": self.utterance_ids,
            "fold": self.folds,
            "selection": self.selection,
            "label": self._names(self.references),
            "prediction": self._names(self.predictions),
            **{PROBABILITY + name: self.probabilities[:, c] for c, name in enumerate(self.label_names)},
            "consistency": self.consistency,
            "dominant_modality": np.where(np.isnan(speech), "", dominant),
            "speech_share": speech,
            "text_share": text,
        }
        pandas.DataFrame(table).to_csv(path, index=False, float_format="%.9g")

    @classmethod
    def read(cls, path: Path, multi_label: bool) -> Predictions:
        """What `write` wrote.

        Raises:
            ValueError: the file is not such a table, has no rows, or names a class that has no column.
        """
        table = pandas.read_csv(path, dtype=str, keep_default_na=False)
        label_names = [name.removeprefix(PROBABILITY) for name in table if name.startswith(PROBABILITY)]
        floating = ("consistency", "speech_share", "text_share")
        needed = ("utterance_id", "fold", "selection", "label", "prediction", *floating)
        missing = [name for name in needed if name not in table] + [PROBABILITY + "<class>"] * (not label_names)
        if missing:
            raise FileError(f"{path} is no table of predictions: it lacks {', '.join(missing)}. Evaluate it again.")
        if not len(table):
            raise FileError(f"{path} has no rows.")
        floats = {
            name: pandas.to_numeric(table[name]).to_numpy(float)
            for name in table
            if name.startswith(PROBABILITY) or name in floating
        }
        return cls(
            label_names=label_names,
            utterance_ids=table["utterance_id"].tolist(),
            folds=table["fold"].tolist(),
            references=_labels(table["label"], label_names, multi_label, path),
            predictions=_labels(table["prediction"], label_names, multi_label, path),
            probabilities=np.column_stack([floats[PROBABILITY + name] for name in label_names]),
            consistency=floats["consistency"],
            modality_shares=np.column_stack([floats["speech_share"], floats["text_share"]]),
            selection=table["selection"][0],
        )

    @classmethod
    def pool(cls, runs: Sequence[Predictions]) -> Predictions:
        """Those of several runs, one after the other.

        Raises:
            ValueError: the runs do not have the same classes in the same order.
        """
        names = runs[0].label_names
        for run in runs:
            if list(run.label_names) != list(names):
                raise FileError(f"Runs of different classes cannot be pooled: {names} and {run.label_names}.")
        return cls(
            label_names=names,
            utterance_ids=[name for run in runs for name in run.utterance_ids],
            folds=[fold for run in runs for fold in run.folds],
            **{
                field: np.concatenate([getattr(run, field) for run in runs])
                for field in ("references", "predictions", "probabilities", "consistency", "modality_shares")
            },
            selection="test" if any(run.selection == "test" for run in runs) else runs[0].selection,
        )

    def _names(self, labels: np.ndarray) -> list[str]:
        names = self.label_names
        if labels.ndim == 1:
            return [names[label] for label in labels]
        return [LABEL_SEPARATOR.join(np.asarray(names, dtype=object)[row > 0.5]) for row in labels]


def _labels(cells: pandas.Series, names: list[str], multi_label: bool, path: Path) -> np.ndarray:
    sets = [cell.split(LABEL_SEPARATOR) if multi_label and cell else [cell] * (not multi_label) for cell in cells]
    for row, labels in enumerate(sets):
        if not set(labels) <= set(names):
            raise FileError(f"{path}, row {row + 1}: {cells[row]!r} is not among the classes {', '.join(names)}.")
    if not multi_label:
        return np.array([names.index(label) for (label,) in sets])
    return np.array([[name in labels for name in names] for labels in sets], dtype=np.int64)


def write_embeddings(path: Path, utterance_ids: Sequence[str], embeddings: np.ndarray) -> None:
    """An `.npz` of `utterance_id` (utterances,) and of `fused`, `speech`, `text` (utterances, d) each, in half
    precision: 16 MB for 2,600 utterances of width 1024, under 1 % of a checkpoint of that width.

    Args:
        embeddings: (utterances, 3, d): the fused vector, the speech summary, the text summary.
    """
    largest = np.finfo(np.float16).max
    halves = dict(zip(EMBEDDINGS, embeddings.clip(-largest, largest).astype(np.float16).swapaxes(0, 1), strict=True))
    np.savez_compressed(path, utterance_id=np.array(list(utterance_ids), dtype=str), **halves)  # type: ignore[arg-type]


def read_embeddings(path: Path, utterance_ids: Sequence[str]) -> dict[str, np.ndarray]:
    """{"fused" | "speech" | "text": (utterances, d), float32}.

    Raises:
        ValueError: the utterances are not those given, in their order.
    """
    with np.load(path) as file:
        if file["utterance_id"].tolist() != list(utterance_ids):
            raise FileError(f"{path} holds other utterances than the predictions beside it; evaluate both again.")
        return {name: file[name].astype(np.float32) for name in EMBEDDINGS}
