"""Scores as they are printed."""

import math

LAST_BITS = 1e-9  # of the last digit: what sums of floats are off by


def rounded(value: float, digits: int = 3) -> str:
    """With so many digits after the point, half up: 0.8375 is 0.838, also where its last bits are below."""
    if not math.isfinite(value):
        return str(value)
    scale = 10**digits
    return f"{math.floor(value * scale + 0.5 + LAST_BITS) / scale:.{digits}f}"
