"""Tables as people have them: other names of columns, several annotators, a table for each split, no words."""

import csv
import json
import re
from pathlib import Path

import pytest
import soundfile
from helpers.corpora import own_cache, write_rows, write_table, write_tone  # noqa: F401
from helpers.reader import PAGES, ROOT
from helpers.recognisers import write_ctc_recogniser, write_whisper_recogniser
from typer.testing import CliRunner

from drkf_cli import app
from modeling_drkf.experiments.options import parse_arguments
from processing.corpora.column_options import parse_columns
from processing.corpora.prepare import prepare
from processing.corpora.registry import read_corpus
from processing.corpora.report import CorpusError
from processing.errors_drkf import OptionError
from processing.recognition_options_drkf import Transcribers


def read(folder: Path, corpus: str = "manifest", **options):
    return read_corpus(corpus, folder, progress=False, **options)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for name in ("a.wav", "b.wav", "c.wav"):
        write_tone(tmp_path / name, 0.2)
    return tmp_path


def test_columns_are_named_in_one_text_or_in_several():
    expected = {"audio": "path", "label": "Emotion label", "speaker": "actor"}
    assert parse_columns(["audio=path", "label=Emotion label", "speaker=actor"]) == expected
    assert parse_columns("audio=path label=Emotion label speaker=actor") == expected
    assert parse_columns(None) == {}
    for wrong, message in (("audio", "takes name=column"), ("lable=x", r"did you mean 'label'"), ("text=", "text=")):
        with pytest.raises(OptionError, match=message):
            parse_columns(wrong)


def test_training_takes_columns():
    arguments = ["demo.yaml", "--manifest", "clips.csv", "--columns", "audio=path", "label=emotion"]
    assert parse_arguments(arguments)[1].columns == ["audio=path", "label=emotion"]
    with pytest.raises(SystemExit):
        parse_arguments([*arguments, "lable=emotion"])


def test_any_table_is_read_by_its_own_columns(clips):
    rows = [{"path": "a.wav", "said": "so", "Emotion label": "sad", "actor": "x", "part": "Development", "nr": 7}]
    table = write_table(clips / "clips.csv", rows)
    columns = parse_columns("audio=path text=said label=Emotion label speaker=actor split=part id=nr")
    row = read(table, columns=columns).dataset["validation"][0]
    assert (row["audio"], row["text"], row["speaker"]) == (str(clips / "a.wav"), "so", "x")
    assert (row["utterance_id"], row["label"]) == ("7", 0)
    with pytest.raises(CorpusError, match=r"no column 'emo'; .*\n.*--columns label=NAME"):
        read(table, columns=columns | {"label": "emo"})
    with pytest.raises(OptionError, match="RAVDESS has columns of its own"):
        read(clips, "ravdess", columns=columns)
    with pytest.raises(OptionError, match="audio folder takes text, label, speaker"):
        read(clips, "audiofolder", columns={"session": "s"})


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_annotators_and_counts_become_soft_labels(clips, suffix):
    votes = [
        {"audio": "a.wav", "text": "x", "label_A": "sad", "label_B": "sad", "label_C": "joy"},
        {"audio": "b.wav", "text": "x", "label_A": "joy", "label_B": None, "label_C": None},
    ]
    table = write_rows(suffix, clips, votes)
    corpus = read(table, columns={"annotators": "label_A,label_B, label_C"})
    assert corpus.label_names == ["joy", "sad"]
    assert [row["labels"] for row in corpus.dataset["all"]] == [pytest.approx([1 / 3, 2 / 3]), [1.0, 0.0]]
    table.unlink()
    counts = [{"audio": "a.wav", "text": "x", "sad": 3, "joy": 1}, {"audio": "b.wav", "text": "x", "sad": 0, "joy": 2}]
    table = write_rows(suffix, clips, counts)
    corpus = read(table, columns={"counts": "sad,joy"})
    assert [row["labels"] for row in corpus.dataset["all"]] == [[0.25, 0.75], [1.0, 0.0]]
    assert corpus.problem_type == "single_label_classification"


