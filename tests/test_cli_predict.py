"""`drkf predict`, `evaluate` and `explain`, run as users run them, against the pipeline's own answers."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import soundfile
from helpers.tiny import MULTI_LABEL, tiny_model, tiny_processor
from pyarrow import parquet
from typer.testing import CliRunner

from drkf_cli import app
from drkf_cli.answer_tables import rows_table
from drkf_cli.checkpoint import open_pipeline
from drkf_cli.evaluate import evaluate
from drkf_cli.manifest_prediction import Job, _alone, _open_shards, _write_atomically, predict_manifest
from processing.corpora.protocols import Fold, save_folds
from processing.corpora.readers.manifest import read_manifest
from processing.errors_drkf import FileError
from processing.evaluation.metrics import emotion_metrics
from processing.explanation_drkf import explain
from processing.transcripts.segments import parse_segments

RATE = 16_000
TEXTS = ("i am so happy", "oh no", "you came back today", "never mind that")


def drkf(*arguments: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr."""
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def write_checkpoint(folder: Path, **options: Any) -> Path:
    tiny_model(max_fusion_positions=1000, **options).save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips `0.wav` to `9.wav`, `talk.wav` of 2.4 s, `broken.wav`."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    for index in range(10):
        time = np.arange(2000 + 300 * index) / RATE
        soundfile.write(folder / f"{index}.wav", 0.3 * np.sin(2000 * (1 + index) * time) * rng.uniform(0.5, 1), RATE)
    soundfile.write(folder / "talk.wav", 0.1 * rng.normal(size=int(2.4 * RATE)), RATE)
    (folder / "broken.wav").write_text("no sound")
    (folder / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def pipe(checkpoint: Path) -> Any:
    return open_pipeline(str(checkpoint))


def scores(answer: dict[str, Any]) -> dict[str, float]:
    return {entry["label"]: entry["score"] for entry in answer["scores"]}


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


def write_manifest(path: Path, clips: Path, rows: int) -> Path:
    """Rows of known clips; the third names a clip that is not there, the fifth has no words, the seventh is torn."""
    lines = ["utterance_id,audio,text,label"]
    for row in range(rows):
        audio = "nowhere.wav" if row == 2 else f"{row % 10}.wav"
        text = "" if row == 4 else TEXTS[row % 4]
        lines.append(f"u{row},{clips / audio},{text},0" + (",torn" if row == 6 else ""))
    path.write_text("\n".join(lines) + "\n")
    return path


def check_answers(output: Path, pipe: Any, clips: Path, rows: int) -> None:
    """Every row of `write_manifest` once, in order, as the pipeline answers it alone."""
    table = pandas.read_csv(output, keep_default_na=False)
    assert table.utterance_id.tolist() == ["" if row == 6 else f"u{row}" for row in range(rows)]
    assert "line 4 (" in table.error[2]
    assert "nowhere.wav): no such file" in table.error[2]
    assert table.error[6] == "line 8: 4 fields expected, 5 found"
    assert (table.error != "").sum() == 2
    for row in (0, 4, rows - 1):
        expected = pipe({"audio": clips / f"{row % 10}.wav", "text": "" if row == 4 else TEXTS[row % 4]})
        found = {name: float(table[f"probability_{name}"][row]) for name in scores(expected)}
        assert found == pytest.approx(scores(expected), abs=1e-6)
        assert table.prediction[row] == expected["scores"][0]["label"]
    assert "rests on the voice alone" in table.warning[4]


def test_a_manifest_is_answered_row_by_row(folder, checkpoint, pipe, tmp_path):
    manifest = write_manifest(tmp_path / "m.csv", folder, 11)
    arguments = ["predict", "--manifest", manifest, "--rows-per-shard", 4, "--model", checkpoint]
    status, out, _ = drkf(*arguments, "--output", tmp_path / "o.csv")
    assert status == 0
    assert "11 rows: " in out
    assert "2 of them with an error" in out
    check_answers(tmp_path / "o.csv", pipe, folder, 11)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.csv", "o.csv"]
    status, _, err = drkf(*arguments, "--output", tmp_path / "o.csv")
    assert (status, "exists; remove it" in err) == (1, True)
    manifest.write_text("file,text\na,b\n")
    drkf(*arguments, "--output", tmp_path / "o.jsonl")
    assert json.loads((tmp_path / "o.jsonl").read_text())["file"] == "a"
    manifest.write_text("audio,text,prediction\n0.wav,b,c\n")
    status, _, err = drkf(*arguments, "--output", tmp_path / "o.parquet")
    assert (status, "already has the columns prediction" in err) == (1, True)


def test_half_a_character_costs_its_row_and_no_other(folder, checkpoint, tmp_path):
    rows = [{"audio": "0.wav", "text": TEXTS[0]}, {"audio": "1.wav", "text": "oh \ud83d"}, {"audio": "\ud83d.wav"}]
    (folder / "halves.jsonl").write_text("\n".join(map(json.dumps, rows)))
    arguments = ["predict", "--manifest", folder / "halves.jsonl", "--model", checkpoint]
    for ending, read in ((".parquet", pandas.read_parquet), (".csv", pandas.read_csv)):
        output = tmp_path / f"o{ending}"
        assert drkf(*arguments, "--output", output)[0] == 0
        table = read(output)
        assert table.prediction.notna().tolist() == [True, False, False]
        assert table.text.tolist()[:2] == [TEXTS[0], "oh ?"]
        assert "line 2 (" in table.error[1]
        assert "halves of characters" in table.error[1]


def test_vectors_of_a_manifest_are_those_of_the_pipeline(folder, checkpoint, pipe, tmp_path):
    rows = [{"path": "0.wav", "said": TEXTS[0], "label": "x"}, {"path": "1.wav", "said": "", "label": "y"}]
    rows.append({"path": "broken.wav", "said": "", "label": "z"})
    pandas.DataFrame(rows).to_csv(folder / "named.csv", index=False)
    arguments = ["embed", "--manifest", folder / "named.csv", "--model", checkpoint, "--rows-per-shard", 2]
    arguments += ["--columns", "audio=path text=said", "--output"]
    status, out, _ = drkf(*arguments, tmp_path / "vectors.parquet")
    assert (status, "with an error" in out) == (0, True)
    table = parquet.read_table(tmp_path / "vectors.parquet")
    assert table.column_names == [
        *("path", "said", "label", "fused_embedding", "speech_embedding", "text_embedding", "warning", "error")
    ]
    assert str(table.schema.field("fused_embedding").type) == "list<element: float>"
    whole, voice, broken = table.to_pylist()
    expected = pipe({"audio": str(folder / "0.wav"), "text": TEXTS[0]}, return_embeddings=True)["embeddings"]
    for name, vector in expected.items():
        np.testing.assert_allclose(whole[f"{name}_embedding"], vector, atol=1e-6)
    assert (voice["text_embedding"], "no words were given" in voice["warning"]) == (None, True)
    assert (broken["fused_embedding"], "broken.wav" in broken["error"]) == (None, True)
    assert drkf(*arguments, tmp_path / "vectors.csv")[0] == 1
    assert "no column nowhere" in drkf(*arguments[:-2], "text=nowhere", "--output", tmp_path / "n.parquet")[2]


def test_relative_paths_start_at_the_manifest_and_types_are_kept(folder, checkpoint, pipe, tmp_path):
    audio = [{"path": "0.wav", "bytes": None}, None]
    rows = {"audio": audio, "text": [None, TEXTS[0]], "take": [7, 8]}
    pandas.DataFrame(rows).to_parquet(folder / "m.parquet")
    output = tmp_path / "o.parquet"
    assert drkf("predict", "--manifest", folder / "m.parquet", "--output", output, "--model", checkpoint)[0] == 0
    found = parquet.read_table(output).to_pylist()
    assert [row["take"] for row in found] == [7, 8]
    by_voice, by_words = pipe({"audio": folder / "0.wav"}), pipe({"text": TEXTS[0]})
    for row, expected in zip(found, (by_voice, by_words), strict=True):
        assert {name: row[f"probability_{name}"] for name in scores(expected)} == pytest.approx(scores(expected))


class Interrupting:
    """The pipeline, until Ctrl-C in the second shard."""

    def __init__(self, pipe: Any):
        self.pipe, self.calls = pipe, 0
        self.label_names, self.is_multi_label = pipe.label_names, pipe.is_multi_label
        self.recognizer = pipe.recognizer

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.calls += 1
        if self.calls == 2:
            raise KeyboardInterrupt
        return self.pipe(*arguments, **options)


def spoil_a_finished_row(shards: Path) -> int:
    """Writes "kept" into the first row of the first finished shard; what is not computed again will show it."""
    shard = min(shards.glob("0*.jsonl"))
    lines = shard.read_text().splitlines()
    lines[0] = json.dumps(json.loads(lines[0]) | {"warning": "kept"})
    shard.write_text("\n".join(lines) + "\n")
    return int(shard.stem)


def test_a_stopped_run_goes_on_where_it_was(folder, checkpoint, pipe, tmp_path):
    manifest = write_manifest(tmp_path / "m.csv", folder, 11)
    job = Job(manifest, tmp_path / "o.csv", str(checkpoint), 4, {"batch_size": 2})
    with pytest.raises(KeyboardInterrupt):
        predict_manifest(job, lambda device: Interrupting(pipe))
    assert sorted(path.name for path in job.shards.iterdir()) == ["000000.jsonl", "job.json"]
    assert not job.output.exists()
    spoil_a_finished_row(job.shards)
    other = Job(manifest, job.output, str(checkpoint), 5, job.options)
    with pytest.raises(ValueError, match="the beginning of another job: rows_per_shard differ"):
        predict_manifest(other, lambda device: pipe)
    predict_manifest(job, lambda device: pipe)
    check_answers(job.output, pipe, folder, 11)
    assert pandas.read_csv(job.output).warning[0] == "kept"
    assert not job.shards.exists()


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "drkf_cli", *map(str, arguments)]


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(folder, checkpoint, pipe, tmp_path):
    manifest, output = write_manifest(tmp_path / "m.csv", folder, 800), tmp_path / "o.csv"
    arguments = command("predict", "--manifest", manifest, "--output", output, "--model", checkpoint)
    arguments += ["--rows-per-shard", "10", "--batch-size", "1"]
    shards = tmp_path / "o.csv.shards"
    run = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    while len(list(shards.glob("0*.jsonl"))) < 3:
        assert run.poll() is None
        time.sleep(0.02)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    done = len(list(shards.glob("0*.jsonl")))
    assert 3 <= done < 80
    first = 10 * spoil_a_finished_row(shards)
    resumed = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert f"{done} of 80 shards are done" in resumed.stderr
    check_answers(output, pipe, folder, 800)
    assert pandas.read_csv(output, keep_default_na=False).warning[first] == "kept"


