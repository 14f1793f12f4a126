"""Tiny random speech recognisers, as folders to load from."""

import json
from pathlib import Path
from string import ascii_lowercase

import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    GenerationConfig,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

from .tiny import WAVE_ENCODER, perturb

TIMES = 1501  # from 0 to 30 s
WHISPER_SIZES = {
    "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_target_positions": 64,
}  # fmt: skip
WHISPER_MARKS = [
    *("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|translate|>", "<|transcribe|>"),
    *("<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"),
]


def write_ctc_recogniser(folder: Path) -> Path:
    """A CTC model that listens at 8 kHz."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = {letter: number for number, letter in enumerate(["<pad>", "<unk>", "|", *"adehimnopsuy"])}
    (folder / "vocab.json").write_text(json.dumps(letters))
    torch.manual_seed(0)
    model = Wav2Vec2ForCTC(Wav2Vec2Config(**{**WAVE_ENCODER, "vocab_size": len(letters), "pad_token_id": 0}))
    perturb(model, scale=0.3).save_pretrained(folder)
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), pad_token="<pad>", unk_token="<unk>").save_pretrained(folder)
    Wav2Vec2FeatureExtractor(sampling_rate=8_000, return_attention_mask=True).save_pretrained(folder)
    return folder


def write_whisper_recogniser(folder: Path) -> Path:
    """A Whisper model, which listens to 30 seconds at a time."""
    characters = sorted(ByteLevel.alphabet())
    tokenizer = WhisperTokenizer(vocab={character: number for number, character in enumerate(characters)}, merges=[])
    tokenizer.add_tokens(WHISPER_MARKS, special_tokens=True)
    tokenizer.add_tokens([f"<|{number * 0.02:.2f}|>" for number in range(TIMES)])
    number_of = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in WHISPER_MARKS}
    end = number_of["<|endoftext|>"]
    ends = {"pad_token_id": end, "bos_token_id": end, "eos_token_id": end}
    ends["decoder_start_token_id"] = number_of["<|startoftranscript|>"]
    torch.manual_seed(0)
    config = WhisperConfig(vocab_size=len(tokenizer), num_mel_bins=80, **WHISPER_SIZES, **ends)
    model = perturb(WhisperForConditionalGeneration(config), scale=0.3)
    with torch.no_grad():
        model.get_output_embeddings().weight[-TIMES:] *= 0.1  # letters are likelier, as after training
    model.generation_config = GenerationConfig(
        is_multilingual=True,
        lang_to_id={"<|en|>": number_of["<|en|>"]},
        task_to_id={task: number_of[f"<|{task}|>"] for task in ("translate", "transcribe")},
        no_timestamps_token_id=number_of["<|notimestamps|>"],
        prev_sot_token_id=number_of["<|startofprev|>"],
        max_initial_timestamp_index=50,
        suppress_tokens=[*number_of.values(), *(i for i, one in enumerate(characters) if one not in ascii_lowercase)],
        max_length=20,
        **ends,
    )
    for part in (model, tokenizer, WhisperFeatureExtractor(feature_size=80)):
        part.save_pretrained(folder)
    return folder
