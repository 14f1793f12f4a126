"""Rows that are parts of a recording: `start` and `end` cut the same samples in every room."""

import json

import numpy as np
import pytest
import soundfile
from helpers.corpora import kinds_at, own_cache, write_table  # noqa: F401
from helpers.tiny import tiny_model, tiny_processor

from drkf_cli.evaluate import evaluate
from drkf_cli.manifest_prediction import Job, predict_manifest
from processing.audio_drkf import AudioStream, Excerpt, load_audio
from processing.collator import DRKFDataCollator
from processing.corpora.doctor import examine
from processing.corpora.prepare import prepare
from processing.corpora.registry import read_corpus
from processing.errors_drkf import AudioError, FileError
from processing.pipeline_drkf import MultimodalEmotionRecognitionPipeline

RATE = 16_000


@pytest.fixture
def recording():
    """Four seconds, each of another pitch and loudness."""
    time = np.arange(RATE) / RATE
    return np.concatenate([0.1 * n * np.sin(2 * np.pi * 200 * n * time) for n in (1, 2, 3, 4)]).astype(np.float32)


@pytest.fixture
def folder(tmp_path, recording):
    soundfile.write(tmp_path / "long.wav", recording, RATE, "FLOAT")
    rows = [
        {"audio": "long.wav", "text": "one", "label": "calm", "start": "", "end": 1},
        {"audio": "long.wav", "text": "two", "label": "tense", "start": 1, "end": 2.5},
        {"audio": "long.wav", "text": "rest", "label": "calm", "start": "2.5", "end": ""},
        {"audio": "long.wav", "text": "whole", "label": "tense", "start": "", "end": ""},
    ]
    write_table(tmp_path / "clips.csv", rows)
    return tmp_path


NAMES = ["calm", "tense"]
SPANS = [(None, 1), (1, 2.5), (2.5, None), (None, None)]


def pieces(recording):
    return [recording[round((start or 0) * RATE) : None if end is None else round(end * RATE)] for start, end in SPANS]


@pytest.fixture
def pipe():
    model = tiny_model(max_fusion_positions=4000, num_labels=2, id2label=dict(enumerate(NAMES))).eval()
    return MultimodalEmotionRecognitionPipeline(model=model, processor=tiny_processor())


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("as_bytes", [False, True])
def test_an_excerpt_holds_what_a_slice_of_the_whole_holds(tmp_path, recording, suffix, as_bytes):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, recording, RATE)
    source = path.read_bytes() if as_bytes else path
    whole = load_audio(source, RATE)
    for start, end in [(0.25, 1.5), (2.0, None), (None, 0.5), (3.999, 4.0)]:
        cut = load_audio(Excerpt(source, start, end), RATE)
        expected = whole[round((start or 0) * RATE) : None if end is None else round(end * RATE)]
        assert len(cut) == len(expected)
        np.testing.assert_allclose(cut, expected, atol=2e-3 if suffix == "mp3" else 1e-6)


def test_arrays_are_cut_too_and_know_their_length(recording):
    with AudioStream(Excerpt({"array": recording, "sampling_rate": RATE}, 1, 2.5), 8000) as stream:
        assert stream.seconds == 1.5
        assert len(stream.read()) == 12_000


