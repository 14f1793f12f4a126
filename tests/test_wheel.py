"""The wheel in an environment of its own, used outside a checkout."""

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from helpers.tones import RECIPE, write_tones

ROOT = Path(__file__).resolve().parents[1]
PACKAGED = (
    "LICENSE",
    "README.md",
    "drkf_cli",
    "model_cards",
    "modeling_drkf",
    "processing",
    "pyproject.toml",
    "setup.cfg",
)

pytestmark = pytest.mark.slow


def run(*command: object, cwd: Path) -> str:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(cwd), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "predict" not in command or done.stderr == ""  # quiet: nothing of the libraries under it
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in (*PACKAGED, "train_drkf.py"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", target, source, cwd=source)
    return next(target.glob("drkf-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment that holds the wheel, and sees the packages of this one for its requirements."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    own = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    (own / "requirements.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def test_the_wheel_holds_the_code_and_the_cards_and_nothing_else(wheel: Path):
    names = set(zipfile.ZipFile(wheel).namelist())
    code = {
        str(path.relative_to(ROOT))
        for top in ("drkf_cli", "modeling_drkf", "processing", "model_cards")
        for path in (ROOT / top).rglob("*")
        if path.suffix in (".py", ".yaml", ".js")
    }
    assert code <= names
    assert {"train_drkf.py", "model_cards/recipes/paper.yaml", "model_cards/starter/model.safetensors"} <= names
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"drkf_cli", "modeling_drkf", "processing", "model_cards", "train_drkf.py"}
    metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
    text = zipfile.ZipFile(wheel).read(metadata).decode()
    assert "Project-URL: Paper, https://doi.org/" in text
    assert "License: Apache-2.0" in text


def test_verbs_and_recipes_run_outside_a_checkout(installed: Path, tmp_path: Path):
    assert "site-packages/drkf_cli/" in run(
        installed / "python", "-c", "import drkf_cli; print(drkf_cli.__file__)", cwd=tmp_path
    )
    assert run(installed / "drkf", "--version", cwd=tmp_path).startswith("drkf 0.")
    answer = json.loads(run(installed / "drkf", "predict", "--example", "--json", cwd=tmp_path))
    assert answer["scores"][0]["label"] == "anger"
    write_tones(tmp_path)
    recipe = {"extends": "paper.yaml", "num_train_epochs": 1, "pictures": False}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(RECIPE | recipe))
    run(installed / "drkf", "train", "mine.yaml", "--manifest", "clips.csv", "--output_dir", "out", cwd=tmp_path)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["test"]["unweighted_accuracy"] >= 0
    assert (tmp_path / "out" / "handler.py").is_file()
