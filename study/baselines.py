"""What simple means reach on the same folds: a support vector machine on statistics of the voice, logistic regression
on the mean of the words' states, and the sum of their log probabilities.

    python -m study.baselines --data DATA
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import torch
from datasets import concatenate_datasets
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from tqdm import tqdm

from modeling_drkf.experiments.building import build_model_and_processor
from modeling_drkf.experiments.encoder_states import EncoderStates, state_inputs
from modeling_drkf.experiments.options import parse_arguments
from processing.corpora.protocols import folds_of, parts_of
from processing.corpora.registry import read_corpus

from .runs import CORPORA, FOLDER, RECIPE, write_folds

Features = dict[str, np.ndarray]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the two tables")
    options = parser.parse_args(arguments)
    for name, column in CORPORA.items():
        manifest, fold_file = options.data / f"{name}.csv", FOLDER / "folds" / f"{name}.json"
        if not fold_file.exists():
            write_folds(manifest, column, fold_file)
        corpus = read_corpus("manifest", str(manifest))
        model_arguments, _, _ = parse_arguments([RECIPE, "--manifest", str(manifest)])
        tables: dict[str, list[pandas.DataFrame]] = {}
        for fold in tqdm(folds_of(corpus, fold_file=fold_file), desc=name, unit="fold"):
            parts = parts_of(corpus, fold)
            model, processor = build_model_and_processor(
                model_arguments, corpus.label_names, corpus.problem_type, parts["train"]
            )
            rows = concatenate_datasets(list(parts.values()))
            states = state_inputs([rows], parts, model, processor).parts
            for baseline, predicted in predictions(features(states["train"]), features(states["test"])).items():
                tables.setdefault(baseline, []).append(
                    pandas.DataFrame(
                        {
                            "utterance_id": states["test"].ids,
                            "fold": fold.name,
                            "label": [corpus.label_names[label] for label in states["test"].labels],
                            "prediction": [corpus.label_names[label] for label in predicted],
                        }
                    )
                )
        for baseline, folds in tables.items():
            path = FOLDER / "baselines" / name / f"{baseline}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            pandas.concat(folds).to_csv(path, index=False)
    return 0


def features(states: EncoderStates) -> Features:
    """Of each clip: statistics over time, (clips, 3 width), the same standardised over the speaker's clips, and the
    mean of its text's states; with the labels."""
    voice = states.statistics().flatten(1).numpy()
    speakers = np.array(states.rows["speaker"][:])
    by_speaker = np.empty_like(voice)
    for speaker in set(speakers):
        own = speakers == speaker
        by_speaker[own] = (voice[own] - voice[own].mean(0)) / (voice[own].std(0) + 1e-6)
    words = torch.stack([states[index]["text_states"].mean(0) for index in range(len(states))]).numpy()
    labels: Any = states.labels
    return {"voice": voice, "by_speaker": by_speaker, "words": words, "labels": labels.numpy()}


def predictions(train: Features, test: Features) -> dict[str, np.ndarray]:
    """Class ids of the test clips, by baseline."""
    labels = train["labels"]

    def log_probabilities(classifier: Any, name: str) -> np.ndarray:
        fitted = make_pipeline(StandardScaler(), classifier).fit(train[name], labels)
        return np.log(fitted.predict_proba(test[name]) + 1e-9)

    words = log_probabilities(LogisticRegression(C=0.01, max_iter=2000), "words")
    found = {"words": words.argmax(1)}
    for name, suffix in (("voice", ""), ("by_speaker", "_by_speaker")):
        machine = make_pipeline(StandardScaler(), SVC(C=3)).fit(train[name], labels)
        voice = log_probabilities(CalibratedClassifierCV(SVC(C=3), ensemble=False), name)
        found[f"voice{suffix}"] = machine.predict(test[name])
        found[f"late{suffix}"] = (voice + words).argmax(1)
    return found


if __name__ == "__main__":
    sys.exit(main())
