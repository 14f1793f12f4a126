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
    ("column", "is_named"),
    [("emotion", True), ("label_A", True), ("EmoClass", True), ("emotional_intensity", False), ("gender", False)],
)
def test_a_second_column_that_looks_like_a_label_is_named(tmp_path, column, is_named):
    report = read_corpus("manifest", manifest(tmp_path, ["sad", "hap"], **{column: "x"}), progress=False).report
    assert details(report, "suspicious_column") == ([f"'{column}': not read beside 'label'"] if is_named else [])


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


def verdict(folder, labels, **options):
    report = survey_corpus("manifest", manifest(folder, labels), progress=False, scan=False, **options).report
    return [(problem.kind.value, problem.detail) for problem in report.problems if "label" in problem.kind.value]


@pytest.mark.parametrize(
    ("labels", "detail"),
    [
        ([f"{n / 7:.4f}" for n in range(1, 7)], "the labels are numbers on a scale, such as 0.1429, 0.2857, 0.4286"),
        ([f"c{n}.wav" for n in range(6)], "the labels are paths, such as c0.wav, c1.wav, c2.wav and 3 more"),
        ([f"id{n}" for n in range(12)], "12 utterances have 12 different labels, such as id0, id1, id10"),
    ],
)
def test_a_column_that_cannot_hold_labels_is_said_to_be_none(tmp_path, labels, detail):
    [(kind, said)] = verdict(tmp_path, labels)
    assert kind == "no_labels"
    assert said.startswith(detail)


def test_few_clips_of_many_classes_are_labels(tmp_path):
    assert verdict(tmp_path, [f"emotion {n}" for n in range(11)]) == []
    assert verdict(tmp_path, [f"emotion {n // 3}" for n in range(12)]) == []


def test_no_rule_makes_classes_of_what_is_none(tmp_path):
    path = manifest(tmp_path, ["0.5", "0.7"])
    command = ["doctor", "--data-dir", str(path)]
    refused = CliRunner().invoke(app, [*command, "--skip-damaged", "all"])
    assert refused.exit_code == 1
    assert "name the column of the labels" in refused.stdout
    assert "To leave such rows out" not in refused.stdout
    assert CliRunner().invoke(app, [*command, "--skip-damaged", "no_labels"]).exit_code == 0


def test_numbers_of_classes_are_read_with_a_word_on_their_names(tmp_path):
    assert verdict(tmp_path, ["0", "1.0", "2", "1"]) == [
        ("suspicious_label", "the classes are numbers, 0, 1, 1.0, 2: answers will name them so")
    ]
    assert verdict(tmp_path, ["0", "1"], label_map={"0": "sad", "1": "happy"}) == []


def test_minus_one_among_numbers_of_classes_is_no_label(tmp_path):
    found = survey_corpus("manifest", manifest(tmp_path, ["-1", "0", "1"]), progress=False)
    assert found.label_names == ["0", "1"]
    assert details(found.report, "missing_label") == ["'-1' is what tables write for no label"]
    scale = survey_corpus("manifest", manifest(tmp_path, ["-1", "-2", "1"]), progress=False)
    assert scale.label_names == ["-1", "-2", "1"]
