"""Metrics against naive loops, against scikit-learn, and through `evaluate` and `Trainer` themselves."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from transformers import EvalPrediction, Trainer, TrainingArguments

from processing.evaluation import metrics
from processing.evaluation.bootstrap import bootstrap_interval, difference_interval
from processing.evaluation.decisions import compute_metrics_fn, predictions_from_logits
from processing.evaluation.metrics import FORMULAS, EmotionMetrics, emotion_metrics, flat_metrics

NAMES = ["ang", "hap", "sad", "neu"]
SINGLE, MULTI = "single_label_classification", "multi_label_classification"

class_ids = st.integers(1, 40).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 3), min_size=n, max_size=n) for _ in range(2)])
)
one_set = st.lists(st.integers(0, 1), min_size=4, max_size=4)
label_sets = st.integers(1, 25).flatmap(
    lambda n: st.tuples(*[st.lists(one_set, min_size=n, max_size=n) for _ in range(2)])
)


def test_single_label_by_hand() -> None:
    # ang: 2 of 3 found, hap: 1 of 1, sad: never present but once predicted, neu: 0 of 1
    scores = emotion_metrics([0, 0, 2, 1, 0], [0, 0, 0, 1, 3], NAMES)
    assert scores["confusion_matrix"] == [[2, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert scores["unweighted_accuracy"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert scores["weighted_accuracy"] == pytest.approx(3 / 5)
    assert scores["per_class"]["ang"] == pytest.approx(
        {"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "support": 3}
    )
    assert scores["per_class"]["sad"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 1 + 0 + 0) / 4)
    assert scores["weighted_f1"] == pytest.approx((3 * 2 / 3 + 1) / 5)


def test_weighted_and_unweighted_accuracy_are_not_swapped() -> None:
    majority = emotion_metrics([0] * 10, [0] * 9 + [1], NAMES)
    assert majority["weighted_accuracy"] == pytest.approx(0.9)
    assert majority["unweighted_accuracy"] == pytest.approx(0.5)


def test_multi_label_by_hand() -> None:
    references = [[1, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]]
    predictions = [[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]]
    scores = emotion_metrics(predictions, references, NAMES)
    assert scores["micro_precision"] == pytest.approx(2 / 3)
    assert scores["micro_recall"] == pytest.approx(2 / 4)
    assert scores["micro_f1"] == pytest.approx(4 / 7)
    assert scores["jaccard_accuracy"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert scores["subset_accuracy"] == pytest.approx(1 / 3)
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 0 + 1) / 3)  # nobody is ever neutral
    assert scores["weighted_f1"] == pytest.approx((2 * 2 / 3 + 0 + 1) / 4)


def test_empty_label_sets_agree_with_each_other() -> None:
    scores = emotion_metrics([[0, 0, 0, 0]], [[0, 0, 0, 0]], NAMES)
    assert scores["jaccard_accuracy"] == scores["subset_accuracy"] == 1.0
    assert scores["micro_f1"] == scores["macro_f1"] == 0.0


def naive_single(predictions: list[int], references: list[int]) -> dict[str, float]:
    recalls, f1s, weighted = [], [], 0.0
    for c in range(4):
        hits = sum(p == r == c for p, r in zip(predictions, references, strict=True))
        support, predicted = references.count(c), predictions.count(c)
        f1 = 2 * hits / (support + predicted) if support + predicted else 0.0
        if support:
            recalls.append(hits / support)
        if support or predicted:
            f1s.append(f1)
        weighted += f1 * support
    right = sum(p == r for p, r in zip(predictions, references, strict=True))
    return {
        "unweighted_accuracy": sum(recalls) / len(recalls),
        "weighted_accuracy": right / len(references),
        "weighted_f1": weighted / len(references),
        "macro_f1": sum(f1s) / len(f1s),
    }


@settings(max_examples=40)
@given(class_ids)
def test_single_label_equals_loops_and_scikit_learn(pair: tuple[list[int], list[int]]) -> None:
    predictions, references = pair
    scores = emotion_metrics(predictions, references, NAMES)
    scalars = {name: scores[name] for name in FORMULAS if name in scores}
    assert scalars == pytest.approx(naive_single(predictions, references))
    assert scores["confusion_matrix"] == sk.confusion_matrix(references, predictions, labels=range(4)).tolist()
    assert scores["macro_f1"] == pytest.approx(sk.f1_score(references, predictions, average="macro", zero_division=0))
    present = sorted(set(references))
    recall = sk.recall_score(references, predictions, labels=present, average="macro", zero_division=0)
    assert scores["unweighted_accuracy"] == pytest.approx(recall)
    table = sk.precision_recall_fscore_support(references, predictions, labels=range(4), zero_division=0)
    for c, name in enumerate(NAMES):
        assert list(scores["per_class"][name].values()) == pytest.approx([column[c] for column in table])


@settings(max_examples=40)
@given(label_sets)
def test_multi_label_equals_scikit_learn(pair: tuple[list[list[int]], list[list[int]]]) -> None:
    guess, truth = (np.array(rows) for rows in pair)
    scores = emotion_metrics(guess, truth, NAMES)
    zero = {"zero_division": 0}
    occurs = (guess + truth).any(axis=0)
    class_f1 = [sk.f1_score(truth[:, c], guess[:, c], **zero) for c in np.flatnonzero(occurs)]
    expected = {
        "micro_precision": sk.precision_score(truth, guess, average="micro", **zero),
        "micro_recall": sk.recall_score(truth, guess, average="micro", **zero),
        "micro_f1": sk.f1_score(truth, guess, average="micro", **zero),
        "jaccard_accuracy": sk.jaccard_score(truth, guess, average="samples", zero_division=1),
        "subset_accuracy": sk.accuracy_score(truth, guess),
        "weighted_f1": sk.f1_score(truth, guess, average="weighted", **zero),
        "macro_f1": np.mean(class_f1) if class_f1 else 0.0,
    }
    assert {name: scores[name] for name in FORMULAS if name in scores} == pytest.approx(expected)
    table = sk.precision_recall_fscore_support(truth, guess, **zero)
    for c, name in enumerate(NAMES):
        assert list(scores["per_class"][name].values()) == pytest.approx([column[c] for column in table])


@given(st.one_of(class_ids, label_sets), st.randoms(use_true_random=False))
def test_scores_are_fractions_and_ignore_the_order_of_utterances(pair, random) -> None:
    scores = flat_metrics(emotion_metrics(*pair, NAMES))
    assert all(0 <= value <= 1 + 1e-12 for value in scores.values())
    shuffled = list(zip(*pair, strict=True))
    random.shuffle(shuffled)
    assert flat_metrics(emotion_metrics(*zip(*shuffled, strict=True), NAMES)) == pytest.approx(scores)
    perfect = emotion_metrics(pair[1], pair[1], NAMES)
    assert perfect.get("weighted_accuracy", perfect.get("subset_accuracy")) == 1.0


def test_every_scalar_has_a_formula_and_the_result_is_json() -> None:
    single, multi = emotion_metrics([0], [0], NAMES), emotion_metrics([[1, 0, 0, 0]], [[1, 0, 0, 0]], NAMES)
    names = {*single, *multi} - {"per_class", "confusion_matrix"}
    assert names == set(FORMULAS)
    assert json.loads(json.dumps([single, multi])) == [single, multi]


@pytest.mark.parametrize(
    ("predictions", "references", "names", "message"),
    [
        ([], [], NAMES, "no utterances"),
        ([0, 1], [0], NAMES, r"shapes are \(2,\) and \(1,\)"),
        ([[0.1, 0.9, 0, 0]], [1], NAMES, "shapes are"),
        ([0, 1], [0, 4], NAMES, r"references\[1\] is 4: class ids run from 0 to 3"),
        ([0, -1], [0, 1], NAMES, r"predictions\[1\] is -1"),
        ([0, 0.7], [0, 1], NAMES, r"predictions\[1\] is 0.7"),
        ([0, float("nan")], [0, 1], NAMES, r"predictions\[1\] is nan"),
        ([[1, 0]], [[1, 0]], NAMES, "2 columns, and there are 4 label names"),
        ([[1, 0, 0, 0]], [[0.5, 0.5, 0, 0]], NAMES, r"references\[0\] is \[0.5, 0.5, 0.0, 0.0\]: .*multi-hot"),
        ([0], [0], ["ang", "ang"], "share a label name"),
    ],
)
def test_bad_input_is_named(predictions, references, names, message) -> None:
    with pytest.raises(ValueError, match=message):
        emotion_metrics(predictions, references, names)


@pytest.mark.parametrize("form", ["class ids", "label sets"])
def test_bootstrap_equals_resampling_by_index(form: str) -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 4, 300)
    guess = np.where(rng.random(300) < 0.6, truth, rng.integers(0, 4, 300))
    if form == "label sets":
        truth, guess = np.eye(4, dtype=int)[truth], np.eye(4, dtype=int)[guess] | (rng.random((300, 4)) < 0.1)
    intervals = bootstrap_interval(guess, truth, NAMES, num_resamples=4000)
    draws = []
    for _ in range(1500):
        chosen = rng.integers(0, 300, 300)
        draws.append(flat_metrics(emotion_metrics(guess[chosen], truth[chosen], NAMES)))
    assert set(intervals) == set(draws[0])
    for name, (low, high) in intervals.items():
        expected = np.quantile([draw[name] for draw in draws], [0.025, 0.975])
        assert (low, high) == pytest.approx(expected.tolist(), abs=0.012), name


def test_bootstrap_covers_the_true_accuracy() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for trial in range(200):
        truth = rng.integers(0, 4, 250)
        guess = np.where(rng.random(250) < 0.7, truth, (truth + 1) % 4)
        low, high = bootstrap_interval(guess, truth, NAMES, num_resamples=400, seed=trial)["weighted_accuracy"]
        covered += low <= 0.7 <= high
    assert 0.9 <= covered / 200 <= 0.99


def test_a_difference_is_resampled_over_the_same_utterances() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 400)
    worse = np.where(np.arange(400) % 2, truth, (truth + 1) % 3)
    better = np.where(np.arange(400) % 10 == 0, truth, worse)  # right on a tenth more, on all others the same
    low, high = difference_interval(better, worse, truth, NAMES)["weighted_accuracy"]
    deviation = np.sqrt(0.1 * 0.9 / 400)
    assert (low, high) == pytest.approx((0.1 - 1.96 * deviation, 0.1 + 1.96 * deviation), abs=0.006)
    drawn = rng.integers(0, 400, (1000, 400))
    gaps = ((better == truth)[drawn].mean(1) - (worse == truth)[drawn].mean(1)).tolist()
    assert (low, high) == pytest.approx(tuple(np.quantile(gaps, (0.025, 0.975))), abs=0.006)
    assert difference_interval(worse, worse, truth, NAMES)["macro_f1"] == (0, 0)


def test_speaker_bootstrap_resamples_whole_speakers() -> None:
    # half the speakers are always right, half always wrong: utterances tell little about a new set of speakers
    speakers = np.repeat([f"speaker {i}" for i in range(20)], 50)
    truth = np.tile(np.arange(4), 250)
    guess = np.where(np.repeat(np.arange(20) % 2, 50) == 0, truth, (truth + 1) % 4)
    low, high = bootstrap_interval(guess, truth, NAMES, speakers=speakers)["weighted_accuracy"]
    assert (low, high) == pytest.approx((0.5 - 1.96 * 0.5 / 20**0.5, 0.5 + 1.96 * 0.5 / 20**0.5), abs=0.04)
    by_utterance = bootstrap_interval(guess, truth, NAMES)["weighted_accuracy"]
    assert high - low > 4 * (by_utterance[1] - by_utterance[0])


def test_bootstrap_is_deterministic_nested_in_level_and_checked() -> None:
    truth, guess = np.arange(100) % 4, np.arange(100) % 3
    first = bootstrap_interval(guess, truth, NAMES, seed=5)
    assert first == bootstrap_interval(guess, truth, NAMES, seed=5)
    assert first != bootstrap_interval(guess, truth, NAMES, seed=6)
    narrow = bootstrap_interval(guess, truth, NAMES, seed=5, level=0.5)
    assert all(first[name][0] <= low <= high <= first[name][1] for name, (low, high) in narrow.items())
    assert bootstrap_interval(truth, truth, NAMES)["unweighted_accuracy"] == (1.0, 1.0)
    with pytest.raises(ValueError, match="level"):
        bootstrap_interval(guess, truth, NAMES, level=95)
    with pytest.raises(ValueError, match="at least two"):
        bootstrap_interval(guess, truth, NAMES, speakers=["one"] * 100)
    with pytest.raises(ValueError, match="3 speakers for 100 utterances"):
        bootstrap_interval(guess, truth, NAMES, speakers=["a", "b", "c"])


def test_decision_rule() -> None:
    logits = np.array([[2.0, -1.0, 0.5, -3.0], [-2.0, -1.0, -0.5, -3.0], [0.0, 0.0, 0.0, 0.0]])
    assert predictions_from_logits(logits, SINGLE).tolist() == [0, 2, 0]
    # the second row has no class above 0.5 and takes its top class; exactly 0.5 is not above 0.5
    assert predictions_from_logits(logits, MULTI).tolist() == [[1, 0, 1, 0], [0, 0, 1, 0], [1, 0, 0, 0]]
    with pytest.raises(ValueError, match=r"1 of 2 utterances have NaN .*row 1"):
        predictions_from_logits([[0.0, 1.0], [np.nan, 0.0]], SINGLE)
    with pytest.raises(ValueError, match="problem_type must be one of"):
        predictions_from_logits(logits, "regression")
    with pytest.raises(ValueError, match="shape"):
        predictions_from_logits([0.0, 1.0], SINGLE)


@given(st.lists(st.lists(st.floats(-20, 20), min_size=3, max_size=3), min_size=1, max_size=20))
def test_multi_label_rule_is_a_threshold_with_at_least_one_label(rows: list[list[float]]) -> None:
    chosen = predictions_from_logits(rows, MULTI)
    for row, labels in zip(rows, chosen, strict=True):
        above = [int(x > 0) for x in row]
        assert labels.tolist() == (above if any(above) else [int(c == row.index(max(row))) for c in range(3)])


def test_compute_metrics_takes_arrays_tuples_and_soft_labels() -> None:
    logits = np.array([[3.0, 0.0], [0.0, 3.0], [3.0, 0.0]])
    compute = compute_metrics_fn(["ang", "neu"], SINGLE)
    scores = compute(EvalPrediction(logits, np.array([0, 1, 1])))
    assert scores["weighted_accuracy"] == pytest.approx(2 / 3)
    assert scores["f1_ang"] == pytest.approx(2 / 3)
    assert set(scores) == {*naive_single([0], [0]), "f1_ang", "f1_neu"}
    assert compute(EvalPrediction((logits, np.zeros((3, 7))), np.array([0, 1, 1]))) == scores
    assert compute(EvalPrediction(logits, np.array([[0.9, 0.1], [0.3, 0.7], [0.4, 0.6]]))) == scores
    multi = compute_metrics_fn(["ang", "neu"], MULTI)(EvalPrediction(logits, np.array([[1.0, 0], [0, 1], [1, 1]])))
    assert multi["subset_accuracy"] == pytest.approx(2 / 3)
    assert all(isinstance(value, float) for value in multi.values())


class FixedLogits(torch.nn.Module):
    """Answers with its input, beside an output that is no logits."""

    def forward(self, values: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        loss = torch.nn.functional.cross_entropy(values, labels)
        return {"loss": loss, "logits": values, "fused": torch.zeros(len(values), 5)}


def test_inside_trainer(tmp_path: Path) -> None:
    rows = [{"values": torch.eye(4)[i % 4], "labels": (i + i // 8) % 4} for i in range(11)]
    arguments = TrainingArguments(
        output_dir=str(tmp_path), per_device_eval_batch_size=4, use_cpu=True, label_names=["labels"], disable_tqdm=True
    )
    trainer = Trainer(FixedLogits(), arguments, eval_dataset=rows, compute_metrics=compute_metrics_fn(NAMES, SINGLE))
    scores = trainer.evaluate()
    assert scores["eval_weighted_accuracy"] == pytest.approx(8 / 11)
    assert scores["eval_unweighted_accuracy"] == pytest.approx((2 / 2 + 2 / 3 + 2 / 3 + 2 / 3) / 4)


def test_evaluate_metric_instantiated(tmp_path: Path) -> None:
    metric = EmotionMetrics(cache_dir=str(tmp_path))
    assert metric.compute(predictions=[0, 1, 3], references=[0, 1, 2], label_names=NAMES) == emotion_metrics(
        [0, 1, 3], [0, 1, 2], NAMES
    )
    metric.add_batch(predictions=np.array([[1, 0]]), references=torch.tensor([[1.0, 1.0]]))
    metric.add(prediction=[0, 1], reference=[0, 1])
    scores = metric.compute(label_names=["ang", "neu"])
    assert scores == emotion_metrics([[1, 0], [0, 1]], [[1, 1], [0, 1]], ["ang", "neu"])
    with pytest.raises(ValueError, match=r"predictions\[0\] is 0.3"):
        metric.compute(predictions=[0.3], references=[1], label_names=NAMES)


def test_evaluate_loads_the_file_without_hub_and_package(tmp_path: Path) -> None:
    script = (
        "import sys, json, evaluate; metric = evaluate.load(sys.argv[1]); assert 'processing' not in sys.modules;"
        "print(json.dumps(metric.compute(predictions=[0, 1, 1], references=[0, 1, 0], label_names=['ang', 'neu'])))"
    )
    environment = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", script, str(Path(metrics.__file__).resolve())]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == emotion_metrics([0, 1, 1], [0, 1, 0], ["ang", "neu"])
