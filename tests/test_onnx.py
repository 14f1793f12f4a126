"""The exported graph and its runtime: torch's answers, alone, in padded batches, and where there is no torch."""

import csv
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from helpers.tiny import (
    AUDIO_ENCODERS,
    MULTI_LABEL,
    TABLE_4,
    alone,
    encoder_config,
    perturb,
    tiny_batch,
    tiny_model,
    tiny_processor,
)
from helpers.tones import script
from torch import Tensor, nn
from transformers import SeamlessM4TFeatureExtractor, WhisperFeatureExtractor
from typer.testing import CliRunner

from drkf_cli import app
from drkf_cli.checkpoint import open_pipeline
from modeling_drkf import DRKFForEmotionClassification
from modeling_drkf.release.onnx_export import _check_graph, _finish, _metadata, export_onnx
from modeling_drkf.release.onnx_graph import InferenceGraph
from processing import DRKFProcessor
from processing.errors_drkf import FileError, OptionError
from processing.onnx_recognizer import OnnxEmotionRecognizer

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

LABELS = {"id2label": {0: "calm", 1: "tense", 2: "glad"}, "label2id": {"calm": 0, "tense": 1, "glad": 2}}
SHAPES = {
    "padded": {"samples": (640, 420, 555, 311), "tokens": (5, 9, 3, 7)},
    "five": {"samples": (700, 650, 320, 900, 46), "tokens": (2, 30, 4, 1, 6)},
    "alone": {"samples": (500,), "tokens": (4,)},
    "shortest": {"samples": (30,), "tokens": (1,)},
    "unpadded": {"samples": (800, 800), "tokens": (7, 7)},
    "long": {"samples": (1100,), "tokens": (30,)},
}


def save(folder: Path, processor: DRKFProcessor | None = None, **options: Any) -> DRKFForEmotionClassification:
    """A random checkpoint in a folder; returns its model."""
    model: Any = perturb(tiny_model(**LABELS, **options))
    model.save_pretrained(folder)
    (processor or tiny_processor()).save_pretrained(folder)
    return model