@pytest.mark.parametrize(("speed", "rate"), [(0.9, RATE), (1.1, RATE), (1.1, 8000), (2.0, 8000)])
def test_an_excerpt_that_is_played_faster_is_shorter_and_higher(recording, speed, rate):
    with AudioStream(Excerpt({"array": recording, "sampling_rate": RATE}, 1, 2, speed), rate) as stream:
        played = stream.read()
        assert stream.seconds == pytest.approx(1 / speed)
    assert len(played) == pytest.approx(rate / speed, abs=1)
    loudest = np.abs(np.fft.rfft(played)).argmax() * rate / len(played)
    assert loudest == pytest.approx(400 * speed, abs=1.5)  # the second of the four tones


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (4.0, 5.0, r"start \(4 s\) is after the end of the recording \(4.00 s\)"),
        (3.0, 4.2, r"end \(4.2 s\) is after the end of the recording \(4.00 s\)"),
        (-1, 2, "start is 0 or later"),
        (2, 2, "end after it"),
        ("1:30", 2, "start must be a number of seconds, not '1:30'"),
        (0, "inf", "end must be a number"),
        (True, 2, "start must be a number"),
    ],
)
def test_bounds_that_hold_nothing_are_named(tmp_path, recording, start, end, message):
    soundfile.write(tmp_path / "long.wav", recording, RATE)
    with pytest.raises(AudioError, match=rf"row 3 \(.*long.wav\): .*{message}"):
        load_audio(Excerpt(tmp_path / "long.wav", start, end), RATE, name="row 3")


def test_an_end_is_taken_as_rounded(tmp_path, recording):
    assert len(load_audio(Excerpt({"array": recording, "sampling_rate": RATE}, 3, 4.04), RATE)) == RATE


def test_the_corpus_and_the_collator_cut(folder, recording):
    corpus = read_corpus("manifest", folder / "clips.csv", progress=False)
    rows = corpus.dataset["all"]
    assert rows["duration"][:] == [1.0, 1.5, 1.5, 4.0]
    assert rows["utterance_id"][:] == ["long.wav 0-1", "long.wav 1-2.5", "long.wav 2.5-", "long.wav"]
    assert kinds_at(corpus.report.problems) == {("whole_audio", 5)}
    processor = tiny_processor()
    batch = DRKFDataCollator(processor)([rows[index] for index in range(4)])
    direct = processor(
        audio=[{"array": piece, "sampling_rate": RATE} for piece in pieces(recording)],
        text=["one", "two", "rest", "whole"],
        return_tensors="pt",
    )
    assert batch["audio_attention_mask"].equal(direct["audio_attention_mask"])
    np.testing.assert_allclose(batch["input_values"], direct["input_values"], atol=1e-5)


def test_predict_and_evaluate_answer_each_piece(folder, recording, pipe, tmp_path):
    inputs = [{"audio": {"array": p, "sampling_rate": RATE}, "text": t} for p, t in zip(
        pieces(recording), ["one", "two", "rest", "whole"], strict=True
    )]  # fmt: skip
    expected = [{s["label"]: s["score"] for s in answer["scores"]} for answer in pipe(inputs)]
    output = tmp_path / "answers.jsonl"
    predict_manifest(Job(folder / "clips.csv", output, "tiny", 2, {}), lambda device: pipe)
    answers = [json.loads(line) for line in output.read_text().splitlines()]
    assert [answer["audio_seconds"] for answer in answers] == [1.0, 1.5, 1.5, 4.0]
    for answer, scores in zip(answers, expected, strict=True):
        assert answer["probability_calm"] == pytest.approx(scores["calm"], abs=1e-5)
    assert len({round(answer["probability_calm"], 7) for answer in answers}) == 4
    _, predictions = evaluate(pipe, read_corpus("manifest", folder / "clips.csv", progress=False))
    np.testing.assert_allclose(predictions.probabilities[:, 0], [scores["calm"] for scores in expected], atol=1e-5)


def test_an_output_that_another_run_finished_meanwhile_is_kept(folder, pipe):
    output = folder / "o.csv"

    def open_slowly(device):
        output.write_text("answers")
        return pipe

    with pytest.raises(FileError, match=r"o\.csv exists"):
        predict_manifest(Job(folder / "clips.csv", output, "tiny", 2, {}), open_slowly)
    assert output.read_text() == "answers"


def test_prepare_writes_the_pieces(folder, recording, tmp_path):
    manifest = prepare("manifest", folder / "clips.csv", tmp_path / "out", progress=False)
    rows = read_corpus("manifest", manifest, progress=False).dataset["all"]
    assert rows["duration"][:] == [1.0, 1.5, 1.5, 4.0]
    for row, piece in zip(rows, pieces(recording), strict=True):
        np.testing.assert_allclose(soundfile.read(row["audio"])[0], piece, atol=1e-4)


