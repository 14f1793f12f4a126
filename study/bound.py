"""What any fusion can reach on constructed pairs, by Bayes' rule.

    python -m study.bound              # after `python -m study.runs` of the rows speech and text

Voice x and words w of a constructed pair are drawn independently, given the emotion c. So

    p(c | x, w) = p(x | c) p(w | c) p(c) / p(x, w)  is proportional to  p(c | x) p(w | c)  =  p(c | x) p(c | w) / p(c):

the product of both posteriors over the prior. A fusion of the same two modalities can reach it and not surpass it,
where the posteriors are the true ones. Trained models are calibrated first, on validation clips; what is left of their
error is theirs, so that the figure is an estimate of the bound for these two models. Likewise a pair agrees, against
an independent one, by the odds of the sum over c of p(c | x) p(c | w) / p(c).

`runs/study/bound.csv` has a line for each fold and seed.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp
from sklearn.metrics import recall_score, roc_auc_score

from processing.evaluation.records import Predictions

from .other_emotions import other_emotions
from .runs import CORPORA, FOLDER, FROZEN

SMALLEST = 1e-12  # a probability below it counts as this much


class Calibration:
    """Temperature and biases of the classes, by which log probabilities become those of the validation clips' labels
    (vector scaling of one slope; Guo et al., ICML 2017).

    Args:
        probabilities: (clips, classes). labels: class ids, (clips,).
    """

    def __init__(self, probabilities: np.ndarray, labels: np.ndarray):
        scores, clips, count = _logs(probabilities), np.arange(len(labels)), probabilities.shape[1]

        def loss(parameters: np.ndarray) -> float:
            fitted = log_softmax(np.exp(parameters[0]) * scores + parameters[1:], axis=1)
            return float(-fitted[clips, labels].mean() + 1e-3 * np.square(parameters).sum())

        found = minimize(loss, np.zeros(1 + count), method="L-BFGS-B").x
        self.slope, self.biases = float(np.exp(found[0])), found[1:]

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """Calibrated log probabilities, (clips, classes)."""
        return log_softmax(self.slope * _logs(probabilities) + self.biases, axis=1)


def bayes_fusion(voice: np.ndarray, words: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Log of p(c | x, w) for independent x and w given c.

    Args:
        voice, words: log posteriors, (clips, classes). prior: of the classes, (classes,).
    """
    return log_softmax(voice + words - np.log(prior), axis=1)


def agreement(voice: np.ndarray, words: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Log odds that a pair has one emotion, against an independent voice and text; arguments as above, (pairs,)."""
    return logsumexp(voice + words - np.log(prior), axis=1)


def agreement_auc(voice: np.ndarray, words: np.ndarray, prior: np.ndarray, labels: np.ndarray) -> float:
    """Area under the curve of `agreement` over all pairs of a clip and a text: those of one emotion against others.

    Args:
        labels: class ids of clips and of texts, (clips,).
    """
    scores = logsumexp(voice[:, None] + words[None] - np.log(prior), axis=2)
    return float(roc_auc_score((labels[:, None] == labels[None]).ravel(), scores.ravel()))


def agrees(voice: np.ndarray, words: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Whether a pair is likelier to be of one emotion than of two, (pairs,); arguments as of `bayes_fusion`.

    Pairs of two emotions are independent ones less those of one: with P = p(c | x) p(c | w), a pair agrees where the
    sum of P / p(c) exceeds (1 - sum of P) / (1 - sum of p(c)^2).
    """
    both = np.exp(voice + words)
    return (both / prior).sum(1) > (1 - both.sum(1)) / (1 - np.square(prior).sum())


def told_apart(voice: np.ndarray, words: np.ndarray, prior: np.ndarray, labels: np.ndarray) -> float:
    """Share of pairs that `agrees` judges rightly: each clip with its own text and with one of another emotion, as in
    `study.interaction`."""
    others = words[other_emotions(labels, np.random.default_rng(0))]
    return float((agrees(voice, words, prior).mean() + 1 - agrees(voice, others, prior).mean()) / 2)


def bound_of(speech: dict[str, Predictions], text: dict[str, Predictions]) -> dict[str, float]:
    """The bound on the test part, and what it is made of.

    Args:
        speech, text: of one fold and seed, the parts "validation" and "test".

    Returns: unweighted accuracies of the calibrated modalities, of late fusion of what is not calibrated, and of the
        bound; the AUC of the agreement of pairs, and how many it tells apart.
    """
    calibrated, prior = {}, None
    for name, parts in (("voice", speech), ("words", text)):
        validation = parts["validation"]
        calibrated[name] = Calibration(validation.probabilities, validation.references)(parts["test"].probabilities)
        counts = np.bincount(validation.references, minlength=validation.probabilities.shape[1]) + 1.0
        prior = counts / counts.sum()
    labels, prior = speech["test"].references, np.asarray(prior)
    if list(speech["test"].utterance_ids) != list(text["test"].utterance_ids):
        raise ValueError("the runs of speech and of text were tested on other clips, or in another order")
    late = _logs(speech["test"].probabilities) + _logs(text["test"].probabilities)
    answers = calibrated | {"late": late, "bound": bayes_fusion(calibrated["voice"], calibrated["words"], prior)}
    accuracies = {
        name: float(recall_score(labels, scores.argmax(1), average="macro")) for name, scores in answers.items()
    }
    halves = calibrated["voice"], calibrated["words"], prior, labels
    return accuracies | {"agreement_auc": agreement_auc(*halves), "told_apart": told_apart(*halves)}


def bounds(corpus: str, suffix: str) -> Iterator[dict[str, Any]]:
    """A line for each fold and seed that both modalities have."""
    for folder in sorted((FOLDER / FROZEN / corpus / "speech").glob("*/metrics.json")):
        name = folder.parent.name
        found = [
            _parts(FOLDER / FROZEN / corpus / "speech" / name, suffix),
            _parts(FOLDER / FROZEN / corpus / "text" / name),
        ]
        if all(found):
            yield {"corpus": corpus, "fold_and_seed": name} | bound_of(*found)


def _parts(folder: Path, suffix: str = "") -> dict[str, Predictions]:
    paths = {part: folder / f"{part}{suffix}_predictions.csv" for part in ("validation", "test")}
    if not all(path.exists() for path in paths.values()):
        return {}
    return {part: Predictions.read(path, multi_label=False) for part, path in paths.items()}


def _logs(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.clip(probabilities, SMALLEST, 1.0))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(arguments)
    kinds = (("training", ""), ("speaker", "_by_speaker"))
    lines = [
        {"standardised_by": kind, **line}
        for corpus in CORPORA
        for kind, suffix in kinds
        for line in bounds(corpus, suffix)
    ]
    if not lines:
        print(f"error: {FOLDER}/{FROZEN} has no finished runs of the rows speech and text", file=sys.stderr)
        return 1
    table = pandas.DataFrame(lines)
    table.to_csv(FOLDER / "bound.csv", index=False, float_format="%.4f")
    print(table.groupby(["corpus", "standardised_by"]).mean(numeric_only=True).round(3).to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main())
