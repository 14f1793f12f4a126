"""Eq. 11, 12 and 19-21, each against a loop over samples as printed in the paper and against numbers by hand.

Eq. 6-7 are tested beside CMIE, Eq. 10 beside PA, Eq. 14-17 and the pairs of Eq. 19 beside DR.
"""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from helpers.numbers import agree, numbers, random_numbers, total
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from modeling_drkf.extended_objective_drkf import smoothed, weighted_classification_loss, weighted_discrimination_loss
from modeling_drkf.losses_drkf import (
    classification_loss,
    composite_loss,
    discrimination_loss,
    label_distribution,
    label_divergence_loss,
    same_labels,
)

M, C = 4, 3


def log_probabilities(*rows: list[float]) -> Tensor:
    """Logits whose softmax is the given rows."""
    return numbers(rows).log()


# --- Eq. 11 ----------------------------------------------------------------------------------------------------------

SOFT = numbers([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.2, 0.3, 0.5], [0.0, 0.0, 1.0]])
MULTI_HOT = numbers([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.3, 0.0, 0.8]])


def softmax(logits: Tensor, c: int) -> Tensor:
    return logits[c].exp() / total(logit.exp() for logit in logits)


def sigmoid(logit: Tensor) -> Tensor:
    return 1 / (1 + (-logit).exp())


def divergence(y: Tensor, predicted: Tensor) -> Tensor:
    """y log(y / y^), which is 0 for y = 0."""
    return 0 * predicted if y == 0 else y * (y / predicted).log()


def naive_label_divergence(logits: Tensor) -> Tensor:
    return total(divergence(SOFT[i, c], softmax(logits[i], c)) for i in range(M) for c in range(C)) / M


def naive_multi_label_divergence(logits: Tensor) -> Tensor:
    return total(
        divergence(y, sigmoid(logits[i, c])) + divergence(1 - y, 1 - sigmoid(logits[i, c]))
        for i in range(M)
        for c, y in enumerate(MULTI_HOT[i])
    ) / (M * C)


def test_label_divergence_equals_a_loop() -> None:
    logits = random_numbers(M, C)
    agree(lambda logits: label_divergence_loss(logits, SOFT), naive_label_divergence, logits)
    agree(lambda logits: label_divergence_loss(logits, MULTI_HOT, True), naive_multi_label_divergence, logits)


def test_label_divergence_by_hand() -> None:
    # sample 1: log(1 / .8); sample 2: .5 log(.5 / .9) + .5 log(.5 / .1) = .5 log(25 / 9) = log(5 / 3)
    loss = label_divergence_loss(log_probabilities([0.8, 0.2], [0.9, 0.1]), numbers([[1.0, 0.0], [0.5, 0.5]]))
    assert loss.item() == pytest.approx((math.log(1.25) + math.log(5 / 3)) / 2)
    # a logit of log 3 is p = .75; the four classes cost log(4 / 3), log 4, log 4 and, where y = p, nothing
    logits, target = numbers([[math.log(3)] * 2] * 2), numbers([[1.0, 0.0], [0.0, 0.75]])
    expected = (math.log(4 / 3) + 2 * math.log(4)) / 4
    assert label_divergence_loss(logits, target, multi_label=True).item() == pytest.approx(expected)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**16), multi_label=st.booleans())
def test_label_divergence_is_zero_for_a_perfect_prediction_and_positive_for_another(
    seed: int, multi_label: bool
) -> None:
    logits, other = random_numbers(M, C, seed=seed), random_numbers(M, C, seed=seed + 1)
    target = logits.sigmoid() if multi_label else logits.softmax(-1)
    assert label_divergence_loss(logits, target, multi_label).item() == pytest.approx(0, abs=1e-12)
    assert label_divergence_loss(other, target, multi_label).item() > 0


@pytest.mark.parametrize(("multi_label", "expected"), [(False, 300.0), (True, 150.0)])
def test_confident_logits_stay_finite(multi_label: bool, expected: float) -> None:
    # The second sample is wrong by 600 (two decisions, by 300 each), the first by nothing.
    logits = torch.tensor([[300.0, -300.0], [-300.0, 300.0]], requires_grad=True)
    target = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    for loss in (label_divergence_loss, classification_loss):
        value = loss(logits, target, multi_label)
        assert value.item() == pytest.approx(expected)
        assert torch.autograd.grad(value, logits)[0].isfinite().all()


