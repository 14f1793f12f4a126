"""Corpora that YAML files declare: those of the package in their true layout, and one of a user's own."""

import re
from collections import Counter
from pathlib import Path

import pytest
from helpers.corpora import own_cache, write_tone  # noqa: F401
from helpers.declared import COPIES
from helpers.reader import ROOT
from typer.testing import CliRunner

from drkf_cli import app
from processing.corpora.declaration import load_declaration
from processing.corpora.doctor import examine
from processing.corpora.facts import corpus_facts, describe_corpora
from processing.corpora.protocols import folds_of, resolve_protocol
from processing.corpora.registry import CORPORA, DECLARED, read_corpus, survey_corpus
from processing.corpora.report import CorpusError
from processing.errors_drkf import OptionError

EVERY_COPY = {"unlike_published": 1}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_in_the_distributors_layout_is_read_exactly(name: str, tmp_path: Path):
    survey = survey_corpus(name, COPIES[name].make(tmp_path), progress=False)
    found = []
    for utterance in survey.utterances:
        labels = utterance.labels if utterance.multi_label else utterance.labels[0]
        where = (utterance.start, utterance.end) if utterance.start is not None else utterance.session
        where = utterance.split if where is None and utterance.split != "all" else where
        found.append((utterance.utterance_id, labels, utterance.text, utterance.speaker, where))
    assert sorted(found) == sorted(COPIES[name].rows)
    expected = (EVERY_COPY if CORPORA[name].published else {}) | COPIES[name].counts
    assert survey.report.counts() == expected, survey.report.table()


def test_every_declaration_has_a_copy_here_and_says_what_the_table_of_corpora_needs():
    assert {path.stem for path in DECLARED.glob("*.yaml")} == {*COPIES, "nemo"}
    for row in describe_corpora():
        if row["id"] in COPIES:
            assert all(row.values()), row
            assert "http" in row["source"]
            assert corpus_facts(row["id"])["traps"]
    assert {"iemocap", "manifest", "hub"} < {row["id"] for row in describe_corpora()}


def test_published_counts_are_those_of_the_papers():
    totals = {name: sum(spec.published.get("class", {}).values()) for name, spec in CORPORA.items()}
    expected = {"ravdess": 1440, "crema_d": 7442, "emodb": 535, "tess": 2800, "savee": 480, "esd_en": 17500}
    expected |= {"esd_zh": 17500, "msp_improv": 7798, "emorynlp": 12606, "iemocap": 5531}
    assert {name: totals[name] for name in expected} == expected


def test_the_real_ravdess_is_read_whole(shared_data):
    corpus = read_corpus("ravdess", shared_data / "ravdess", progress=False, scan=False)
    rows = corpus.dataset["all"]
    assert rows.num_rows == 1080
    named = Counter(corpus.label_names[label] for label in rows["label"])
    assert named == {"neutral": 72, **dict.fromkeys(corpus.label_names[1:], 144)}
    assert sorted(set(rows["speaker"])) == [f"Actor_{number:02}" for number in range(1, 19)]
    assert Counter(rows["text"]) == {"Kids are talking by the door.": 540, "Dogs are sitting by the door.": 540}
    row = next(row for row in rows if row["utterance_id"] == "03-01-06-01-02-01-12")
    assert (row["label"], row["text"]) == (corpus.label_names.index("fearful"), "Dogs are sitting by the door.")
    [problem] = corpus.report.problems
    assert "neutral 72 of 96, calm 144 of 192" in problem.detail
    assert "Livingstone and Russo, 2018" in problem.detail
    folds = folds_of(corpus)
    assert [len(fold.test) for fold in folds] == [60] * 18
    assert folds[0].speaker_disjoint


@pytest.mark.parametrize(
    ("name", "speakers"),
    [
        (
            "ravdess",
            {f"Actor_{actor}": {"sex": sex, "language": "en"} for actor, sex in (("01", "male"), ("02", "female"))},
        ),
        (
            "emodb",
            {
                "03": {"sex": "male", "age": "31", "language": "de"},
                "09": {"sex": "female", "age": "21", "language": "de"},
            },
        ),
    ],
)
def test_what_is_known_of_speaker_and_speech_comes_with_the_clips(name, speakers, tmp_path):
    clips = {"ravdess": "03-01-01-01-01-01-{}.wav", "emodb": "{}a01Fa.wav"}[name]
    for speaker in speakers:
        write_tone(tmp_path / clips.format(speaker[-2:]), 0.2)
    utterances = survey_corpus(name, tmp_path, progress=False).utterances
    assert {utterance.speaker: utterance.extra for utterance in utterances} == speakers


