"""The sound of a recording as SVG."""

import numpy as np


def peaks(waveform: np.ndarray, count: int) -> np.ndarray:
    """The greatest amplitude in each of `count` parts of (samples,), as a share of the greatest of all."""
    found = np.array([part.max(initial=0.0) for part in np.array_split(np.abs(waveform), count)])
    return found / max(float(found.max()), 1e-9)


def wave(heights: np.ndarray) -> str:
    """A path of heights from 0 to 1, a unit wide each, on both sides of y = 0."""
    upper = [f"{number + 0.5:g} {-height:.3f}" for number, height in enumerate(heights)]
    lower = [f"{number + 0.5:g} {height:.3f}" for number, height in enumerate(heights)]
    return f'<path class="wave" d="M{" L".join([*upper, *reversed(lower)])}Z"/>'
