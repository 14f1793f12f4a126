"""Rows that are channels of a recording: a call with a speaker on each, as a manifest's column `channel` reads it."""

import json

import numpy as np
import pytest
import soundfile
from helpers.corpora import kinds_at, own_cache, write_table  # noqa: F401
from helpers.tiny import tiny_model, tiny_processor

from drkf_cli.evaluate import evaluate
from drkf_cli.manifest_prediction import Job, predict_manifest
from modeling_drkf.experiments.datasets import blank_rows
from processing.collator import DRKFDataCollator, clip_seconds
from processing.corpora.doctor import examine
from processing.corpora.prepare import prepare
from processing.corpora.registry import read_corpus
from processing.pipeline_drkf import MultimodalEmotionRecognitionPipeline

RATE = 16_000
ROWS = [
    {"audio": "call.wav", "text": "one", "label": "calm", "channel": 0, "start": 0, "end": 1},
    {"audio": "call.wav", "text": "two", "label": "tense", "channel": 1, "start": 0, "end": 1},
    {"audio": "call.wav", "text": "rest", "label": "calm", "channel": 1, "start": 1, "end": ""},
    {"audio": "call.wav", "text": "both", "label": "tense", "channel": "", "start": 0, "end": 2},
]


@pytest.fixture
def call():
    """Two seconds of two voices, (samples, 2)."""
    time = np.arange(2 * RATE) / RATE
    return np.stack([0.1 * n * np.sin(2 * np.pi * 220 * n * time) for n in (1, 2)], axis=1).astype(np.float32)


@pytest.fixture
def folder(tmp_path, call):
    soundfile.write(tmp_path / "call.wav", call, RATE, "FLOAT")
    write_table(tmp_path / "clips.csv", ROWS)
    return tmp_path


def pieces(call):
    return [call[:RATE, 0], call[:RATE, 1], call[RATE:, 1], call.mean(axis=1)]


@pytest.fixture
def pipe():
    model = tiny_model(max_fusion_positions=4000, num_labels=2, id2label={0: "calm", 1: "tense"}).eval()
    return MultimodalEmotionRecognitionPipeline(model=model, processor=tiny_processor())


def test_the_corpus_and_the_collator_read_one_channel(folder, call):
    rows = read_corpus("manifest", folder / "clips.csv", progress=False).dataset["all"]
    assert rows["channel"][:] == [0, 1, 1, None]
    assert rows["utterance_id"][:] == [
        f"call.wav {name}" for name in ("channel 0 0-1", "channel 1 0-1", "channel 1 1-", "0-2")
    ]
    assert [clip_seconds(row) for row in rows] == [1.0, 1.0, 1.0, 2.0]
    processor = tiny_processor()
    collate = DRKFDataCollator(processor)
    direct = processor(
        audio=[{"array": piece, "sampling_rate": RATE} for piece in pieces(call)],
        text=rows["text"][:],
        return_tensors="pt",
    )
    np.testing.assert_allclose(collate(list(rows))["input_values"], direct["input_values"], atol=1e-5)
    blanked = collate([{**rows[1], **blank_rows(processor)["speech"]}])
    assert not blanked["input_values"].any()


def test_a_channel_that_is_silent_or_not_there_is_told_by_the_doctor(folder, call):
    call[:, 1] = 0
    soundfile.write(folder / "call.wav", call, RATE, "FLOAT")
    wrong = [ROWS[0] | {"channel": value, "text": "so", "end": 2} for value in (2, "left", 1.5, "1.0")]
    write_table(folder / "clips.csv", [*ROWS[:2], *wrong])
    for _ in ("decoded", "remembered"):
        report = examine("manifest", folder / "clips.csv", progress=False).report
        assert kinds_at([p for p in report.problems if p.kind.is_error or p.kind == "silent_audio"]) == {
            *(("silent_audio", row) for row in (3, 7)),
            ("outside_audio", 4),
            *(("malformed_row", row) for row in (5, 6)),
        }
        assert "channel 2: the recording has 2, counted from 0" in report.table()
        assert "channel must be a whole number from 0, not 'left'" in report.table()


def test_prepare_writes_each_channel(folder, call, tmp_path):
    manifest = prepare("manifest", folder / "clips.csv", tmp_path / "out", progress=False)
    rows = read_corpus("manifest", manifest, progress=False).dataset["all"]
    for row, piece in zip(rows, pieces(call), strict=True):
        np.testing.assert_allclose(soundfile.read(row["audio"])[0], piece, atol=1e-4)


def test_predict_and_evaluate_answer_each_channel(folder, call, pipe):
    inputs = [
        {"audio": {"array": piece, "sampling_rate": RATE}, "text": row["text"]}
        for piece, row in zip(pieces(call), ROWS, strict=True)
    ]
    expected = [next(s["score"] for s in answer["scores"] if s["label"] == "calm") for answer in pipe(inputs)]
    record, predictions = evaluate(pipe, read_corpus("manifest", folder / "clips.csv", progress=False), by=["channel"])
    np.testing.assert_allclose(predictions.probabilities[:, 0], expected, atol=1e-5)
    groups = record["groups"]["channel"]
    assert ({name: group["utterances"] for name, group in groups["groups"].items()}, groups["unknown"]) == (
        {"0": 1, "1": 2},
        1,
    )
    write_table(folder / "clips.csv", [*ROWS, ROWS[0] | {"channel": "left"}, ROWS[0] | {"channel": 2}])
    predict_manifest(Job(folder / "clips.csv", folder / "o.jsonl", "tiny", 4, {}), lambda device: pipe)
    answers = [json.loads(line) for line in (folder / "o.jsonl").read_text().splitlines()]
    assert [answer["probability_calm"] for answer in answers[:4]] == pytest.approx(expected, abs=1e-5)
    assert "line 6: channel must be a whole number from 0, not 'left'" in answers[4]["error"]
    assert "channel 2: the recording has 2, counted from 0" in answers[5]["error"]


def test_the_number_of_channels_in_emobox_files_chooses_none(folder, pipe):
    rows = [{"key": str(n), "wav": "call.wav", "emo": "ab"[n], "channel": 2, "start": n, "end": n + 1} for n in (0, 1)]
    (folder / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "channel" not in read_corpus("manifest", folder / "clips.jsonl", progress=False).dataset["all"].column_names
    job = Job(folder / "clips.jsonl", folder / "o.jsonl", "tiny", 2, {}, {"audio": "wav"})
    predict_manifest(job, lambda device: pipe)
    assert [json.loads(line)["error"] for line in (folder / "o.jsonl").read_text().splitlines()] == [None, None]
