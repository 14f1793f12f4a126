"""The multimodal-emotion-recognition pipeline: its answers are the model's, however the inputs come."""

import functools
import http.server
import io
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
import torch
from datasets import Audio, Dataset
from helpers.recognisers import write_ctc_recogniser, write_whisper_recogniser
from helpers.tiny import MULTI_LABEL, perturb, tiny_model, tiny_processor
from huggingface_hub import constants
from transformers import AutomaticSpeechRecognitionPipeline, pipeline

from modeling_drkf import DRKFForEmotionClassification
from processing import DRKFProcessor, MultimodalEmotionRecognitionPipeline
from processing.audio_drkf import AudioError
from processing.errors_drkf import FileError, InputError, OptionError
from processing.transcription_drkf import transcribe

RATE = 16_000
TASK = "multimodal-emotion-recognition"
WORDS = "i am so happy"


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * RATE)).astype(np.float32)


def clip(seconds: float, seed: int = 0) -> dict[str, Any]:
    return {"array": noise(seconds, seed), "sampling_rate": RATE}


def model_of(**fields: Any) -> DRKFForEmotionClassification:
    return perturb(tiny_model(max_fusion_positions=2_400, **fields))


def pipe_of(options: dict[str, Any] | None = None, **fields: Any) -> MultimodalEmotionRecognitionPipeline:
    return MultimodalEmotionRecognitionPipeline(
        model=model_of(**fields), processor=tiny_processor(**(options or {})), device=-1
    )


