"""`drkf predict` of files, run as users run it, against the pipeline's own answers."""

import json
from pathlib import Path
from typing import Any

import pandas
import pytest
from helpers.cli import TEXTS, drkf, scores, write_checkpoint
from pyarrow import parquet

from drkf_cli.answer_tables import rows_table
from processing.transcripts.segments import parse_segments


def test_many_files_are_answered_and_the_bad_ones_reported_beside_them(folder, checkpoint, pipe, tmp_path):
    files = [folder / "0.wav", folder / "broken.wav", folder / "1.wav", folder / "none.wav"]
    texts = [option for text in TEXTS for option in ("--text", text)]
    options = ["--model", checkpoint, "--json", "--output", tmp_path / "out.parquet"]
    status, out, err = drkf("predict", *files, *texts, *options)
    assert status == 1
    answers = json.loads(out)
    assert [answer["audio"] for answer in answers] == list(map(str, files))
    for number in (0, 2):
        expected = pipe({"audio": files[number], "text": TEXTS[number]})
        assert scores(answers[number]) == pytest.approx(scores(expected), abs=1e-6)
        assert answers[number]["text"] == TEXTS[number]
    assert answers[1]["error"].startswith(f"{files[1]}: cannot be decoded")
    assert answers[3]["error"].startswith(f"{files[3]}: no such file")
    assert err == ""
    status, _, err = drkf("predict", *files, *texts, "--model", checkpoint)
    assert f"error: {files[3]}: no such file" in err
    rows = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["error"] for row in rows] == [answer.get("error") for answer in answers]
    assert rows[2]["consistency"] == answers[2]["consistency"]


def test_the_table_shows_every_file(folder, checkpoint):
    files = [folder / f"{index}.wav" for index in range(3)]
    status, out, err = drkf("predict", *files, "--model", checkpoint, "--top-k", 1)
    assert status == 0
    assert all(file.name in out for file in files)
    assert "the answer rests on the voice alone" in err
    assert err.count("note: ") == 1


def test_the_answer_stands_before_the_table(folder, checkpoint, pipe):
    status, out, _ = drkf("predict", folder / "0.wav", "--text", TEXTS[0], "--model", checkpoint)
    best = pipe({"audio": folder / "0.wav", "text": TEXTS[0]})["scores"][0]
    assert (status, out.splitlines()[0]) == (0, f"{best['label']} {best['score']:.2f}")


def test_a_table_for_a_spreadsheet_holds_no_formula(folder, checkpoint, tmp_path):
    words = ["--text", "=1+1", "--spreadsheet", "--output", tmp_path / "out.csv"]
    assert drkf("predict", folder / "0.wav", *words, "--model", checkpoint)[0] == 0
    assert pandas.read_csv(tmp_path / "out.csv").text.tolist() == ["'=1+1"]
    (folder / "formula.csv").write_text("audio,text\n0.wav,=1+1\n")
    options = ["--output", tmp_path / "rows.csv", "--model", checkpoint]
    assert drkf("predict", "--manifest", folder / "formula.csv", "--spreadsheet", *options)[0] == 0
    assert pandas.read_csv(tmp_path / "rows.csv").text.tolist() == ["'=1+1"]


