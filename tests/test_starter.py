"""The checkpoint that comes with the package: small, offline, and what making it small changes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from helpers.tiny import perturb, tiny_model
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoModelForAudioClassification, PreTrainedTokenizerFast, Wav2Vec2FeatureExtractor
from typer.testing import CliRunner

from drkf_cli import app
from drkf_cli.checkpoint import EXAMPLE_CLIP, EXAMPLE_TEXT, open_pipeline, packaged, starter_folder
from modeling_drkf.experiments.more_texts import read_more_texts
from modeling_drkf.release.loading import training_data_of
from modeling_drkf.release.onnx_export import export_onnx
from processing import DRKFProcessor
from processing.onnx_recognizer import OnnxEmotionRecognizer
from study.shrink import halve_weights, kept_tokens, prune_vocabulary
from study.starter import LINES, WORDED, WORDLESS, write_lines, write_manifest

PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "b",
    "##a",
    "##b",
    "ab",
    "abba",
    "##ba",
    "aab",
    "bb",
    "ß漢",
]


def word_pieces() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece({piece: index for index, piece in enumerate(PIECES)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(PIECES[:5])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), PIECES, strict=False))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **names)


def test_kept_pieces_are_special_ones_letters_and_those_of_the_texts_by_frequency():
    kept = kept_tokens(word_pieces(), ["abba abba aab", "abba"], 11)
    assert [PIECES[index] for index in kept] == [*PIECES[:9], "abba", "aab"]


def test_a_text_of_kept_pieces_is_answered_as_before_and_others_are_spelt():
    tokenizer = word_pieces()
    model = perturb(tiny_model(text="bert", max_fusion_positions=600)).eval()
    model.resize_token_embeddings(len(PIECES))
    processor = DRKFProcessor(Wav2Vec2FeatureExtractor(return_attention_mask=True), tokenizer)
    clip = torch.randn(4000, generator=torch.Generator().manual_seed(0)).numpy()

    def logits(text: str) -> torch.Tensor:
        with torch.no_grad():
            return model(**processor(audio=clip, text=text, sampling_rate=16_000, return_tensors="pt")).logits

    before = {text: logits(text) for text in ("abba aab", "bb abba")}
    prune_vocabulary(model, processor, kept_tokens(tokenizer, ["abba aab"], 11))
    assert len(processor.tokenizer) == model.get_input_embeddings().num_embeddings == 11
    torch.testing.assert_close(logits("abba aab"), before["abba aab"], atol=1e-6, rtol=0)
    assert processor.tokenizer.tokenize("bb abba") == ["b", "##b", "abba"]
    assert (logits("bb abba") - before["bb abba"]).abs().max() > 1e-4


def test_no_line_of_a_held_out_speaker_trains_the_starter(tmp_path):
    """One corpus has its own lines; the other's clips are given any but those that validate."""
    header, folder = "audio,text,label,speaker\n", tmp_path / "data"
    (folder / "meld").mkdir(parents=True)
    (folder / WORDED).write_text(header + "a.wav,Oh no!,anger,1\nb.wav,Yes.,joy,2\n")
    (folder / WORDLESS).write_text(header + 'c.wav,"Yes, yes",happiness,3\nd.wav,oh no,anger,3\n')
    (folder / LINES).write_text("Utterance,Emotion,Speaker\nOh no!,anger,X\n,joy,X\nNA,joy,X\nYes. ,joy,Y\n")
    clips = pandas.read_csv(write_manifest(folder, tmp_path / "clips.csv"), keep_default_na=False)
    assert clips.utterance_id.tolist() == ["a.wav", "b.wav", "c.wav", "d.wav"]
    assert clips.audio.tolist() == [str(folder / name) for name in clips.utterance_id]
    assert clips.text.tolist() == ["Oh no!", "Yes.", "", ""]
    assert clips.label.tolist() == ["anger", "joy", "joy", "anger"]
    write_lines(folder / LINES, tmp_path / "lines.csv")
    found = read_more_texts(tmp_path / "lines.csv", ["anger", "joy"], {}, ["Oh no!"])
    assert (found.texts, found.labels.tolist()) == (["NA", "Yes."], [1, 1])


def test_halved_weights_load_in_float32(tmp_path):
    model = perturb(tiny_model()).eval()
    model.save_pretrained(tmp_path)
    halve_weights(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert {value.dtype for value in stored.values() if value.is_floating_point()} == {torch.float16}
    loaded = AutoModelForAudioClassification.from_pretrained(tmp_path)
    assert loaded.dtype == torch.float32
    for name, value in loaded.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name], atol=1e-3, rtol=1e-3)


def test_the_starter_is_small_and_says_whose_data_it_learnt():
    folder = starter_folder()
    assert packaged("starter") == str(folder)
    assert packaged("runs/mine") == "runs/mine"
    assert sum(file.stat().st_size for file in folder.rglob("*")) < 60e6
    assert "CC BY-NC-SA 4.0" in (folder / "LICENSE").read_text()
    assert "cc-by-nc-sa-4.0" in (folder / "README.md").read_text()


