"""Where the fusion encoder's attention lies: over the waveform and over the words."""

import io
import re
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import soundfile
import torch

SLICES = 120
PALE, STRONG = np.array([214, 226, 240]), np.array([240, 150, 40])
NO_ATTENTION = "<p>This model's fusion gives no attention over voice and words.</p>"


def render_attention(recogniser: Any, clip: bytes, text: str) -> str:
    """One more pass of the model with its attention kept, as a coloured waveform and coloured words.

    Args:
        recogniser: a pipeline with `model` and `processor`. clip: an encoded recording. text: what is said in it.
    """
    model, processor = recogniser.model, recogniser.processor
    inputs = processor(audio=clip, text=text, return_tensors="pt").to(model.device)
    with torch.inference_mode():
        output = model(**inputs, output_modality_attention=True)
    if output.speech_attention is None or output.text_attention is None:
        return NO_ATTENTION
    speech, tokens = (weights[0].float().cpu().numpy() for weights in (output.speech_attention, output.text_attention))
    speech = np.trim_zeros(speech, "b")  # the unused part of a fixed window
    words = words_with_attention(processor.tokenizer, text, tokens)
    return _picture(_slices(speech), *_loudness(clip, processor.max_audio_seconds), words)


def words_with_attention(tokenizer: Any, text: str, attention: Sequence[float]) -> list[tuple[str, float]]:
    """Each word of the text with the attention on its tokens; words beyond the tokenizer's limit are left out.

    Args:
        tokenizer: a fast tokenizer. attention: a weight for every token of the text, special tokens included.
    """
    offsets = tokenizer(text, return_offsets_mapping=True, truncation=True, max_length=len(attention))[
        "offset_mapping"
    ]
    words = [(match.start(), match.end(), match.group()) for match in re.finditer(r"\S+", text)]
    weights: dict[int, float] = {}
    for (start, end), weight in zip(offsets, attention, strict=False):
        last = end - 1  # a token may begin with the space before its word
        word = next((i for i, (a, b, _) in enumerate(words) if end > start and a <= last < b), None)
        if word is not None:
            weights[word] = weights.get(word, 0.0) + float(weight)
    return [(words[i][2], weight) for i, weight in sorted(weights.items())]


def _loudness(clip: bytes, max_seconds: float | None) -> tuple[np.ndarray, float]:
    """Peaks (SLICES,) relative to the highest, and length in seconds, of the part of a clip that the model hears."""
    samples, rate = soundfile.read(io.BytesIO(clip), dtype="float32", always_2d=True)
    heard = samples.mean(axis=1)[: None if max_seconds is None else round(max_seconds * rate)]
    peaks = np.array([np.abs(part).max(initial=0.0) for part in np.array_split(heard, SLICES)])
    return peaks / max(peaks.max(), 1e-9), len(heard) / rate


def _slices(weights: np.ndarray) -> np.ndarray:
    """Weights (frames,) summed over `SLICES` slices of equal length, frames on a border shared out."""
    up_to = np.concatenate([[0.0], np.cumsum(weights)])
    return np.diff(np.interp(np.linspace(0, len(weights), SLICES + 1), np.arange(len(weights) + 1), up_to))


def _picture(speech: np.ndarray, loudness: np.ndarray, seconds: float, words: list[tuple[str, float]]) -> str:
    strongest = max(words, key=lambda word: word[1], default=("", 0.0))
    peak = int(speech.argmax()) / SLICES * seconds
    bars = "".join(
        f'<span style="height: {100 * level:.0f}%; background: {_colour(weight)}"></span>'
        for level, weight in zip(loudness, _relative(speech), strict=True)
    )
    spans = " ".join(
        f'<span style="background: {_colour(weight)}">{escape(word)}</span>'
        for (word, _), weight in zip(words, _relative(np.array([weight for _, weight in words])), strict=True)
    )
    return (
        '<div class="drkf"><h2>Attention over voice and words</h2>'
        f"<p>Strongest {peak:.1f} seconds into the clip, and on the word “{escape(strongest[0])}”.</p>"
        f'<div class="wave" aria-hidden="true">{bars}</div>'
        f'<div class="scale" aria-hidden="true"><span>0 s</span><span>{seconds:.1f} s</span></div>'
        f'<p class="words" aria-hidden="true">{spans}</p>'
        '<p class="note">The more orange, the more attention, within the voice and within the words. Attention shows '
        "what the model looked at, not why it answered so.</p></div>"
    )


def _relative(weights: np.ndarray) -> np.ndarray:
    return (weights - weights.min()) / max(np.ptp(weights), 1e-12) if len(weights) else weights


def _colour(weight: float) -> str:
    red, green, blue = (PALE + weight * (STRONG - PALE)).astype(int)
    return f"rgb({red}, {green}, {blue})"