def test_files_of_one_name_that_differ_are_an_error_that_names_both(tmp_path):
    name = "03-01-01-01-01-01-01.wav"
    write_tone(tmp_path / "b" / name, 0.2)
    write_tone(tmp_path / "a" / name, 0.3)
    report = survey_corpus("ravdess", tmp_path, progress=False).report
    assert [str(problem) for problem in report.problems if problem.kind == "ambiguous_audio"] == [
        f"{tmp_path}/a/{name} [{name[:-4]}]: {tmp_path}/a/{name} and {tmp_path}/b/{name} differ, and may all be meant"
    ]
    with pytest.raises(CorpusError, match="no usable utterance is left"):  # and none is chosen by its folder's name
        read_corpus("ravdess", tmp_path, skip_damaged="all", progress=False)


def test_a_table_that_names_a_clip_of_two_folders_takes_neither(tmp_path):
    write_tone(tmp_path / "samples" / "a_anger_1.wav", 0.2)
    write_tone(tmp_path / "old" / "a_anger_1.wav", 0.3)
    header = "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"
    (tmp_path / "data.tsv").write_text(header + "a_anger_1.wav\tanger\tso\tso\ta\tfemale\t20\n")
    assert "ambiguous_audio" in survey_corpus("nemo", tmp_path, progress=False).report.counts()


def test_the_voice_is_read_where_other_recordings_have_its_name(tmp_path):
    for folder, seconds in (("laryngo", 0.3), ("wav", 0.2)):
        write_tone(tmp_path / folder / "03a01Fa.wav", seconds)
    corpus = read_corpus("emodb", tmp_path, progress=False)
    assert [(row["audio"], row["duration"]) for row in corpus.dataset["all"]] == [
        (str(tmp_path / "wav" / "03a01Fa.wav"), pytest.approx(0.2))
    ]
    assert "1 clip in other folders than wav: laryngo/03a01Fa.wav" in corpus.report.table()
    assert read_corpus("emodb", tmp_path / "wav", progress=False).report.counts() == {"unlike_published": 1}


def mosei(folder, labels, lines):
    """Two recordings of two seconds, rows of labels (video, part), and lines of the first one's transcript."""
    for video in ("vidA", "vidB"):
        write_tone(folder / "WAV_16000" / f"{video}.wav", 2.0)
    names = ("happiness", "sadness", "anger", "surprise", "disgust", "fear")
    header = ",".join(["Input.VIDEO_ID,Input.CLIP", *(f"Answer.{name}" for name in names)])
    rows = "\n".join(f"{video},{part},1,0,0,0,0,0" for video, part in labels)
    for path, text in (("Labels/a.csv", f"{header}\n{rows}\n"), ("Segmented/Combined/vidA.txt", "\n".join(lines))):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def test_a_label_without_its_part_of_the_recording_never_gets_all_of_it(tmp_path):
    lines = ["vidA___0___-0.4177___1.5___Well, hello.", "vidA___1___oh___2___No.", "vidA___2___nan___2___No."]
    root = mosei(tmp_path, [("vidA", 0), ("vidA", 1), ("vidB", 4)], lines)
    report = survey_corpus("cmu_mosei", root, progress=False).report
    assert [(problem.utterance_id, problem.detail) for problem in report.blocking()] == [
        ("vidA_1", "no row or line gives its start and end in vidA.wav"),
        ("vidB_4", "no row or line gives its start and end in vidB.wav"),
    ]
    corpus = read_corpus("cmu_mosei", root, skip_damaged=["missing_times"], progress=False)
    [row] = corpus.dataset["all"]
    assert (row["start"], row["end"], row["text"]) == (0.0, 1.5, "Well, hello.")
    assert corpus.report.excluded == {"missing_times": ["vidA_1", "vidB_4"]}


@pytest.mark.parametrize(
    ("start", "message"),
    [("-1.5", "-1.5 s to 1.9 s, hold nothing"), ("1.2.3", "start must be a number of seconds, not '1.2.3'")],
)
def test_a_start_that_is_no_time_of_the_recording_is_an_error(tmp_path, start, message):
    root = mosei(tmp_path, [("vidA", 0)], [f"vidA___0___{start}___1.9___No."])
    assert message in survey_corpus("cmu_mosei", root, progress=False).report.table()