def test_the_doctor_checks_the_bounds(folder):
    rows = [
        {"audio": "long.wav", "text": "good", "label": "calm", "start": 0, "end": 1},
        {"audio": "long.wav", "text": "late", "label": "tense", "start": 9, "end": 10},
        {"audio": "long.wav", "text": "over", "label": "tense", "start": 3, "end": 7},
        {"audio": "long.wav", "text": "clock", "label": "tense", "start": "0:01", "end": "0:02"},
        {"audio": "long.wav", "text": "nothing", "label": "tense", "start": 2, "end": 1},
        {"audio": "long.wav", "text": "short", "label": "calm", "start": 2, "end": 2.05},
    ]
    write_table(folder / "clips.csv", rows)
    report = examine("manifest", folder / "clips.csv", progress=False).report
    assert kinds_at(report.problems) == {
        *[("outside_audio", row) for row in (3, 4)],
        *[("malformed_row", row) for row in (5, 6)],
        ("short_audio", 7),
    }
    kept = read_corpus("manifest", folder / "clips.csv", progress=False, skip_damaged="all")
    assert kept.dataset["all"]["text"][:] == ["good", "short"]


def test_the_doctor_hears_silence_in_a_part_of_a_recording(tmp_path):
    tone = 0.1 * np.sin(np.arange(RATE))
    samples = np.concatenate([tone, np.zeros(2 * RATE), tone, np.zeros(RATE)])
    soundfile.write(tmp_path / "long.wav", samples, RATE)
    spans = [(0, 1), (1.2, 2.8), (2.8, 3.2), (1, 3), (4, ""), (0, 5)]
    rows = [
        {"audio": "long.wav", "text": "so", "label": "ab"[i % 2], "start": s, "end": e}
        for i, (s, e) in enumerate(spans)
    ]
    write_table(tmp_path / "clips.csv", rows)
    for _ in ("decoded", "remembered"):
        report = examine("manifest", tmp_path / "clips.csv", progress=False).report
        assert kinds_at(report.problems) == {("silent_audio", row) for row in (3, 5, 6)}
    assert "that part of the recording is silent" in report.table()


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        (["offset", "duration"], ["offset", "duration"]),
        (["Begin", "channels"], ["Begin", "channels"]),
        (["start", "duration"], ["duration"]),
        (["start", "end", "duration"], []),
        (["duration"], []),
    ],
)
def test_columns_that_look_like_a_cut_are_named_once(folder, columns, named, pipe, capsys):
    row = {"audio": "long.wav", "text": "one", "label": "calm", **dict.fromkeys(columns, 1)}
    row |= {"start": 0} if "start" in columns else {}
    write_table(folder / "clips.csv", [row | {"audio": "long.wav", "label": label} for label in ("calm", "tense")])
    report = examine("manifest", folder / "clips.csv", progress=False).report
    found = [problem.detail for problem in report.problems if problem.kind == "suspicious_column"]
    expected = [f"{', '.join(map(repr, named))}: not read; clips are cut by the columns start and end, in seconds"]
    assert found == (expected if named else [])
    predict_manifest(Job(folder / "clips.csv", folder / "o.csv", "tiny", 2, {}), lambda device: pipe)
    assert capsys.readouterr().err.count(f"{', '.join(named)}: not read") == bool(named)


def test_an_array_beside_its_rate_is_answered_as_a_clip(pipe, recording):
    expected = pipe({"array": recording, "sampling_rate": RATE})
    assert pipe((RATE, recording)) == expected
    assert pipe({"audio": (recording, RATE), "text": "so"}) != expected
    with pytest.raises(ValueError, match="in place of a tuple"):
        pipe(("clip.wav", "so"))
