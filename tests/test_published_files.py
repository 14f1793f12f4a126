"""What `drkf push` takes from a folder, and what it leaves there whatever the folder says."""

import json
from pathlib import Path

import pytest
from helpers.cli import write_checkpoint

from modeling_drkf.release.hub import PublishError, published_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "run")


def test_only_pictures_of_the_card_are_published_beside_the_checkpoint(folder: Path):
    for name in (".env", "id_rsa", "notes.txt", "curves.png", "unnamed.png", "plot.SVG"):
        (folder / name).write_text("HF_TOKEN=hf_secret")
    (folder / "README.md").write_text("![a](.env) ![b](id_rsa) ![c](notes.txt) ![d](curves.png) ![e](plot.SVG)")
    names = {file.name for file in published_files(folder)}
    assert {"curves.png", "plot.SVG", "model.safetensors", "README.md"} <= names
    assert names & {".env", "id_rsa", "notes.txt", "unnamed.png"} == set()


@pytest.mark.parametrize("name", ["LICENSE", "words.model", "curve.png", "model.safetensors", "modeling_drkf.py"])
@pytest.mark.parametrize("inside", [True, False])
def test_a_link_is_not_followed(folder: Path, tmp_path: Path, name: str, inside: bool):
    secret = (folder if inside else tmp_path) / ".env"
    secret.write_text("HF_TOKEN=hf_secret")
    (folder / "README.md").write_text("![a](curve.png)")
    (folder / "curve.png").touch()
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(secret)
    with pytest.raises(PublishError, match=f"{name} is not a file of this folder but .*env: put a copy there"):
        published_files(folder)


def test_no_name_leads_out_of_the_folder(folder: Path, tmp_path: Path):
    (tmp_path / "secret.py").write_text("")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"]["AutoModel"] = "../secret.Model"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(PublishError, match=r"secret\.py is not a file of this folder"):
        published_files(folder)
