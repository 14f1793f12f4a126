"""CMIE (Table 4, row 2): Eq. 6-7 and the CLUB bound against loops and numbers by hand; where its gradients go."""

import math
from collections.abc import Iterable

import pytest
import torch
from helpers.numbers import agree, numbers, random_numbers, total
from torch import Tensor, nn

from modeling_drkf import DRKFConfig
from modeling_drkf.losses_drkf import club_bound, info_nce
from modeling_drkf.orl_cmie_baseline import ContrastiveMutualInformation, Critic
from modeling_drkf.outputs_drkf import Modality

M, C, D = 4, 3, 5
TARGETS = {
    "one-hot": numbers([[1, 0, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    "multi-hot": numbers([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]]),
}
TARGET = TARGETS["one-hot"]

# --- bounds, Eq. 6-7 -------------------------------------------------------------------------------------------------


def naive_info_nce(scores: Tensor) -> Tensor:
    rows = range(len(scores))
    return -total((scores[i, i].exp() / total(scores[i, j].exp() for j in rows)).log() for i in rows) / len(scores)


def naive_club(scores: Tensor) -> Tensor:
    rows = range(len(scores))
    return total(scores[i, i] - scores[i, j] for i in rows for j in rows) / len(scores) ** 2


def test_bounds_equal_loops() -> None:
    agree(info_nce, naive_info_nce, random_numbers(M, M))
    agree(club_bound, naive_club, random_numbers(M, M))


def test_bounds_by_hand() -> None:
    # InfoNCE: row 1 has odds 3 : 1, row 2 has odds 1 : 4
    scores = numbers([[3.0, 1.0], [4.0, 1.0]]).log()
    assert info_nce(scores).item() == pytest.approx(-(math.log(3 / 4) + math.log(1 / 5)) / 2)
    # CLUB: (1 + 5) / 2 - (1 + 2 + 3 + 5) / 4
    assert club_bound(numbers([[1.0, 2.0], [3.0, 5.0]])).item() == pytest.approx(0.25)


def test_bounds_do_not_see_a_constant_per_row() -> None:
    # InfoNCE learns f up to a function of x_1, so that CLUB, which takes f from it, must not depend on that function.
    scores, shift = random_numbers(M, M), 10 * random_numbers(M, 1, seed=1)
    torch.testing.assert_close(info_nce(scores + shift), info_nce(scores))
    torch.testing.assert_close(club_bound(scores + shift), club_bound(scores))
    assert not torch.isclose(info_nce(scores + shift.T), info_nce(scores))


# --- critics ---------------------------------------------------------------------------------------------------------


def naive_scores(critic: Critic, rows: Tensor, columns: Tensor) -> Tensor:
    """Scores of all pairs, one perceptron call a pair."""
    first, second = (layer for layer in critic.modules() if isinstance(layer, nn.Linear))

    def score(pair: Tensor) -> Tensor:
        hidden = first.weight @ pair + first.bias
        return (second.weight @ torch.where(hidden > 0, hidden, 0 * hidden)).squeeze()

    return torch.stack([torch.stack([score(torch.cat([row, column])) for column in columns]) for row in rows])


def test_critic_scores_all_pairs() -> None:
    torch.manual_seed(0)
    critic = Critic(2, D).double()
    rows, columns = random_numbers(2, D), random_numbers(3, D, seed=1)
    scores = critic(rows, columns)
    torch.testing.assert_close(scores, naive_scores(critic, rows, columns))
    torch.testing.assert_close(critic.frozen(rows, columns), scores)


def test_frozen_critic_passes_gradients_to_its_inputs_only() -> None:
    torch.manual_seed(0)
    critic = Critic(2, D).double()
    rows, columns = (random_numbers(M, D, seed=k).requires_grad_() for k in range(2))
    gradients = [
        torch.autograd.grad((scores * random_numbers(M, M, seed=9)).sum(), (rows, columns))
        for scores in (critic.frozen(rows, columns), naive_scores(critic, rows, columns))
    ]
    torch.testing.assert_close(*gradients)
    frozen = critic.frozen(rows, columns).sum()
    assert set(torch.autograd.grad(frozen, list(critic.parameters()), allow_unused=True)) == {None}
    assert all(parameter.requires_grad for parameter in critic.parameters())


# --- objective -------------------------------------------------------------------------------------------------------


def mutual_information() -> ContrastiveMutualInformation:
    torch.manual_seed(0)
    labels = {k: str(k) for k in range(C)}
    config = DRKFConfig(hidden_size=6, num_fusion_heads=2, projection_size=D, id2label=labels)
    return ContrastiveMutualInformation(config).double()


def features() -> list[Tensor]:
    """Shared and specific speech, shared and specific text."""
    return [random_numbers(M, D, seed=k).requires_grad_() for k in range(4)]


def naive_terms(module: ContrastiveMutualInformation, parts: Iterable[Tensor], y: Tensor) -> tuple[Tensor, Tensor]:
    """The objective and the likelihood of the CLUB critics, their gradients unrestricted.

    A conditional critic sees each of its two samples with that sample's label. Were a negative x_2 to come without its
    own label, the bounds would be those of I(X_1, Y; X_2) = I(X_1; X_2 | Y) + I(X_2; Y).
    """
    speech_shared, speech_specific, text_shared, text_specific = parts
    label = torch.stack([module.label_embedding.weight @ row for row in y])

    def labelled(vectors: Tensor) -> Tensor:
        return torch.stack([torch.cat([vector, embedded]) for vector, embedded in zip(vectors, label, strict=True)])

    shared = naive_scores(module.shared_club_critic, labelled(speech_shared), labelled(text_shared))
    specific = naive_scores(module.specific_club_critic, speech_specific, text_specific)
    information = (
        naive_scores(module.shared_critic, speech_shared, text_shared),
        naive_scores(module.speech_label_critic, speech_specific, label),
        naive_scores(module.text_label_critic, text_specific, label),
        naive_scores(module.specific_critic, labelled(speech_specific), labelled(text_specific)),
    )
    objective = total(naive_info_nce(scores) for scores in information) + naive_club(shared) + naive_club(specific)
    return objective, naive_info_nce(shared) + naive_info_nce(specific)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
def test_objective_and_likelihood_equal_loops(target: Tensor) -> None:
    module, parts = mutual_information(), features()
    objective, likelihood = module.terms(*parts, target).values()
    naive_objective, naive_likelihood = naive_terms(module, parts, target)
    torch.testing.assert_close(objective, naive_objective)
    torch.testing.assert_close(likelihood, naive_likelihood)
    # The objective reaches features as the loop does, the likelihood its critics.
    torch.testing.assert_close(
        *(torch.autograd.grad(loss, parts, retain_graph=True) for loss in (objective, naive_objective))
    )
    critics = [*module.shared_club_critic.parameters(), *module.specific_club_critic.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad(likelihood, critics), torch.autograd.grad(naive_likelihood, critics)
    )


def test_objective_trains_all_but_the_club_critics_and_the_likelihood_trains_only_them() -> None:
    module, parts = mutual_information(), features()
    names, parameters = zip(*module.named_parameters(), strict=True)
    objective, likelihood = module.terms(*parts, TARGET).values()
    club = {name for name in names if "club_critic" in name}
    projections = {name for name in names if name.split(".")[0] in PROJECTIONS}  # `features` stand in for their output

    def reached(loss: Tensor) -> set[str]:
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        return {name for name, gradient in zip(names, gradients, strict=True) if gradient is not None}

    assert reached(objective) == set(names) - club - projections
    assert reached(likelihood) == club
    assert set(torch.autograd.grad(likelihood, parts, allow_unused=True)) == {None}


def test_the_club_bound_does_not_move_the_label_embedding() -> None:
    # The label embedding is part of the conditional critics: lowering the bound through it would only spoil them.
    module, parts = mutual_information(), features()
    embedding = module.label_embedding.weight
    gradient = torch.autograd.grad(module.terms(*parts, TARGET)["contrastive_loss"], embedding)[0]
    label = TARGET @ embedding.T
    information = (
        naive_info_nce(naive_scores(module.speech_label_critic, parts[1], label))
        + naive_info_nce(naive_scores(module.text_label_critic, parts[3], label))
        + naive_info_nce(
            naive_scores(
                module.specific_critic, torch.cat([parts[1], label], dim=1), torch.cat([parts[3], label], dim=1)
            )
        )
    )
    torch.testing.assert_close(gradient, torch.autograd.grad(information, embedding)[0])


# --- projections -----------------------------------------------------------------------------------------------------

PROJECTIONS = ("speech_shared", "speech_specific", "text_shared", "text_specific")


def test_each_modality_has_a_shared_and_a_specific_projection() -> None:
    module = mutual_information()
    summaries = {"speech": random_numbers(M, 6), "text": random_numbers(M, 6, seed=1)}
    mask = torch.ones(M, 1, dtype=torch.bool)
    projected = module(*(Modality(summary[:, None], mask, summary) for summary in summaries.values()))
    for name, vectors in zip(PROJECTIONS, projected, strict=True):
        first, second = (layer for layer in getattr(module, name).modules() if isinstance(layer, nn.Linear))
        for vector, summary in zip(vectors, summaries[name.split("_")[0]], strict=True):
            hidden = first.weight @ summary + first.bias
            expected = second.weight @ torch.where(hidden > 0, hidden, 0 * hidden) + second.bias
            torch.testing.assert_close(vector, expected)