@pytest.fixture(scope="module")
def pipe() -> MultimodalEmotionRecognitionPipeline:
    return pipe_of()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder written as training writes it, with a stereo clip at 8 kHz in it."""
    folder = tmp_path_factory.mktemp("checkpoint")
    model_of().save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    soundfile.write(folder / "clip.wav", np.stack([noise(1.0), noise(1.0, 1)], 1), RATE // 2, subtype="FLOAT")
    return folder


def assert_same(actual: Any, expected: Any, tolerance: float = 1e-6) -> None:
    """Equal answers; numbers up to a tolerance."""
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key, value in expected.items():
            assert_same(actual[key], value, tolerance)
    elif isinstance(expected, list):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same(one, other, tolerance)
    elif isinstance(expected, float):
        assert actual == pytest.approx(expected, abs=tolerance)
    else:
        assert actual == expected


# ---- answers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [{}, MULTI_LABEL, {"fusion": "cross"}, {"emotion_discrimination": False}], ids=str)
def test_an_answer_is_what_the_model_says(fields):
    fields = {"id2label": {0: "calm", 1: "cross", 2: "glad"}, **fields}
    model, answer = model_of(**fields), pipe_of(**fields)({"audio": clip(0.5), "text": WORDS})
    with torch.no_grad():
        inputs = tiny_processor()(audio=clip(0.5), text=WORDS, return_tensors="pt")
        output = model(**inputs, output_modality_attention=True)
    probabilities = output.logits.sigmoid() if "problem_type" in fields else output.logits.softmax(-1)
    scores = dict(zip(("calm", "cross", "glad"), probabilities[0].tolist(), strict=True))
    assert [score["label"] for score in answer["scores"]] == sorted(scores, key=lambda name: -scores[name])
    assert {score["label"]: score["score"] for score in answer["scores"]} == pytest.approx(scores, abs=1e-6)
    assert (answer["text"], answer["audio_seconds"], "warning" in answer) == (WORDS, 0.5, False)
    if output.consistency is None:
        assert answer["consistency"] is None
    else:
        assert answer["consistency"] == pytest.approx(output.consistency.item(), abs=1e-6)
    if output.modality_shares is None:
        assert (answer["modality_shares"], answer["dominant_modality"]) == (None, None)
    else:
        shares = dict(zip(("speech", "text"), output.modality_shares[0].tolist(), strict=True))
        assert answer["modality_shares"] == pytest.approx(shares, abs=1e-6)
        assert answer["dominant_modality"] == max(shares, key=shares.__getitem__)
    assert json.loads(json.dumps(answer)) == answer


@pytest.mark.parametrize("batch_size", [2, 3, 64])
def test_a_batch_answers_in_order_what_each_input_gets_alone(pipe, batch_size):
    inputs = [{"audio": clip(0.2 + 0.13 * (7 * i % 11), i), "text": " ".join(["so"] * (i % 5))} for i in range(11)]
    inputs += [{"text": WORDS}, clip(0.4), {"audio": clip(0.3), "segments": [{"start": 0, "end": 0.1, "text": "oh"}]}]
    alone = [pipe(one) for one in inputs]
    assert len({answer["scores"][0]["score"] for answer in alone if "scores" in answer}) == 13
    assert_same(pipe(inputs, batch_size=batch_size), alone)


@pytest.mark.parametrize("fusion", ["self", "cross"])
def test_embeddings_are_the_models_own_vectors(fusion):
    pipe = pipe_of(fusion=fusion)
    inputs = [{"audio": clip(0.5), "text": WORDS}, clip(0.3), {"text": WORDS}]
    answers = pipe(inputs, return_embeddings=True, batch_size=2)
    with torch.no_grad():
        output = pipe.model(**tiny_processor()(audio=clip(0.5), text=WORDS, return_tensors="pt"))
    fields = {"fused": output.pooler_output, "speech": output.speech_summary, "text": output.text_summary}
    for name, expected in fields.items():
        vector = answers[0]["embeddings"][name]
        assert (vector.dtype, vector.shape) == (np.float32, (expected.shape[1],))
        np.testing.assert_allclose(vector, expected[0], atol=1e-6)
    assert [[answer["embeddings"][half] is None for half in ("speech", "text")] for answer in answers] == [
        [False, False],
        [False, True],
        [True, False],
    ]
    parts = pipe(clip(0.6), chunk_length_s=0.3, return_embeddings=True)["timeline"]
    assert [part["embeddings"]["fused"].shape for part in parts] == [fields["fused"].shape[1:]] * 2
    assert "embeddings" not in pipe(inputs[0])
    prepared = pipe.forward(pipe.preprocess(inputs[0]))
    alone = pipe.postprocess(prepared, return_embeddings=True)["embeddings"]["fused"]
    np.testing.assert_allclose(alone, answers[0]["embeddings"]["fused"], atol=1e-6)


def test_top_k_lists_the_best(pipe):
    every = pipe({"audio": clip(0.3), "text": WORDS})["scores"]
    assert len(every) == 3
    assert pipe({"audio": clip(0.3), "text": WORDS}, top_k=2)["scores"] == every[:2]


def test_every_kind_of_audio_gives_the_same_answer(pipe, checkpoint):
    path, data = checkpoint / "clip.wav", (checkpoint / "clip.wav").read_bytes()
    samples, rate = soundfile.read(path)
    expected = pipe({"audio": path, "text": WORDS})
    rows = Dataset.from_dict({"audio": [str(path)] * 2, "text": [WORDS, ""], "label": [0, 1]})
    rows = rows.cast_column("audio", Audio(decode=False))
    audios = [
        str(path),
        data,
        io.BytesIO(data),
        {"path": None, "bytes": data},
        {"array": samples, "sampling_rate": rate},
    ]
    for audio in (*audios, {"array": torch.from_numpy(samples), "sampling_rate": rate}):
        assert_same(pipe({"audio": audio, "text": WORDS}), expected)
    from_rows = pipe(rows, batch_size=2)
    assert_same(next(from_rows), expected)
    alone = next(from_rows)
    for audio in (path, str(path), data, {"array": samples, "sampling_rate": rate}, {"audio": path, "text": "  "}):
        assert_same(pipe(audio), alone)


@pytest.mark.parametrize(("batch_size", "read_ahead"), [(1, 1), (2, 32)])
def test_a_generator_is_read_as_answers_are_asked_for(pipe, batch_size, read_ahead):
    given = []

    def clips():
        for i in range(40):
            given.append(i)
            yield clip(0.1, i)

    answers = pipe(clips(), batch_size=batch_size)
    assert given == []
    first = next(answers)
    assert len(given) == read_ahead
    assert_same([first, *answers], [pipe(clip(0.1, i)) for i in range(40)])


def test_a_missing_modality_is_an_empty_text_or_silence(pipe):
    model, processor = model_of(), tiny_processor()
    silence = {"array": np.zeros(processor.min_audio_samples), "sampling_rate": RATE}
    for given, audio, text in (({"audio": clip(0.4)}, clip(0.4), ""), ({"text": WORDS}, silence, WORDS)):
        answer = pipe(given)
        with torch.no_grad():
            logits = model(**processor(audio=audio, text=text, return_tensors="pt")).logits
        assert answer["scores"][0]["score"] == pytest.approx(logits.softmax(-1).max().item(), abs=1e-6)
        assert (answer["text"], answer["audio_seconds"]) == (given.get("text"), 0.4 if "audio" in given else None)
        assert answer["consistency"] is answer["modality_shares"] is answer["dominant_modality"] is None
        assert "for which this checkpoint was not trained" in answer["warning"]
    prepared = pipe_of(modality_dropout=0.2)
    assert "warning" not in prepared({"text": WORDS})
    assert "warning" not in prepared(clip(0.4))


def test_a_clip_beyond_the_limit_is_cut_and_says_so(caplog):
    answer = pipe_of({"max_audio_seconds": 0.5})({"audio": clip(0.8), "text": WORDS})
    assert "only the first 0.5 s were heard" in answer.pop("warning")
    beginning = {"array": noise(0.8)[: RATE // 2], "sampling_rate": RATE}
    assert_same(answer, pipe_of()({"audio": beginning, "text": WORDS}))
    assert not caplog.records
    strict = pipe_of({"max_audio_seconds": 0.5, "long_audio": "error"})
    with pytest.raises(AudioError, match=r"the input: 0\.80 s of audio, longer than the limit of 0\.5 s"):
        strict(clip(0.8))
    segments = [{"start": 0.1, "end": 0.7, "text": "so"}]
    (piece,) = strict({"audio": clip(0.8), "segments": segments})["timeline"]
    assert piece.pop("error").startswith("longer than the limit of 0.5 s; split it")
    assert piece == {"start": 0.1, "end": 0.7, "text": "so"}


def test_no_signal_is_said_beside_the_answer(pipe):
    sound = noise(0.6)
    opposed = {"array": np.stack([sound, -sound]), "sampling_rate": RATE}
    answer, plain = (pipe({"audio": audio, "text": WORDS}) for audio in (opposed, clip(0.6)))
    assert answer.pop("warning") == "the channels cancel each other: the loudest alone was heard"
    assert_same(answer, plain)
    silence = {"array": np.full(RATE // 2, 5e-5, dtype=np.float32), "sampling_rate": RATE}
    assert pipe({"audio": silence, "text": WORDS})["warning"].startswith("silence: the recording says nothing")
    half = {"array": np.concatenate([np.zeros(4000), sound[:4000]]), "sampling_rate": RATE}
    first, second = pipe({"audio": half}, chunk_length_s=0.25)["timeline"]
    assert "silence" in first["warning"]
    assert "silence" not in second["warning"]


def test_a_text_that_is_cut_is_said_beside_the_answer():
    pipe = pipe_of({"max_text_tokens": 6})
    cut, whole = pipe([{"audio": clip(0.2), "text": text} for text in (WORDS + " oh no" * 5, "so happy")])
    assert cut["warning"] == (
        "only the first 6 tokens of the text were read; segments with their words cover a long recording"
    )
    assert "warning" not in whole
    only_words = pipe({"text": "so " * 9})
    assert only_words["warning"].startswith("only the first 6 tokens of the text were read; segments")
    assert "no audio was given" in only_words["warning"]
    segments = [{"start": 0, "end": 0.1, "text": "so " * 9}, {"start": 0.1, "end": 0.2, "text": "so"}]
    pieces = pipe({"audio": clip(0.2), "segments": segments})["timeline"]
    assert ["warning" in piece for piece in pieces] == [True, False]


def test_ten_megabytes_of_text_are_answered_within_seconds(pipe):
    started = time.monotonic()
    answer = pipe({"audio": clip(0.2), "text": "oh no " * 1_700_000})
    assert "tokens of the text were read" in answer["warning"]
    blank = pipe({"audio": clip(0.2), "text": " " * 10_000_000 + "so"})
    assert blank["warning"].startswith("only the first 100000 characters of the text were read")
    assert time.monotonic() - started < 10


# ---- words by speech recognition -----------------------------------------------------------------------------------


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


# ---- long recordings -----------------------------------------------------------------------------------------------


def test_windows_are_answered_as_clips_of_their_own(pipe, tmp_path):
    soundfile.write(tmp_path / "long.wav", noise(1.4), RATE, subtype="FLOAT")
    answer = pipe(tmp_path / "long.wav", chunk_length_s=0.5, step_s=0.25, batch_size=2)
    places = [(0.0, 0.5), (0.25, 0.75), (0.5, 1.0), (0.75, 1.25), (0.9, 1.4)]
    expected = []
    for start, end in places:
        part = pipe({"array": noise(1.4)[round(start * RATE) : round(end * RATE)], "sampling_rate": RATE})
        del part["audio_seconds"]
        expected.append({"start": start, "end": end, **part})
    assert_same(answer, {"audio_seconds": 1.4, "timeline": expected})
    heard = pipe({"audio": clip(1.0), "text": WORDS}, chunk_length_s=0.5, transcriber=lambda audio: "so happy")
    assert [part["text"] for part in heard["timeline"]] == ["so happy"] * 2
    assert heard["timeline"][1]["consistency"] is not None


def test_segments_are_answered_with_their_words(pipe):
    segments = [{"start": 0.5, "end": 5.0, "text": "oh no"}, {"start": 0.1, "end": 0.4}]
    given = {"audio": clip(1.0), "segments": segments}
    answer = pipe(given)
    speech, both = (
        pipe({"audio": {"array": noise(1.0)[start:end], "sampling_rate": RATE}, "text": text})
        for start, end, text in ((1_600, 6_400, None), (8_000, RATE, "oh no"))
    )
    del speech["audio_seconds"], both["audio_seconds"]
    expected = [{"start": 0.1, "end": 0.4, **speech}, {"start": 0.5, "end": 1.0, **both}]
    assert_same(answer, {"audio_seconds": 1.0, "timeline": expected})
    assert_same(pipe(given, chunk_length_s=0.2), answer)
    words = pipe(given, transcriber=lambda audio: "so")["timeline"]
    assert [part["text"] for part in words] == ["so", "oh no"]


# ---- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"topk": 2},
            "unknown option topk; the options are batch_size, num_workers, top_k, transcriber, chunk_length_s, ",
        ),
        ({"batch_size": 0}, "batch_size must be a positive integer"),
        ({"top_k": 1.5}, "top_k must be a positive integer or None"),
        ({"chunk_length_s": -1}, "chunk_length_s must be a positive number"),
        ({"step_s": 1}, "step_s=1 needs a chunk_length_s"),
        ({"chunk_length_s": 1, "step_s": 2}, "at least as many seconds"),
        ({"chunk_length_s": 3}, "chunk_length_s=3 exceeds the longest clip that this checkpoint takes, 2 s"),
        ({"max_recording_s": "60"}, "max_recording_s must be a positive number"),
        ({"transcriber": 3}, "transcriber must be"),
        ({"return_embeddings": "yes"}, "return_embeddings must be True or False"),
        ({"errors": "ignore"}, 'errors must be "raise" or "return"'),
    ],
)
def test_options_are_checked(options, message):
    pipe = pipe_of({"max_audio_seconds": 2.0})
    with pytest.raises(OptionError) as caught:
        pipe(clip(0.1), **options)
    assert message in str(caught.value)


def test_options_of_the_pipeline_are_the_defaults_of_its_calls(checkpoint):
    pipe = pipeline(TASK, model=str(checkpoint), top_k=1, batch_size=4)
    assert len(pipe(clip(0.1))["scores"]) == 1
    assert len(pipe(clip(0.1), top_k=None)["scores"]) == 3
    assert pipe.recognizer.options.batch_size == 4
    with pytest.raises(OptionError, match="unknown option top_n"):
        pipeline(TASK, model=str(checkpoint), top_n=1)


BAD_INPUTS: list[tuple[Any, type[Exception], str]] = [
    ({}, InputError, "nothing to judge"),
    ({"audio": {"sampling_rate": RATE}}, AudioError, "a dict needs a value"),
    ({"audio": None, "text": None}, InputError, 'give "audio", "text" or both'),
    ({"text": " "}, InputError, 'give "audio", "text" or both'),
    ({"audio": 3}, AudioError, "an array of shape ()"),
    ({"audio": "gone.wav"}, AudioError, "(gone.wav): no such file"),
    ({"audio": clip(0.1), "text": 3}, InputError, '"text" must be a str or None, not int'),
    ({"audio": clip(0.1), "text": ["so"]}, InputError, '"text" must be a str or None, not list'),
    ({"audio": {"array": [0.1, float("nan")], "sampling_rate": RATE}}, AudioError, "NaN"),
    ({"audio": noise(0.1)}, AudioError, "needs its sampling rate"),
    ({"audio": b"no sound"}, AudioError, "cannot be decoded"),
    ({"segments": [{"start": 0, "end": 1}]}, InputError, "segments need the audio"),
    ({"audio": clip(0.1), "segments": [{"start": 0.2, "end": 1}]}, InputError, "segment 1 starts at 0.2 s"),
    (("clip.wav", "so"), InputError, "in place of a tuple"),
    (None, InputError, "nothing to judge"),
    ({"audio": clip(0.1), "txt": "so"}, InputError, "unknown key 'txt'; audio is under audio, speech"),
    ({"audio": clip(0.1), "speech": clip(0.2)}, InputError, "more than one recording, under audio, speech"),
    ({"text": "so", "transcript": "no"}, InputError, "more than one text, under text, transcript"),
    ({"audio": "http://127.0.0.1:9/clip.wav"}, AudioError, "cannot be downloaded"),
    ({"text": "oh \ud83d"}, InputError, "the text holds halves of characters"),
    ({"audio": clip(4.0), "text": "so"}, InputError, "max_fusion_positions"),
]


@pytest.mark.parametrize("key", ["speech", "wav", "file", "audio_path"])
@pytest.mark.parametrize("words", ["transcript", "sentence"])
def test_the_idioms_of_other_libraries_are_heard(pipe, key, words):
    heard = clip(0.3)
    expected = pipe({"audio": heard, "text": WORDS})
    assert_same(pipe({key: heard, words: WORDS}), expected)
    raw = {"raw": heard["array"], "sampling_rate": RATE}
    for one in (
        {**raw, "text": WORDS},
        {**heard, "text": WORDS, "label": 3, "speaker": "anna"},
        {"audio": raw, "text": WORDS},
        {"audio": heard["array"], "sampling_rate": RATE, "text": WORDS},
        {key: list(heard["array"]), "sampling_rate": RATE, "text": WORDS},
    ):
        assert_same(pipe(one), expected)
    assert_same(pipe(raw), pipe(heard))
    spoken = {"start": 0.0, "end": 0.3}
    timelines = [pipe({**raw, "segments": [spoken | {name: "so happy"}]}) for name in ("word", "text")]
    assert_same(timelines[0], timelines[1])
    assert timelines[0]["timeline"][0]["text"] == "so happy"


def test_preprocess_forward_and_postprocess_take_an_input_to_its_answer(pipe):
    for one, options in (({**clip(0.3), "text": WORDS}, {}), (clip(0.9), {"chunk_length_s": 0.4})):
        tensors = pipe.preprocess(one, **options)
        assert tensors["input_values"].shape[0] == len(tensors["units"]) == (3 if options else 1)
        assert_same(pipe.postprocess(pipe.forward(tensors)), pipe(one, **options))
    assert len(pipe.postprocess(pipe.forward(pipe.preprocess(clip(0.2))), top_k=2)["scores"]) == 2


def test_reading_ahead_in_a_thread_changes_no_answer(pipe):
    inputs = [{**clip(0.1 + 0.05 * index), "text": WORDS} for index in range(9)]
    expected = pipe(inputs)
    assert_same(pipe(inputs, num_workers=2, batch_size=2), expected)
    assert_same(list(pipe(iter(inputs), num_workers=1)), expected)
    assert_same(next(pipe(iter(inputs), num_workers=1)), expected[0])  # and the rest is never asked for
    with pytest.raises(InputError, match="input 2: unknown key 'x'"):
        pipe([inputs[0], {"x": 1}], num_workers=1)


def test_a_recording_at_a_web_address(pipe, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    soundfile.write(tmp_path / "clip.wav", clip(0.3)["array"], RATE, subtype="FLOAT")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/clip.wav"
        assert_same(pipe({"audio": address, "text": WORDS}), pipe({**clip(0.3), "text": WORDS}))
        assert_same(pipe(address), pipe(clip(0.3)))
        with pytest.raises(AudioError, match=r"the input: .*/gone.wav cannot be downloaded .*404"):
            pipe(address.replace("clip", "gone"))
        server.shutdown()


@pytest.mark.parametrize(("bad", "error", "message"), BAD_INPUTS)
def test_an_input_that_cannot_be_used_is_named(pipe, bad, error, message):
    with pytest.raises(error) as caught:
        pipe([clip(0.1), bad, clip(0.2)], batch_size=2)
    assert str(caught.value).startswith("input 2")
    assert message in str(caught.value)
    with pytest.raises(error, match=r"^the input"):
        pipe(bad)


def test_bad_inputs_are_reported_beside_the_good(pipe, tmp_path):
    (tmp_path / "notes.wav").write_text("no audio at all")
    bad = [{"audio": tmp_path / "notes.wav"}, *(bad for bad, _, _ in BAD_INPUTS)]
    inputs = [one for pair in zip([clip(0.1, i) for i in range(len(bad))], bad, strict=True) for one in pair]
    for batch_size in (1, 5):
        answers = pipe(inputs, errors="return", batch_size=batch_size)
        assert_same(answers[::2], pipe(inputs[::2]))
        for number, answer in enumerate(answers[1::2]):
            assert list(answer) == ["error"]
            assert answer["error"].startswith(f"input {2 * number + 2}")
    assert "notes.wav): cannot be decoded" in answers[1]["error"]


@pytest.mark.parametrize("head", ["emotion_classifier", "emotion_discriminator"])
def test_weights_that_are_no_numbers_are_refused_and_the_checkpoint_is_named(tmp_path, head):
    model = tiny_model()
    with torch.no_grad():
        getattr(model, head).output.bias[0] = float("nan")
    model.save_pretrained(tmp_path)
    tiny_processor().save_pretrained(tmp_path)
    pipe = pipeline(TASK, model=str(tmp_path))
    for options in ({}, {"errors": "return"}):
        with pytest.raises(FileError, match=f"{tmp_path.name} gives scores that are no numbers"):
            pipe([clip(0.1), clip(0.2)], **options)


def test_a_recording_over_the_callers_limit_is_refused_before_it_is_decoded(pipe):
    long = noise(1.0)
    long[-1] = np.nan  # decoding would tell
    data = io.BytesIO()
    soundfile.write(data, long, RATE, format="WAV", subtype="FLOAT")
    for options in ({}, {"chunk_length_s": 0.2}):
        with pytest.raises(AudioError, match=r"the input: 1\.00 s of audio, longer than the limit of 0\.9 s"):
            pipe(data.getvalue(), max_recording_s=0.9, **options)
    assert_same(pipe(clip(0.9), max_recording_s=0.9), pipe(clip(0.9)))


def test_words_for_the_whole_recording_cannot_be_given_to_windows(pipe):
    with pytest.raises(ValueError, match="which words belong to which window"):
        pipe({"audio": clip(1.0), "text": WORDS}, chunk_length_s=0.5)


@pytest.mark.parametrize("errors", ["raise", "return"])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_segment_that_cannot_be_answered_costs_no_other(pipe, errors, workers):
    segments = [
        {"start": 0, "end": 0.1, "text": "so"},
        {"start": 0.6, "end": 0.7},
        {"start": 0.2, "end": 0.2, "text": "oh no"},
        {"start": "x", "end": 0.2},
        {"start": 0.3, "end": 9.0},
    ]
    timeline = {"audio": clip(0.6), "segments": segments}
    first, second = pipe([timeline, {"text": "so"}], errors=errors, batch_size=2, num_workers=workers)
    good = pipe({**timeline, "segments": [segments[0], segments[4]]}, batch_size=2)
    assert_same([piece for piece in first["timeline"] if "scores" in piece], good["timeline"])
    assert [piece for piece in first["timeline"] if "error" in piece] == [
        {"start": None, "end": 0.2, "text": None}
        | {"error": "segment 4: \"start\" must be a number of seconds, not 'x'"},
        {"start": 0.2, "end": 0.2, "text": "oh no"}
        | {"error": "segment 3 (0.2 to 0.2 s) is empty or starts before the recording"},
        {"start": 0.6, "end": 0.7, "text": None}
        | {"error": "segment 2 starts at 0.6 s, after the end of the recording (0.60 s)"},
    ]
    assert second["text"] == "so"
    assert_same(pipe.postprocess(pipe.forward(pipe.preprocess(timeline))), first)
    with pytest.raises(InputError, match=r"segment 1 \(0.2 to 0.2 s\) is empty"):
        pipe({**timeline, "segments": segments[2:4]})


def test_a_piece_that_the_model_cannot_read_costs_no_other(pipe):
    segments = [{"start": 0, "end": 0.1, "text": "so"}, {"start": 0.1, "end": 3.9, "text": "so"}]
    whole, long = pipe({"audio": clip(4.0), "segments": segments}, batch_size=2)["timeline"]
    assert whole["scores"]
    assert "positions" in long["error"]


# ---- checkpoints ---------------------------------------------------------------------------------------------------

GIVEN = """
import numpy as np
def given(folder):
    noise = np.random.default_rng(3).uniform(-0.5, 0.5, 12_000)
    clip = {"array": noise, "sampling_rate": 16_000}
    return [
        {"audio": folder + "/clip.wav", "text": "i am so happy"}, {"audio": clip}, {"text": "oh no"},
        {"audio": clip, "segments": [{"start": 0.1, "end": 0.5, "text": "never mind"}, {"start": 0.4, "end": 0.7}]},
    ]
