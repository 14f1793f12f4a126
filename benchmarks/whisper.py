"""What Whisper costs as a speech encoder: padded to 30 seconds, on clips of their own length, and with fewer layers.

    python -m benchmarks.whisper                      # minutes on one core
    python -m benchmarks.whisper --clips 64 --batch-size 16 --layers 2 --json FILE

Whisper base with random weights, on clips of the workload's lengths in batches of like length. `features` is the
feature extractor, `states` the encoder's forward pass, `step` forward and backward; seconds are medians over rounds
of a pass over all clips. Memory is what a step on the longest batch adds to the peak of a fresh process.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, WhisperConfig, WhisperFeatureExtractor

from modeling_drkf.encoders_drkf import build_encoder, encode_speech
from modeling_drkf.extended_encoders_drkf import build_speech_encoder
from processing import DRKFProcessor

from .speed import process_memory
from .workload import build_processor, grouped_batches, utterances

BASE: dict[str, Any] = {"d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8, "encoder_ffn_dim": 2048}
BASE |= {"decoder_layers": 1, "decoder_attention_heads": 8, "decoder_ffn_dim": 512}
VARIANTS = ("padded", "padded, first layers", "unpadded", "unpadded, first layers")
Clips = list[np.ndarray]


def build(variant: str, layers: int) -> PreTrainedModel:
    """The encoder; all variants have the same first layers, up to their random weights."""
    torch.manual_seed(0)
    config = WhisperConfig(**BASE)
    if variant == "padded":
        return build_encoder(config)
    return build_speech_encoder(
        config, layers if variant.endswith("layers") else None, summed=False, unpadded=variant.startswith("unpadded")
    )


def processor_of(variant: str) -> DRKFProcessor:
    return DRKFProcessor(
        WhisperFeatureExtractor(), build_processor().tokenizer, unpadded_speech=variant.startswith("unpadded")
    )


def batches(count: int, size: int) -> list[Clips]:
    """Clips in batches of like length, the longest first."""
    padded = grouped_batches(utterances(count), size)
    return [
        [values[:length].numpy() for values, length in zip(batch["input_values"], lengths, strict=True)]
        for batch in padded
        for lengths in [batch["audio_attention_mask"].sum(-1).tolist()]
    ]


def features(processor: DRKFProcessor, clips: Clips) -> tuple[Tensor, Tensor]:
    inputs = processor(audio=clips, sampling_rate=processor.sampling_rate, return_tensors="pt")
    return inputs["input_values"], inputs["audio_attention_mask"]


def step(encoder: PreTrainedModel, values: Tensor, mask: Tensor) -> None:
    states = encode_speech(encoder, values, mask)
    (states.sequence * states.mask.unsqueeze(-1)).mean().backward()


def measure(options: argparse.Namespace, variant: str) -> dict[str, float]:
    """Seconds of a pass over all clips, by what is done; this process' own, which other work does not lengthen."""
    encoder, processor = build(variant, options.layers), processor_of(variant)
    clips = batches(options.clips, options.batch_size)
    seconds: dict[str, list[float]] = {"features": [], "states": [], "step": []}
    for _ in range(options.rounds):
        start = time.process_time()
        inputs = [features(processor, batch) for batch in clips]
        seconds["features"].append(time.process_time() - start)
        start = time.process_time()
        with torch.inference_mode():
            for values, mask in inputs:
                encode_speech(encoder.eval(), values, mask)
        seconds["states"].append(time.process_time() - start)
        start = time.process_time()
        for values, mask in inputs:
            step(encoder.train(), values, mask)
            encoder.zero_grad()
        seconds["step"].append(time.process_time() - start)
    return {name: statistics.median(rounds) for name, rounds in seconds.items()}


def peak_memory(options: argparse.Namespace, variant: str) -> float:
    """MiB by which a step on the longest clips raises the peak of this process."""
    encoder = build(variant, options.layers).train()
    for parameter in encoder.parameters():
        parameter.grad = torch.zeros_like(parameter)
    inputs = features(processor_of(variant), batches(options.clips, options.batch_size)[0])
    resident = process_memory("VmRSS")
    step(encoder, *inputs)
    return process_memory("VmHWM") - resident


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--layers", type=int, default=3, help="of the variants with the first layers alone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--memory-of", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print(peak_memory(options, options.memory_of))
        return
    figures: dict[str, dict[str, float]] = {}
    for variant in VARIANTS:
        command = [sys.executable, "-m", "benchmarks.whisper", *sys.argv[1:], "--memory-of", variant]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        parameters = build(variant, options.layers).num_parameters() / 1e6
        figures[variant] = measure(options, variant) | {
            "MiB": float(done.stdout.split()[-1]),
            "million parameters": parameters,
        }
        print(
            f"{variant:24}" + "".join(f"  {name} {value:.2f}" for name, value in figures[variant].items()), flush=True
        )
    if options.json:
        options.json.write_text(json.dumps({"torch": torch.__version__, "figures": figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