# --- Eq. 19 ----------------------------------------------------------------------------------------------------------


def test_discrimination_equals_a_loop() -> None:
    same, shares = numbers([1, 0, 0, 1, 1, 0]), numbers([0.1, 0.2, 0.05, 0.25, 0.3, 0.1])

    def naive(logits: Tensor, weights: Tensor) -> Tensor:
        return -total(
            weight * (target * sigmoid(logit).log() + (1 - target) * (1 - sigmoid(logit)).log())
            for logit, target, weight in zip(logits, same, weights, strict=True)
        )

    logits, even = random_numbers(6), torch.full((6,), 1 / 6, dtype=torch.float64)
    agree(lambda logits: discrimination_loss(logits, same), lambda logits: naive(logits, even), logits)
    agree(
        lambda logits: weighted_discrimination_loss(logits, same, shares), lambda logits: naive(logits, shares), logits
    )


def test_discrimination_by_hand() -> None:
    # sigmoid(log 3) = 3/4: a match costs log(4/3), a mismatch log 4; logit 0 costs log 2
    logits, same = numbers([math.log(3), math.log(3), 0.0]), numbers([1.0, 0.0, 1.0])
    costs = math.log(4 / 3), math.log(4), math.log(2)
    assert discrimination_loss(logits, same).item() == pytest.approx(sum(costs) / 3)
    expected = 0.5 * costs[0] + 0.3 * costs[1] + 0.2 * costs[2]
    assert weighted_discrimination_loss(logits, same, numbers([0.5, 0.3, 0.2])).item() == pytest.approx(expected)


def test_same_labels_of_class_ids() -> None:
    assert same_labels(torch.tensor([0, 2, 1]), torch.tensor([0, 1, 1]), multi_label=False).tolist() == [1, 0, 1]


def test_same_labels_of_label_sets_asks_for_equal_sets() -> None:
    left = numbers([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 0, 1]])
    right = numbers([[1, 1, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]])
    assert same_labels(left, right, multi_label=True).tolist() == [1, 0, 1, 0]


def test_same_labels_of_distributions_compares_the_likeliest_class() -> None:
    left = numbers([[0.0, 1.0, 0.0], [0.6, 0.3, 0.1], [0.2, 0.2, 0.6]])
    right = numbers([[0.0, 1.0, 0.0], [0.8, 0.0, 0.2], [0.5, 0.1, 0.4]])
    assert same_labels(left, right, multi_label=False).tolist() == [1, 1, 0]


# --- Eq. 20 and y ----------------------------------------------------------------------------------------------------

CLASS_WEIGHTS = numbers([0.5, 2.0, 3.0])


def naive_classification(logits: Tensor, weights: Tensor) -> Tensor:
    return -total(weights[c] * SOFT[i, c] * softmax(logits[i], c).log() for i in range(M) for c in range(C)) / M


def naive_multi_label_classification(logits: Tensor, weights: Tensor) -> Tensor:
    return -total(
        weights[c] * (y * sigmoid(logits[i, c]).log() + (1 - y) * (1 - sigmoid(logits[i, c])).log())
        for i in range(M)
        for c, y in enumerate(MULTI_HOT[i])
    ) / (M * C)


@pytest.mark.parametrize(
    ("target", "multi_label", "naive"),
    [(SOFT, False, naive_classification), (MULTI_HOT, True, naive_multi_label_classification)],
)
def test_classification_equals_a_loop(target: Tensor, multi_label: bool, naive: Callable[..., Tensor]) -> None:
    even = torch.ones(C, dtype=torch.float64)
    agree(
        lambda logits: classification_loss(logits, target, multi_label),
        lambda logits: naive(logits, even),
        random_numbers(M, C),
    )
    agree(
        lambda logits: weighted_classification_loss(logits, target, CLASS_WEIGHTS, multi_label),
        lambda logits: naive(logits, CLASS_WEIGHTS),
        random_numbers(M, C),
    )


