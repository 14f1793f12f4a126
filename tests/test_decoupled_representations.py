"""DR: projection and temperature (Eq. 13), contrastive terms (Eq. 14-17), Emodality shuffling (sec. 3.4.2, Eq. 19)."""

import math
from collections import Counter
from typing import Any, NamedTuple

import pytest
import torch
from helpers.numbers import agree, numbers, random_numbers, total
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from modeling_drkf import DRKFConfig
from modeling_drkf.extended_objective_drkf import pair_weights, sampled_shifts, weighted_discrimination_loss
from modeling_drkf.kf_emodality_shuffling import select, shuffle_emodalities
from modeling_drkf.losses_drkf import (
    contrastive_mi_loss,
    discrimination_loss,
    inter_modality_mi_loss,
    intra_modality_mi_loss,
    same_labels,
)
from modeling_drkf.orl_decoupled_representations import DecoupledRepresentations
from modeling_drkf.outputs_drkf import Modality

M, D = 4, 5
TAU = numbers(0.7)

# --- Eq. 13 ----------------------------------------------------------------------------------------------------------


def representations(**fields: Any) -> DecoupledRepresentations:
    torch.manual_seed(0)
    config = DRKFConfig(hidden_size=6, num_fusion_heads=2, projection_size=D, **fields)
    return DecoupledRepresentations(config).double()


def naive_projection(g: nn.Module, vector: Tensor) -> Tensor:
    first, second = (layer for layer in g.modules() if isinstance(layer, nn.Linear))
    hidden = first.weight @ vector + first.bias
    return second.weight @ torch.where(hidden > 0, hidden, 0 * hidden) + second.bias


def test_one_projection_per_modality_serves_raw_and_augmented_summaries() -> None:
    module = representations()
    summaries = [random_numbers(M, 6, seed=k).requires_grad_() for k in range(4)]
    modalities = [Modality(summary[:, None], torch.ones(M, 1, dtype=torch.bool), summary) for summary in summaries]
    projected = module(*modalities)  # speech, augmented speech, text, augmented text
    projections = [module.speech_projection] * 2 + [module.text_projection] * 2
    naive = [torch.stack([naive_projection(g, row) for row in x]) for g, x in zip(projections, summaries, strict=True)]
    torch.testing.assert_close(list(projected), naive)
    leaves = [*summaries, *module.speech_projection.parameters(), *module.text_projection.parameters()]
    probes = [random_numbers(M, D, seed=10 + k) for k in range(4)]
    gradients = [
        torch.autograd.grad(total((z * probe).sum() for z, probe in zip(views, probes, strict=True)), leaves)
        for views in (projected, naive)
    ]
    torch.testing.assert_close(*gradients)


def test_projection_is_two_layers_of_the_configured_widths() -> None:
    module = representations()
    for g in (module.speech_projection, module.text_projection):
        assert [tuple(parameter.shape) for parameter in g.parameters()] == [(6, 6), (6,), (D, 6), (D,)]
    assert DRKFConfig().projection_size == 1024  # sec. 4.2


def test_temperature_is_a_learnt_sigmoid_that_starts_at_sigmoid_one() -> None:
    assert representations().temperature.item() == pytest.approx(1 / (1 + math.exp(-1)))
    assert representations(initial_temperature_logit=-2).temperature.item() == pytest.approx(1 / (1 + math.exp(2)))
    module = representations()
    tau = module.temperature
    (gradient,) = torch.autograd.grad(tau, module.temperature_logit)
    assert gradient.item() == pytest.approx((tau * (1 - tau)).item())
    with torch.no_grad():
        module.temperature_logit.fill_(50.0)
    assert 0 < module.temperature.item() <= 1


# --- Eq. 14-17 -------------------------------------------------------------------------------------------------------