def test_rows_of_a_side_table_that_meet_no_clip_are_counted_and_shown(tmp_path):
    """With the declaration that the page on adding a corpus gives."""
    page = (ROOT / "docs" / "tutorials" / "adding-a-corpus.md").read_text(encoding="utf-8")
    declared = "title: By sentence\n" + re.findall("```yaml\n(.*?)```", page, re.DOTALL)[-1]
    for clip in ("ann/anger_0001", "ann/joy_0002", "bob/anger_0001"):
        write_tone(tmp_path / "clips" / f"{clip}.wav")
    (tmp_path / "clips" / "sentences.txt").write_text("0001 We met.\n0002 At the mill.\n0003 Nobody says it.\n")
    path = tmp_path / "mine.yaml"
    path.write_text(declared.replace(", by: sentence", ""))
    report = survey_corpus(str(path), tmp_path / "clips", progress=False).report
    [problem] = [problem for problem in report.problems if problem.kind == "unmatched_row"]
    assert problem.detail == "no clip for 3 of 3 rows: line 1, line 2, line 3"
    assert "its key by names" in problem.remedy
    path.write_text(declared)
    corpus = read_corpus(str(path), tmp_path / "clips", progress=False)
    assert corpus.dataset["all"]["text"][:] == ["We met.", "At the mill.", "We met."]
    assert [problem.detail for problem in corpus.report.problems if problem.kind == "unmatched_row"] == [
        "no clip for 1 of 3 rows: 0003"
    ]


def test_a_row_of_a_clip_without_a_label_is_not_unmatched(tmp_path):
    root = mosei(tmp_path, [("vidA", 0)], ["vidA___0___0___1___So.", "vidA___1___1___2___Not labelled."])
    assert "unmatched_row" not in survey_corpus("cmu_mosei", root, progress=False).report.counts()
    (root / "Segmented" / "Combined" / "vidC.txt").write_text("vidC___0___0___1___Lost.")
    assert "no clip for 1 of 3 rows: vidc_0" in survey_corpus("cmu_mosei", root, progress=False).report.table()


def test_a_code_without_meaning_is_an_error_at_its_file(tmp_path):
    write_tone(tmp_path / "1001_ZZZ_ANG_XX.wav")
    write_tone(tmp_path / "1001_IEO_JOY_XX.wav")
    report = survey_corpus("crema_d", tmp_path, progress=False).report
    assert report.counts() == {"malformed_row": 1, "unknown_label": 1, "unlike_published": 1}
    assert "text 'ZZZ' is none of the codes IEO, TIE" in report.table()
    assert "'JOY' is none of the classes angry" in report.table()


def test_what_is_not_the_corpus_is_told_from_it(tmp_path):
    write_tone(tmp_path / "clip.wav")
    report = survey_corpus("ravdess", tmp_path, progress=False).report
    assert report.counts() == {"no_utterances": 1, "unlisted_audio": 1}
    assert "1 clip of another name: clip.wav" in report.table()
    assert "Expected: Audio_Speech_Actors_01-24.zip" in report.table()
    report = survey_corpus("msp_podcast", tmp_path, progress=False).report
    assert "no file below the folder is named labels_consensus" in report.table()


OWN = """\
title: My clips
protocol: leave_one_speaker_out
clips: '(?P<speaker>[a-z]+)/(?P<label>[JN])_(?P<number>no|01)'
text: Take {number}.
codes: {label: {J: joy, N: none}}
classes: [joy]
left_out: {number: {no: no number}}
published: {total: 4}
"""


def test_a_corpus_of_ones_own_from_the_yaml_file_to_folds(tmp_path):
    declaration = tmp_path / "mine.yaml"
    declaration.write_text(OWN)
    for speaker in ("ada", "bob", "eve"):
        write_tone(tmp_path / "clips" / speaker / "J_01.wav")
    write_tone(tmp_path / "clips" / "ada" / "N_01.wav")
    write_tone(tmp_path / "clips" / "ada" / "J_no.wav")
    examination = examine(str(declaration), tmp_path / "clips", progress=False)
    assert (examination.title, examination.report.counts()["ambiguous_audio"]) == ("My clips", 1)
    declaration.write_text(OWN + "id: '{speaker}-{label}'\n")
    examination = examine(str(declaration), tmp_path / "clips", progress=False)
    assert examination.exit_status == 0
    assert examination.report.counts() == {"left_out": 1, "unlike_published": 1, "outside_classes": 1}
    corpus = read_corpus(str(declaration), tmp_path / "clips", progress=False)
    assert corpus.name == "mine"
    assert [row["utterance_id"] for row in corpus.dataset["all"]] == ["ada-J", "bob-J", "eve-J"]
    assert (corpus.dataset["all"][0]["text"], corpus.label_names) == ("Take 01.", ["joy"])
    assert [fold.name for fold in folds_of(corpus)] == ["ada", "bob", "eve"]
    assert resolve_protocol(corpus, "speaker_disjoint") == "speaker_disjoint"


