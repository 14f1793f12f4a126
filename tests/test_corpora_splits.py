"""Names of splits: the common ones are understood, the others refused by doctor and training alike, with the list."""

import datasets
import pytest
from helpers.corpora import own_cache, write_table, write_tone  # noqa: F401

from processing.corpora.doctor import examine
from processing.corpora.protocols import folds_of
from processing.corpora.registry import read_corpus
from processing.corpora.report import CorpusError
from processing.corpora.splits import standard_split


def manifest(folder, *splits):
    rows = [
        {"audio": write_tone(folder / f"{n}.wav").name, "text": "a", "label": "ab"[n % 2], "split": split}
        for n, split in enumerate(splits)
    ]
    return write_table(folder / "manifest.csv", rows)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("Train", "train"), ("training", "train"), ("train_set", "train"),
        ("Development", "validation"), ("Dev-Set", "validation"), ("valid", "validation"),
        ("Test1", "test"), ("Evaluation", "test"), (" TEST ", "test"), ("test split", "test"),
        ("Test2", None), ("fold3", None), ("all", None), ("set", None), ("", None),
    ],
)  # fmt: skip
def test_usual_names(name, part):
    assert standard_split(name) == part


def test_a_division_by_other_names_trains(tmp_path):
    corpus = read_corpus("manifest", manifest(tmp_path, "Train", "Train", "Development", "Test1"), progress=False)
    assert {split: rows.num_rows for split, rows in corpus.dataset.items()} == {"train": 2, "validation": 1, "test": 1}
    assert folds_of(corpus)[0].test == ("3.wav",)


def test_other_names_are_refused_by_both_with_the_list(tmp_path):
    path = manifest(tmp_path, "Train", "Development", "Test1", "Test2", "")
    examination = examine("manifest", path, progress=False)
    assert not examination.usable
    with pytest.raises(CorpusError) as caught:
        read_corpus("manifest", path, progress=False)
    assert caught.value.report.table() == examination.report.table()
    details = [problem.detail for problem in caught.value.report.problems]
    assert details[0].startswith("'Test2' is none of train (training, trn); validation (dev, devel, development,")
    assert details[1] == "the row names no split"
    corpus = read_corpus("manifest", path, skip_damaged=["unknown_split"], progress=False)
    assert corpus.report.excluded == {"unknown_split": ["3.wav", "4.wav"]}


def test_evaluation_beside_test_is_not_guessed(tmp_path):
    report = examine("manifest", manifest(tmp_path, "train", "eval", "test"), progress=False).report
    assert [problem.detail for problem in report.blocking()] == [
        "'eval' may be validation or test, and another name says test"
    ]


def test_the_only_split_of_a_dataset_is_no_division(tmp_path):
    paths = [str(write_tone(tmp_path / f"{name}.wav")) for name in "ab"]
    rows = datasets.Dataset.from_dict({"audio": paths, "text": ["one", "two"], "label": ["x", "y"]})
    datasets.DatasetDict({"full": rows}).save_to_disk(tmp_path / "one")
    assert set(read_corpus("hub", tmp_path / "one", progress=False).dataset) == {"all"}
    datasets.DatasetDict({"full": rows, "more": rows}).save_to_disk(tmp_path / "two")
    with pytest.raises(CorpusError, match="'full' is none of train"):
        read_corpus("hub", tmp_path / "two", progress=False)
