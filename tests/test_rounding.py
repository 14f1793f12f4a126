"""Printed scores are rounded half up, whatever the last bits of a float say."""

import math

import numpy as np
import pytest

from processing.evaluation.rounding import rounded


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.8375, "0.838"),
        (np.mean([0.85, 0.825]), "0.838"),
        (math.nextafter(0.8375, 0), "0.838"),
        (0.0625, "0.063"),
        (0.8374, "0.837"),
        (0.83749999, "0.837"),
        (0.9995, "1.000"),
        (-0.0001, "0.000"),
        (1, "1.000"),
        (float("nan"), "nan"),
    ],
)
def test_halves_go_up(value, shown):
    assert rounded(value) == shown


def test_all_quarters_of_a_digit_agree_with_exact_arithmetic():
    for number in range(8001):
        assert rounded(number / 8000) == f"{(2 * number + 8) // 16 / 1000:.3f}"
        assert rounded(number / 8000, 2) == f"{(2 * number + 80) // 160 / 100:.2f}"