@pytest.mark.slow
def test_a_run_goes_on_unharmed_while_another_on_its_output_is_refused(folder, checkpoint, pipe, tmp_path):
    manifest, output = write_manifest(tmp_path / "m.csv", folder, 200), tmp_path / "o.csv"
    arguments = command("predict", "--manifest", manifest, "--output", output, "--model", checkpoint)
    arguments += ["--rows-per-shard", "5", "--batch-size", "1"]
    first = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    while not list((tmp_path / "o.csv.shards").glob("0*.jsonl")):
        assert first.poll() is None
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGSTOP)  # it holds its lock, and does not end before the second one has tried
    second = subprocess.run(arguments, capture_output=True, text=True)
    os.kill(first.pid, signal.SIGCONT)
    assert second.returncode == 1
    assert f"error: another run is writing {output}: wait for it, or name another --output" in second.stderr
    assert first.wait() == 0
    check_answers(output, pipe, folder, 200)


@pytest.mark.slow
def test_two_processes_share_a_manifest(folder, checkpoint, pipe, tmp_path):
    manifest = write_manifest(tmp_path / "m.csv", folder, 45)
    arguments = ["predict", "--manifest", manifest, "--rows-per-shard", 4, "--model", checkpoint, "--output"]
    launch = [sys.executable, "-m", "accelerate.commands.launch"]
    launch += "--multi_gpu --num_machines 1 --mixed_precision no --dynamo_backend no".split()
    launch += ["--num_processes", "2", "--main_process_port", "0", "-m", "drkf_cli"]
    launched = subprocess.run(
        [*launch, *map(str, arguments), str(tmp_path / "two.csv")], capture_output=True, text=True
    )
    assert launched.returncode == 0, launched.stderr
    assert launched.stdout.count("45 rows: ") == 1
    check_answers(tmp_path / "two.csv", pipe, folder, 45)
    assert drkf(*arguments, tmp_path / "one.csv")[0] == 0
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()


