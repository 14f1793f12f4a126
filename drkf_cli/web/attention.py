"""An explanation as HTML: the sound and the words over the attention that they received."""

from html import escape
from typing import Any

import numpy as np

from .drawing import peaks, wave

SLICES = 120
SCALE = "ffffe5 fff7bc fee391 fec44f fe9929 ec7014 cc4c02 993404 662506"  # ColorBrewer's YlOrBr, as in `drkf explain`
COLOURS = np.array([list(bytes.fromhex(colour)) for colour in SCALE.split()])
DARK = 0.6  # of the scale; from here on ink is white


def render_attention(explanation: Any) -> str:
    """An `Explanation` (see the pipeline's `explain`) in words, then as a picture."""
    frames, multiples, end = explanation.multiples()
    weights, seconds = _slices(frames), explanation.seconds
    strips = "".join(
        f'<rect x="{number}" y="-1" width="1.05" height="2" fill="{_colour(weight / end)}"/>'
        for number, weight in enumerate(weights)
    )
    words = list(zip(explanation.said, multiples / end, strict=True))
    spans = " ".join(
        f'<span style="background: {_colour(share)}; color: {"white" if share > DARK else "black"}">'
        f"{escape(word.text)}</span>"
        for word, share in words
    )
    strongest = max(words, key=lambda pair: pair[1], default=None)
    on_word = f"on the word “{escape(strongest[0].text)}” and " if strongest else ""
    legend = ", ".join(f"#{colour}" for colour in SCALE.split())
    return (
        '<div class="drkf"><h2>Where the model looked</h2>'
        f"<p>Most {on_word}from {explanation.moment()} of the clip.</p>"
        f'<svg class="sound" aria-hidden="true" viewBox="0 -1 {SLICES} 2" preserveAspectRatio="none">{strips}'
        f"{wave(peaks(explanation.waveform, SLICES))}</svg>"
        f'<div class="scale" aria-hidden="true"><span>0 s</span><span>{seconds:.1f} s</span></div>'
        f'<p class="words" aria-hidden="true">{spans}</p>'
        f'<div class="legend" aria-hidden="true" style="background: linear-gradient(to right, {legend})"></div>'
        f'<div class="scale" aria-hidden="true"><span>no attention</span><span>{end:.1f} times an even spread</span>'
        '</div><p class="note">It shows where the model looked, not why it decided: attention is not an explanation '
        "of cause.</p></div>"
    )


def _slices(multiples: np.ndarray) -> np.ndarray:
    """The mean of `multiples` (frames,) in each of `SLICES` slices of equal length, frames on a border shared out."""
    up_to = np.concatenate([[0.0], np.cumsum(multiples)])
    ends = np.interp(np.linspace(0, len(multiples), SLICES + 1), np.arange(len(multiples) + 1), up_to)
    return np.diff(ends) * SLICES / len(multiples)


def _colour(share: float) -> str:
    """The colour at a share of the scale, from 0 to 1; beyond, that of its end."""
    places = np.linspace(0, 1, len(COLOURS))
    red, green, blue = (round(float(np.interp(share, places, part))) for part in COLOURS.T)
    return f"rgb({red}, {green}, {blue})"