def run(folder: Path, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    names = [output.name for output in session.get_outputs()]
    values = session.run(names, {name: tensor.numpy() for name, tensor in batch.items()})
    return dict(zip(names, map(torch.from_numpy, values), strict=True))


def assert_torchs(outputs: dict[str, Tensor], model: nn.Module, batch: dict[str, Tensor]) -> None:
    """The graph gives what the model gives each clip alone."""
    names = ["logits", "consistency_logits", "consistency", "modality_shares"]
    for row in range(len(batch["input_ids"])):
        with torch.no_grad():
            expected = model(**alone(batch, row), output_modality_attention=True)
        assert [name for name in names if expected[name] is not None] == list(outputs)
        for name, values in outputs.items():
            assert (values[row] - expected[name][0]).abs().max() < 1e-4, name


def with_noise_as_padding(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    mask = batch["audio_attention_mask"].bool()
    noise = 100 * torch.randn(mask.shape, generator=torch.Generator().manual_seed(7))
    return batch | {"input_values": batch["input_values"].where(mask, noise)}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """wav2vec2 with the group norm of its base model: what is hardest to batch."""
    folder = tmp_path_factory.mktemp("checkpoint")
    save(folder, audio="wav2vec2-group-norm")
    return folder


@pytest.fixture(scope="module")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_onnx(checkpoint, tmp_path_factory.mktemp("exported") / "new").parent


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> DRKFForEmotionClassification:
    return DRKFForEmotionClassification.from_pretrained(checkpoint).eval()


@pytest.fixture(scope="module")
def clips() -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    lengths = (900, 1200, 100, 700, 1000)
    texts = ("so happy", "", "never mind you came", None, "oh no")
    return [
        {"audio": {"array": 0.1 * rng.standard_normal(length), "sampling_rate": 16_000}, "text": text}
        for length, text in zip(lengths, texts, strict=True)
    ]


# The graph.


@pytest.mark.parametrize("shape", SHAPES)
def test_the_graph_gives_torchs_scores_in_every_shape(shape, exported, model):
    batch = with_noise_as_padding(tiny_batch(seed=3, **SHAPES[shape]))
    assert_torchs(run(exported, batch), model, batch)


def test_the_graph_tells_what_it_needs(exported):
    session = onnxruntime.InferenceSession(exported / "model.onnx")
    assert {value.name: value.shape for value in session.get_inputs()} == {
        "input_values": ["batch", "audio_length"],
        "audio_attention_mask": ["batch", "audio_length"],
        "input_ids": ["batch", "text_length"],
        "attention_mask": ["batch", "text_length"],
    }
    assert {value.name: value.shape for value in session.get_outputs()} == {
        "logits": ["batch", 3],
        "consistency_logits": ["batch"],
        "consistency": ["batch"],
        "modality_shares": ["batch", 2],
    }
    metadata = {name: json.loads(value) for name, value in session.get_modelmeta().custom_metadata_map.items()}
    assert metadata == {
        "labels": ["calm", "tense", "glad"],
        "problem_type": "single_label_classification",
        "modality_dropout": 0.0,
        "max_fusion_positions": 96,
        "precision": "float32",
    }
    card = (exported / "README.md").read_text()
    for name in (*(value.name for value in (*session.get_inputs(), *session.get_outputs())), *metadata):
        assert f"`{name}`" in card, name
    assert "calm, tense, glad" in card
    assert str(exported.parent) not in card


def test_a_group_norm_over_a_padded_batch_is_that_of_each_clip():
    encoder = perturb(tiny_model(audio="wav2vec2-group-norm")).drkf.modality_encoding.speech_encoder
    batch = with_noise_as_padding(tiny_batch())
    layer = encoder.feature_extractor.conv_layers[0]
    expected = [layer(alone(batch, row)["input_values"][:, None]) for row in range(4)]
    model = perturb(tiny_model(audio="wav2vec2-group-norm"))
    graph = InferenceGraph(model)
    graph.clips.samples = batch["audio_attention_mask"].sum(-1)
    actual = model.drkf.modality_encoding.speech_encoder.feature_extractor.conv_layers[0](
        batch["input_values"][:, None]
    )
    for row, clip in enumerate(expected):
        torch.testing.assert_close(actual[row, :, : clip.shape[-1]], clip[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("weights", ["inside", "beside"])
@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
def test_quantising_and_weights_in_a_file_of_their_own(int8, weights, exported, model, tmp_path):
    """A protobuf file ends at 2 GiB: the weights of a larger graph lie beside it."""
    onnx = pytest.importorskip("onnx")
    (tmp_path / "scratch").mkdir()
    onnx.save(
        onnx.load(exported / "model.onnx"),
        tmp_path / "scratch" / "model.onnx",
        save_as_external_data=weights == "beside",
        location="model.onnx.data",
        size_threshold=0,
    )
    path = _finish(tmp_path / "scratch" / "model.onnx", tmp_path / "model.onnx", _metadata(model.config, int8), int8)
    assert (tmp_path / "model.onnx.data").is_file() == (weights == "beside")
    facts = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    assert json.loads(facts["precision"]) == ("int8" if int8 else "float32")
    operators = {node.op_type for node in onnx.load(path, load_external_data=False).graph.node}
    assert ("MatMulInteger" in operators) == int8
    batch = tiny_batch()
    ours, theirs = run(tmp_path, batch)["logits"].softmax(-1), run(exported, batch)["logits"].softmax(-1)
    difference = float((ours - theirs).abs().max())
    assert 1e-5 < difference < 0.05 if int8 else difference == 0


def saturating_product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """u8 x s8 as CPUs with AVX2 and no VNNI compute it: the sum of two products is cut to 16 bits."""
    pairs = -(-left.shape[-1] // 2)
    left = np.pad(left.astype(np.int32), [(0, 0)] * (left.ndim - 1) + [(0, 2 * pairs - left.shape[-1])])
    right = np.pad(right.astype(np.int32), [(0, 2 * pairs - right.shape[0]), (0, 0)])
    total = np.zeros((*left.shape[:-1], right.shape[1]), dtype=np.int32)
    for first in range(0, 2 * pairs, 2):
        both = left[..., first : first + 2] @ right[first : first + 2]
        total += np.clip(both, -(2**15), 2**15 - 1)
    return total


def test_the_product_of_two_large_pairs_saturates():
    left, right = np.full((1, 4), 255, dtype=np.uint8), np.full((4, 1), 127, dtype=np.int8)
    assert saturating_product(left, right).item() == 2 * (2**15 - 1) < 4 * 255 * 127
    assert saturating_product(left, right // 2).item() == 4 * 255 * 63


def test_eight_bits_give_one_answer_with_saturating_and_with_exact_products(exported, model, tmp_path):
    """CPUs with VNNI add products exactly, those without cut their sums: the weights leave room for both."""
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator
    from onnx.reference.op_run import OpRun

    class MatMulInteger(OpRun):
        product = staticmethod(np.matmul)

        def _run(self, left, right, left_zero=None, right_zero=None):
            assert right.dtype == np.int8
            assert not np.any(right_zero)
            product = self.product(left, right)
            sums = right.astype(np.int32).sum(0)
            return (product - np.int32(left_zero if left_zero is not None else 0) * sums,)

    class Exact(MatMulInteger):
        product = staticmethod(lambda left, right: left.astype(np.int32) @ right.astype(np.int32))

    class Saturating(MatMulInteger):
        product = staticmethod(saturating_product)

    (tmp_path / "scratch").mkdir()
    shutil.copy(exported / "model.onnx", tmp_path / "scratch" / "model.onnx")
    path = _finish(tmp_path / "scratch" / "model.onnx", tmp_path / "model.onnx", _metadata(model.config, True), True)
    inputs = {name: tensor.numpy() for name, tensor in tiny_batch().items()}
    logits = {}
    for kind in (Exact, Saturating):
        operator = type("MatMulInteger", (kind,), {})
        logits[kind] = ReferenceEvaluator(onnx.load(path), new_ops=[operator]).run(["logits"], inputs)[0]
    np.testing.assert_array_equal(logits[Exact], logits[Saturating])
    ours, theirs = (
        torch.as_tensor(each).softmax(-1) for each in (run(tmp_path, tiny_batch())["logits"], logits[Exact])
    )
    assert float((ours - theirs).abs().max()) < 0.03  # a sum that is rounded the other way moves an input by one step


@pytest.mark.parametrize("audio", ["wav2vec2-adapter", "data2vec-audio", "sew"])
def test_encoders_that_read_padding_are_refused(audio):
    with pytest.raises(ValueError, match="cannot be exported: padding reaches its valid frames"):
        InferenceGraph(tiny_model(audio=audio))


def test_a_batch_norm_beside_a_group_norm_is_refused():
    audio_config = encoder_config(AUDIO_ENCODERS["hubert-group-norm"]).to_dict() | {"conv_pos_batch_norm": True}
    with pytest.raises(ValueError, match="HubertModel cannot be exported"):
        InferenceGraph(tiny_model(audio_config=audio_config))


def test_a_graph_that_is_not_the_models_is_refused(exported, checkpoint):
    other: Any = perturb(DRKFForEmotionClassification.from_pretrained(checkpoint).eval(), seed=5, scale=0.02)
    with pytest.raises(ValueError, match=r"logits are .* from torch's"):
        _check_graph(InferenceGraph(other), [tiny_batch()], exported / "model.onnx")


def test_what_is_no_checkpoint_is_an_error_and_leaves_nothing(tmp_path):
    done = CliRunner().invoke(app, ["export", "onnx", str(tmp_path / "none"), str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "none" in done.stderr
    assert not (tmp_path / "out").exists()


# The runtime.


def test_a_checkpoint_is_not_exported_into_itself(checkpoint):
    (checkpoint / "README.md").write_text("the card")
    with pytest.raises(OptionError, match="holds a checkpoint"):
        export_onnx(checkpoint, checkpoint)
    assert (checkpoint / "README.md").read_text() == "the card"
    assert not (checkpoint / "model.onnx").exists()


def test_the_runtime_answers_as_the_pipeline(exported, checkpoint, clips):
    recognize, pipe = open_pipeline(exported), open_pipeline(checkpoint)
    assert isinstance(recognize, OnnxEmotionRecognizer)
    assert pipe.model.config.model_type == "drkf"
    inputs = [*clips, {"text": "am i sad"}]
    for options in ({}, {"batch_size": 4}, {"batch_size": 2, "top_k": 1}, {"chunk_length_s": 0.05}):
        if "chunk_length_s" in options:
            inputs = [{"audio": clip["audio"]} for clip in clips]
        actual, expected = recognize(inputs, **options), pipe(inputs, **options)
        assert_same_answers(actual, expected)
        assert len(actual) == len(inputs)
    assert_same_answers(recognize(clips[0]), pipe(clips[0]))


def assert_same_answers(actual: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert list(actual) == list(expected)
        for key, value in expected.items():
            assert_same_answers(actual[key], value)
    elif isinstance(expected, list):
        assert len(actual) == len(expected)
        for ours, theirs in zip(actual, expected, strict=True):
            assert_same_answers(ours, theirs)
    elif isinstance(expected, float):
        assert actual == pytest.approx(expected, abs=1e-4)
    else:
        assert actual == expected


WITHOUT_TORCH = """
import json, sys
from importlib.machinery import PathFinder

ABSENT = {"torch", "accelerate", "datasets", "evaluate", "jinja2", "pandas", "pyarrow", "scipy", "sklearn"}

class Bare(PathFinder):  # what onnxruntime, soundfile, soxr and transformers do not bring
    @classmethod
    def find_spec(cls, name, *rest):
        return None if name.partition(".")[0] in ABSENT else super().find_spec(name, *rest)

sys.meta_path[sys.meta_path.index(PathFinder)] = Bare
try:
    import torch
    raise SystemExit("torch could be imported")
except ModuleNotFoundError:
    pass
"""
ANSWERS = """
from processing.errors_drkf import FileError, OptionError
from processing.onnx_recognizer import OnnxEmotionRecognizer

recognize = OnnxEmotionRecognizer.from_pretrained(sys.argv[1], batch_size=2)
answers = recognize([sys.argv[2], {"audio": sys.argv[2], "text": "never mind"}, {"text": "so happy"}])
assert not ABSENT & {name.partition(".")[0] for name in sys.modules}
print(json.dumps(answers))
"""
VERBS = """
from drkf_cli import app
app(sys.argv[1:])
"""


def without_torch(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_TORCH + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_runtime_needs_no_torch(exported, checkpoint, tmp_path):
    soundfile = pytest.importorskip("soundfile")
    clip = tmp_path / "clip.wav"
    soundfile.write(clip, 0.1 * np.random.default_rng(0).standard_normal(2000), 22_050)
    finished = without_torch(ANSWERS, exported, clip)
    assert finished.returncode == 0, finished.stderr[-3000:]
    inputs = [str(clip), {"audio": str(clip), "text": "never mind"}, {"text": "so happy"}]
    assert_same_answers(json.loads(finished.stdout), open_pipeline(checkpoint)(inputs))
    told = without_torch(VERBS, "predict", clip, "--text", "never mind", "--model", exported, "--json")
    assert (told.returncode, told.stderr) == (0, "")
    assert_same_answers(json.loads(told.stdout), {"audio": str(clip), **json.loads(finished.stdout)[1]})
    refused = without_torch(VERBS, "predict", clip, "--model", checkpoint)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "error: PyTorch is not installed: install it, or name files and an exported graph" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_graph_gives_no_embeddings(exported):
    recognizer = OnnxEmotionRecognizer.from_pretrained(exported)
    with pytest.raises(OptionError, match="gives no embeddings: take the checkpoint that it was exported from"):
        recognizer({"text": "so"}, return_embeddings=True)


def test_a_clip_longer_than_the_graph_reads_is_named(exported):
    clip = {"audio": {"array": np.zeros(4000), "sampling_rate": 16_000}, "text": "oh"}
    with pytest.raises(ValueError, match=r"input 2: the graph cannot read .* at most 96"):
        OnnxEmotionRecognizer.from_pretrained(exported)([{"text": "oh"}, clip])


def test_a_graph_that_was_half_copied_is_told(exported, tmp_path):
    (tmp_path / "model.onnx").write_bytes((exported / "model.onnx").read_bytes()[:10_000])
    told = CliRunner().invoke(app, ["predict", __file__, "--model", str(tmp_path)])
    assert (told.exit_code, "model.onnx cannot be loaded; is it damaged" in told.stderr) == (1, True)


def test_a_graph_with_a_damaged_processor_names_its_folder(exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "graph")
    for damage in ("null", '{"feature_extractor": 1}'):
        (folder / "processor_config.json").write_text(damage)
        with pytest.raises(FileError, match=f"^{folder} cannot be loaded: "):
            OnnxEmotionRecognizer.from_pretrained(folder)


def test_a_folder_without_a_graph_says_how_to_make_one(tmp_path):
    with pytest.raises(FileError, match="drkf export onnx"):
        OnnxEmotionRecognizer.from_pretrained(tmp_path)


# Every kind of model. An export takes seconds.

KINDS = [
    ("1-bme", "wav2vec2", "roberta"),
    ("2-cmie", "hubert", "bert"),
    ("3-pcmi", "hubert-group-norm", "xlm-roberta"),
    ("4-ed", "wavlm", "electra"),
    ("5-cross", "unispeech-sat", "mpnet"),
    ("5-cross-multi-label", "wav2vec2-bert", "distilbert"),
    ("6-drkf", "whisper", "deberta-v2"),
]
WINDOW_SECONDS = 1


@pytest.mark.slow
@pytest.mark.parametrize(("row", "audio", "text"), KINDS, ids=["-".join(kind) for kind in KINDS])
def test_every_row_of_table_4_and_every_encoder_is_exported(row, audio, text, tmp_path, clips):
    row, _, multi_label = row.partition("-multi")
    options = TABLE_4[row] | (MULTI_LABEL if multi_label else {})
    processor = tiny_processor()
    if audio == "wav2vec2-bert":
        extractor = SeamlessM4TFeatureExtractor(feature_size=8, num_mel_bins=8)
        processor = DRKFProcessor(extractor, processor.tokenizer)
    elif audio == "whisper":
        extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=WINDOW_SECONDS)
        processor = DRKFProcessor(extractor, processor.tokenizer)
        window = {"max_source_positions": 50 * WINDOW_SECONDS}
        options = options | {"audio_config": encoder_config(AUDIO_ENCODERS[audio]).to_dict() | window}
    save(tmp_path / "model", processor, audio=audio, text=text, **options)
    export_onnx(tmp_path / "model", tmp_path / "graph")
    recognizers = [open_pipeline(tmp_path / name) for name in ("graph", "model")]
    for batch_size in (1, 5):
        assert_same_answers(*(recognize(clips, batch_size=batch_size) for recognize in recognizers))


@pytest.mark.slow
def test_eight_bits_name_the_same_emotion(shared_data, tmp_path):
    """200 clips of a speaker that the model never heard; float32 agrees on all, int8 but for near ties."""
    with (shared_data / "paired.csv").open(newline="") as file:
        rows = [row | {"audio": str(shared_data / row["audio"])} for row in csv.DictReader(file)]
    random.Random(0).shuffle(rows)
    unheard = [row | {"split": "test"} for row in rows if row["speaker"] == "SM0"][:200]
    heard = [row | {"split": "train"} for row in rows if row["speaker"] in ("EB0", "KS0", "TP0")][:1200]
    watched = [row | {"split": "validation"} for row in rows if row["speaker"] == "KD0"][:40]
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(unheard[0]))
        writer.writeheader()
        writer.writerows([*heard, *watched, *unheard])
    options = ["--manifest", tmp_path / "clips.csv", "--output_dir", tmp_path / "model", "--num_train_epochs", 4]
    subprocess.run(script("cpu_study.yaml", *options), check=True, capture_output=True, timeout=600)
    export_onnx(tmp_path / "model", tmp_path / "float32")
    export_onnx(tmp_path / "model", tmp_path / "int8", int8=True)
    sizes = [(tmp_path / name / "model.onnx").stat().st_size for name in ("float32", "int8")]
    assert sizes[1] < 0.75 * sizes[0]
    clips = [{"audio": row["audio"], "text": row["text"]} for row in unheard]
    model, float32, int8 = (
        [answer["scores"] for answer in open_pipeline(tmp_path / name)(clips, batch_size=8)]
        for name in ("model", "float32", "int8")
    )
    labels = [[scores[0]["label"] for scores in answers] for answers in (model, float32, int8)]
    assert len(set(labels[0])) > 1
    assert labels[1] == labels[0]
    assert np.mean([ours == theirs for ours, theirs in zip(labels[2], labels[0], strict=True)]) >= 0.95
    for scores, label in zip(model, labels[2], strict=True):
        score_of = {entry["label"]: entry["score"] for entry in scores}
        assert scores[0]["score"] - score_of[label] < 0.05


def test_the_command_answers_from_an_exported_folder(exported: Path, tmp_path: Path):
    soundfile.write(tmp_path / "clip.wav", 0.2 * np.sin(np.arange(800) / 9), 16_000)
    command = ["predict", str(tmp_path / "clip.wav"), "--text", "so happy", "--json", "--model"]
    printed = CliRunner().invoke(app, [*command, str(exported)])
    assert printed.exit_code == 0, printed.stderr
    answer = OnnxEmotionRecognizer.from_pretrained(exported)({"audio": tmp_path / "clip.wav", "text": "so happy"})
    assert {name: json.loads(printed.stdout)[name] for name in answer} == answer


def test_an_exported_folder_is_evaluated_as_its_checkpoint_and_not_explained(exported, checkpoint, tmp_path):
    soundfile.write(tmp_path / "clip.wav", 0.2 * np.sin(np.arange(800) / 9), 16_000)
    (tmp_path / "corpus.csv").write_text("audio,text,label\nclip.wav,so happy,calm\n")
    probabilities = []
    for folder in (exported, checkpoint):
        out = tmp_path / f"scores of {folder.name}"
        command = ["evaluate", "--manifest", tmp_path / "corpus.csv", "--output-dir", out, "--model", folder]
        done = CliRunner().invoke(app, list(map(str, command)))
        assert done.exit_code == 0, done.stderr
        with next(out.glob("*.csv")).open(newline="") as file:
            row = next(csv.DictReader(file))
        probabilities.append([float(row[name]) for name in ("probability_calm", "consistency", "speech_share")])
    assert probabilities[0] == pytest.approx(probabilities[1], abs=1e-4)
    told = CliRunner().invoke(app, ["explain", str(tmp_path / "clip.wav"), "--model", str(exported)])
    assert (told.exit_code, "is an exported graph: name the checkpoint" in told.stderr) == (1, True)


def test_the_page_answers_from_an_exported_folder(exported):
    pytest.importorskip("gradio")
    from drkf_cli.web.limits import Limits
    from drkf_cli.web.page import build_page

    recogniser = OnnxEmotionRecognizer.from_pretrained(exported)
    page, _ = build_page(recogniser, "exported", Limits())
    show = next(step.fn for step in page.fns.values() if step.fn.__name__ == "show")
    file = Path(exported).parent / "clip.wav"
    soundfile.write(file, 0.2 * np.sin(np.arange(800) / 9), 16_000)
    rendered, picture, found = show(str(file), "so happy")
    assert found == recogniser({"audio": file, "text": "so happy"})
    assert found["scores"][0]["label"] in rendered
    assert picture == ""
