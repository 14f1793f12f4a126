"""Conversations: speakers go from transcripts and channels into answers, tables, subtitles, pictures and summaries."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from helpers.cli import drkf, write_checkpoint
from helpers.pipelines import RATE, assert_same, noise, pipe_of
from pyarrow import parquet

from drkf_cli.answer_tables import rows_table, speakers_table
from processing.answers import timeline_srt, write_results
from processing.audio_drkf import AudioError, AudioStream, Excerpt, load_audio
from processing.errors_drkf import InputError
from processing.figures.timeline import COLOURS, plot_timeline
from processing.speakers import summarise_speakers
from processing.transcripts.segments import parse_segments

LABELS = ["angry", "calm"]


@pytest.fixture(scope="module")
def pipe():
    return pipe_of()


def piece(start: float, end: float, angry: float, speaker: str | None = None, **fields: Any) -> dict[str, Any]:
    scores = sorted(zip((angry, 1 - angry), LABELS, strict=True), reverse=True)
    answer = {
        "start": start,
        "end": end,
        "text": "you came late",
        "scores": [{"label": label, "score": score} for score, label in scores],
        "consistency": None,
        "dominant_modality": None,
        "modality_shares": None,
    }
    return answer | ({} if speaker is None else {"speaker": speaker}) | fields


TALK = {
    "audio_seconds": 10.0,
    "timeline": [
        piece(0, 2, 0.75, "Anna"),
        piece(2, 3, 0.25, "Ben"),
        piece(3, 4, 0.5, "Ben", error="too short"),
        piece(4, 6, 0.25, "Anna"),
        piece(8, 10, 0.5),
    ],
}


# ---- channels -------------------------------------------------------------------------------------------------------


def call(seconds: float = 2.0) -> np.ndarray:
    """(samples, 2): the first party speaks at once, the second from half the time on, more quietly."""
    sound = noise(seconds), noise(seconds, 5)
    samples = len(sound[0])
    return np.stack([sound[0], np.where(np.arange(samples) < samples // 2, 0, 0.3 * sound[1])], 1)


@pytest.mark.parametrize("as_file", [True, False], ids=["file", "array"])
@pytest.mark.parametrize("channel", [0, 1])
def test_one_channel_is_read_alone(pipe, as_file, channel):
    sound = call()
    source: Any = {"array": sound, "sampling_rate": RATE}
    if as_file:
        source = io.BytesIO()
        soundfile.write(source, sound, RATE, "FLOAT", format="WAV")
        source.seek(0)
    alone = {"array": sound[:, channel], "sampling_rate": RATE}
    assert_same(pipe({"audio": source, "channel": channel}), pipe({"audio": alone}))
    with AudioStream(Excerpt(alone, channel=0), None) as stream:
        np.testing.assert_array_equal(stream.read(), sound[:, channel].astype(np.float32))


def test_a_channel_that_is_not_there_is_an_error(pipe):
    source = {"array": call(), "sampling_rate": RATE}
    for channel in (2, -1, "left"):
        with pytest.raises(AudioError, match=rf"channel {channel!r}: the recording has 2, counted from 0"):
            load_audio(Excerpt(source, channel=channel), RATE)
    with pytest.raises(InputError, match='"channel" reads one channel: leave it out'):
        pipe({"audio": source, "channel": 0}, speakers="by-channel")


def test_a_recording_of_one_channel_is_not_answered_by_channel(pipe):
    with pytest.raises(InputError, match='speakers="by-channel": the recording has one channel; leave the option out'):
        pipe({"audio": {"array": noise(0.5), "sampling_rate": RATE}}, speakers="by-channel")
    segments = [{"start": 0.0, "end": 0.5, "channel": 0}]
    (found,) = pipe({"audio": {"array": noise(0.5), "sampling_rate": RATE}, "segments": segments})["timeline"]
    assert (found["end"], found["speaker"]) == (0.5, "channel 0")


def test_a_call_is_answered_channel_by_channel_without_what_is_silent(pipe):
    sound = call()
    source = {"array": sound, "sampling_rate": RATE}
    found = pipe({"audio": source}, speakers="by-channel", chunk_length_s=0.5)
    assert [(one["start"], one["end"], one["speaker"]) for one in found["timeline"]] == [
        (0.0, 0.5, "channel 0"), (0.5, 1.0, "channel 0"), (1.0, 1.5, "channel 0"), (1.0, 1.5, "channel 1"),
        (1.5, 2.0, "channel 0"), (1.5, 2.0, "channel 1"),
    ]  # fmt: skip
    alone = pipe({"audio": {"array": sound[:, 1], "sampling_rate": RATE}}, chunk_length_s=0.5)["timeline"]
    own = [one for one in found["timeline"] if one.pop("speaker") == "channel 1"]
    for one, other in zip(own, alone[2:], strict=True):
        assert_same(one, other)
    assert found["audio_seconds"] == 2.0
    whole = pipe({"audio": source}, speakers="by-channel")
    assert [(one["end"], one["speaker"]) for one in whole["timeline"]] == [(2.0, "channel 0"), (2.0, "channel 1")]
    assert not any("voices" in one.get("warning", "") for one in whole["timeline"])
    for one in pipe({"audio": source}, speakers="by-channel", return_embeddings=True)["timeline"]:
        assert (one["speaker"][:7], one["embeddings"]["fused"].ndim) == ("channel", 1)


def test_an_echo_is_no_voice_of_its_own(pipe):
    sound = noise(1.0)
    source = {"array": np.stack([sound, 0.01 * sound], 1), "sampling_rate": RATE}
    assert [one["speaker"] for one in pipe(source, speakers="by-channel")["timeline"]] == ["channel 0"]


def test_segments_are_read_from_their_channel_or_where_they_are_loudest(pipe):
    sound = call()
    source = {"array": sound, "sampling_rate": RATE}
    spans = [{"start": 0.0, "end": 0.5, "channel": 1}, {"start": 1.0, "end": 2.0, "channel": 1, "speaker": "Ben"}]
    spans += [{"start": 0.5, "end": 1.5, "text": "oh no"}, {"start": 0, "end": 1, "channel": 2}]
    spans += [{"start": 0.5, "end": 1, "channel": "left"}]
    found = pipe({"audio": source, "segments": spans})["timeline"]
    good = [one for one in found if "error" not in one]
    assert [(one["start"], one["speaker"]) for one in good] == [(0.0, "channel 1"), (0.5, "channel 0"), (1.0, "Ben")]
    assert sorted(one["error"] for one in found if "error" in one) == [
        "channel 2: the recording has 2, counted from 0",
        "segment 5: the channel must be a whole number from 0, not 'left'",
    ]
    alone = {"array": sound[:, 1], "sampling_rate": RATE}
    (expected,) = pipe({"audio": alone, "segments": [{"start": 1.0, "end": 2.0}]})["timeline"]
    assert_same({key: value for key, value in good[2].items() if key != "speaker"}, expected)


def stereo(sound: np.ndarray, shift: int) -> np.ndarray:
    """One voice by two microphones, at one of which it arrives some samples later."""
    rng = np.random.default_rng(1)
    late = np.concatenate([np.zeros(shift), sound[: len(sound) - shift]])
    return np.stack([sound, 0.7 * late], 1) + rng.normal(0, 0.01, (len(sound), 2))


BURSTS = noise(2.0) * (np.sin(np.arange(2 * RATE) / RATE * 9) > 0)


@pytest.mark.parametrize(
    ("sound", "differs"),
    [
        (call(), True),
        (np.stack([noise(2.0) * (np.arange(2 * RATE) < RATE), noise(2.0, 2) * (np.arange(2 * RATE) > RATE)], 1), True),
        (stereo(BURSTS, 0), False),
        (stereo(BURSTS, 25), False),
        (np.stack([BURSTS, np.zeros(2 * RATE)], 1), False),
        (np.stack([BURSTS, 0.02 * noise(2.0, 3)], 1), False),
        (np.stack([BURSTS, -BURSTS], 1), False),
        (np.stack([BURSTS, noise(2.0, 2), noise(2.0, 3)], 1), False),
        (BURSTS, False),
    ],
    ids=["call", "in turn", "stereo", "two microphones", "one silent", "hiss", "cancelling", "three", "mono"],
)
def test_two_different_channels_that_are_averaged_are_warned_of(pipe, sound, differs):
    source = {"array": sound, "sampling_rate": RATE}
    warning = pipe({"audio": source}).get("warning", "")
    assert ('the two channels hold different voices and were averaged; "channel" reads one' in warning) == differs
    assert "different voices" not in pipe({"audio": source, "channel": 0}).get("warning", "")
    again = pipe({"audio": pipe.read_audio(source)}).get("warning", "")
    assert ("different voices" in again) == differs


# ---- files ----------------------------------------------------------------------------------------------------------


def test_speakers_stand_in_tables_subtitles_and_json(tmp_path: Path):
    results = [{"audio": "talk.wav", **TALK}]
    write_results(results, tmp_path / "o.parquet", LABELS)
    speakers = [row["speaker"] for row in parquet.read_table(tmp_path / "o.parquet").to_pylist()]
    assert speakers == ["Anna", "Ben", "Ben", "Anna", None]
    srt = timeline_srt(TALK)
    assert "\n[Anna]: angry 0.75 | you came late\n" in srt
    assert [cue.get("speaker") for cue in parse_segments(srt)] == ["Anna", "Ben", "Anna", None]


def test_a_summary_says_how_much_each_speaks_what_they_express_and_how_it_changes():
    summary = summarise_speakers(TALK, LABELS)
    assert list(summary) == ["Anna", "Ben"]
    assert (summary["Anna"]["pieces"], summary["Anna"]["seconds"], summary["Anna"]["share"]) == (2, 4.0, 0.8)
    assert summary["Anna"]["emotions"] == pytest.approx({"angry": 0.5, "calm": 0.5})
    assert summary["Anna"]["change"] == pytest.approx({"angry": -0.5, "calm": 0.5})
    assert summary["Ben"] == {
        "pieces": 1, "seconds": 1.0, "share": 0.2, "emotions": {"angry": 0.25, "calm": 0.75}, "change": None,
    }  # fmt: skip
    assert summarise_speakers({"timeline": [piece(0, 1, 0.5)]}, LABELS) == {}
    uneven = {"timeline": [piece(0, 3, 1.0, "Anna"), piece(3, 4, 0.0, "Anna")]}  # halves of 2 s
    assert summarise_speakers(uneven, LABELS)["Anna"]["change"] == pytest.approx({"angry": -0.5, "calm": 0.5})


def shown(table) -> list[list[str]]:
    return [list(column.cells) for column in table.columns]


def test_tables_for_the_terminal_name_speakers_only_where_there_are_any():
    table = rows_table("time", [str(n) for n in range(5)], TALK["timeline"], False)
    assert [column.header for column in table.columns][:2] == ["time", "speaker"]
    assert shown(table)[1] == ["Anna", "Ben", "Ben", "Anna", "-"]
    assert [column.header for column in rows_table("time", ["0"], [piece(0, 1, 0.5)], False).columns][1] == "emotion"
    columns = shown(speakers_table(summarise_speakers(TALK, LABELS)))
    assert columns[:2] == [["Anna", "Ben"], ["80% (4.0 s)", "20% (1.0 s)"]]
    assert columns[3:] == [["angry 0.50, calm 0.50", "calm 0.75, angry 0.25"], ["angry -0.50", "-"]]


def test_the_picture_has_a_lane_for_each_speaker(tmp_path: Path):
    pytest.importorskip("matplotlib")
    svg = plot_timeline(TALK, LABELS, tmp_path / "t.svg", "talk").read_text()
    for text in ("Anna", "Ben", "nobody named", "angry", "calm"):
        assert f"<!-- {text} -->" in svg
    assert all(svg.count(colour) >= 2 for colour in COLOURS[:2])  # a span and the legend
    many = [piece(n, n + 1, 0.75, f"speaker {n}") for n in range(20)]
    svg = plot_timeline({"audio_seconds": 20.0, "timeline": many}, LABELS, tmp_path / "v.svg").read_text()
    assert [f"<!-- {name} -->" in svg for name in ("speaker 0", "speaker 10", "speaker 11", "others")] == [
        True, True, False, True,
    ]  # fmt: skip
    alone = {**TALK, "timeline": [one for one in TALK["timeline"] if one.get("speaker") == "Anna"]}
    assert "<!-- Anna -->" not in plot_timeline(alone, LABELS, tmp_path / "u.svg", "talk").read_text()


# ---- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


def test_predict_takes_speakers_by_channel_by_name_and_from_a_file(tmp_path: Path, checkpoint: Path):
    audio = tmp_path / "talk.wav"
    soundfile.write(audio, call(0.8), RATE, "FLOAT")
    (tmp_path / "talk.srt").write_text(
        "1\n00:00:00,000 --> 00:00:00,400\nAnna: oh no\n\n2\n00:00:00,400 --> 00:00:00,800\nBen: gone\n"
    )
    (tmp_path / "talk.rttm").write_text(
        "SPEAKER talk 1 0.0 0.5 <NA> <NA> Zoe <NA> <NA>\nSPEAKER talk 1 0.5 0.3 <NA> <NA> Max <NA> <NA>\n"
    )
    segments = ["--segments", tmp_path / "talk.srt"]
    cases = {
        "names": ([*segments, "--speakers", "by-name"], [("Anna", "oh no"), ("Ben", "gone")]),
        "turns": ([*segments, "--speakers", tmp_path / "talk.rttm"], [("Zoe", "Anna: oh no"), ("Max", "Ben: gone")]),
        "alone": (["--speakers", tmp_path / "talk.rttm"], [("Zoe", None), ("Max", None)]),
        "channels": (["--speakers", "by-channel"], [("channel 0", None), ("channel 1", None)]),
    }
    for name, (options, expected) in cases.items():
        output = tmp_path / f"{name}.json"
        status, out, err = drkf("predict", audio, *options, "--model", checkpoint, "--output", output)
        assert status == 0, err
        (result,) = json.loads(output.read_text())
        assert [(one["speaker"], one["text"]) for one in result["timeline"]] == expected
        assert list(result["speakers"]) == [speaker for speaker, _ in expected]
        assert all(speaker in out for speaker, _ in expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--speakers", "by-name"], "--speakers by-name reads the names before the words of --segments"),
        (["--speakers", "by-channel", "--speakers", "talk.rttm"], "by-channel is for all files: give it once"),
        (["--speakers", "none.rttm"], "no such file: none.rttm"),
        (["--speakers", "talk.wav", "--text", "a"], "give words with times, by --segments"),
        (["--speakers", "talk.wav", "--speakers", "talk.wav"], "--speakers is given 2 times for 1 files"),
    ],
)
def test_options_of_speakers_that_contradict_each_other_are_refused(
    tmp_path: Path, checkpoint: Path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    soundfile.write("talk.wav", noise(1.0), RATE)
    status, _, err = drkf("predict", "talk.wav", *options, "--model", checkpoint)
    assert (status, message in " ".join(err.split())) == (1, True), err
