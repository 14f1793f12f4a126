"""Groups of utterances: their scores, the worst of them, and whether they differ by more than chance."""

import numpy as np
import pytest

from processing.evaluation.groups import _holm, group_scores
from processing.evaluation.metrics import emotion_metrics

LABELS = ["angry", "calm"]


def drawn(accuracies: dict[str, float], each: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Predictions, references and groups; each group is right as often as it says."""
    rng = np.random.default_rng(seed)
    references = np.tile([0, 1], len(accuracies) * each // 2)
    groups = [name for name in accuracies for _ in range(each)]
    is_right = np.concatenate([rng.permutation(np.arange(each) < round(a * each)) for a in accuracies.values()])
    return np.where(is_right, references, 1 - references), references, groups


def test_a_group_that_is_worse_is_named_and_the_difference_is_no_chance():
    predictions, references, groups = drawn({"a": 0.9, "b": 0.9, "c": 0.6}, 100)
    result = group_scores(predictions, references, LABELS, groups)
    assert (result["metric"], result["permuted"], result["worst"]) == ("unweighted_accuracy", "utterances", "c")
    rows = np.array(groups) == "c"
    own = emotion_metrics(predictions[rows], references[rows], LABELS)["unweighted_accuracy"]
    others = emotion_metrics(predictions[~rows], references[~rows], LABELS)["unweighted_accuracy"]
    found = result["groups"]["c"]
    assert (found["utterances"], found["speakers"]) == (100, None)
    assert (found["score"], found["difference"]) == pytest.approx((own, own - others))
    assert found["interval"][0] < own < found["interval"][1]
    assert found["p_value"] == pytest.approx(3 / 2001)  # none of 2,000 permutations; three groups
    assert result["p_value"] == pytest.approx(1 / 2001)


def test_groups_that_are_alike_are_called_so_as_often_as_chance_has_it():
    p_values = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        references, groups = rng.integers(0, 2, 60), ["a", "b", "c"] * 20
        predictions = np.where(rng.random(60) < 0.7, references, 1 - references)
        p_values.append(group_scores(predictions, references, LABELS, groups, seed=seed)["p_value"])
    assert 0 <= np.mean(np.array(p_values) < 0.05) <= 0.12
    assert np.median(p_values) == pytest.approx(0.5, abs=0.15)


def test_speakers_are_permuted_where_each_is_of_one_group():
    """Two of six speakers are hard: by utterances that is a difference of the sexes, by speakers it is chance."""
    accuracies = {"f1": 0.9, "f2": 0.9, "f3": 0.5, "m1": 0.9, "m2": 0.5, "m3": 0.55}
    predictions, references, speakers = drawn(accuracies, 60)
    sexes = [speaker[0] for speaker in speakers]
    by_utterance = group_scores(predictions, references, LABELS, sexes)
    by_speaker = group_scores(predictions, references, LABELS, sexes, speakers)
    assert (by_speaker["permuted"], by_speaker["groups"]["f"]["speakers"]) == ("speakers", 3)
    assert by_utterance["p_value"] < 0.05 < 0.3 < by_speaker["p_value"]
    assert by_speaker["groups"]["m"]["difference"] == by_utterance["groups"]["m"]["difference"]
    widths = [np.diff(one["groups"]["f"]["interval"])[0] for one in (by_speaker, by_utterance)]
    assert widths[0] > 1.5 * widths[1]
    own = group_scores(predictions, references, LABELS, speakers, speakers)
    assert (own["permuted"], own["worst"]) == ("utterances", "f3")
    shared = group_scores(predictions, references, LABELS, ["x", "y"] * 180, speakers)
    assert shared["permuted"] == "utterances"


def test_small_and_unknown_groups_are_shown_and_not_tested():
    predictions, references, groups = drawn({"a": 0.9, "b": 0.5}, 20)
    predictions[-4:] = 1 - references[-4:]
    values = [*groups[:-8], *["c"] * 4, None, "", float("nan"), " "]
    result = group_scores(predictions, references, LABELS, values)
    assert result["unknown"] == 4
    small = result["groups"]["c"]
    assert (small["utterances"], small["difference"], small["p_value"]) == (4, None, None)
    assert result["worst"] == "b"
    alone = group_scores(predictions, references, LABELS, ["a"] * 36 + ["b"] * 4)
    assert (alone["worst"], alone["p_value"]) == (None, None)


def test_numbers_of_many_values_are_cut_at_their_quartiles():
    predictions, references, _ = drawn({"a": 0.8}, 80)
    ages = [str(20 + n // 2) for n in range(80)]
    groups = group_scores(predictions, references, LABELS, ages)["groups"]
    assert {name: one["utterances"] for name, one in groups.items()} == {
        "20 to 29": 20, "30 to 39": 20, "40 to 49": 20, "50 to 59": 20,
    }  # fmt: skip
    assert list(group_scores(predictions, references, LABELS, [n % 3 for n in range(80)])["groups"]) == ["0", "1", "2"]
    names = [f"{n % 12}a" for n in range(80)]
    assert len(group_scores(predictions, references, LABELS, names)["groups"]) == 12


def test_label_sets_are_scored_by_macro_f1():
    references = np.tile([[1, 0], [0, 1]], (20, 1))
    predictions = references.copy()
    predictions[20:] = 1
    result = group_scores(predictions, references, LABELS, ["a"] * 20 + ["b"] * 20)
    assert (result["metric"], result["worst"]) == ("macro_f1", "b")
    assert [one["score"] for one in result["groups"].values()] == pytest.approx([1.0, 2 / 3])


def test_holms_correction_is_his():
    assert _holm(np.array([0.04, 0.01, 0.03])) == pytest.approx([0.06, 0.03, 0.06])
    assert _holm(np.array([0.9, 0.8, 0.7])) == pytest.approx([1.0, 1.0, 1.0])
    assert _holm(np.array([0.03, 0.03])) == pytest.approx([0.03, 0.03])
