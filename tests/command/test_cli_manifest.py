"""`drkf predict --manifest` and `embed`: every row as the pipeline answers it, stopped, killed and shared."""

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
from helpers.cli import TEXTS, drkf, scores
from pyarrow import parquet

from drkf_cli.manifest_prediction import Job, _alone, _open_shards, _whole, predict_manifest
from processing.errors_drkf import FileError


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
    assert f"error: process {first.pid} on " in second.stderr
    assert f" is writing {output}: wait for it, or name another --output" in second.stderr
    assert first.wait() == 0
    check_answers(output, pipe, folder, 200)


def test_a_second_run_on_the_same_output_is_an_error(folder, checkpoint, tmp_path):
    (tmp_path / "table.csv").write_text(f"audio,text\n{folder / '0.wav'},oh no\n")
    arguments = ["predict", "--manifest", tmp_path / "table.csv", "--output", tmp_path / "out.csv"]
    job = Job(tmp_path / "table.csv", tmp_path / "out.csv", str(checkpoint), 256, {"top_k": None, "transcriber": None})
    _open_shards(job, rows=1)
    with _alone(job):
        status, _, err = drkf(*arguments, "--model", checkpoint)
        assert (status, f"process {os.getpid()} on" in err) == (1, True), err
    assert drkf(*arguments, "--model", checkpoint)[0] == 0


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


def test_a_full_disk_keeps_no_half_file(tmp_path):
    resource = pytest.importorskip("resource")
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with (
            pytest.raises(FileError, match=r"o.csv: cannot be written \(.*\); free some space; then the same command"),
            _whole(tmp_path / "o.csv") as unfinished,
        ):
            unfinished.write_text("a" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
