"""`consistency`: pairs of another emotion, the calibration of ED's logit, and what checkpoints say with it."""

import numpy as np
import pytest
import torch
from helpers.tiny import perturb, tiny_batch, tiny_model

from modeling_drkf import DRKFConfig
from modeling_drkf.experiments.consistency import (
    OtherTexts,
    calibrate,
    consistency_scores,
    fit_calibration,
    mismatched_pairs,
    pair_logits,
)
from processing.evaluation.calibration import Calibration

from helpers.trainers import rows, trainer  # isort: skip


def test_pairs_hold_texts_of_other_labels_only():
    labels = np.array([0, 0, 1, 2, 1, 0])
    speech, text = mismatched_pairs(labels, seed=0, pairs=2)
    assert np.bincount(speech).tolist() == [2] * 6
    assert (labels[speech] != labels[text]).all()
    assert len(set(zip(speech.tolist(), text.tolist(), strict=True))) == 12
    again = mismatched_pairs(labels, seed=0, pairs=2)
    assert np.array_equal(text, again[1])
    sets = np.array([[1, 0], [1, 0], [1, 1]])
    found = zip(*(positions.tolist() for positions in mismatched_pairs(sets, seed=0)), strict=True)
    assert sorted(found) == [(0, 2), (1, 2), (2, 0), (2, 1)]
    assert len(mismatched_pairs(np.zeros(3, dtype=int), seed=0)[0]) == 0


def test_a_pair_takes_the_text_and_nothing_else_of_another_sample():
    samples = [{"audio": 1, "text": "a", "label": 0, "id": "x"}, {"audio": 2, "text": "b", "label": 1, "id": "y"}]
    pairs = OtherTexts(samples, np.array([0, 1]), np.array([1, 1]))
    assert pairs[0] == {"audio": 1, "text": "b", "label": 0, "id": "x"}
    assert len(pairs) == 2
    assert pairs[1] == samples[1]


@pytest.mark.parametrize("prior", [0.5, 0.8])
def test_calibration_finds_the_slope_of_two_normal_distributions(prior):
    """Logits of N(1, 1) where they agree and N(-1, 1) where not: log odds 2 x + log(prior / (1 - prior))."""
    rng = np.random.default_rng(0)
    logits = np.concatenate([rng.normal(1, 1, 20_000), rng.normal(-1, 1, 60_000)])
    agrees = np.arange(80_000) < 20_000
    slope, intercept = fit_calibration(logits, agrees, prior)
    assert slope == pytest.approx(2, abs=0.05)
    assert intercept == pytest.approx(np.log(prior / (1 - prior)), abs=0.05)


def test_a_logit_that_tells_nothing_gives_no_calibration(caplog):
    agrees = np.array([True, False] * 50)
    assert fit_calibration(np.where(agrees, -1.0, 1.0), agrees, 0.5) is None
    assert "no consistency is given" in caplog.text


def test_scores_of_hand_made_pairs():
    logits, agrees = np.array([2.0, 0.0, -2.0, -2.0]), np.array([True, True, False, False])
    scores = consistency_scores(logits, agrees, [1.0, 0.0], 0.5)
    high, low = 1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))
    assert scores["auc"] == 1.0
    assert scores["brier"] == pytest.approx(((1 - high) ** 2 + 0.25) / 4 + low**2 / 2)
    assert scores["brier_of_prior"] == 0.25
    assert (scores["matched_pairs"], scores["mismatched_pairs"]) == (2, 2)
    bins = [(row["from"], row["count"], row["share_right"]) for row in scores["reliability"]]
    assert bins == [(0.1, 2, 0.0), (0.5, 1, 1.0), (0.8, 1, 1.0)]
    assert [row["mean_probability"] for row in scores["reliability"]] == pytest.approx([low, 0.5, high])


def test_reliability_is_that_of_the_prior_whatever_the_shares_of_the_pairs():
    """One pair that agrees and three that do not, all given 0.45: with a prior of 0.8, four fifths agree."""
    scores = consistency_scores(np.zeros(4), np.array([True, False, False, False]), [1.0, np.log(0.45 / 0.55)], 0.8)
    (row,) = scores["reliability"]
    assert (row["from"], row["count"]) == (0.4, 4)
    assert row["share_right"] == pytest.approx(0.8)
    assert Calibration.from_rows(scores["reliability"]).rows() == scores["reliability"]
    assert Calibration.from_rows(scores["reliability"]).expected_error == pytest.approx(0.35)


def test_the_model_gives_a_probability_only_with_a_calibration():
    model, batch = perturb(tiny_model(consistency_calibration=None)).eval(), tiny_batch()
    with torch.no_grad():
        assert model(**batch).consistency is None
        model.config.consistency_calibration = [2.0, -1.0]
        output = model(**batch)
    torch.testing.assert_close(output.consistency, torch.sigmoid(2 * output.consistency_logits - 1))
    without = perturb(tiny_model(emotion_discrimination=False, consistency_calibration=[2.0, -1.0])).eval()
    with torch.no_grad():
        assert without(**batch).consistency is None


@pytest.mark.parametrize(("field", "value"), [("consistency_prior", 1.0), ("consistency_calibration", [1.0])])
def test_values_out_of_range_are_refused(field, value):
    with pytest.raises(ValueError, match=field):
        DRKFConfig(**{field: value})
    assert DRKFConfig().consistency_calibration is None


def test_calibration_comes_from_ed_of_the_trained_model(tmp_path):
    run = trainer(tmp_path, num_train_epochs=1)
    data = rows()
    metrics = run.compute_metrics
    with torch.no_grad():
        run.model.emotion_discriminator.output.weight.normal_()
    calibrate(run, data, np.array(data["label"][:]), seed=0)
    assert run.compute_metrics is metrics
    expected = fit_calibration(*pair_logits(run, data, np.array(data["label"][:]), seed=0), 0.5)
    assert run.model.config.consistency_calibration == expected != [2.0, -0.5]
