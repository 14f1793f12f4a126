"""The model and the utterances that all timings share: random weights, durations as in IEMOCAP."""

from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Wav2Vec2FeatureExtractor

from modeling_drkf import DRKFConfig, DRKFForEmotionClassification
from processing import DRKFProcessor

RATE = 16_000
WORDS_A_SECOND = 2.8
VOCABULARY = 1000


@dataclass(frozen=True)
class Preset:
    """Widths and depths of a model; `width` is that of both encoders and of the fusion."""

    width: int
    speech_layers: int
    text_layers: int
    fusion_layers: int = 6
    heads: int = 8


PRESETS = {
    "small": Preset(width=128, speech_layers=6, text_layers=12),
    "paper": Preset(width=1024, speech_layers=12, text_layers=24, heads=16),
}


def build_model(preset: Preset, **fields: Any) -> DRKFForEmotionClassification:
    """A DRKF with random weights: wav2vec2 with layer norms and RoBERTa, in the proportions of the paper's."""
    d = preset.width
    shared: dict[str, Any] = {"hidden_size": d, "num_attention_heads": preset.heads, "intermediate_size": 4 * d}
    torch.manual_seed(0)
    config = DRKFConfig(
        hidden_size=d,
        projection_size=d,
        augmentation_sizes=[d // 4, d // 8, d // 16],
        num_fusion_layers=preset.fusion_layers,
        audio_config={
            "model_type": "wav2vec2", **shared, "num_hidden_layers": preset.speech_layers,
            "conv_dim": [d // 2] * 7, "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True,
            "mask_time_prob": 0.0,
        },
        text_config={
            "model_type": "roberta", **shared, "num_hidden_layers": preset.text_layers, "vocab_size": VOCABULARY,
        },
        **{"num_labels": 4, **fields},
    )  # fmt: skip
    return DRKFForEmotionClassification(config)


def build_processor() -> DRKFProcessor:
    """What a checkpoint of `build_model` needs beside it; its words are numbers."""
    words = Tokenizer(WordLevel({str(index): index for index in range(VOCABULARY)}, unk_token="3"))
    words.pre_tokenizer = Whitespace()  # type: ignore[assignment]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="1", unk_token="3")
    return DRKFProcessor(Wav2Vec2FeatureExtractor(return_attention_mask=True), tokenizer)


def utterances(count: int, seed: int = 0, between: tuple[float, float] | None = None) -> list[dict[str, Tensor]]:
    """Durations log-normal with median 3.8 s and sigma 0.6, clipped to 0.7-20 s; 2.8 words a second.

    Args:
        between: shortest and longest, in seconds, of durations that are uniform instead.
    """
    generator = torch.Generator().manual_seed(seed)
    if between:
        durations = torch.empty(count).uniform_(*between, generator=generator)
    else:
        durations = (torch.randn(count, generator=generator) * 0.6).exp().mul(3.8).clamp(0.7, 20.0)
    rows = []
    for index, seconds in enumerate(durations.tolist()):
        words = max(1, round(WORDS_A_SECOND * seconds))
        rows.append(
            {
                "input_values": torch.randn(int(seconds * RATE), generator=generator),
                "input_ids": torch.randint(4, VOCABULARY, (words + 2,), generator=generator),
                "labels": torch.tensor(index % 4),
            }
        )
    return rows


def random_batches(rows: list[dict[str, Tensor]], size: int, seed: int = 0) -> list[dict[str, Tensor]]:
    """Padded batches in random order."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    return _batches([rows[index] for index in order], size)


def grouped_batches(rows: list[dict[str, Tensor]], size: int) -> list[dict[str, Tensor]]:
    """Padded batches of like lengths, the longest first."""
    return _batches(sorted(rows, key=lambda row: -len(row["input_values"])), size)


def _batches(rows: list[dict[str, Tensor]], size: int) -> list[dict[str, Tensor]]:
    return [_pad(rows[first : first + size]) for first in range(0, len(rows), size)]


def _pad(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    pad = torch.nn.utils.rnn.pad_sequence
    speech, text = [row["input_values"] for row in rows], [row["input_ids"] for row in rows]
    return {
        "input_values": pad(speech, batch_first=True),
        "audio_attention_mask": pad([torch.ones(len(clip), dtype=torch.long) for clip in speech], batch_first=True),
        "input_ids": pad(text, batch_first=True, padding_value=1),
        "attention_mask": pad([torch.ones(len(words), dtype=torch.long) for words in text], batch_first=True),
        "labels": torch.stack([row["labels"] for row in rows]),
    }
