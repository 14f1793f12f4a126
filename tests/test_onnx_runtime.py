"""The runtime of an exported graph: torch's answers, in every verb, and where there is no torch."""

import asyncio
import csv
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.graphs import noisy_clips, write_labelled
from helpers.pipelines import assert_same
from helpers.tones import script
from typer.testing import CliRunner

from drkf_cli import app
from drkf_cli.checkpoint import open_pipeline
from modeling_drkf.release.onnx_export import export_onnx
from processing.errors_drkf import FileError, OptionError
from processing.onnx_recognizer import OnnxEmotionRecognizer

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """wav2vec2 with the group norm of its base model: what is hardest to batch."""
    return write_labelled(tmp_path_factory.mktemp("checkpoint"), audio="wav2vec2-group-norm")


@pytest.fixture(scope="module")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_onnx(checkpoint, tmp_path_factory.mktemp("exported") / "new").parent


def test_the_runtime_answers_as_the_pipeline(exported, checkpoint):
    recognize, pipe, clips = open_pipeline(exported), open_pipeline(checkpoint), noisy_clips()
    assert isinstance(recognize, OnnxEmotionRecognizer)
    assert pipe.model.config.model_type == "drkf"
    inputs = [*clips, {"text": "am i sad"}]
    for options in ({}, {"batch_size": 4}, {"batch_size": 2, "top_k": 1}, {"chunk_length_s": 0.05}):
        if "chunk_length_s" in options:
            inputs = [{"audio": clip["audio"]} for clip in clips]
        actual, expected = recognize(inputs, **options), pipe(inputs, **options)
        assert_same(actual, expected, 1e-4)
        assert len(actual) == len(inputs)
    assert_same(recognize(clips[0]), pipe(clips[0]), 1e-4)


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
    assert_same(json.loads(finished.stdout), open_pipeline(checkpoint)(inputs), 1e-4)
    told = without_torch(VERBS, "predict", clip, "--text", "never mind", "--model", exported, "--json")
    assert (told.returncode, told.stderr) == (0, "")
    assert_same(json.loads(told.stdout), {"audio": str(clip), **json.loads(finished.stdout)[1]}, 1e-4)
    refused = without_torch(VERBS, "predict", clip, "--model", checkpoint)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "error: PyTorch is not installed: install it, or name files and an exported graph" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_graph_gives_no_embeddings(exported):
    recognizer = OnnxEmotionRecognizer.from_pretrained(exported)
    with pytest.raises(OptionError, match="gives no embeddings: take the checkpoint that it was exported from"):
        recognizer({"text": "so"}, return_embeddings=True)


def test_a_clip_longer_than_the_graph_reads_is_named(exported):
    clip = {"audio": {"array": np.sin(np.arange(4000)), "sampling_rate": 16_000}, "text": "oh"}
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
    from drkf_cli.web.turns import Turns

    recogniser = OnnxEmotionRecognizer.from_pretrained(exported)
    page, _ = build_page(recogniser, "exported", Limits(), Turns(Limits()))
    show = next(step.fn for step in page.fns.values() if step.fn.__name__ == "show")
    file = Path(exported).parent / "clip.wav"
    soundfile.write(file, 0.2 * np.sin(np.arange(800) / 9), 16_000)
    rendered, picture, found = asyncio.run(show(str(file), "so happy", None))
    assert found == recogniser({"audio": file, "text": "so happy"})
    assert found["scores"][0]["label"] in rendered
    assert picture == ""


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
