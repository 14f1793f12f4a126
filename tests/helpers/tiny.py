"""Tiny random configurations, models, processors and batches: what the model-level tests are built from."""

from typing import Any

import torch
from torch import Tensor
from transformers import CONFIG_MAPPING, PreTrainedConfig

from modeling_drkf import DRKFConfig, DRKFForEmotionClassification
from modeling_drkf.outputs_drkf import Modality

torch.set_num_threads(1)  # tensors this small only lose by threads, badly so on a busy machine

TABLE_4: dict[str, dict[str, Any]] = {
    "1-bme": {"representation": "none", "fusion": "self", "emotion_discrimination": False},
    "2-cmie": {"representation": "cmie", "fusion": "self", "emotion_discrimination": False},
    "3-pcmi": {"representation": "pcmi", "fusion": "self", "emotion_discrimination": False},
    "4-ed": {"representation": "none", "fusion": "self", "emotion_discrimination": True},
    "5-cross": {"representation": "pcmi", "fusion": "cross", "emotion_discrimination": True},
    "6-drkf": {"representation": "pcmi", "fusion": "self", "emotion_discrimination": True},
}

MULTI_LABEL = {"problem_type": "multi_label_classification"}
MULTI_HOT = [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
OBJECTIVES: list[tuple[dict[str, Any], list[Any]]] = [
    *((options, [0, 1, 2, 0]) for options in TABLE_4.values()),
    *((options | MULTI_LABEL, MULTI_HOT) for options in TABLE_4.values()),
]
OBJECTIVE_NAMES = [*TABLE_4, *(f"{row}-multi-label" for row in TABLE_4)]

VOCABULARY = ["<pad>", "<s>", "</s>", "<unk>", *"i am so happy sad that you came back today oh no never mind".split()]
PAD_ID = 0

WAVE_ENCODER = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": [16, 16],
    "conv_kernel": [10, 4],
    "conv_stride": [5, 4],
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "vocab_size": len(VOCABULARY),
}
GROUP_NORM = {"feat_extract_norm": "group", "do_stable_layer_norm": False}
NUM_BINS = 16
WHISPER_WINDOW = 40

AUDIO_ENCODERS: dict[str, dict[str, Any]] = {
    "wav2vec2": {"model_type": "wav2vec2", **WAVE_ENCODER},
    "wav2vec2-group-norm": {"model_type": "wav2vec2", **WAVE_ENCODER, **GROUP_NORM},
    "wav2vec2-adapter": {
        "model_type": "wav2vec2", **WAVE_ENCODER, "add_adapter": True, "num_adapter_layers": 1,
        "output_hidden_size": 24,
    },
    "hubert": {"model_type": "hubert", **WAVE_ENCODER},
    "hubert-group-norm": {"model_type": "hubert", **WAVE_ENCODER, **GROUP_NORM},
    "wavlm": {"model_type": "wavlm", **WAVE_ENCODER, "num_buckets": 16, "max_bucket_distance": 20},
    "unispeech-sat": {"model_type": "unispeech-sat", **WAVE_ENCODER},
    "data2vec-audio": {
        "model_type": "data2vec-audio", **WAVE_ENCODER, "num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 5
    },
    "sew": {"model_type": "sew", **WAVE_ENCODER, **GROUP_NORM, "squeeze_factor": 2},
    "wav2vec2-bert": {
        "model_type": "wav2vec2-bert",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "feature_projection_input_dim": NUM_BINS,
        "conv_depthwise_kernel_size": 5,
    },
    "whisper": {
        "model_type": "whisper",
        "d_model": 32,
        "encoder_layers": 2,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 48,
        "decoder_layers": 1,
        "decoder_attention_heads": 2,
        "decoder_ffn_dim": 48,
        "num_mel_bins": NUM_BINS,
        "max_source_positions": WHISPER_WINDOW // 2,
        "max_target_positions": 16,
        "vocab_size": len(VOCABULARY),
        "pad_token_id": PAD_ID,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 1,
    },
}  # fmt: skip

_BERT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "vocab_size": len(VOCABULARY),
    "max_position_embeddings": 40,
    "pad_token_id": PAD_ID,
}
TEXT_ENCODERS: dict[str, dict[str, Any]] = {
    "roberta": {"model_type": "roberta", **_BERT},
    "bert": {"model_type": "bert", **_BERT},
    "xlm-roberta": {"model_type": "xlm-roberta", **_BERT},
    "electra": {"model_type": "electra", **_BERT, "embedding_size": 16},
    "mpnet": {"model_type": "mpnet", **_BERT},
    "deberta-v2": {
        "model_type": "deberta-v2", **_BERT, "relative_attention": True, "position_buckets": 8,
        "pos_att_type": ["p2c", "c2p"], "position_biased_input": False, "share_att_key": True,
    },
    "distilbert": {
        "model_type": "distilbert", "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48,
        "vocab_size": len(VOCABULARY), "max_position_embeddings": 40, "pad_token_id": PAD_ID,
    },
}  # fmt: skip


def encoder_config(options: dict[str, Any], dropout: float = 0.0) -> PreTrainedConfig:
    """An encoder's configuration, every dropout set; with dropout, SpecAugment is left on, too."""
    options = dict(options)
    config = CONFIG_MAPPING[options.pop("model_type")](**options)
    for name in vars(config):
        if name.endswith("dropout") or name.endswith("dropout_prob") or name == "dropout":
            setattr(config, name, dropout)
    if dropout == 0 and hasattr(config, "apply_spec_augment"):
        config.apply_spec_augment = False
        config.mask_time_prob = 0.0
    return config


