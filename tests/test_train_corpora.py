"""Every benchmark corpus, in its true layout, from its folder to a scored fold with one command."""

import json
from pathlib import Path

import pytest
from helpers.corpora import make_iemocap, make_m3ed, make_meld, own_cache  # noqa: F401
from helpers.tones import write_recipe, write_tones
from huggingface_hub import ModelCard
from typer.testing import CliRunner

from drkf_cli import app
from processing.corpora.folds import ProtocolError
from processing.corpora.protocols import find_fold, folds_of, parts_of
from processing.corpora.registry import read_corpus
from train_drkf import main

CORPORA = {
    "iemocap": (make_iemocap, ["--protocol", "leave_one_session_out", "--fold", "Session2"]),
    "meld": (make_meld, []),
    "m3ed": (make_m3ed, []),
}


@pytest.mark.parametrize("name", CORPORA)
def test_a_corpus_trains_and_is_scored(tmp_path: Path, own_cache: Path, name: str):  # noqa: F811
    make, options = CORPORA[name]
    data_dir = make(tmp_path / "data") or tmp_path / "data"
    recipe = write_recipe(tmp_path, per_device_train_batch_size=2)
    out = tmp_path / "out"
    command = [str(recipe), "--corpus", name, "--data_dir", str(data_dir), "--skip_damaged", "all", *options]
    assert main([*command, "--num_train_epochs", "1", "--output_dir", str(out)]) == 0
    record = json.loads((out / "metrics.json").read_text())
    labels = json.loads((out / "config.json").read_text())["id2label"]
    corpus = read_corpus(name, data_dir, skip_damaged="all", progress=False)
    assert list(labels.values()) == corpus.label_names
    assert record["excluded"] == corpus.report.excluded
    expected = "micro_f1" if name == "m3ed" else "unweighted_accuracy"
    assert (record["selection"], record["selection_metric"]) == ("validation", expected)
    assert 0 <= record["test"][expected] <= 1


OWN = """\
title: My tones
licence: CC BY-NC 4.0
license: cc-by-nc-4.0
language: pl
traps: [Nobody speaks.]
clips: '(?P<speaker>[a-z]+)_(?P<label>calm|tense)_(?P<take>[0-9])'
text: It is {label}.
id: '{speaker}-{label}-{take}'
"""


def test_what_a_declaration_tells_stands_on_the_cards(tmp_path: Path):
    write_tones(tmp_path)
    (tmp_path / "mine.yaml").write_text(OWN)
    recipe, out = write_recipe(tmp_path, num_train_epochs=1), tmp_path / "out"
    command = [str(recipe), "--corpus", str(tmp_path / "mine.yaml"), "--data_dir", str(tmp_path)]
    assert main([*command, "--output_dir", str(out)]) == 0
    card = ModelCard.load(out / "README.md")
    assert (card.data.license, card.data.language) == ("cc-by-nc-4.0", "pl")
    for said in ("# DRKF on My tones\n", "\n- My tones\n- Nobody speaks.\n", "| corpus | My tones | CC BY-NC 4.0 |"):
        assert said in card.text
    done = CliRunner().invoke(app, ["results", str(out), "--output-dir", str(tmp_path / "merged")])
    assert done.exit_code == 0, done.output
    assert "# DRKF on My tones: cross-validation" in (tmp_path / "merged" / "README.md").read_text()


def test_the_validation_part_comes_from_the_training_sessions(tmp_path: Path, own_cache: Path):  # noqa: F811
    corpus = read_corpus("iemocap", make_iemocap(tmp_path / "data"), skip_damaged="all", progress=False)
    for session in ("Session1", "Session4"):
        fold = find_fold(folds_of(corpus, "leave_one_session_out"), session)
        parts = parts_of(corpus, fold)
        assert (fold.name, fold.speaker_disjoint) == (session, True)
        assert set(parts["test"]["session"]) == {session}
        assert session not in {*parts["train"]["session"], *parts["validation"]["session"]}
        assert not set(parts["train"]["speaker"]) & set(parts["validation"]["speaker"])


def test_a_missing_validation_part_is_taken_from_training_speakers(tmp_path: Path):
    manifest = write_tones(tmp_path)
    lines = manifest.read_text().splitlines()
    rows = [f"{line},{'test' if ',dan' in line else 'train'}" for line in lines[1:]]
    manifest.write_text("\n".join([f"{lines[0]},split", *rows]))
    corpus = read_corpus("manifest", manifest, progress=False)
    [fold] = folds_of(corpus, validation_share=0.3)
    parts = parts_of(corpus, fold)
    assert (fold.name, fold.speaker_disjoint) == ("official", True)
    assert set(parts["test"]["speaker"]) == {"dan"}
    assert len(set(parts["validation"]["speaker"])) == 1


@pytest.mark.parametrize("split", ["", "train"])
def test_one_unknown_speaker_lets_no_other_into_two_parts(tmp_path: Path, split: str):
    manifest = write_tones(tmp_path)
    header, first, *others = manifest.read_text().splitlines()
    rows = [first.removesuffix("ada"), *others]
    manifest.write_text(
        "\n".join([f"{header},split", *(f"{row},{split}" for row in rows)] if split else [header, *rows])
    )
    corpus = read_corpus("manifest", manifest, progress=False)
    with pytest.raises(ProtocolError, match=r"1 utterances have no entry in speakers: ada_calm_0\.wav"):
        folds_of(corpus)