def test_votes_that_cannot_be_counted_are_named_at_their_rows(clips):
    rows = [
        {"audio": "a.wav", "text": "x", "sad": "many", "joy": 1},
        {"audio": "b.wav", "text": "x", "sad": "", "joy": 0},
    ]
    with pytest.raises(CorpusError) as caught:
        read(write_table(clips / "clips.csv", rows), columns={"counts": "sad,joy"})
    problems = [problem for problem in caught.value.report.problems if problem.kind.value == "malformed_row"]
    assert [problem.row for problem in problems] == [2, 3]
    assert "could not convert string to float: 'many'" in problems[0].detail
    assert "no label has a weight above 0" in problems[1].detail


def test_a_table_for_each_split_is_read_with_the_split_of_its_name(clips):
    for name, clip in (("train.csv", "a.wav"), ("my_dev_fold_1.csv", "b.wav"), ("Test1.csv", "c.wav")):
        write_table(clips / name, [{"audio": clip, "text": "x", "label": "sad"}])
    found = read(clips).dataset
    assert {split: rows["utterance_id"][:] for split, rows in found.items()} == {
        "train": ["a.wav"],
        "validation": ["b.wav"],
        "test": ["c.wav"],
    }


def test_emobox_folds_are_read_as_they_come(clips):
    row = {"dataset": "mine", "type": "raw", "sample_rate": 16000, "length": 0.2, "task": "category", "channel": 1}
    for part, name in (("train", "a"), ("test", "b")):
        line = {"key": f"utterance_{name}", "wav": f"{name}.wav", "emo": "sad", **row}
        (clips / f"mine_{part}_fold_1.jsonl").write_text(json.dumps(line) + "\n")
    corpus = read(clips)
    found = corpus.dataset["test"][0]
    assert (found["utterance_id"], found["audio"], found["label"]) == ("utterance_b", str(clips / "b.wav"), 0)
    assert corpus.report.counts() == {"empty_text": 2}


def test_folders_named_after_labels(tmp_path):
    for path in ("train/sad/a.wav", "train/joy/b.flac", "test/sad/a.wav", "test/sad/._a.wav"):
        write_tone(tmp_path / path, 0.2)
    (tmp_path / "train" / "sad" / "a.txt").write_text("so it is\n")
    corpus = read(tmp_path, "audiofolder")
    assert corpus.label_names == ["joy", "sad"]
    found = [(row["utterance_id"], row["text"], row["label"]) for rows in corpus.dataset.values() for row in rows]
    assert sorted(found) == [
        ("test/sad/a.wav", "", 1),
        ("train/joy/b.flac", "", 0),
        ("train/sad/a.wav", "so it is", 1),
    ]


def test_words_may_be_missing_where_nothing_needs_them(clips):
    table = write_table(clips / "clips.csv", [{"audio": "a.wav", "label": "sad"}])
    with pytest.raises(CorpusError, match=r"no column 'text'.*\n.*drkf prepare --transcriber"):
        read(table)
    assert read(table, words=False).dataset["all"]["text"][:] == [""]


def test_prepare_writes_missing_words_once(clips):
    rows = [{"audio": "a.wav", "label": "sad", "text": "so"}, {"audio": "b.wav", "label": "joy", "text": ""}]
    table = write_table(clips / "clips.csv", rows)
    model = str(write_ctc_recogniser(clips / "recogniser"))
    manifest = prepare("manifest", table, clips / "out", transcriber=model, progress=False)
    first, second = read(manifest).dataset["all"]["text"][:]
    assert first == "so"
    heard = Transcribers().get(model)(*soundfile.read(clips / "out" / "audio" / "b.wav.flac", dtype="float32"))
    assert second == heard != ""
    notes = (clips / "out" / "transcripts.jsonl").read_text()
    assert len(notes.splitlines()) == 1
    (clips / "out" / "transcripts.jsonl").write_text(notes.replace(heard, "as noted") + '["cut')
    prepare("manifest", table, clips / "out", transcriber=model, progress=False)
    assert read(manifest).dataset["all"]["text"][:] == ["so", "as noted"]


