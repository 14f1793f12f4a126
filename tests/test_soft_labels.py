"""Manifests with distributions in place of labels: read, divided, trained on, scored and prepared."""

import json
import math
from pathlib import Path

import pandas
import pytest
from helpers.tones import write_recipe, write_tones
from typer.testing import CliRunner

from drkf_cli import app
from processing.corpora.prepare import prepare
from processing.corpora.protocols import folds_of
from processing.corpora.readers.cells import soft_label
from processing.corpora.registry import read_corpus
from processing.corpora.report import CorpusError
from train_drkf import main

OTHER = {"calm": "tense", "tense": "calm"}


def write_votes(folder: Path) -> Path:
    """The tones; of five votes on a clip one to two are for the other class, the first take's are unanimous."""
    table = pandas.read_csv(write_tones(folder))
    votes = [index % 2 + index % 3 % 2 for index in range(len(table))]
    labels = table.pop("label")
    table["labels"] = [
        json.dumps({label: 5 - wrong, OTHER[label]: wrong}) for label, wrong in zip(labels, votes, strict=True)
    ]
    table.to_csv(folder / "clips.csv", index=False)
    return folder / "clips.csv"


def test_a_run_trains_on_distributions_and_is_scored_by_the_likeliest_class(tmp_path: Path):
    manifest = write_votes(tmp_path)
    options = [write_recipe(tmp_path), "--manifest", manifest, "--output_dir", tmp_path / "out", "--num_train_epochs"]
    assert main([*map(str, options), "1", "--class_weights", "balanced", "--label_smoothing_factor", "0.1"]) == 0
    table = pandas.read_csv(tmp_path / "out" / "test_predictions.csv")
    assert [name.split("_")[1] for name in table.utterance_id] == table.label.tolist()
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())["test"]
    assert metrics["weighted_accuracy"] == (table.label == table.prediction).mean()
    command = ["evaluate", "--model", tmp_path / "out", "--manifest", manifest, "--output-dir", tmp_path / "again"]
    assert CliRunner().invoke(app, list(map(str, command))).exit_code == 0
    again = json.loads((tmp_path / "again" / "metrics.json").read_text())["test"]
    assert again["confusion_matrix"] == metrics["confusion_matrix"]
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    votes = pandas.read_csv(manifest).set_index("audio").labels.map(json.loads)
    losses = []
    for row in table.itertuples():
        for index, name in enumerate(("calm", "tense")):
            target = 0.9 * votes[row.utterance_id][name] / 5 + 0.1 / 2
            losses.append(-target * config["class_weights"][index] * math.log(getattr(row, f"probability_{name}")))
    assert metrics["losses"]["classification_loss"] == pytest.approx(sum(losses) / len(table), rel=1e-4)


def test_parts_are_divided_by_the_likeliest_class(tmp_path: Path):
    """Without speakers, a part is stratified: one clip of each class, however the distributions differ."""
    manifest = write_votes(tmp_path)
    pandas.read_csv(manifest).drop(columns="speaker").to_csv(manifest, index=False)
    corpus = read_corpus("manifest", manifest, progress=False)
    assert corpus.problem_type == "single_label_classification"
    for seed in range(5):
        [fold] = folds_of(corpus, validation_share=0.125, test_share=0.125, seed=seed)
        for part in (fold.validation, fold.test):
            assert sorted(name.split("_")[1] for name in part) == ["calm", "tense"]


def test_label_map_adds_the_weights_of_merged_labels(tmp_path: Path):
    table = pandas.read_csv(write_tones(tmp_path)).head(2)
    table["labels"] = ['{"happy": 0.3, "excited": 0.3, "neutral": 0.4}', '{"neutral": 1}']
    table.drop(columns="label").to_json(tmp_path / "clips.jsonl", orient="records", lines=True)
    corpus = read_corpus("manifest", tmp_path / "clips.jsonl", label_map={"excited": "happy"}, progress=False)
    assert corpus.label_names == ["happy", "neutral"]
    assert corpus.dataset["all"]["labels"][:] == [pytest.approx([0.6, 0.4]), [0.0, 1.0]]


def test_preparing_keeps_the_distributions(tmp_path: Path):
    before = read_corpus("manifest", write_votes(tmp_path), progress=False).dataset["all"]["labels"][:]
    prepared = prepare("manifest", tmp_path / "clips.csv", tmp_path / "flac", progress=False)
    after = read_corpus("manifest", prepared, progress=False).dataset["all"]["labels"][:]
    assert after == before
    assert after[0] == [1.0, 0.0]
    assert after[1] == pytest.approx([0.6, 0.4])


def test_wrong_cells_are_listed_with_their_rows(tmp_path: Path):
    manifest = write_votes(tmp_path)
    table = pandas.read_csv(manifest)
    table.loc[1, "labels"] = "[0.5, 0.5]"
    table.loc[2, "labels"] = '{"calm": -1}'
    table.to_csv(manifest, index=False)
    with pytest.raises(CorpusError) as error:
        read_corpus("manifest", manifest, progress=False)
    assert [(problem.row, problem.kind.value) for problem in error.value.report.problems] == [
        (3, "malformed_row"),
        (4, "malformed_row"),
    ]
    assert "a mapping from label to weight is expected" in str(error.value)
    kept = read_corpus("manifest", manifest, skip_damaged=["malformed_row"], progress=False)
    assert len(kept.dataset["all"]) == len(table) - 2


def test_a_labels_column_beside_label_is_warned_about(tmp_path: Path):
    manifest = write_tones(tmp_path)
    pandas.read_csv(manifest).assign(labels="{}").to_csv(manifest, index=False)
    corpus = read_corpus("manifest", manifest, progress=False)
    assert "label" in corpus.dataset["all"].column_names
    assert "column 'labels' is not read beside 'label'" in [problem.detail for problem in corpus.report.problems]


@pytest.mark.parametrize(
    "cell", ["", "happy", "{", "[1]", '{"a": "1"}', '{"a": 0}', '{"a": true}', '{"a": NaN}', None]
)
def test_soft_label_refuses(cell: str | None):
    with pytest.raises(ValueError, match=r"expected|weight"):
        soft_label(cell)


def test_soft_label_scales_votes_and_passes_over_absent_ones():
    assert soft_label({"sad": 1, "happy": 3, "angry": None}) == {"sad": 0.25, "happy": 0.75}
