"""`drkf export space`: a folder that is a page of its own."""

import sys
from typing import Any

import pytest
from helpers.page import call, close, free_port, result, serving, uploaded
from helpers.remote import REMOTE
from typer.testing import CliRunner

import modeling_drkf  # noqa: F401  (registers the pipeline)
from drkf_cli import app

pytest.importorskip("gradio", reason="the web page needs the extra `app`")


def export_space(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["export", "space", *map(str, arguments)])


@pytest.mark.slow
def test_a_space_answers_without_the_package(checkpoint, clips, expected, tmp_path):
    space, served = tmp_path / "space", tmp_path / "served"
    served.mkdir()
    assert export_space(checkpoint, space, "--examples", clips / "examples.csv").exit_code == 0
    metadata = (space / "README.md").read_text().split("---\n")[1]
    assert "sdk: gradio\n" in metadata
    assert "app_file: app.py\n" in metadata
    names = {line.split(">=")[0] for line in (space / "requirements.txt").read_text().splitlines()}
    assert names == {"torch", "transformers", "soundfile", "soxr", "prometheus_client"}
    files = [file for file in space.rglob("*") if file.is_file()]
    assert not [file for file in files if str(checkpoint).encode() in file.read_bytes()]

    port = free_port()
    own = REMOTE.replace('"processing", ', "")  # the Space brings what the page needs of it
    script = f"{own}\nimport runpy\nsys.path.insert(0, {str(space)!r})\nimport processing\n"
    script += f"assert processing.__file__.startswith({str(space)!r})\n"
    script += f"runpy.run_path({str(space / 'app.py')!r}, run_name='__main__')"
    modules = str(tmp_path / "modules")
    with serving([sys.executable, "-c", script], port, served, PYTHONPATH="", GRADIO_SERVER_PORT=str(port),
                 HF_MODULES_CACHE=modules) as url:  # fmt: skip
        assert result(url, call(url, uploaded(url, clips / "good.wav"))) == ("complete", [close(expected)])


def test_what_is_no_checkpoint_leaves_no_space(clips, tmp_path):
    shown = export_space(clips, tmp_path / "space")
    assert (shown.exit_code, "error: " in shown.stderr) == (1, True)
    assert not (tmp_path / "space").exists()


def test_a_space_may_refer_to_the_hub(tmp_path):
    assert export_space("someone/drkf", tmp_path / "space").exit_code == 0
    assert "models:\n- someone/drkf\n" in (tmp_path / "space" / "README.md").read_text()
    assert "MODEL = 'someone/drkf'\n" in (tmp_path / "space" / "app.py").read_text()
    again = export_space("someone/drkf", tmp_path / "space")
    assert (again.exit_code, "exists" in again.stderr) == (1, True)
    neither = export_space("no-such-folder", tmp_path / "other")
    assert (neither.exit_code, "neither" in neither.stderr) == (1, True)