def test_a_language_is_for_whisper(clips):
    table = write_table(clips / "clips.csv", [{"audio": "a.wav", "label": "sad"}])
    whisper = str(write_whisper_recogniser(clips / "whisper"))
    manifest = prepare("manifest", table, clips / "out", transcriber=whisper, language="english", progress=False)
    assert read(manifest).dataset["all"]["text"][0]
    with pytest.raises(OptionError, match="only Whisper takes a language"):
        Transcribers().get(str(write_ctc_recogniser(clips / "ctc")), "english")
    with pytest.raises(OptionError, match="language is an option of the transcriber"):
        prepare("manifest", table, clips / "out", language="english", progress=False)


@pytest.mark.parametrize("written", ["nan", "None", "NULL", " N/A "])
def test_what_tables_write_for_no_words_is_no_text(clips, written):
    rows = [{"audio": "a.wav", "text": written, "label": "sad"}, {"audio": "b.wav", "text": "na", "label": "joy"}]
    corpus = read(write_table(clips / "clips.csv", rows))
    assert corpus.dataset["all"]["text"][:] == ["", "na"]
    [problem] = corpus.report.problems
    assert (problem.kind, problem.row) == ("empty_text", 2)
    assert problem.detail == f"{written.strip()!r} is what tables write for no words"


def test_a_corpus_of_voices_alone_is_declared_so(clips):
    rows = [{"path": f"{name}.wav", "emotion": label} for name, label in (("a", "sad"), ("b", "joy"))]
    table = write_table(clips / "clips.csv", rows)
    command = ["--data-dir", str(table), "--columns", "audio=path", "label=emotion"]
    refused = CliRunner().invoke(app, ["doctor", *command], env={"COLUMNS": "300"})
    assert (refused.exit_code, "a corpus of voices alone: --modality speech" in refused.stdout) == (1, True)
    done = CliRunner().invoke(app, ["doctor", *command, "--modality", "speech"])
    assert (done.exit_code, "no problems found" in done.stdout) == (0, True)
    out = str(clips / "out")
    assert CliRunner().invoke(app, ["prepare", *command, "--output-dir", out, "--modality", "speech"]).exit_code == 0
    assert read(clips / "out" / "manifest.csv", words=False).dataset["all"]["label"][:] == [1, 0]
    model = str(write_ctc_recogniser(clips / "recogniser"))
    advised = ["prepare", *command, "--output-dir", str(clips / "said"), "--transcriber", model]
    assert CliRunner().invoke(app, advised).exit_code == 0
    assert all(read(clips / "said" / "manifest.csv").dataset["all"]["text"][:])


def test_the_remedy_for_a_column_is_the_option_that_names_it(clips):
    write_table(clips / "clips.csv", [{"path": "a.wav", "emotion": "sad", "text": "x"}])
    with pytest.raises(CorpusError) as caught:
        read(clips / "clips.csv")
    remedies = [problem.remedy for problem in caught.value.report.problems if problem.kind == "missing_column"]
    assert [remedy.partition(";")[0] for remedy in remedies] == [
        "say which column it is: --columns audio=NAME",
        "say which column it is: --columns label=NAME",
    ]


