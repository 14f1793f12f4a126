"""An explanation as HTML: the waveform and the words, coloured by the attention that they received."""

from html import escape
from typing import Any

import numpy as np

SLICES = 120
PALE, STRONG = np.array([214, 226, 240]), np.array([240, 150, 40])


def render_attention(explanation: Any) -> str:
    """An `Explanation` (see the pipeline's `explain`) in words, then as a picture."""
    heard, seconds = np.abs(explanation.waveform), explanation.seconds
    peaks = np.array([part.max(initial=0.0) for part in np.array_split(heard, SLICES)])
    weights = _slices(explanation.frame_attention)
    bars = "".join(
        f'<span style="height: {100 * level:.0f}%; background: {_colour(weight)}"></span>'
        for level, weight in zip(peaks / max(peaks.max(), 1e-9), _relative(weights), strict=True)
    )
    words = [word for word in explanation.words if not word.special]
    spans = " ".join(
        f'<span style="background: {_colour(weight)}">{escape(word.text)}</span>'
        for word, weight in zip(words, _relative(np.array([word.attention for word in words])), strict=True)
    )
    strongest = max(words, key=lambda word: word.attention, default=None)
    on_word = f"on the word “{escape(strongest.text)}” and " if strongest else ""
    return (
        '<div class="drkf"><h2>Attention over voice and words</h2>'
        f"<p>Strongest {on_word}{(int(weights.argmax()) + 0.5) / SLICES * seconds:.1f} seconds into the clip.</p>"
        f'<div class="wave" aria-hidden="true">{bars}</div>'
        f'<div class="scale" aria-hidden="true"><span>0 s</span><span>{seconds:.1f} s</span></div>'
        f'<p class="words" aria-hidden="true">{spans}</p>'
        '<p class="note">The more orange, the more attention, within the voice and within the words. Attention shows '
        "where the model looked, not why it answered so.</p></div>"
    )


def _slices(weights: np.ndarray) -> np.ndarray:
    """Weights (frames,) summed over `SLICES` slices of equal length, frames on a border shared out."""
    up_to = np.concatenate([[0.0], np.cumsum(weights)])
    return np.diff(np.interp(np.linspace(0, len(weights), SLICES + 1), np.arange(len(weights) + 1), up_to))


def _relative(weights: np.ndarray) -> np.ndarray:
    return (weights - weights.min()) / max(np.ptp(weights), 1e-12) if len(weights) else weights


def _colour(weight: float) -> str:
    red, green, blue = (PALE + weight * (STRONG - PALE)).astype(int)
    return f"rgb({red}, {green}, {blue})"