def similarity(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum() / ((left * left).sum().sqrt() * (right * right).sum().sqrt())


def naive_anchor(anchor: int, partner: int, views: list[Tensor], tau: Tensor) -> Tensor:
    others = (view for k, view in enumerate(views) if k != anchor)
    denominator = total((similarity(views[anchor], view) / tau).exp() for view in others)
    return -((similarity(views[anchor], views[partner]) / tau).exp() / denominator).log()


def naive_intra(z: Tensor, augmented: Tensor, tau: Tensor) -> Tensor:
    views, size = [*z, *augmented], len(z)
    return total(
        (naive_anchor(i, i + size, views, tau) + naive_anchor(i + size, i, views, tau)) / 2 for i in range(size)
    ) / len(z)


def naive_inter(speech: Tensor, text: Tensor, tau: Tensor) -> Tensor:
    return -total(
        ((similarity(z, text[i]) / tau).exp() / total((similarity(z, other) / tau).exp() for other in text)).log()
        for i, z in enumerate(speech)
    ) / len(speech)


def naive_contrastive(
    speech: Tensor, augmented_speech: Tensor, text: Tensor, augmented_text: Tensor, tau: Tensor
) -> Tensor:
    intra = naive_intra(speech, augmented_speech, tau) + naive_intra(text, augmented_text, tau)
    return intra + naive_inter(speech, text, tau)


def test_contrastive_terms_equal_loops() -> None:
    z = [random_numbers(3, D, seed=k) for k in range(4)]
    agree(intra_modality_mi_loss, naive_intra, *z[:2], TAU)
    agree(inter_modality_mi_loss, naive_inter, *z[:2], TAU)
    agree(contrastive_mi_loss, naive_contrastive, *z, TAU)


def test_intra_modality_term_by_hand() -> None:
    # Every view meets its partner at cosine 1 and the other sample's two views at 0: e^(1/tau) / (e^(1/tau) + 2).
    z, augmented = numbers([[1.0, 0.0], [0.0, 2.0]]), numbers([[3.0, 0.0], [0.0, 0.5]])
    expected = -math.log(math.e**2 / (math.e**2 + 2))
    assert intra_modality_mi_loss(z, augmented, numbers(0.5)).item() == pytest.approx(expected)
    # z_1 = z_2 = e1, z~_1 = z~_2 = e2: the partner at 0, the same side's view at 1, the other view at 0.
    z, augmented = numbers([[1.0, 0.0], [1.0, 0.0]]), numbers([[0.0, 1.0], [0.0, 1.0]])
    assert intra_modality_mi_loss(z, augmented, numbers(1.0)).item() == pytest.approx(math.log(2 + math.e))


def test_inter_modality_term_by_hand_goes_from_speech_to_text() -> None:
    # S_1 meets T_1 and T_2 at cosine 1, S_2 at 0: log 2 twice. From text to speech: e / (e + 1) and 1 / (e + 1).
    speech, text = numbers([[1.0, 0.0], [0.0, 1.0]]), numbers([[2.0, 0.0], [5.0, 0.0]])
    assert inter_modality_mi_loss(speech, text, numbers(1.0)).item() == pytest.approx(math.log(2))
    backwards = math.log(math.e + 1) - 1 / 2
    assert inter_modality_mi_loss(text, speech, numbers(1.0)).item() == pytest.approx(backwards)


def test_contrastive_loss_by_hand() -> None:
    # Two orthogonal samples, all views aligned: 2 log(1 + 2 / e) within, log(1 + 1 / e) between the modalities.
    z = torch.eye(2, dtype=torch.float64)
    expected = 2 * math.log(1 + 2 / math.e) + math.log(1 + 1 / math.e)
    assert contrastive_mi_loss(z, z, z, z, numbers(1.0)).item() == pytest.approx(expected)


def test_contrastive_loss_of_one_sample_is_zero() -> None:
    views = [*(random_numbers(1, D, seed=k) for k in range(4)), TAU]
    assert contrastive_mi_loss(*views).item() == pytest.approx(0, abs=1e-12)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(0.1, 10), min_size=4 * M, max_size=4 * M), st.permutations(range(M)))
def test_contrastive_loss_knows_neither_scale_nor_order(scales: list[float], order: list[int]) -> None:
    z = [random_numbers(M, D, seed=k) for k in range(4)]
    scaled = [(tensor * scale)[order] for tensor, scale in zip(z, numbers(scales).view(4, M, 1), strict=True)]
    torch.testing.assert_close(contrastive_mi_loss(*[*scaled, TAU]), contrastive_mi_loss(*[*z, TAU]))