def test_the_first_command_answers_without_network(tmp_path):
    command = [sys.executable, "-m", "drkf_cli", "predict", "--example", "--json"]
    environment = {"HF_HUB_OFFLINE": "1", "PATH": "", "HOME": str(tmp_path)}
    finished = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300)
    assert finished.returncode == 0, finished.stderr
    answer = json.loads(finished.stdout)
    assert {item["label"] for item in answer["scores"]} == {
        "anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise",
    }  # fmt: skip
    assert sum(item["score"] for item in answer["scores"]) == pytest.approx(1)
    assert 0 < answer["consistency"] < 1
    assert answer["text"] == EXAMPLE_TEXT


@pytest.fixture(scope="module")
def starter():
    return open_pipeline(packaged("starter"))


def test_a_half_alone_is_answered_without_a_warning(starter):
    for half in ({"audio": str(starter_folder() / EXAMPLE_CLIP)}, {"text": EXAMPLE_TEXT}):
        answer = starter(half)
        assert "warning" not in answer
        assert answer["consistency"] is None


def test_in_bfloat16_it_answers_alike(starter):
    half = open_pipeline(str(starter_folder()), dtype=torch.bfloat16)
    assert half.model.dtype == torch.bfloat16
    clip = str(starter_folder() / EXAMPLE_CLIP)
    answers = [pipe({"audio": clip, "text": EXAMPLE_TEXT}, speaker=pipe.speaker([clip])) for pipe in (starter, half)]
    expected, found = ({entry["label"]: entry["score"] for entry in answer["scores"]} for answer in answers)
    assert found == pytest.approx(expected, abs=0.05)
    assert answers[1]["consistency"] == pytest.approx(answers[0]["consistency"], abs=0.05)


def test_real_voices_of_the_training_are_known_again(starter, shared_data: Path):
    """Actors that the starter was trained on: no figure of quality, but a check that the shipped weights are whole."""
    emotions = {"03": "joy", "04": "sadness", "05": "anger", "06": "fear"}
    clips = [
        (shared_data / f"ravdess/Actor_{actor:02d}/03-01-{code}-02-01-01-{actor:02d}.flac", label)
        for actor in (1, 2, 3, 4, 5) for code, label in emotions.items()
    ]  # fmt: skip
    answers = starter([str(path) for path, _ in clips], batch_size=8)
    right = [answer["scores"][0]["label"] == label for answer, (_, label) in zip(answers, clips, strict=True)]
    assert sum(right) >= 14


def test_exports_know_it_by_name(tmp_path: Path):
    done = CliRunner().invoke(app, ["export", "space", "starter", str(tmp_path / "space")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "space" / "model" / "model.safetensors").stat().st_size > 25e6


@pytest.mark.slow
def test_it_becomes_a_graph_that_gives_the_same_answer(starter, tmp_path: Path):
    """Its frames are pooled: a clip of fewer is one window there, too."""
    export_onnx(packaged("starter"), tmp_path / "graph")
    graph = OnnxEmotionRecognizer.from_pretrained(tmp_path / "graph")
    for clip in (str(starter_folder() / EXAMPLE_CLIP), {"array": [0.1, -0.1] * 600, "sampling_rate": 16_000}):
        expected, found = (recognise({"audio": clip, "text": EXAMPLE_TEXT}) for recognise in (starter, graph))
        scores = [{entry["label"]: entry["score"] for entry in answer["scores"]} for answer in (expected, found)]
        assert scores[1] == pytest.approx(scores[0], abs=1e-4)
        assert found["consistency"] == pytest.approx(expected["consistency"], abs=1e-4)


@pytest.mark.slow
def test_in_eight_bits_it_hears_the_same_in_real_voices(starter, shared_data: Path, tmp_path: Path):
    onnx = pytest.importorskip("onnx")
    proto = onnx.load(export_onnx(packaged("starter"), tmp_path / "graph", int8=True)).graph
    weights = [
        onnx.numpy_helper.to_array(each) for each in proto.initializer if each.data_type == onnx.TensorProto.INT8
    ]
    assert sum(each.size for each in weights) > 15e6  # of 24 M; embeddings and convolutions keep their precision
    assert max(np.abs(each.astype(int)).max() for each in weights) <= 64  # two products with 255 fit into 16 bits
    graph = OnnxEmotionRecognizer.from_pretrained(tmp_path / "graph")
    clips = [str(path) for path in sorted((shared_data / "ravdess").glob("Actor_0[1-5]/03-01-0[3-6]-02-01-01-*.flac"))]
    expected, found = (recognise(clips, batch_size=4) for recognise in (starter, graph))
    tops = [[answer["scores"][0] for answer in answers] for answers in (expected, found)]
    assert len({top["label"] for top in tops[0]}) > 2
    same = [ours["label"] == theirs["label"] for ours, theirs in zip(*tops, strict=True)]
    assert sum(same) >= 0.9 * len(clips) >= 18


def test_the_starter_says_what_it_was_made_from():
    made_from = training_data_of(starter_folder())
    assert made_from is not None
    assert len(made_from.train.utterances) > 3000
    assert len(made_from.train.sounds) > 3000
    assert len(made_from.train.speakers) >= 20
