"""A saved folder loads through the Auto classes: with the package installed, and from its own code without it."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.remote import REMOTE
from helpers.tiny import perturb, tiny_batch, tiny_model, tiny_processor

import modeling_drkf
import processing

LABELS = [0, 1, 2, 0]
SENTENCES = ["i am so happy", "oh no never mind"]

LOAD = """
from transformers import AutoConfig, AutoModel, AutoModelForAudioClassification, AutoProcessor
import torch

def load(folder, **trust):
    config = AutoConfig.from_pretrained(folder, **trust)
    assert type(config).__name__ == "DRKFConfig", type(config)
    base = AutoModel.from_pretrained(folder, **trust)
    assert type(base).__name__ == "DRKFModel", type(base)
    model = AutoModelForAudioClassification.from_pretrained(folder, **trust)
    assert type(model).__name__ == "DRKFForEmotionClassification", type(model)
    processor = AutoProcessor.from_pretrained(folder, **trust)
    assert type(processor).__name__ == "DRKFProcessor", type(processor)
    return base, model, processor

@torch.no_grad()
def scores(base, model, processor, given):
    output = model(**given["batch"])
    return {
        "logits": output.logits,
        "consistency_logits": output.consistency_logits,
        "loss_terms": output.loss_terms,
        "fused": base(**{k: v for k, v in given["batch"].items() if k != "labels"}).pooler_output,
        "processed": dict(processor(**given["raw"], sampling_rate=16_000, return_tensors="pt")),
    }
"""

INSTALLED = """
import sys
import modeling_drkf
base, model, processor = load(sys.argv[1])
assert type(model) is modeling_drkf.DRKFForEmotionClassification
torch.save(scores(base, model, processor, torch.load(sys.argv[2])), sys.argv[3])
"""

FROM_REMOTE_CODE = """
base, model, processor = load(sys.argv[1], trust_remote_code=True)
assert type(model).__module__.startswith("transformers_modules."), type(model).__module__
torch.save(scores(base, model, processor, torch.load(sys.argv[2])), sys.argv[3])
model.save_pretrained(sys.argv[4])
processor.save_pretrained(sys.argv[4])
"""


def run(script: str, tmp_path: Path, *arguments: Path) -> None:
    """Runs a script in an isolated interpreter, offline, with fresh caches, away from the checkout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HF_"))}
    environment |= {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "home"),
        "HF_MODULES_CACHE": str(tmp_path / "modules"),
        "OMP_NUM_THREADS": "1",
    }
    workplace = tmp_path / "elsewhere"
    workplace.mkdir(parents=True)
    command = [sys.executable, "-I", "-W", "ignore", "-c", script, *map(str, arguments)]
    finished = subprocess.run(command, cwd=workplace, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-4000:]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """A saved model and processor, inputs for both, and what they give here."""
    folder = tmp_path_factory.mktemp("auto")
    model, processor = perturb(tiny_model()), tiny_processor()
    model.save_pretrained(folder / "saved")
    processor.save_pretrained(folder / "saved")
    generator = torch.Generator().manual_seed(0)
    clips = [torch.randn(length, generator=generator).mul(0.1).numpy() for length in (900, 1300)]
    given = {
        "batch": tiny_batch(labels=LABELS),
        "raw": {"audio": [clip.tolist() for clip in clips], "text": SENTENCES},
    }
    torch.save(given, folder / "given.pt")
    scope: dict = {}
    exec(LOAD, scope)
    torch.save(scope["scores"](model.drkf, model, processor, given), folder / "expected.pt")
    return folder


@pytest.fixture(scope="module")
def resaved(workspace) -> Path:
    """The folder, loaded by a process without the package and saved by it again."""
    script = REMOTE + LOAD + FROM_REMOTE_CODE
    run(script, workspace / "first", workspace / "saved", workspace / "given.pt", workspace / "remote.pt",
        workspace / "resaved")  # fmt: skip
    return workspace / "resaved"


def assert_same_scores(actual: Path, expected: Path) -> None:
    actual_scores, expected_scores = torch.load(actual), torch.load(expected)
    assert actual_scores.keys() == expected_scores.keys()
    for name, value in expected_scores.items():
        if isinstance(value, dict):
            assert actual_scores[name].keys() == value.keys()
            assert [key for key in value if not torch.equal(actual_scores[name][key], value[key])] == []
        else:
            assert torch.equal(actual_scores[name], value), name


def local_imports(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    return {f"{node.module}.py" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 1}


def closure(*entries: Path) -> set[str]:
    """The names of the given files and of what they import from beside them, recursively."""
    found: set[str] = set()
    waiting = list(entries)
    while waiting:
        file = waiting.pop()
        if file.name not in found:
            found.add(file.name)
            waiting += [file.parent / name for name in local_imports(file)]
    return found


def expected_files() -> set[str]:
    model_folder, processor_folder = (Path(package.__file__).parent for package in (modeling_drkf, processing))
    return closure(model_folder / "modeling_drkf.py", processor_folder / "processing_drkf.py")


def test_a_fresh_process_with_the_package_scores_bit_for_bit(workspace):
    run(LOAD + INSTALLED, workspace / "installed", workspace / "saved", workspace / "given.pt",
        workspace / "installed.pt")  # fmt: skip
    assert_same_scores(workspace / "installed.pt", workspace / "expected.pt")


def test_a_process_without_the_package_scores_bit_for_bit(workspace, resaved):
    assert_same_scores(workspace / "remote.pt", workspace / "expected.pt")


def test_a_saved_folder_carries_its_code_and_nothing_else(workspace):
    saved = {file.name for file in (workspace / "saved").glob("*.py")}
    assert saved - {"__init__.py"} == expected_files()
    assert {"modeling_drkf.py", "configuration_drkf.py", "processing_drkf.py", "audio_drkf.py"} <= saved


def test_the_code_of_a_checkpoint_needs_torch_and_transformers_only(workspace):
    allowed = {"torch", "transformers", "huggingface_hub", "numpy", "soundfile", "soxr"} | sys.stdlib_module_names
    for file in (workspace / "saved").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level <= 1, f"{file.name} imports from a parent folder"
                names = [] if node.level else [node.module or ""]
            assert not [name for name in names if name.split(".")[0] not in allowed], file.name


def test_the_auto_map_names_every_auto_class(workspace):
    auto_map = json.loads((workspace / "saved" / "config.json").read_text())["auto_map"]
    assert auto_map == {
        "AutoConfig": "configuration_drkf.DRKFConfig",
        "AutoModel": "modeling_drkf.DRKFModel",
        "AutoModelForAudioClassification": "modeling_drkf.DRKFForEmotionClassification",
    }
    processor = json.loads((workspace / "saved" / "processor_config.json").read_text())
    assert processor["auto_map"] == {"AutoProcessor": "processing_drkf.DRKFProcessor"}


def test_nothing_saved_names_this_machine(workspace):
    for file in (workspace / "saved").glob("*.json"):
        assert str(workspace) not in file.read_text(), file.name


def test_resaving_from_remote_code_keeps_the_folder_loadable(workspace, resaved):
    saved = {file.name for file in (workspace / "saved").glob("*.py")} - {"__init__.py"}
    assert {file.name for file in resaved.glob("*.py")} - {"__init__.py"} == saved
    script = REMOTE + LOAD + FROM_REMOTE_CODE
    run(script, workspace / "second", resaved, workspace / "given.pt", workspace / "again.pt", workspace / "third")
    assert_same_scores(workspace / "again.pt", workspace / "expected.pt")