"""

WITHOUT = """
import importlib.machinery, sys
absent = set(sys.argv[1].split(","))
for finder in list(sys.meta_path):
    if getattr(finder, "__name__", "").startswith("_Editable"):
        sys.meta_path.remove(finder)
find_spec = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = classmethod(
    lambda cls, name, *rest: None if name.split(".")[0] in absent else find_spec(name, *rest)
)
sys.path.extend(sys.argv[4:])
"""

REMOTE = """
import json
from transformers import pipeline
folder = sys.argv[2]
pipe = pipeline("multimodal-emotion-recognition", model=folder, trust_remote_code=True, device=-1)
assert type(pipe).__module__.startswith("transformers_modules."), type(pipe).__module__
answers = pipe(given(folder), batch_size=2)
assert pipe("gone.wav", errors="return")["error"] == "the input (gone.wav): no such file; check the path " \\
    "(relative paths start at the working directory)"
pipe.save_pretrained(sys.argv[3])
again = pipeline(model=sys.argv[3], trust_remote_code=True, device=-1)
assert again(given(folder), batch_size=2) == answers
loaded = {name.split(".")[0] for name in sys.modules}
assert not absent & loaded, absent & loaded
print(json.dumps(answers))
"""

OURS = "modeling_drkf,processing,drkf_cli,train_drkf"


def run(script: str, tmp_path: Path, *arguments: object) -> Any:
    """What a script prints as JSON in an isolated interpreter, offline, with fresh caches."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HF_"))}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-I", "-W", "ignore", "-c", script, *map(str, arguments)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def given(folder: Path) -> list[Any]:
    scope: dict[str, Any] = {}
    exec(GIVEN, scope)
    return scope["given"](str(folder))