@pytest.fixture
def batches(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the model has seen; Ctrl-C comes with the third batch."""
    monkeypatch.setattr("drkf_cli.predict.open_pipeline", lambda *_, **__: pipe)
    infer, batches = pipe.recognizer.infer, []

    def interrupted(features):
        batches.append(features)
        if len(batches) == 3:
            raise KeyboardInterrupt
        return infer(features)

    monkeypatch.setattr(pipe.recognizer, "infer", interrupted)
    return batches


def test_ctrl_c_leaves_the_answers_that_are_there(folder, checkpoint, batches, tmp_path):
    files = [folder / f"{index}.wav" for index in (5, 0, 4, 1, 3, 2)]  # the higher, the longer
    arguments = ["predict", *files, "--model", checkpoint, "--batch-size", 2, "--output", tmp_path / "o.csv"]
    status, out, err = drkf(*arguments)
    assert (status, err.splitlines()[-1]) == (130, f"Stopped. 4 of 6 files are answered: {tmp_path / 'o.csv'}.")
    assert pandas.read_csv(tmp_path / "o.csv").audio.tolist() == [
        str(folder / f"{index}.wav") for index in (0, 1, 3, 2)
    ]
    assert ("3.wav" in out, "4.wav" in out) == (True, False)
    batches[:] = batches[:2]
    (tmp_path / "o.csv").unlink()
    status, _, err = drkf(*arguments)
    assert (status, err) == (130, "Stopped. 0 of 6 files are answered.\n")
    assert not (tmp_path / "o.csv").exists()


def test_ctrl_c_leaves_the_pieces_of_a_long_recording(folder, checkpoint, pipe, batches, tmp_path):
    whole = pipe(folder / "talk.wav", chunk_length_s=0.4, batch_size=6)["timeline"]
    batches.clear()
    files = [folder / "0.wav", folder / "talk.wav"]
    arguments = ["--chunk-length-s", 0.4, "--model", checkpoint, "--batch-size", 2]
    status, out, err = drkf("predict", *files, *arguments, "--json", "--output", tmp_path / "o.csv")
    assert status == 130
    told = f"Stopped. 1 of 2 files are answered, {files[1]} up to 00:01.2: {tmp_path / 'o.csv'}."
    assert err.splitlines()[-1] == told
    short, long = json.loads(out)
    assert "stopped" not in short
    assert (long["stopped"], long["audio_seconds"]) == (True, pytest.approx(1.2))
    for piece, expected in zip(long["timeline"], whole[:3], strict=True):
        assert (piece["start"], piece["end"]) == (expected["start"], expected["end"])
        assert scores(piece) == pytest.approx(scores(expected), abs=1e-6)
    assert len(pandas.read_csv(tmp_path / "o.csv")) == 4
    batches[:] = batches[:1]
    outputs = ["--output", tmp_path / "o.srt", "--picture", tmp_path / "o.png"]
    status, out, err = drkf("predict", files[1], *arguments, *outputs)
    assert (status, "Stopped. 0 of 1 files are answered" in err) == (130, True)
    assert "00:00.4 - 00:00.8" in out
    assert len(parse_segments((tmp_path / "o.srt").read_text())) == 2
    assert (tmp_path / "o.png").stat().st_size > 5000


def test_labels_are_shown_as_they_are(folder, tmp_path):
    names = ["[b]calm[/b]", "[/tense]", "glad"]
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    status, out, err = drkf("predict", folder / "0.wav", "--model", write_checkpoint(tmp_path, **labels))
    assert status == 0, err
    assert all(name in out for name in names)


def test_a_model_that_is_no_folder_is_an_error(folder, tmp_path):
    for verb in (
        ["predict", folder / "0.wav", "--model"],
        ["explain", folder / "0.wav", "--model"],
        ["export", "onnx"],
    ):
        missing = tmp_path / "missing"
        status, _, err = drkf(*verb, missing, *([tmp_path / "out"] if verb[0] == "export" else []))
        assert (status, f"{missing} is neither the folder" in err) == (1, True)


def test_subtitles_give_a_timeline_in_every_form(folder, checkpoint, pipe, tmp_path):
    (tmp_path / "talk.srt").write_text(
        "1\n00:00:00,200 --> 00:00:01,000\noh <i>no</i>\n\n2\n00:00:01,000 --> 00:00:01,000\ngone\n\n"
        "3\n00:00:01,500 --> 00:00:02,200\nyou came back\n"
    )
    arguments = ["predict", folder / "talk.wav", "--segments", tmp_path / "talk.srt", "--model", checkpoint]
    status, out, err = drkf(*arguments, "--json", "--output", tmp_path / "o.srt", "--picture", tmp_path / "o.png")
    assert status == 1, err
    said = json.loads(out)
    empty = said["timeline"].pop(1)
    assert (empty["text"], empty["error"]) == (
        "gone",
        "segment 2 (1 to 1 s) is empty or starts before the recording",
    )
    segments = [{"start": 0.2, "end": 1.0, "text": "oh no"}, {"start": 1.5, "end": 2.2, "text": "you came back"}]
    expected = pipe({"audio": folder / "talk.wav", "segments": segments})
    assert said["audio_seconds"] == pytest.approx(2.4)
    for found, wanted in zip(said["timeline"], expected["timeline"], strict=True):
        assert (found["start"], found["end"], found["text"]) == (wanted["start"], wanted["end"], wanted["text"])
        assert scores(found) == pytest.approx(scores(wanted), abs=1e-6)
    cues = parse_segments((tmp_path / "o.srt").read_text())
    best = max(scores(said["timeline"][1]).items(), key=lambda item: item[1])
    assert cues[1] == {"start": 1.5, "end": 2.2, "text": f"{best[0]} {best[1]:.2f} | you came back"}
    assert (tmp_path / "o.png").stat().st_size > 5000
    status, out, _ = drkf(*arguments)
    assert "00:00.2 - 00:01.0" in out
    assert "00:01.5 - 00:02.2" in out
    assert "segment 2" in out
    (tmp_path / "talk.srt").write_text("1\nbroken\n")
    status, _, err = drkf(*arguments)
    assert status == 1
    assert "talk.srt, line 1: no times" in err
    status, _, err = drkf(*arguments, "--output", tmp_path / "o2.srt", "--picture", tmp_path / "o2.png")
    assert (status, "talk.srt, line 1: no times" in err, (tmp_path / "o2.srt").exists()) == (1, True, False)


def test_windows_give_a_timeline(folder, checkpoint, tmp_path):
    options = ["--chunk-length-s", 1, "--step-s", 0.5, "--model", checkpoint, "--output", tmp_path / "o.csv"]
    assert drkf("predict", folder / "talk.wav", *options)[0] == 0
    starts = pandas.read_csv(tmp_path / "o.csv").start.tolist()
    assert starts == pytest.approx([0, 0.5, 1, 1.4])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["."], ". is a folder: name the recordings in it (*.wav)"),
        (["0.wav", "1.wav", "--text", "a"], "--text is given 1 times for 2 files"),
        (["0.wav", "--text", "a", "--segments", "a.srt"], "--text and --segments: give the words in one way"),
        (["0.wav", "--output", "a.xls"], "the ending says how to write it"),
        (["0.wav", "--picture", "a.png"], "the picture is of one long recording"),
        (["0.wav", "--chunk-length-s", "1", "--picture", "a.txt"], "one of .png, .svg, .pdf"),
        (["0.wav", "1.wav", "--chunk-length-s", "1", "--output", "a.srt"], "subtitles are of one long recording"),
        (["0.wav", "--text-file", "none.txt"], "none.txt"),
        (["0.wav", "--text-file", "latin.txt"], "latin.txt: not UTF-8"),
        (["0.wav", "--top-k", "0"], "Invalid value for '--top-k'"),
        (
            ["--manifest", "m.csv", "--output", "o.csv", "--rows-per-shard", "0"],
            "Invalid value for '--rows-per-shard'",
        ),
        (["--manifest", "m.csv", "--output", "o.csv", "--step-s", "1"], "--manifest takes --output"),
        ([], "name a FILE, or a --manifest"),
        (["--manifest", "m.csv"], "--manifest takes --output"),
        (["--manifest", "none.csv", "--output", "o.csv"], "no such file"),
        (["--manifest", "m.csv", "--output", "o.srt"], "the ending says how to write it"),
    ],
)
def test_invalid_options_are_errors(folder, checkpoint, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(folder)
    status, _, err = drkf("predict", *options, "--model", checkpoint)
    assert status != 0
    assert message in " ".join(err.split())


def test_outputs_that_cannot_be_written_are_errors_before_the_work(folder, tmp_path):
    options = ["predict", folder / "0.wav", "--model", tmp_path / "no-checkpoint", "--chunk-length-s", 1]
    for option, name in (("--picture", "a.txt"), ("--output", "a.xls")):
        status, _, err = drkf(*options, option, tmp_path / name)
        assert (status, "the ending says how to write it" in err) == (1, True)


def test_answers_are_shown_where_they_cannot_be_written(folder, checkpoint, tmp_path):
    (tmp_path / "file").touch()
    status, out, err = drkf("predict", folder / "0.wav", "--model", checkpoint, "--json",
                            "--output", tmp_path / "file" / "answer.json")  # fmt: skip
    assert status == 1
    assert len(json.loads(out)["scores"]) > 1
    assert "error: " in err


def test_a_full_disk_names_the_file_after_the_answer_is_shown(folder, checkpoint, tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full on this machine")
    (tmp_path / "out.csv").symlink_to("/dev/full")
    status, out, err = drkf("predict", folder / "0.wav", "--model", checkpoint, "--output", tmp_path / "out.csv")
    assert status == 1
    assert "voice and words agree" in out
    assert f"error: {tmp_path / 'out.csv'}: cannot be written (No space left on device); choose another place" in err


def test_a_segment_that_cannot_be_answered_is_a_row_with_its_reason():
    answer = {
        "scores": [{"label": "calm", "score": 1.0}],
        "consistency": None,
        "dominant_modality": None,
        "text": "oh",
    }
    table = rows_table("time", ["0", "1"], [answer, {"error": "segment 2: no times\x1b"}], multi_label=False)
    cells = [list(column.cells) for column in table.columns]
    assert cells[-1] == ["oh", "segment 2: no times\\x1b"]
    assert cells[1] == ["calm 1.00", "-"]
