"""Where a checkpoint looked while it answered: the attention of FE_s on every frame and word of one clip."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .errors_drkf import InputError, OptionError
from .silence_drkf import sounding_stretches


@dataclass(frozen=True)
class Word:
    """A word with the attention that its tokens received together, and how many they are.

    `special` marks what the tokenizer added ([CLS], </s>) and nobody said.
    """

    text: str
    attention: float
    tokens: int = 1
    special: bool = False


@dataclass(frozen=True)
class Explanation:
    """An answer and the attention behind it.

    Attributes:
        answer: what the pipeline says.
        waveform: the clip, (samples,), float32. sampling_rate: Hz.
        frame_attention: CLS attention to each speech frame, (frames,); the frames divide the clip evenly. It is 0 in
            silence that the checkpoint skips.
        words: in the order of the text, the tokenizer's special tokens among them.

    Attention is the mean over layers and heads of FE_s. Together with what CLS and SEP receive themselves, frames and
    words sum to 1. It tells where the model looked, not why it decided: it is no explanation of cause.
    """

    answer: dict[str, Any]
    waveform: np.ndarray
    sampling_rate: float
    frame_attention: np.ndarray
    words: list[Word]

    @property
    def seconds(self) -> float:
        return len(self.waveform) / self.sampling_rate

    @property
    def said(self) -> list[Word]:
        """The words without the tokenizer's special tokens."""
        return [word for word in self.words if not word.special]

    @property
    def frame_seconds(self) -> float:
        """Length of a frame."""
        return self.seconds / len(self.frame_attention)

    def moment(self) -> str:
        """When the frame with most attention begins and ends: "1.6 to 2.1 s", as exact as frames are long."""
        strongest, decimals = int(self.frame_attention.argmax()), max(0, math.ceil(-math.log10(self.frame_seconds)))
        start, end = (number * self.frame_seconds for number in (strongest, strongest + 1))
        return f"{start:.{decimals}f} to {end:.{decimals}f} s"

    def multiples(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Attention as pictures show it: of the frames, of `said` (a token), and the end of their common scale.

        1 is an even spread over the frames that are read, or over all tokens; one frame in a hundred may lie beyond
        the end.
        """
        frames = self.frame_attention / self.frame_attention[self.frame_attention > 0].mean()
        even = sum(word.attention for word in self.words) / sum(word.tokens for word in self.words)
        words = np.array([word.attention / word.tokens / even for word in self.said])
        return frames, words, max(2.0, float(np.quantile(frames, 0.99)), *words)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: the answer, `frame_seconds`, `frame_attention`, and `words`."""
        words = [
            {"text": word.text, "attention": word.attention, "special": word.special, "tokens": word.tokens}
            for word in self.words
        ]
        return self.answer | {
            "frame_seconds": self.frame_seconds,
            "frame_attention": self.frame_attention.tolist(),
            "words": words,
        }


def explain(pipe: Any, audio: Any, text: str | None, answer: dict[str, Any] | None = None) -> Explanation:
    """
    Args:
        pipe: a [`MultimodalEmotionRecognitionPipeline`]. audio: as it takes it. text: what is said; None or "" for
            unknown words. answer: what the pipeline says to these, where that is known already.

    Raises:
        AudioError: the clip is unusable.
        InputError: there is neither voice nor words, and so no answer.
        OptionError: the checkpoint fuses by cross-attention (FE_c), which has no attention over both modalities.
    """
    model, processor = pipe.model, pipe.processor
    if model.config.fusion != "self":
        raise OptionError(
            "this checkpoint fuses by cross-attention (FE_c), which has no CLS that attends to both voice and words: "
            "there is no attention to show; `drkf predict` tells what it says"
        )
    answer = answer or pipe({"audio": audio, "text": text})
    if not answer["scores"]:
        raise InputError(f"there is no answer to explain ({answer['warning']})")
    (unit,) = pipe.recognizer.units({"audio": audio, "text": answer["text"]}, transcriber=None)
    inputs = {
        name: torch.from_numpy(values).to(model.device) for name, values in pipe.recognizer.features([unit]).items()
    }
    words = unit.words or ""
    with torch.inference_mode():
        output = model(**inputs, output_modality_attention=True)
    frames = output.speech_attention[0].float().cpu().numpy()
    if getattr(model.config, "speech_statistics", False):
        frames = frames[1:]  # the token before them stands for the whole clip
    waveform, frames = processor.load_waveform(audio), frames[: int(frames.nonzero()[0].max()) + 1]  # no padding
    if processor.skip_silence and unit.has_audio:
        frames = over_clip(frames, sounding_stretches(waveform, processor.sampling_rate), len(waveform))
    return Explanation(
        answer=answer,
        waveform=waveform,
        sampling_rate=processor.sampling_rate,
        frame_attention=frames,
        words=merge_words(
            processor.tokenizer, words, inputs["input_ids"][0].tolist(), output.text_attention[0].float().tolist()
        ),
    )


def over_clip(attention: np.ndarray, stretches: np.ndarray, samples: int) -> np.ndarray:
    """Attention to what was read of a clip as attention to the clip, in frames of about the same length.

    Args:
        attention: (frames,), which divide the stretches, one behind the other, evenly.
        stretches: see [`sounding_stretches`]. samples: of the clip.

    Returns: (frames of the clip,), with the same sum and 0 outside the stretches; `attention` where there are none.
    """
    if not len(stretches):
        return attention
    lengths = np.diff(stretches).ravel()
    read_at = np.stack([lengths.cumsum() - lengths, lengths.cumsum()], axis=1)  # where each stretch came to lie
    frames = max(1, round(len(attention) * samples / lengths.sum()))
    borders = np.interp(np.linspace(0, samples, frames + 1), stretches.ravel(), read_at.ravel())
    up_to = np.concatenate([[0.0], attention.cumsum()])
    return np.diff(np.interp(borders, np.linspace(0, lengths.sum(), len(up_to)), up_to))


def merge_words(tokenizer: Any, text: str, token_ids: list[int], attention: list[float]) -> list[Word]:
    """Tokens merged to the words between the spaces of `text`, their attention summed.

    A text without spaces (Chinese), and a tokenizer that does not tell where its tokens stand, keep their tokens.

    Args:
        token_ids: of the text, special tokens included. attention: one number a token.
    """
    special = tokenizer.get_special_tokens_mask(token_ids, already_has_special_tokens=True)
    unknown = tokenizer.unk_token_id
    special = [bool(flag) and token != unknown for flag, token in zip(special, token_ids, strict=True)]
    word_of = _word_numbers(tokenizer, text, token_ids) if len(text.split()) > 1 else None
    words: list[Word] = []
    previous = None
    for index, (token, mass) in enumerate(zip(token_ids, attention, strict=True)):
        number = None if special[index] or word_of is None else word_of[index]
        if number is not None and number == previous:
            merged = words[-1]
            words[-1] = Word(merged.text, merged.attention + mass, merged.tokens + 1)
        else:
            shown = text.split()[number] if number is not None else tokenizer.decode([token]).strip()
            words.append(Word(shown or tokenizer.convert_ids_to_tokens(token), mass, special=special[index]))
        previous = number
    return words


def _word_numbers(tokenizer: Any, text: str, token_ids: list[int]) -> list[int | None] | None:
    """For each token the number of the word between spaces in which it ends; None if the tokenizer cannot tell."""
    if not tokenizer.is_fast:
        return None
    encoded = tokenizer(text, return_offsets_mapping=True, truncation=True, max_length=len(token_ids))
    if list(encoded["input_ids"]) != token_ids:
        return None
    begins = [not c.isspace() and (not i or text[i - 1].isspace()) for i, c in enumerate(text)]
    number_at = np.cumsum(begins) - 1
    return [int(number_at[end - 1]) if end > start else None for start, end in encoded["offset_mapping"]]
