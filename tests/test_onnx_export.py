"""The exported graph: torch's scores in every shape, in eight bits, and for every kind of model."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.graphs import noisy_clips, write_labelled
from helpers.pipelines import assert_same
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
from huggingface_hub import ModelCard
from torch import Tensor, nn
from transformers import SeamlessM4TFeatureExtractor, WhisperFeatureExtractor
from typer.testing import CliRunner

from drkf_cli import app
from drkf_cli.checkpoint import open_pipeline, starter_folder
from modeling_drkf import DRKFForEmotionClassification
from modeling_drkf.release.graph_card import onnx_card
from modeling_drkf.release.licences import encoder_licence
from modeling_drkf.release.loading import training_data_of
from modeling_drkf.release.onnx_export import _check_graph, _finish, _metadata, export_onnx
from modeling_drkf.release.onnx_graph import InferenceGraph
from processing import DRKFProcessor
from processing.corpora.training_data import Digests, TrainingData
from processing.errors_drkf import OptionError

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

SHAPES = {
    "padded": {"samples": (640, 420, 555, 311), "tokens": (5, 9, 3, 7)},
    "five": {"samples": (700, 650, 320, 900, 46), "tokens": (2, 30, 4, 1, 6)},
    "alone": {"samples": (500,), "tokens": (4,)},
    "shortest": {"samples": (30,), "tokens": (1,)},
    "unpadded": {"samples": (800, 800), "tokens": (7, 7)},
    "long": {"samples": (1100,), "tokens": (30,)},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """wav2vec2 with the group norm of its base model: what is hardest to batch."""
    return write_labelled(tmp_path_factory.mktemp("checkpoint"), audio="wav2vec2-group-norm")


MADE_FROM = TrainingData(Digests(frozenset({"00aa", "11bb"}), frozenset({"22cc"})))


@pytest.fixture(scope="module")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    MADE_FROM.save(checkpoint)
    return export_onnx(checkpoint, tmp_path_factory.mktemp("exported") / "new").parent


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> DRKFForEmotionClassification:
    return DRKFForEmotionClassification.from_pretrained(checkpoint).eval()


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


def test_attention_is_one_operator_a_layer(exported: Path, model: DRKFForEmotionClassification):
    """FE tells the attention of CLS beside, from a softmax of its own."""
    onnx = pytest.importorskip("onnx")
    operators = [node.op_type for node in onnx.load(exported / "model.onnx").graph.node]
    layers = model.config.audio_config.num_hidden_layers + model.config.text_config.num_hidden_layers
    assert operators.count("Attention") == layers + model.config.num_fusion_layers
    assert operators.count("Softmax") == model.config.num_fusion_layers


def with_noise_as_padding(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    mask = batch["audio_attention_mask"].bool()
    noise = 100 * torch.randn(mask.shape, generator=torch.Generator().manual_seed(7))
    return batch | {"input_values": batch["input_values"].where(mask, noise)}


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
    assert "the checkpoint names none" in card
    assert "## Limits, biases and misuse" in card
    assert training_data_of(exported) == MADE_FROM


def test_an_exported_graph_has_the_licence_of_its_checkpoint(exported, model):
    card = onnx_card(exported / "model.onnx", model.config, tiny_processor(), "cc-by-nc-sa-4.0")
    assert ModelCard(card).data.license == "cc-by-nc-sa-4.0"
    assert "The weights: cc-by-nc-sa-4.0, as the card of the checkpoint says." in card
    assert encoder_licence(str(starter_folder())) == "cc-by-nc-sa-4.0"


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


def test_each_step_of_an_export_is_shown_as_it_begins(checkpoint, tmp_path):
    done = CliRunner().invoke(app, ["export", "onnx", str(checkpoint), str(tmp_path / "out"), "--int8"])
    assert done.exit_code == 0, done.stderr
    steps = ["loading the checkpoint", "tracing the model, which takes longest", "comparing the graph with the model"]
    steps.append("quantising the weights")
    assert [line.partition(" s  ")[2] for line in done.stderr.splitlines() if " s  " in line] == steps


def test_a_checkpoint_is_not_exported_into_itself(checkpoint):
    (checkpoint / "README.md").write_text("the card")
    with pytest.raises(OptionError, match="holds a checkpoint"):
        export_onnx(checkpoint, checkpoint)
    assert (checkpoint / "README.md").read_text() == "the card"
    assert not (checkpoint / "model.onnx").exists()


KINDS = [
    ("1-bme", "wav2vec2", "roberta"),
    ("2-cmie", "hubert", "bert"),
    ("3-pcmi", "hubert-group-norm", "xlm-roberta"),
    ("4-ed", "wavlm", "electra"),
    ("5-cross", "unispeech-sat", "mpnet"),
    ("5-cross-multi-label", "wav2vec2-bert", "distilbert"),
    ("6-drkf", "whisper", "deberta-v2"),
    ("6-drkf-unpadded", "whisper", "bert"),
]
UNPADDED = {"unpadded_speech": True, "speech_layers": 1, "speech_layer_sum": True, "speech_statistics": True}


WINDOW_SECONDS = 1


@pytest.mark.slow
@pytest.mark.parametrize(("row", "audio", "text"), KINDS, ids=["-".join(kind) for kind in KINDS])
def test_every_row_of_table_4_and_every_encoder_is_exported(row, audio, text, tmp_path):
    row, _, multi_label = row.partition("-multi")
    row, _, unpadded = row.partition("-unpadded")
    options = TABLE_4[row] | (MULTI_LABEL if multi_label else {}) | (UNPADDED if unpadded else {})
    processor = tiny_processor()
    if audio == "wav2vec2-bert":
        extractor = SeamlessM4TFeatureExtractor(feature_size=8, num_mel_bins=8)
        processor = DRKFProcessor(extractor, processor.tokenizer)
    elif audio == "whisper":
        extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=WINDOW_SECONDS)
        processor = DRKFProcessor(extractor, processor.tokenizer, unpadded_speech=bool(unpadded))
        window = {"max_source_positions": 50 * WINDOW_SECONDS}
        options = options | {"audio_config": encoder_config(AUDIO_ENCODERS[audio]).to_dict() | window}
    write_labelled(tmp_path / "model", processor, audio=audio, text=text, **options)
    export_onnx(tmp_path / "model", tmp_path / "graph")
    recognizers = [open_pipeline(tmp_path / name) for name in ("graph", "model")]
    for batch_size in (1, 5):
        actual, expected = (recognize(noisy_clips(), batch_size=batch_size) for recognize in recognizers)
        assert_same(actual, expected, 1e-4)