# --- Emodality shuffling, Eq. 19 -------------------------------------------------------------------------------------

IDS = torch.tensor([0, 2, 0, 1])
SETS = numbers([[1, 0, 1], [0, 0, 0], [1, 0, 1], [1, 0, 0]])


class Pairs(NamedTuple):
    """The shuffled pairs (S_i, T_j), and the weights of the matched and of the shuffled ones."""

    speech_index: Tensor
    text_index: Tensor
    weights: Tensor


def shuffled_pairs(num_speech: int, num_text: int, max_pairs: int | None = None, sample: bool = True) -> Pairs:
    text_index = sampled_shifts(shuffle_emodalities(num_speech, num_text), max_pairs, sample)
    speech_index = torch.arange(num_speech).repeat_interleave(text_index.shape[1])
    return Pairs(speech_index, text_index.flatten(), pair_weights(text_index, num_text))


def pairs_of(shuffled: Pairs) -> list[tuple[int, int]]:
    return list(zip(shuffled.speech_index.tolist(), shuffled.text_index.tolist(), strict=True))


def estimate(shuffled: Pairs, costs: Tensor) -> Tensor:
    """The mean of Eq. 19 as the pairs estimate it, where pair (S_i, T_j) costs costs[i, j]."""
    return (torch.cat([costs.diagonal(), costs[shuffled.speech_index, shuffled.text_index]]) * shuffled.weights).sum()


def test_pairs_of_three_samples() -> None:
    shuffled = shuffled_pairs(3, 3)
    assert sorted(pairs_of(shuffled)) == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    torch.testing.assert_close(shuffled.weights, torch.full((9,), 1 / 9))


def test_a_single_sample_has_only_its_matched_pair() -> None:
    for cap in (None, 2):
        shuffled = shuffled_pairs(1, 1, max_pairs=cap)
        assert pairs_of(shuffled) == []
        assert shuffled.weights.tolist() == [1.0]


@pytest.mark.parametrize(
    ("labels", "multi_label", "expected"),
    [
        (IDS, False, {(0, 2), (2, 0)}),
        (torch.nn.functional.one_hot(IDS).double(), False, {(0, 2), (2, 0)}),
        (SETS, True, {(0, 2), (2, 0)}),
    ],
    ids=["ids", "distributions", "sets"],
)
def test_discrimination_over_shuffled_pairs_is_the_loop_over_all_pairs(
    labels: Tensor, multi_label: bool, expected: set[tuple[int, int]]
) -> None:
    logits = random_numbers(M, M)
    shuffled = shuffled_pairs(M, M)
    i, j = shuffled.speech_index, shuffled.text_index
    same = same_labels(labels[i], labels[j], multi_label)
    assert {pair for pair, one in zip(pairs_of(shuffled), same.tolist(), strict=True) if one} == expected

    of_pairs = torch.cat([logits.diagonal(), logits[i, j]]), torch.cat([torch.ones(M), same]).double()
    loss = discrimination_loss(*of_pairs)
    weighted = weighted_discrimination_loss(*of_pairs, shuffled.weights)
    torch.testing.assert_close(weighted, loss, rtol=1e-6, atol=0)
    predicted = 1 / (1 + (-logits).exp())
    naive = total(
        -predicted[i, j].log() if i == j or (i, j) in expected else -(1 - predicted[i, j]).log()
        for i in range(M)
        for j in range(M)
    ) / (M * M)
    torch.testing.assert_close(loss, naive, rtol=1e-6, atol=0)


