"""The notebooks run from the first cell to the last."""

import os
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="notebooks are run by nbclient, of the extra `dev`")

ROOT = Path(__file__).resolve().parents[1]
EXPECTED = {"first_answer": "anger", "training": "unweighted accuracy of four voices never heard"}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    client_of = pytest.importorskip("nbclient", reason="the extra `dev`").NotebookClient
    notebook = nbformat.read(ROOT / "docs" / "notebooks" / f"{name}.ipynb", as_version=4)
    patience = {"timeout": 600, "iopub_timeout": 120}  # seconds; what a busy machine prints later than that is lost
    client = client_of(notebook, kernel_name="python3", resources={"metadata": {"path": tmp_path}}, **patience)
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert EXPECTED[name] in "".join(output.get("text", "") for output in outputs)
    assert any("image/png" in output.get("data", {}) for output in outputs)
    warned = [output["text"] for output in outputs if output.get("name") == "stderr"]
    assert not [text for text in warned if "Traceback" in text]


def test_notebooks_are_kept_without_output():
    paths = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
    assert [path.stem for path in paths] == sorted(EXPECTED)
    for path in paths:
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs"), path.name
