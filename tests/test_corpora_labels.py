"""Labels that are none, classes without clips, columns beside the label, and case that makes no difference."""

import pytest
from helpers.corpora import make_meld, own_cache, write_table, write_tone  # noqa: F401
from typer.testing import CliRunner

from drkf_cli import app
from processing.corpora.registry import read_corpus, survey_corpus
from processing.corpora.report import CorpusError


def manifest(folder, labels, **columns):
    rows = [
        {"audio": write_tone(folder / f"{n}.wav").name, "text": "a", "label": label, **columns}
        for n, label in enumerate(labels)
    ]
    return write_table(folder / "manifest.csv", rows)


def details(report, kind):
    return [problem.detail for problem in report.problems if problem.kind == kind]


@pytest.mark.parametrize("written", ["nan", "None", "NA", "N/A", "null"])
def test_what_tables_write_for_no_label_is_no_class(tmp_path, written):
    path = manifest(tmp_path, ["sad", written, "hap"])
    with pytest.raises(CorpusError, match=f"'{written}' is what tables write for no label") as caught:
        read_corpus("manifest", path, progress=False)
    assert caught.value.report.counts() == {"missing_label": 1}
    corpus = read_corpus("manifest", path, skip_damaged=["missing_label"], progress=False)
    assert (corpus.label_names, corpus.dataset["all"].num_rows) == (["hap", "sad"], 2)
    named = read_corpus("manifest", path, label_map={written: "calm"}, progress=False)
    assert (named.label_names, named.report.problems) == (["calm", "hap", "sad"], [])


def test_a_class_may_be_called_so_where_it_is_named(tmp_path):
    path = manifest(tmp_path, ["sad", "none"])
    assert read_corpus("manifest", path, label_names=["none", "sad"], progress=False).dataset["all"]["label"][:] == [
        1,
        0,
    ]


def test_classes_with_next_to_no_clip_are_named(tmp_path):
    path = manifest(tmp_path, ["sad"] * 20 + ["hap"] * 3 + ["awe"] * 2 + ["zeal"])
    report = read_corpus("manifest", path, progress=False).report
    assert details(report, "rare_class") == [
        "the class 'awe' has 2 usable clips; the largest 20",
        "the class 'zeal' has 1 usable clip; the largest 20",
    ]


@pytest.mark.parametrize(
    ("column", "told"),
    [("emotion", True), ("label_A", True), ("EmoClass", True), ("emotional_intensity", False), ("gender", False)],
)
def test_a_second_column_that_looks_like_a_label_is_named(tmp_path, column, told):
    report = read_corpus("manifest", manifest(tmp_path, ["sad", "hap"], **{column: "x"}), progress=False).report
    assert details(report, "suspicious_column") == ([f"'{column}': not read beside 'label'"] if told else [])


def shout(root, label="SURPRISE"):
    table = root / "train_sent_emo.csv"
    table.write_text(table.read_text(encoding="utf-8").replace(",surprise,", f",{label},"), encoding="utf-8")
    return root


def test_case_makes_no_difference_where_the_labels_are_fixed(tmp_path):
    corpus = read_corpus("meld", shout(make_meld(tmp_path)), skip_damaged="all", progress=False)
    assert corpus.dataset["train"]["label"][:] == [0, 1]
    assert details(corpus.report, "suspicious_label") == ["'SURPRISE' is taken for 'surprise'"]


def test_label_map_takes_any_label_that_occurs(tmp_path):
    root = shout(make_meld(tmp_path), "shock")
    report = survey_corpus("meld", root, progress=False).report
    assert details(report, "unknown_label")[0].startswith("'shock' is none of the classes")
    mapped = read_corpus("meld", root, label_map={"shock": "surprise"}, skip_damaged="all", progress=False)
    assert mapped.dataset["train"]["label"][:] == [0, 1]
    assert "unknown_label" not in mapped.report.counts()
    by_case = read_corpus("meld", root, label_map={"SHOCK": "surprise"}, skip_damaged="all", progress=False)
    assert by_case.dataset["train"]["label"][:] == [0, 1]


def test_the_doctor_takes_the_map_that_it_advises(tmp_path):
    command = ["doctor", "--data-dir", str(manifest(tmp_path, ["sad", "None"]))]
    refused = CliRunner().invoke(app, command)
    assert (refused.exit_code, "name that with label_map" in refused.stdout) == (1, True)
    assert CliRunner().invoke(app, [*command, "--label-map", '{"None": "calm"}']).exit_code == 0
