"""The pipeline that a checkpoint carries: its own code, the package's, and the core that needs no torch."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.pipelines import TASK, write_pipeline
from helpers.tiny import tiny_processor
from transformers import pipeline

from modeling_drkf import DRKFForEmotionClassification
from processing import DRKFProcessor, MultimodalEmotionRecognitionPipeline


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pipeline(tmp_path_factory.mktemp("checkpoint"))


GIVEN = """
import numpy as np
def given(folder):
    noise = np.random.default_rng(3).uniform(-0.5, 0.5, 12_000)
    clip = {"array": noise, "sampling_rate": 16_000}
    return [
        {"audio": folder + "/clip.wav", "text": "i am so happy"}, {"audio": clip}, {"text": "oh no"},
        {"audio": clip, "segments": [{"start": 0.1, "end": 0.5, "text": "never mind"}, {"start": 0.4, "end": 0.7}]},
    ]
"""


WITHOUT = """
import importlib.machinery, sys
absent = set(sys.argv[1].split(","))
for finder in list(sys.meta_path):
    if getattr(finder, "__name__", "").startswith("_Editable"):
        sys.meta_path.remove(finder)
find_spec = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = classmethod(
    lambda cls, name, *rest: None if name.split(".")[0] in absent else find_spec(name, *rest)
)
sys.path.extend(sys.argv[4:])
"""


REMOTE = """
import json
from transformers import pipeline
folder = sys.argv[2]
pipe = pipeline("multimodal-emotion-recognition", model=folder, trust_remote_code=True, device=-1)
assert type(pipe).__module__.startswith("transformers_modules."), type(pipe).__module__
answers = pipe(given(folder), batch_size=2)
assert pipe("gone.wav", errors="return")["error"] == "the input (gone.wav): no such file; check the path " \\
    "(relative paths start at the working directory)"
pipe.save_pretrained(sys.argv[3])
again = pipeline(model=sys.argv[3], trust_remote_code=True, device=-1)
assert again(given(folder), batch_size=2) == answers
loaded = {name.split(".")[0] for name in sys.modules}
assert not absent & loaded, absent & loaded
print(json.dumps(answers))
"""


OURS = "modeling_drkf,processing,drkf_cli,train_drkf"


def run(script: str, tmp_path: Path, *arguments: object) -> Any:
    """What a script prints as JSON in an isolated interpreter, offline, with fresh caches."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HF_"))}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-I", "-W", "ignore", "-c", script, *map(str, arguments)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def given(folder: Path) -> list[Any]:
    scope: dict[str, Any] = {}
    exec(GIVEN, scope)
    return scope["given"](str(folder))


def test_the_code_in_a_checkpoint_answers_as_the_package_does(checkpoint, tmp_path):
    others = "datasets,pandas,sklearn,scipy,accelerate,evaluate"
    answers = run(WITHOUT + GIVEN + REMOTE, tmp_path, f"{OURS},{others}", checkpoint, tmp_path / "resaved")
    assert answers == pipeline(TASK, model=str(checkpoint), device=-1)(given(checkpoint), batch_size=2)


TORCH_FREE = """
import json
from processing.processing_drkf import DRKFProcessor
from processing.recognition_drkf import EmotionRecognizer
def infer(features):
    speech = (features["input_values"] * features["audio_attention_mask"]).std(-1)
    logits = np.stack([speech, features["attention_mask"].sum(-1)], -1)
    return {"logits": logits, "consistency": speech, "modality_shares": None}
folder = sys.argv[2]
processor = DRKFProcessor.from_pretrained(folder + "/processor")
answers = EmotionRecognizer(processor, infer, ["speech", "text"], batch_size=2)(given(folder)[1:], chunk_length_s=0.3)
"""


def test_the_core_runs_without_torch(checkpoint, tmp_path):
    tiny_processor().save_pretrained(checkpoint / "processor")  # no config.json beside it
    root = Path(__file__).resolve().parents[1]
    checks = "\nassert 'torch' not in sys.modules\nprint(json.dumps(answers))"
    answers = run(WITHOUT + GIVEN + TORCH_FREE + checks, tmp_path, "torch", checkpoint, "-", root)
    scope: dict[str, Any] = {"sys": SimpleNamespace(argv=["", "", str(checkpoint)])}
    exec(GIVEN + TORCH_FREE, scope)
    assert answers == scope["answers"]
    assert len(answers[0]["timeline"]) == 3


@pytest.mark.parametrize("options", [{}, {"trust_remote_code": True}])
def test_with_the_package_its_own_classes_are_used_and_no_trust_is_needed(checkpoint, options):
    pipe = pipeline(TASK, model=str(checkpoint), **options)
    assert type(pipe) is MultimodalEmotionRecognitionPipeline
    assert type(pipe.model) is DRKFForEmotionClassification
    assert type(pipe.processor) is DRKFProcessor


def test_a_loaded_checkpoint_saves_the_same_configuration(checkpoint, tmp_path):
    pipeline(TASK, model=str(checkpoint)).save_pretrained(tmp_path)
    for name, keys in (("config.json", ("auto_map", "custom_pipelines")), ("processor_config.json", ("auto_map",))):
        saved, before = (json.loads((folder / name).read_text()) for folder in (tmp_path, checkpoint))
        assert [saved[key] for key in keys] == [before[key] for key in keys]
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in checkpoint.glob("*.*")} - {"clip.wav"}
    assert "pipeline_drkf.py" in {file.name for file in tmp_path.iterdir()}