def test_the_code_in_a_checkpoint_answers_as_the_package_does(checkpoint, tmp_path):
    others = "datasets,pandas,sklearn,scipy,accelerate,evaluate"
    answers = run(WITHOUT + GIVEN + REMOTE, tmp_path, f"{OURS},{others}", checkpoint, tmp_path / "resaved")
    assert answers == pipeline(TASK, model=str(checkpoint), device=-1)(given(checkpoint), batch_size=2)


TORCH_FREE = """
import json
from processing.processing_drkf import DRKFProcessor
from processing.recognition_drkf import EmotionRecognizer
def infer(features):
    speech = (features["input_values"] * features["audio_attention_mask"]).std(-1)
    logits = np.stack([speech, features["attention_mask"].sum(-1)], -1)
    return {"logits": logits, "consistency": speech, "modality_shares": None}
folder = sys.argv[2]
processor = DRKFProcessor.from_pretrained(folder + "/processor")
answers = EmotionRecognizer(processor, infer, ["speech", "text"], batch_size=2)(given(folder)[1:], chunk_length_s=0.3)
"""


def test_the_core_runs_without_torch(checkpoint, tmp_path):
    tiny_processor().save_pretrained(checkpoint / "processor")  # no config.json beside it
    root = Path(__file__).resolve().parents[1]
    checks = "\nassert 'torch' not in sys.modules\nprint(json.dumps(answers))"
    answers = run(WITHOUT + GIVEN + TORCH_FREE + checks, tmp_path, "torch", checkpoint, "-", root)
    scope: dict[str, Any] = {"sys": SimpleNamespace(argv=["", "", str(checkpoint)])}
    exec(GIVEN + TORCH_FREE, scope)
    assert answers == scope["answers"]
    assert len(answers[0]["timeline"]) == 3


@pytest.mark.parametrize("options", [{}, {"trust_remote_code": True}])
def test_with_the_package_its_own_classes_are_used_and_no_trust_is_needed(checkpoint, options):
    pipe = pipeline(TASK, model=str(checkpoint), **options)
    assert type(pipe) is MultimodalEmotionRecognitionPipeline
    assert type(pipe.model) is DRKFForEmotionClassification
    assert type(pipe.processor) is DRKFProcessor


def test_a_loaded_checkpoint_saves_the_same_configuration(checkpoint, tmp_path):
    pipeline(TASK, model=str(checkpoint)).save_pretrained(tmp_path)
    for name, keys in (("config.json", ("auto_map", "custom_pipelines")), ("processor_config.json", ("auto_map",))):
        saved, before = (json.loads((folder / name).read_text()) for folder in (tmp_path, checkpoint))
        assert [saved[key] for key in keys] == [before[key] for key in keys]
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in checkpoint.glob("*.*")} - {"clip.wav"}
    assert "pipeline_drkf.py" in {file.name for file in tmp_path.iterdir()}