@pytest.mark.parametrize(("key", "fact", "spoken"), [("language: nl\n", "nl", ["nl", "nl"]), ("", None, ["en", "pl"])])
def test_a_corpus_says_its_language_or_that_of_each_utterance(tmp_path, key, fact, spoken):
    """The language of all stands on the card, too."""
    write_tone(tmp_path / "clips" / "en_joy.wav", 0.2)
    write_tone(tmp_path / "clips" / "pl_joy.wav", 0.3)
    path = tmp_path / "mine.yaml"
    path.write_text("title: Mine\nclips: '(?P<language>..)_(?P<label>.+)'\n" + key)
    corpus = read_corpus(str(path), tmp_path / "clips", progress=False)
    assert (corpus.facts.get("language"), corpus.dataset["all"]["language"][:]) == (fact, spoken)
    path.write_text("title: Mine\nclips: '(?P<tongue>..)_(?P<label>.+)'\nlanguage: '{tongue}-x'\n")
    corpus = read_corpus(str(path), tmp_path / "clips", progress=False)
    assert (corpus.facts.get("language"), corpus.dataset["all"]["language"][:]) == (None, ["en-x", "pl-x"])


def test_the_command_lists_corpora_and_examines_one_of_ones_own(tmp_path):
    (tmp_path / "mine.yaml").write_text(OWN)
    write_tone(tmp_path / "clips" / "ada" / "J_01.wav")
    listed = CliRunner().invoke(app, ["corpora"], env={"COLUMNS": "200"}).output
    assert "leave_one_speaker_out" in listed
    assert "https://zenodo.org/records/1188976" in listed
    assert CliRunner().invoke(app, ["corpora", "ravdess"]).output == (DECLARED / "ravdess.yaml").read_text()
    assert "left_out     field -> regular expression" in CliRunner().invoke(app, ["corpora", "--keys"]).output
    assert "meld has a reader of its own" in CliRunner().invoke(app, ["corpora", "meld"]).stderr
    doctor = ["doctor", "--data-dir", str(tmp_path / "clips"), "--corpus"]
    done = CliRunner().invoke(app, [*doctor, str(tmp_path / "mine.yaml")])
    assert (done.exit_code, "My clips: usable" in done.output, "all 1 of 4" in done.output) == (0, True, True)
    (tmp_path / "mine.yaml").write_text("titel: x")
    done = CliRunner().invoke(app, [*doctor, str(tmp_path / "mine.yaml")])
    assert (done.exit_code, "did you mean 'title'" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        ("titel: x", ["unknown key 'titel' (did you mean 'title'?)"]),
        ("clips: '(?P<label>['", ["is no regular expression"]),
        ("clips: '(?P<emotion>.*)'", ["text: no group or column gives 'number'", "nothing gives a label"]),
        ("protocol: mine", ["protocol is 'mine'; it must be one of auto, official"]),
        ("classes: [joy, noen]", ["classes: 'noen' is the meaning of no code (did you mean 'none'?)"]),
        ("codes: joy", ["codes must be a mapping"]),
        ("published: {class: {joy: many}, age: {}}", ["whole numbers", "'age' is none of source, split"]),
        ("tables: [{file: a, columns: {}}]", ["tables, entry 1: unknown key 'file' (did you mean 'files'?)"]),
        ("merge: {N: nobody}", ["merge: 'N' becomes 'nobody', which is not among the classes"]),
        ("left_out: {speakr: {a: b}}", ["left_out: no group or column gives 'speakr' (did you mean 'speaker'?)"]),
        ("- a list", ["cannot be read"]),
    ],
)
def test_what_is_wrong_with_a_declaration_is_said_at_once(tmp_path, change, messages):
    path = tmp_path / "mine.yaml"
    key = change.partition(":")[0]
    kept = [line for line in OWN.splitlines() if not line.startswith(f"{key}:")]
    path.write_text("\n".join([*kept, change]))
    with pytest.raises(OptionError) as caught:
        load_declaration(path)
    for message in [str(path), *messages]:
        assert message in str(caught.value)


def test_a_declaration_that_is_missing_or_empty_is_named(tmp_path):
    with pytest.raises(OptionError, match=r"nowhere\.yaml cannot be read"):
        read_corpus(str(tmp_path / "nowhere.yaml"), tmp_path)
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(OptionError, match="a mapping of keys is expected; title is missing"):
        read_corpus(str(tmp_path / "empty.yaml"), tmp_path)