FORMS = {
    "one after the other": ["--columns", "audio=path", "text=said words", "label=emotion"],
    "an option each": ["--columns", "audio=path", "--columns", "text=said words", "--columns=label=emotion"],
    "one text": ["--columns", "audio=path text=said words label=emotion"],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_verb_that_takes_a_table_takes_columns_in_every_form(clips, form):
    rows = [{"path": f"{name}.wav", "said words": "so", "emotion": "anger"} for name in "ab"]
    table = str(write_table(clips / "clips.csv", rows))
    answers = [word for word in form if "label=" not in word] if len(form) > 2 else [form[0], form[1][:-14]]
    for number, command in enumerate(
        (
            ["doctor", *form, "--data-dir", table],
            ["prepare", "--data-dir", table, *form, "--output-dir", str(clips / "out")],
            ["evaluate", *form, "--manifest", table],
            ["predict", *answers, "--manifest", table, "--output", str(clips / "answers.csv")],
            ["embed", "--manifest", table, *answers, "--output", str(clips / "vectors.parquet")],
        )
    ):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, f"{number} {done.output}"
    with (clips / "answers.csv").open() as file:
        assert [row["error"] for row in csv.DictReader(file)] == ["", ""]
    assert parse_arguments(["demo.yaml", "--manifest", table, *form])[1].manifest == table


WITH_COLUMNS = re.compile(r"--columns ((?:\w+=[\w,]+ ?)+)")


def test_columns_as_the_pages_write_them_are_taken(clips):
    found = {(page.name, words.strip()) for page in PAGES for words in WITH_COLUMNS.findall((ROOT / page).read_text())}
    assert {name for name, _ in found} >= {"corpora.md", "quickstart.md", "train.md"}
    for number, (page, words) in enumerate(sorted(found)):
        named = parse_columns(words)
        rows = [{named.get("audio", "audio"): "a.wav", named.get("label", "label"): "anger"}]
        rows[0] |= {column: "so" for column in named.values() if column not in rows[0]}
        table = str(write_table(clips / "clips.csv", rows))
        commands = [["doctor", "--data-dir", table, "--modality", "speech"]]
        if set(named) <= {"audio", "text"}:
            commands += [
                ["predict", "--manifest", table, "--output", str(clips / f"{number}.csv")],
                ["embed", "--manifest", table, "--output", str(clips / f"{number}.parquet")],
            ]
        for verb, *options in commands:
            done = CliRunner().invoke(app, [verb, "--columns", *words.split(), *options])
            assert done.exit_code == 0, f"{page}: {verb} {words}: {done.output}"
    assert list(clips.glob("?.csv"))  # some page names columns for predict
    assert list(clips.glob("?.parquet"))


def test_kinds_to_skip_are_named_one_after_the_other_as_the_report_advises(clips):
    rows = [
        {"audio": f"{name}.wav", "text": "so", "label": label}
        for name, label in (("a", "sad"), ("b", ""), ("x", "joy"))
    ]
    command = ["doctor", "--data-dir", str(write_table(clips / "clips.csv", rows))]
    refused = CliRunner().invoke(app, command, env={"COLUMNS": "300"})
    assert refused.exit_code == 1
    [advice] = re.findall(r"To leave such rows out and count them: (--skip-damaged [\w ]+)", refused.stdout)
    assert advice.split() == ["--skip-damaged", "missing_audio", "missing_label"]
    assert CliRunner().invoke(app, [*command, *advice.split()]).exit_code == 0


def test_predict_says_in_which_encoding_it_has_read_a_table_or_refuses_it(clips):
    rows = [{"audio": "a.wav", "text": "Закройте окно, пожалуйста."}]
    command = ["predict", "--manifest", str(write_table(clips / "clips.csv", rows, encoding="cp1251"))]
    done = CliRunner().invoke(app, [*command, "--output", str(clips / "answers.csv")])
    assert (done.exit_code, "note: " in done.stderr, "read as CP1251" in done.stderr) == (0, True, True)
    with (clips / "answers.csv").open(encoding="utf-8") as file:
        assert [row["text"] for row in csv.DictReader(file)] == ["Закройте окно, пожалуйста."]
    write_table(clips / "clips.csv", [{"audio": "a.wav", "text": "Κλείσε το παράθυρο"}], encoding="cp1253")
    done = CliRunner().invoke(app, [*command, "--output", str(clips / "others.csv")])
    assert (done.exit_code, "it may be in" in done.stderr) == (1, True)