@settings(deadline=None)
@given(size=st.integers(2, 12), cap=st.integers(2, 14), sample=st.booleans(), seed=st.integers(0, 2**16))
def test_a_cap_bounds_the_pairs_of_each_sample_as_speech_and_as_text(
    size: int, cap: int, sample: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    shuffled = shuffled_pairs(size, size, max_pairs=cap, sample=sample)
    pairs = [*pairs_of(shuffled), *((i, i) for i in range(size))]
    assert len(set(pairs)) == len(pairs)  # no pair twice, and no matched pair among the shuffled ones
    for side in (0, 1):
        assert Counter(pair[side] for pair in pairs) == dict.fromkeys(range(size), min(cap, size))
    assert len(shuffled.weights) == len(pairs)
    assert shuffled.weights.sum().item() == pytest.approx(1)


@pytest.mark.parametrize(("size", "cap"), [(4, 2), (4, 3), (5, 3)])
def test_the_mean_over_all_draws_is_the_mean_over_all_pairs(size: int, cap: int) -> None:
    costs, draws = random_numbers(size, size), 1200
    counts: Counter[frozenset[tuple[int, int]]] = Counter()
    estimates: dict[frozenset[tuple[int, int]], float] = {}
    torch.manual_seed(0)
    for _ in range(draws):
        shuffled = shuffled_pairs(size, size, max_pairs=cap)
        outcome = frozenset(pairs_of(shuffled))
        counts[outcome] += 1
        estimates[outcome] = estimate(shuffled, costs).item()
    # All choices of cap - 1 out of size - 1 shifts occur, equally often (within 5 standard deviations) ...
    outcomes = math.comb(size - 1, cap - 1)
    deviation = math.sqrt(draws * (1 / outcomes) * (1 - 1 / outcomes))
    assert len(counts) == outcomes
    assert all(abs(count - draws / outcomes) < 5 * deviation for count in counts.values())
    # ... and the mean of their estimates is that of Eq. 19, although a single one is not.
    assert sum(estimates.values()) / outcomes == pytest.approx(costs.mean().item(), rel=1e-6)
    assert min(estimates.values()) < costs.mean().item() - 1e-3 < costs.mean().item() + 1e-3 < max(estimates.values())


def test_without_sampling_the_pairs_repeat_and_no_random_number_is_drawn() -> None:
    state = torch.get_rng_state()
    first, second = (shuffled_pairs(6, 6, max_pairs=3, sample=False) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    assert pairs_of(first) == pairs_of(second)


def test_speech_of_one_process_meets_the_texts_of_all() -> None:
    shuffled = shuffled_pairs(2, 5)
    assert sorted(pairs_of(shuffled)) == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 0), (1, 2), (1, 3), (1, 4)]
    torch.testing.assert_close(shuffled.weights, torch.full((10,), 1 / 10))


@settings(deadline=None)
@given(num_speech=st.integers(1, 4), others=st.integers(1, 6), data=st.data())
def test_a_cap_holds_for_the_speech_of_one_process(num_speech: int, others: int, data: st.DataObject) -> None:
    num_text = num_speech + others
    cap = data.draw(st.integers(2, num_text))
    shuffled = shuffled_pairs(num_speech, num_text, max_pairs=cap)
    pairs = [*pairs_of(shuffled), *((i, i) for i in range(num_speech))]
    assert len(set(pairs)) == len(pairs)
    assert Counter(i for i, _ in pairs) == dict.fromkeys(range(num_speech), cap)
    assert max(Counter(j for _, j in pairs).values()) <= cap
    assert shuffled.weights.sum().item() == pytest.approx(1)


def test_the_mean_over_processes_is_the_mean_over_all_pairs() -> None:
    costs = random_numbers(6, 6)
    shards = [estimate(shuffled_pairs(2, 6), costs[k : k + 2].roll(-k, 1)) for k in (0, 2, 4)]
    torch.testing.assert_close(torch.stack(shards).mean(), costs.mean(), rtol=1e-6, atol=0)


def test_the_gradient_of_selected_samples_does_not_depend_on_the_order_of_threads():
    generator = torch.Generator().manual_seed(0)
    sequence = torch.randn(16, 64, 96, generator=generator, requires_grad=True)
    index = torch.randint(16, (96,), generator=generator)
    weights = torch.randn(96, 64, 96, generator=generator)
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        found = set()
        for _ in range(20):
            selected = select(Modality(sequence, torch.ones(16, 64, dtype=torch.bool), sequence[:, 0]), index)
            (gradient,) = torch.autograd.grad((selected.sequence * weights).sum(), sequence)
            found.add(gradient.numpy().tobytes())
    finally:
        torch.set_num_threads(threads)
    assert len(found) == 1