def test_classification_by_hand() -> None:
    logits, target = log_probabilities([0.8, 0.2], [0.9, 0.1]), numbers([[1.0, 0.0], [0.5, 0.5]])
    costs = -math.log(0.8), -0.5 * math.log(0.9), -0.5 * math.log(0.1)
    assert classification_loss(logits, target).item() == pytest.approx(sum(costs) / 2)
    weighted = weighted_classification_loss(logits, target, numbers([2.0, 4.0]))
    assert weighted.item() == pytest.approx((2 * costs[0] + 2 * costs[1] + 4 * costs[2]) / 2)
    # sigmoid(log 3) = 3/4, labels {1}, {1, 2}: log(4/3) thrice, log 4 once, mean over four decisions
    multi = classification_loss(numbers([[math.log(3)] * 2] * 2), numbers([[1.0, 0.0], [1.0, 1.0]]), multi_label=True)
    assert multi.item() == pytest.approx((3 * math.log(4 / 3) + math.log(4)) / 4)


def test_classification_of_class_ids_is_cross_entropy_and_smoothing_is_that_of_cross_entropy() -> None:
    logits, ids = random_numbers(M, C), torch.tensor([0, 2, 1, 2])
    for smoothing in (0.0, 0.1):
        target = smoothed(label_distribution(ids, C).double(), smoothing)
        expected = F.cross_entropy(logits, ids, label_smoothing=smoothing)
        torch.testing.assert_close(classification_loss(logits, target), expected, rtol=1e-6, atol=0)


def test_classification_and_divergence_differ_by_the_entropy_of_the_labels() -> None:
    logits, entropy = random_numbers(M, C), -torch.xlogy(SOFT, SOFT).sum(-1).mean()
    torch.testing.assert_close(classification_loss(logits, SOFT) - label_divergence_loss(logits, SOFT), entropy)


def test_label_distribution_by_hand() -> None:
    ids = torch.tensor([2, 0])
    assert label_distribution(ids, 4).tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]
    expected = numbers([[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]])
    torch.testing.assert_close(smoothed(label_distribution(ids, 4).double(), 0.2), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(label_distribution(SOFT, C), SOFT)
    torch.testing.assert_close(smoothed(SOFT, 0.3), 0.7 * SOFT + 0.1)


def test_label_distribution_is_floating_point_whatever_the_labels() -> None:
    multi_hot = torch.tensor([[1, 0, 1], [0, 0, 0]])
    for labels in (torch.tensor([2, 0]), multi_hot, multi_hot.bool(), SOFT):
        assert label_distribution(labels, C).is_floating_point()


# --- Eq. 12 and 21 ---------------------------------------------------------------------------------------------------

WEIGHTS = {"reconstruction": 0.2, "divergence": 1.0, "contrastive": 0.2, "classification": 1.0, "discrimination": 0.2}


def test_composite_loss_by_hand() -> None:
    values = numbers([5.0, 0.5, 3.0, 2.0, 4.0]).requires_grad_()
    loss = composite_loss(dict(zip(WEIGHTS, values, strict=True)), WEIGHTS)
    # L_a = 0.2 * 5 + 0.5 = 1.5 (Eq. 12); L = 1.5 + 0.2 * 3 + 1 * 2 + 0.2 * 4 = 4.9 (Eq. 21)
    assert loss.item() == pytest.approx(4.9)
    assert torch.autograd.grad(loss, values)[0].tolist() == list(WEIGHTS.values())


@settings(deadline=None)
@given(st.sets(st.sampled_from([*WEIGHTS, "misspelt"]), min_size=1))
def test_composite_loss_refuses_a_term_without_weight_and_a_weight_without_term(names: set[str]) -> None:
    terms = {name: torch.tensor(1.0) for name in names}
    if names == WEIGHTS.keys():
        assert composite_loss(terms, WEIGHTS).item() == pytest.approx(sum(WEIGHTS.values()))
        return
    with pytest.raises(KeyError) as error:
        composite_loss(terms, WEIGHTS)
    assert all(repr(name) in str(error.value) for name in names ^ WEIGHTS.keys())
