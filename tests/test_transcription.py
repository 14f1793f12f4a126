"""Words by speech recognition, where none are given."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from helpers.pipelines import RATE, WORDS, assert_same, clip, noise, pipe_of
from helpers.recognisers import write_ctc_recogniser, write_whisper_recogniser
from transformers import AutomaticSpeechRecognitionPipeline, pipeline

from processing import MultimodalEmotionRecognitionPipeline
from processing.errors_drkf import FileError, InputError
from processing.recognition_options_drkf import transcribe


@pytest.fixture(scope="module")
def pipe() -> MultimodalEmotionRecognitionPipeline:
    return pipe_of()


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It listens at 8 kHz."""
    return write_ctc_recogniser(tmp_path_factory.mktemp("recogniser"))


def test_a_transcriber_fills_in_the_words_that_are_missing(pipe, recogniser):
    speech_recognition = pipeline("automatic-speech-recognition", model=str(recogniser), device=-1)
    assert isinstance(speech_recognition, AutomaticSpeechRecognitionPipeline)
    clips = [{"array": noise(0.5, seed), "sampling_rate": RATE} for seed in range(3)]
    heard = [speech_recognition(at_8_khz(one["array"]))["text"].strip() for one in clips]
    assert all(heard)
    assert len(set(heard)) == 3
    expected = [pipe({"audio": one, "text": text}) for one, text in zip(clips, heard, strict=True)]
    assert_same(pipe(clips, transcriber=speech_recognition, batch_size=3), expected)
    assert_same(pipe(clips, transcriber=str(recogniser)), expected)
    assert_same(pipe(clips, transcriber=lambda audio: speech_recognition(at_8_khz(audio["array"]))), expected)
    known = {"audio": clips[0], "text": WORDS}
    assert_same(pipe(known, transcriber=str(recogniser)), pipe(known))
    assert_same(pipe({"text": WORDS}, transcriber=str(recogniser)), pipe({"text": WORDS}))


def at_8_khz(samples: np.ndarray) -> dict[str, Any]:
    return {"array": soxr.resample(samples, RATE, 8_000), "sampling_rate": 8_000}


def test_whisper_hears_more_than_its_window_of_thirty_seconds(pipe, tmp_path):
    whisper = pipeline("automatic-speech-recognition", model=str(write_whisper_recogniser(tmp_path)))
    short, long = whisper(clip(1))["text"], whisper(clip(31), return_timestamps=True)["text"]
    assert min(len(short), len(long)) > 5
    assert pipe(clip(1), transcriber=str(tmp_path))["text"] == short
    assert transcribe(whisper, noise(31), RATE) == long


def test_what_a_transcriber_may_give(pipe):
    assert pipe(clip(0.2), transcriber=lambda audio: f" {len(audio['array'])} ")["text"] == "3200"
    assert pipe(clip(0.2), transcriber=lambda audio: "")["text"] is None
    assert pipe(clip(0.01), transcriber=lambda audio: str(len(audio["array"])))["text"] == "640"  # padded
    with pytest.raises(InputError, match="input 2: the transcriber gave list; expected a str"):
        pipe([{"text": "so"}, clip(0.2)], transcriber=lambda audio: ["so"])


@pytest.mark.parametrize("name", ["openai/whisper-tiny", "encoders/whisper"])
def test_a_transcriber_that_cannot_be_loaded_names_the_way_without_a_network(pipe, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileError, match=rf"'{name}' cannot be loaded .*[\s\S]*Without a network.*`make encoders`"):
        pipe(clip(0.2), transcriber=name)
