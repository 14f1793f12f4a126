"""Numbers that a pinned seed gives: they change only where the method does, and then on purpose."""

from typing import Any

import pytest
import torch
from helpers.tiny import perturb, tiny_batch, tiny_model

# Options, labels, EC's logits, ED's logits, loss.
GOLDEN: dict[str, tuple[dict[str, Any], list[Any], list[list[float]], list[float], float]] = {
    "self": (
        {},
        [0, 1, 2, 0],
        [
            [0.86782, -0.837261, -0.810797],
            [0.951256, -0.652542, 0.024146],
            [1.02228, -0.152337, 0.623079],
            [1.246603, 0.442669, 0.531433],
        ],
        [-0.931422, -1.284744, -0.974936, -2.166325],
        4.025738,
    ),
    "cross": (
        {"fusion": "cross"},
        [0, 1, 2, 0],
        [
            [0.346302, 1.356781, 0.11193],
            [1.038076, -0.060584, -0.124466],
            [-0.000156, 2.457718, 0.075433],
            [1.059136, 0.867121, 0.196234],
        ],
        [-0.302898, -0.982402, -0.493834, -1.214839],
        4.809762,
    ),
    "multi-label": (
        {"num_labels": 2, "problem_type": "multi_label_classification"},
        [[1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, 1.0]],
        [[-1.895805, -1.669914], [-1.292094, -1.552715], [-1.04261, -1.882359], [-1.413142, -1.863721]],
        [-0.198792, 0.842837, 0.191517, 0.53384],
        3.723971,
    ),
}


@pytest.mark.parametrize("case", GOLDEN)
@torch.no_grad()
def test_a_pinned_seed_gives_its_numbers(case: str):
    options, labels, logits, consistency_logits, loss = GOLDEN[case]
    output = perturb(tiny_model(**options))(**tiny_batch(labels=labels))
    torch.testing.assert_close(output.logits, torch.tensor(logits), atol=1e-5, rtol=0)
    torch.testing.assert_close(output.consistency_logits, torch.tensor(consistency_logits), atol=1e-5, rtol=0)
    assert output.loss.item() == pytest.approx(loss, abs=5e-5)