def tiny_config(audio: str = "wav2vec2", text: str = "roberta", dropout: float = 0.0, **fields: Any) -> DRKFConfig:
    """A tiny DRKF; without dropout unless asked for."""
    defaults: dict[str, Any] = {
        "num_labels": 3,
        "hidden_size": 32,
        "projection_size": 16,
        "num_augmentation_blocks": 2,
        "augmentation_sizes": [16, 12, 8],
        "num_fusion_layers": 2,
        "num_fusion_heads": 4,
        "max_fusion_positions": 96,
        "consistency_calibration": [2.0, -0.5],
        "augmentation_dropout": dropout,
        "fusion_dropout": dropout,
        "classifier_dropout": dropout,
        "audio_config": encoder_config(AUDIO_ENCODERS[audio], dropout).to_dict(),
        "text_config": encoder_config(TEXT_ENCODERS[text], dropout).to_dict(),
    }
    return DRKFConfig(**(defaults | fields))


def tiny_model(seed: int = 0, **options: Any) -> DRKFForEmotionClassification:
    """A random model in evaluation mode; the options are those of `tiny_config`."""
    torch.manual_seed(seed)
    return DRKFForEmotionClassification(tiny_config(**options)).eval()


def perturb(model: torch.nn.Module, seed: int = 0, scale: float = 0.1) -> torch.nn.Module:
    """Adds noise to every parameter: norms are no longer the identity, biases no longer zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter.dtype), alpha=scale)
    return model


def tiny_batch(
    audio: str = "wav2vec2",
    samples: tuple[int, ...] = (640, 420, 555, 311),
    tokens: tuple[int, ...] = (5, 9, 3, 7),
    labels: list[Any] | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """A padded batch of random speech and text.

    Args:
        samples: length of each clip, in waveform samples; divided by 20 for encoders that read log-mel frames.
        tokens: length of each text.
    """
    generator = torch.Generator().manual_seed(seed)
    batch = _speech(audio, samples, generator)
    batch["attention_mask"] = _prefix_mask(tokens, max(tokens))
    ids = torch.randint(4, len(VOCABULARY), batch["attention_mask"].shape, generator=generator)
    ids[:, 0] = 1
    batch["input_ids"] = ids.where(batch["attention_mask"].bool(), PAD_ID)
    if labels is not None:
        batch["labels"] = torch.tensor(labels)
    return batch


def encode(encoding: Any, batch: dict[str, Any]) -> tuple[Modality, Modality]:
    """S_seq and T_seq with their masks and summaries."""
    names = ("input_values", "audio_attention_mask", "input_ids", "attention_mask")
    return encoding(**{name: batch[name] for name in names})


def select(batch: dict[str, Tensor], rows: list[int]) -> dict[str, Tensor]:
    """The given samples in the given order, with the whole batch's padding."""
    return {name: tensor[rows] for name, tensor in batch.items()}


def alone(batch: dict[str, Tensor], row: int) -> dict[str, Tensor]:
    """One sample without any padding (Whisper's window stays: it is part of its input)."""
    sample = select(batch, [row])
    if sample["input_values"].shape[1:] != (NUM_BINS, WHISPER_WINDOW):
        length = int(sample["audio_attention_mask"].sum())
        sample["input_values"] = sample["input_values"][:, :length]
        sample["audio_attention_mask"] = sample["audio_attention_mask"][:, :length]
    length = int(sample["attention_mask"].sum())
    sample["input_ids"], sample["attention_mask"] = (
        sample["input_ids"][:, :length],
        sample["attention_mask"][:, :length],
    )
    return sample


def gradients(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def assert_equal_gradients(actual: torch.nn.Module, expected: torch.nn.Module, atol: float = 1e-6) -> None:
    """Every parameter of both models has the same gradient; a difference names the parameter."""
    actual_gradients, expected_gradients = gradients(actual), gradients(expected)
    assert actual_gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        difference = (actual_gradients[name] - gradient).abs()
        assert (difference <= atol + 1e-4 * gradient.abs()).all(), f"{name} differs by {difference.max()}"


def fused_batch_sizes(model: DRKFForEmotionClassification) -> list[int]:
    """A list that grows with every run of the fusion encoder by the number of pairs it fused."""
    sizes: list[int] = []
    model.drkf.fusion_encoder.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0].sequence)))
    return sizes


def tiny_processor(**options: Any) -> Any:
    """A processor with a word-level tokenizer and a raw-waveform feature extractor."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, Wav2Vec2FeatureExtractor

    from processing import DRKFProcessor

    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        model_max_length=32,
    )  # fmt: skip
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=16_000, do_normalize=True, return_attention_mask=True)
    return DRKFProcessor(extractor, tokenizer, **options)


def _speech(audio: str, samples: tuple[int, ...], generator: torch.Generator) -> dict[str, Tensor]:
    model_type = AUDIO_ENCODERS[audio]["model_type"]
    if model_type == "whisper":
        mask = _prefix_mask([length // 20 for length in samples], WHISPER_WINDOW)
        values = torch.randn(len(samples), NUM_BINS, WHISPER_WINDOW, generator=generator) * mask[:, None]
    elif model_type == "wav2vec2-bert":
        mask = _prefix_mask([length // 20 for length in samples], max(samples) // 20)
        values = torch.randn(*mask.shape, NUM_BINS, generator=generator) * mask[..., None]
    else:
        mask = _prefix_mask(samples, max(samples))
        values = torch.randn(mask.shape, generator=generator) * mask
    return {"input_values": values, "audio_attention_mask": mask}


def _prefix_mask(lengths: Any, longest: int) -> Tensor:
    return (torch.arange(longest) < torch.tensor(list(lengths))[:, None]).long()
