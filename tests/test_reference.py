"""The package's step against the straightforward one of `benchmarks/reference.py`: values and gradients."""

import pytest
import torch
from helpers.tiny import gradients, perturb, tiny_batch, tiny_model

from benchmarks.reference import predict, training_loss


@pytest.mark.parametrize("labels", [[0, 1, 2, 0], [1, 1, 1, 1], [2, 0, 0, 1]])
def test_loss_and_gradients_are_those_of_the_straightforward_step(labels: list[int]):
    model, batch = perturb(tiny_model()).train(), tiny_batch(labels=labels)
    results = []
    for step in (lambda: model(**batch).loss, lambda: training_loss(model, batch)):
        model.zero_grad()
        loss = step()
        loss.backward()
        results.append((loss.detach(), gradients(model)))
    (loss, actual), (expected_loss, expected) = results
    torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=1e-6)
    assert actual.keys() == expected.keys()
    scale = max(gradient.abs().max() for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(actual[name], gradient, rtol=1e-4, atol=1e-6 * float(scale), msg=name)


def test_answers_are_those_of_the_straightforward_way():
    model, batch = perturb(tiny_model()), tiny_batch()
    with torch.no_grad():
        output, (logits, consistency_logits) = model(**batch), predict(model, batch)
    torch.testing.assert_close(output.logits, logits, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(output.consistency_logits, consistency_logits, rtol=1e-5, atol=1e-6)
    assert logits.std() > 0.01