@pytest.fixture
def corpus(folder: Path, pipe: Any, tmp_path: Path) -> Path:
    """Ten labelled clips of three speakers without a split; labels are what the pipeline says, but for two."""
    names = pipe.model.config.label_names
    rows = []
    for index in range(10):
        said = pipe({"audio": folder / f"{index}.wav", "text": TEXTS[index % 4]})["scores"][0]["label"]
        label = names[(names.index(said) + 1) % 3] if index in (2, 9) else said
        speaker = ("ada", "bob", "cleo")[index % 3]
        rows.append({"utterance_id": f"u{index}", "audio": str(folder / f"{index}.wav"), "text": TEXTS[index % 4]})
        rows[-1] |= {"label": label, "speaker": speaker}
    with (tmp_path / "corpus.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path / "corpus.csv"


def test_evaluation_scores_what_the_pipeline_says(corpus, checkpoint, pipe, tmp_path):
    status, out, err = drkf(
        "evaluate", "--model", checkpoint, "--manifest", corpus, "--output-dir", tmp_path / "scores"
    )
    assert status == 0, err
    assert "not known" in err  # no fold.json
    record = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    table = pandas.read_csv(tmp_path / "scores" / "all_predictions.csv")
    names = pipe.model.config.label_names
    rows = pandas.read_csv(corpus)
    assert table.label.tolist() == rows.label.tolist()
    assert (table.label != table.prediction).to_numpy().nonzero()[0].tolist() == [2, 9]
    ids = [[names.index(label) for label in column] for column in (table.prediction, table.label)]
    expected = emotion_metrics(*ids, names)
    assert {name: record["all"][name] for name in expected} == expected
    assert record["all"]["weighted_accuracy"] == 0.8
    assert "0.800" in out
    columns = ["utterance_id", "fold", "selection", "label", "prediction", *(f"probability_{name}" for name in names)]
    assert list(table) == [*columns, "consistency", "dominant_modality", "speech_share", "text_share"]


def test_evaluation_warns_of_what_was_trained_on(corpus, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "model")
    parts = [tuple(f"u{i}" for i in part) for part in ((0, 1, 3, 4), (2, 5), (6, 7, 8, 9))]
    save_folds([Fold("random", *parts, speaker_disjoint=False)], checkpoint / "fold.json")
    arguments = ["evaluate", "--model", checkpoint, "--manifest", corpus, "--output-dir", tmp_path / "scores"]
    status, out, err = drkf(*arguments)
    assert status == 0
    assert "test: 4 clips" in out  # the fold's part; the corpus itself has none
    assert "it has heard 2 of the speakers in training (ada, bob)" in err
    record = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert record["leaks"] == {"known": True, "trained_on": 0, "selected_on": 0, "speakers": ["ada", "bob"]}
    status, _, err = drkf(*arguments, "--split", "all")
    assert "4 of the utterances were in its training part; 2 of the utterances were in its validation part" in err
    status, _, err = drkf(*arguments, "--split", "dev")
    assert (status, "there is no split 'dev'" in err) == (1, True)


def test_evaluation_does_not_clear_utterances_that_it_cannot_tell(corpus, tmp_path):
    """The clips of the training under other names: no warning would read as no leak."""
    checkpoint = write_checkpoint(tmp_path / "model")
    parts = [tuple(f"clip-{i}" for i in part) for part in ((0, 1, 3, 4), (2, 5), (6, 7, 8, 9))]
    save_folds([Fold("random", *parts, speaker_disjoint=False)], checkpoint / "fold.json")
    arguments = ["evaluate", "--model", checkpoint, "--manifest", corpus, "--output-dir", tmp_path / "scores"]
    status, _, err = drkf(*arguments)
    assert (status, "names these utterances" in err) == (0, True)
    assert json.loads((tmp_path / "scores" / "metrics.json").read_text())["leaks"]["known"] is False


def test_evaluation_withholds_a_modality(corpus, pipe):
    read = read_manifest(corpus)
    _, predictions = evaluate(pipe, read, modality="speech")
    expected = scores(pipe({"audio": read.dataset["all"][0]["audio"]}))
    assert dict(zip(predictions.label_names, predictions.probabilities[0], strict=True)) == pytest.approx(expected)
    assert np.isnan(predictions.consistency).all()
    assert np.isnan(predictions.modality_shares).all()


def test_classes_that_the_checkpoint_does_not_know_are_errors(corpus, checkpoint, tmp_path):
    corpus.write_text(corpus.read_text().replace("LABEL_0", "joy").replace("LABEL_1", "joy").replace("LABEL_2", "joy"))
    status, _, err = drkf("evaluate", "--model", checkpoint, "--manifest", corpus)
    assert status == 1
    assert "the corpus has the classes joy, which the checkpoint does not know" in err
    status, _, err = drkf("evaluate", "--model", checkpoint, "--manifest", corpus, "--label-map", "joy=LABEL_1")
    assert (status, "--label-map 'joy=LABEL_1' is not of the form" in err) == (1, True)
    mapped = ["--label-map", '{"joy": "LABEL_1"}', "--output-dir", tmp_path / "scores"]
    assert drkf("evaluate", "--model", checkpoint, "--manifest", corpus, *mapped)[0] == 0
    record = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert record["all"]["per_class"]["LABEL_1"]["support"] == 10


def test_evaluation_goes_on_without_damaged_rows_and_says_which(corpus, folder, checkpoint, tmp_path):
    with corpus.open("a") as file:
        file.write(f"u10,{folder / 'broken.wav'},words,LABEL_0,cleo\n")
    arguments = ["evaluate", "--model", checkpoint, "--manifest", corpus, "--output-dir", tmp_path / "scores"]
    status, _, err = drkf(*arguments)
    assert (status, "evaluate with --skip-damaged all" in err) == (1, True)
    status, out, err = drkf(*arguments, "--skip-damaged", "all")
    assert (status, "all: 10 clips" in out) == (0, True)
    assert "unreadable_audio: 1 (1 left out: LABEL_0 1)" in err
    assert json.loads((tmp_path / "scores" / "metrics.json").read_text())["utterances"] == 10


def test_label_sets_are_evaluated(folder, tmp_path):
    pipe = open_pipeline(str(write_checkpoint(tmp_path / "model", **MULTI_LABEL)))
    rows = [f"{folder / f'{index}.wav'},{TEXTS[index % 4]},LABEL_0|LABEL_2" for index in range(4)]
    (tmp_path / "sets.csv").write_text("\n".join(["audio,text,label", *rows]) + "\n")
    record, found = evaluate(pipe, read_manifest(tmp_path / "sets.csv"))
    said = scores(pipe({"audio": folder / "0.wav", "text": TEXTS[0]}))
    certain = [float(said[name] > 0.5) for name in pipe.model.config.label_names]
    assert any(certain)
    assert found.predictions[0].tolist() == certain
    assert found.references.tolist() == [[1, 0, 1]] * 4
    assert record["all"]["micro_recall"] == pytest.approx(found.predictions[:, [0, 2]].sum() / 8)


def test_an_explanation_is_the_models_attention(folder, checkpoint, pipe, tmp_path):
    clip, text = folder / "9.wav", "oh no you came back"
    picture = tmp_path / "e.png"
    status, out, err = drkf("explain", clip, "--text", text, "--model", checkpoint, "--json", "--output", picture)
    assert status == 0, err
    shown = json.loads(out)
    inputs = pipe.processor(audio=clip, text=text, return_tensors="pt")
    output = pipe.model(**inputs, output_modality_attention=True)
    assert shown["frame_attention"] == pytest.approx(output.speech_attention[0].tolist())
    assert [word["text"] for word in shown["words"]] == ["<s>", *text.split(), "</s>"]
    assert [word["attention"] for word in shown["words"]] == pytest.approx(output.text_attention[0].tolist())
    assert shown["frame_seconds"] * len(shown["frame_attention"]) == pytest.approx(4700 / RATE)
    assert shown["modality_shares"]["speech"] == pytest.approx(output.modality_shares[0, 0].item())
    assert picture.stat().st_size > 20_000
    status, out, _ = drkf("explain", clip, "--text", text, "--model", checkpoint)
    strongest = max(shown["words"][1:-1], key=lambda word: word["attention"])
    even = sum(word["attention"] for word in shown["words"]) / len(shown["words"])
    assert f"words most attended to: {strongest['text']} ({strongest['attention'] / even:.1f} times)" in out
    assert "not an explanation of cause" in " ".join(out.split())


def test_an_explanation_hears_what_the_model_hears(folder, pipe):
    pipe.processor.max_audio_seconds = 0.1
    try:
        heard = explain(pipe, folder / "9.wav", None)
    finally:
        pipe.processor.max_audio_seconds = None
    assert (heard.seconds, len(heard.waveform)) == (0.1, 1600)
    assert [word.special for word in heard.words] == [True, True]


def test_cross_attention_has_nothing_to_explain(folder, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "model", fusion="cross")
    status, _, err = drkf("explain", folder / "0.wav", "--model", checkpoint)
    assert status == 1
    assert "fuses by cross-attention (FE_c)" in err


@pytest.mark.parametrize("verb", ["predict", "evaluate", "explain"])
def test_help_teaches_by_example_and_imports_nothing_heavy(verb):
    code = f"import sys; from drkf_cli import app\ntry: app(['{verb}', '--help'])\nfinally: print(sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert f"\n  drkf {verb} " in out
    for module in ("'torch'", "'transformers'", "'datasets'", "'numpy'"):
        assert module not in out


def test_a_second_run_on_the_same_output_is_an_error(folder, checkpoint, tmp_path):
    (tmp_path / "table.csv").write_text(f"audio,text\n{folder / '0.wav'},oh no\n")
    arguments = ["predict", "--manifest", tmp_path / "table.csv", "--output", tmp_path / "out.csv"]
    job = Job(tmp_path / "table.csv", tmp_path / "out.csv", str(checkpoint), 256, {"top_k": None, "transcriber": None})
    _open_shards(job, rows=1)
    with _alone(job):
        status, _, err = drkf(*arguments, "--model", checkpoint)
        assert (status, f"another run is writing {tmp_path / 'out.csv'}" in err) == (1, True), err
    assert drkf(*arguments, "--model", checkpoint)[0] == 0


def test_a_full_disk_names_the_file_after_the_answer_is_shown(folder, checkpoint, tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full on this machine")
    (tmp_path / "out.csv").symlink_to("/dev/full")
    status, out, err = drkf("predict", folder / "0.wav", "--model", checkpoint, "--output", tmp_path / "out.csv")
    assert status == 1
    assert "voice and words agree" in out
    assert f"error: {tmp_path / 'out.csv'}: cannot be written (No space left on device); choose another place" in err


def test_a_full_disk_keeps_no_half_file(tmp_path):
    resource = pytest.importorskip("resource")
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(
            FileError, match=r"o.csv: cannot be written \(.*\); free some space; then the same command"
        ):
            _write_atomically(tmp_path / "o.csv", lambda path: path.write_text("a" * 2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


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
