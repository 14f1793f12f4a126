"""Long recordings are cut where nobody speaks: stretches of speech, the timeline of them, and the command."""

import io
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from helpers.cli import drkf
from helpers.pipelines import RATE, assert_same, pipe_of
from helpers.tiny import tiny_model, tiny_processor

from drkf_cli.checkpoint import EXAMPLE_CLIP, starter_folder
from processing.audio_drkf import AudioError
from processing.errors_drkf import DependencyError, InputError, OptionError
from processing.pauses import LITTLE_S, find_speech, join_short

pytest.importorskip("silero_vad", reason="cutting at pauses needs the extra `pauses`")
VOICE = soundfile.read(starter_folder() / EXAMPLE_CLIP, dtype="float32")[0]  # 2.1 s
SPOKEN = [(1.5, 3.6), (5.1, 7.2), (9.2, 9.7)]
LIMIT = 2.5


def quiet(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), dtype=np.float32)


TALK = np.concatenate([quiet(1.5), VOICE, quiet(1.5), 0.2 * VOICE, quiet(2), VOICE[: RATE // 2], quiet(3)])


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    soundfile.write(path, np.stack([TALK, 0.5 * TALK], 1), RATE)
    return path


@pytest.fixture(scope="module")
def pipe():
    return pipe_of()


def test_stretches_begin_and_end_with_the_voice(talk: Path):
    for source in (
        str(talk),
        {"array": TALK, "sampling_rate": RATE},
        {"array": np.repeat(TALK, 3), "sampling_rate": 48_000},
    ):
        stretches, seconds = find_speech(source)
        assert seconds == pytest.approx(len(TALK) / RATE, abs=1e-3)
        assert np.array(stretches) == pytest.approx(np.array(SPOKEN), abs=0.4)


def test_what_is_spoken_without_a_pause_is_cut_at_the_longest():
    stretches, seconds = find_speech({"array": np.tile(VOICE, 4), "sampling_rate": RATE}, longest_s=3.0)
    assert max(end - start for start, end in stretches) <= 3.0
    assert sum(end - start for start, end in stretches) > 0.85 * seconds
    assert all(start >= end for (_, end), (start, _) in pairwise(stretches))


def test_short_stretches_are_joined_with_what_is_near():
    assert join_short([(0, 3), (3.5, 4), (7, 9)]) == [(0, 4), (7, 9)]
    assert join_short([(0, 0.5), (1, 3), (3.6, 5)]) == [(0, 3), (3.6, 5)]
    assert join_short([(0, 3), (4.5, 5), (6.5, 9)]) == [(0, 3), (4.5, 5), (6.5, 9)]
    assert join_short([(0, 3), (3.5, 4)], longest_s=3.9) == [(0, 3), (3.5, 4)]
    assert join_short([]) == []


@pytest.mark.parametrize("sound", [quiet(1.0), 0.01 * np.random.default_rng(0).standard_normal(2 * RATE)])
def test_nobody_speaks_in_silence_and_noise(pipe, sound: np.ndarray):
    audio = {"array": sound, "sampling_rate": RATE}
    assert find_speech(audio) == ([], len(sound) / RATE)
    found = pipe({"audio": audio}, pauses=True)
    (piece,) = found["timeline"]
    assert (piece["start"], piece["end"], piece["scores"]) == (0.0, found["audio_seconds"], [])
    assert piece["warning"] == "nobody speaks in the recording; there is neither voice nor words: no emotion is told"


def test_threads_and_other_recordings_are_left_alone(talk: Path):
    before = torch.get_num_threads()
    first = find_speech(str(talk))
    find_speech({"array": VOICE, "sampling_rate": RATE})
    assert find_speech(str(talk)) == first
    assert torch.get_num_threads() == before
    with pytest.raises(AudioError, match=r"talk \(.*talk\.wav\): 12\.70 s of audio, longer than the limit of 5 s"):
        find_speech(str(talk), name="talk", max_seconds=5.0)


def test_the_timeline_is_that_of_what_is_spoken(pipe, talk: Path):
    found = pipe(str(talk), pauses=True, chunk_length_s=LIMIT, batch_size=2)
    assert found["audio_seconds"] == pytest.approx(len(TALK) / RATE)
    times = [(piece["start"], piece["end"]) for piece in found["timeline"]]
    assert np.array(times) == pytest.approx(np.array(SPOKEN), abs=0.4)
    little = [f"less than {LITTLE_S:g} s is little to judge by" in piece["warning"] for piece in found["timeline"]]
    assert little == [False, False, True]
    segments = [{"start": start, "end": end} for start, end in times]
    expected = pipe({"audio": str(talk), "segments": segments})["timeline"]
    for piece, same in zip(found["timeline"], expected, strict=True):
        assert_same(piece["scores"], same["scores"])
    with talk.open("rb") as file:  # which is read once
        again = pipe({"audio": io.BytesIO(file.read())}, pauses=True, chunk_length_s=LIMIT)
    assert_same(again, found)


def test_words_of_pieces_are_recognised_and_loose_ones_refused(pipe, talk: Path):
    heard: list[float] = []

    def transcriber(audio: dict[str, Any]) -> str:
        heard.append(len(audio["array"]) / RATE)
        return "so happy"

    found = pipe(str(talk), pauses=True, transcriber=transcriber)
    assert [piece["text"] for piece in found["timeline"]] == ["so happy"] * 3
    assert heard == pytest.approx([piece["end"] - piece["start"] for piece in found["timeline"]], abs=1e-3)
    with pytest.raises(InputError, match="the text does not say which words belong to which window"):
        pipe({"audio": str(talk), "text": "so happy"}, pauses=True)
    with pytest.raises(OptionError, match="step_s is for windows, and pauses=True cuts at pauses"):
        pipe(str(talk), pauses=True, chunk_length_s=2.0, step_s=1.0)
    segments = [{"start": 0.0, "end": 1.0, "text": "so"}]
    (piece,) = pipe({"audio": str(talk), "segments": segments}, pauses=True)["timeline"]
    assert (piece["start"], piece["end"]) == (0.0, 1.0)


def test_without_the_extra_the_message_names_it(pipe, talk: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "silero_vad", None)
    with pytest.raises(DependencyError, match=r"cutting at pauses needs silero-vad: pip install 'drkf\[pauses\]'"):
        pipe(str(talk), pauses=True)


# ---- the command --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_model(max_fusion_positions=2400).save_pretrained(folder)
    tiny_processor(max_audio_seconds=LIMIT).save_pretrained(folder)
    return folder


def starts(out: str) -> list[float]:
    return [piece["start"] for piece in json.loads(out)["timeline"]]


def test_one_file_that_is_too_long_is_cut_at_its_pauses(
    talk: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    command = ("predict", talk, "--model", checkpoint, "--json")
    status, out, err = drkf(*command)
    assert status == 0, err
    assert "lasts 12.7 s, longer than one answer covers (2.5 s): it is cut at its pauses (--windows" in err
    assert starts(out) == pytest.approx([start for start, _ in SPOKEN], abs=0.4)
    subtitles = tmp_path / "talk.srt"
    asked = drkf(*command, "--pauses", "--output", subtitles)
    assert asked[:2] == (0, out)
    assert "it is cut at its pauses" not in asked[2]
    assert subtitles.read_text().count(" --> ") == 3
    status, out, _ = drkf(*command, "--windows", "--chunk-length-s", 2)
    assert (status, starts(out)[:3]) == (0, [0.0, 2.0, 4.0])
    monkeypatch.setitem(sys.modules, "silero_vad", None)
    status, out, err = drkf(*command)
    assert (status, starts(out)[:2]) == (0, [0.0, 2.5])
    assert "into windows of 2.5 s (at its pauses with pip install 'drkf[pauses]')" in err
    status, _, err = drkf(*command, "--pauses")
    assert status == 1
    assert "cutting at pauses needs silero-vad: pip install 'drkf[pauses]'" in err


def test_segments_and_texts_are_not_cut_at_pauses(talk: Path, checkpoint: Path, tmp_path: Path):
    (tmp_path / "talk.srt").write_text("1\n00:00:01,500 --> 00:00:03,600\nso happy\n")
    command = ("predict", talk, "--model", checkpoint)
    status, _, err = drkf(*command, "--pauses", "--segments", tmp_path / "talk.srt")
    assert status == 1
    assert "--pauses is for recordings without --segments" in err
    status, out, err = drkf(*command, "--text", "so happy", "--json")
    assert (status, "scores" in json.loads(out)) == (0, True)
    assert "only the first 2.5 s were read" in err
    status, _, err = drkf(*command, "--text", "so happy", "--pauses")
    assert status == 1
    assert "the text does not say which words belong to which window" in err
