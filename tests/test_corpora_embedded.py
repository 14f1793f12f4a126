"""Audio that a Parquet file holds in itself: the same corpus as the files beside a table, in every verb."""

import csv
import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Audio, ClassLabel, Dataset
from datasets.table import embed_table_storage
from helpers.corpora import own_cache, write_table, write_tone  # noqa: F401
from typer.testing import CliRunner

from drkf_cli import app
from processing.corpora.registry import read_corpus, survey_corpus

LABELS = ("anger", "joy", "sadness")


@pytest.fixture
def clips(tmp_path):
    return [write_tone(tmp_path / f"c{number}.wav", 0.5) for number in range(3)]


def rows_of(clips, cell):
    return [
        {"audio": cell(clip), "text": "so", "label": label, "speaker": f"s{number}"}
        for number, (clip, label) in enumerate(zip(clips, LABELS, strict=True))
    ]


CELLS = {
    "bytes and path": lambda clip: {"bytes": clip.read_bytes(), "path": clip.name},
    "bytes alone": lambda clip: {"bytes": clip.read_bytes(), "path": None},
    "bare bytes": lambda clip: clip.read_bytes(),
    "a path alone": lambda clip: {"bytes": None, "path": clip.name},
}


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_sound_in_the_table_is_the_sound_beside_it(clips, tmp_path, own_cache, cell):  # noqa: F811
    pq.write_table(pa.Table.from_pylist(rows_of(clips, cell)), tmp_path / "train.parquet")
    rows = read_corpus("manifest", tmp_path / "train.parquet", progress=False).dataset["all"]
    assert [hashlib.sha256(Path(path).read_bytes()).digest() for path in rows["audio"]] == [
        hashlib.sha256(clip.read_bytes()).digest() for clip in clips
    ]
    assert rows["duration"][:] == [0.5] * 3
    named = [clip.name for clip in clips] if rows[0]["utterance_id"].startswith("c") else ["row 1", "row 2", "row 3"]
    assert rows["utterance_id"][:] == named
    again = read_corpus("manifest", tmp_path / "train.parquet", progress=False).dataset["all"]
    assert again["audio"][:] == rows["audio"][:]


def test_equal_sound_in_two_rows_is_a_copy_not_a_clash(clips, tmp_path):
    rows = rows_of([clips[0]] * 3, CELLS["bytes alone"])
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    report = survey_corpus("manifest", tmp_path / "train.parquet", progress=False).report
    assert report.counts() == {"repeated_audio": 2, "conflicting_labels": 2}


def test_every_verb_reads_a_shard_of_the_hub(clips, tmp_path):
    """As `datasets` writes it: sound inside, classes as numbers whose names stand in the metadata."""
    columns = {"audio": list(map(str, clips)), "text": ["so"] * 3, "label": [0, 1, -1], "speaker": ["s", "t", "u"]}
    rows = (
        Dataset.from_dict(columns).cast_column("audio", Audio()).cast_column("label", ClassLabel(names=list(LABELS)))
    )
    rows.with_format("arrow").map(embed_table_storage, batched=True).to_parquet(tmp_path / "train.parquet")
    for clip in clips:
        clip.unlink()
    shard = str(tmp_path / "train.parquet")
    found = survey_corpus("manifest", shard, progress=False)
    assert [utterance.labels for utterance in found.utterances] == [("anger",), ("joy",), ()]
    assert found.report.counts() == {"missing_label": 1}
    skip = ["--skip-damaged", "missing_label"]
    for command in (
        ["doctor", "--data-dir", shard, *skip],
        ["prepare", "--data-dir", shard, *skip, "--output-dir", str(tmp_path / "out")],
        ["evaluate", "--manifest", shard, *skip],
        ["predict", "--manifest", shard, "--output", str(tmp_path / "answers.csv")],
        ["embed", "--manifest", shard, "--output", str(tmp_path / "vectors.parquet")],
    ):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
    with (tmp_path / "answers.csv").open() as file:
        answers = list(csv.DictReader(file))
    assert [(row["label"], row["error"]) for row in answers] == [("anger", ""), ("joy", ""), ("", "")]
    assert len(list((tmp_path / "out" / "audio").iterdir())) == 2


def test_a_path_in_a_table_is_still_a_path(clips, tmp_path):
    table = write_table(tmp_path / "clips.csv", rows_of(clips, lambda clip: clip.name))
    assert read_corpus("manifest", table, progress=False).dataset["all"]["audio"][:] == list(map(str, clips))
