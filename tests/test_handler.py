"""The handler of Inference Endpoints: the pipeline's answers, bounds on all that a client chooses, fuzz tests."""

import base64
import importlib.util
import io
import json
import os
import random
import struct
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import hypothesis.strategies as st
import numpy as np
import psutil
import pytest
import soundfile
from helpers.bombs import silent_opus
from helpers.tiny import tiny_model, tiny_processor
from hypothesis import HealthCheck, example, given, settings

RATE = 16_000
FORMATS = {"wav": "WAV", "flac": "FLAC", "ogg": "OGG", "mp3": "MP3"}
MEMORY_LIMIT = 400 * 2**20
KEYS = {"text", "audio_seconds", "scores", "consistency", "dominant_modality", "modality_shares", "warning"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("endpoint")
    tiny_model(max_fusion_positions=600).save_pretrained(path)
    tiny_processor(max_audio_seconds=0.6).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def handler(folder: Path) -> Any:
    """As an endpoint does: the class of the file `handler.py` at the root of the saved folder."""
    spec = importlib.util.spec_from_file_location("handler", folder / "handler.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.EndpointHandler(str(folder))


def tone(seconds: float = 0.4, rate: int = RATE, channels: int = 1) -> np.ndarray:
    time = np.arange(int(seconds * rate)) / rate
    return np.repeat(0.3 * np.sin(2 * np.pi * 300 * time)[:, None], channels, axis=1)


def encoded(kind: str = "wav", seconds: float = 0.4, rate: int = RATE, channels: int = 1, **options: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, tone(seconds, rate, channels), rate, format=FORMATS[kind], **options)
    return file.getvalue()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_the_folder_says_what_an_endpoint_must_install(folder: Path):
    lines = (folder / "requirements.txt").read_text().splitlines()
    assert [line.partition(">")[0] for line in lines] == ["torch", "transformers", "soundfile", "soxr"]


@pytest.mark.parametrize("kind", FORMATS)
def test_answers_are_the_pipelines(handler: Any, kind: str):
    data = encoded(kind)
    expected = handler.pipeline({"audio": data, "text": "so happy"}, top_k=2)
    request = {"inputs": {"audio": b64(data), "text": "so happy"}, "parameters": {"top_k": 2}}
    assert handler(json.loads(json.dumps(request))) == expected
    assert handler({"inputs": data}) == handler.pipeline({"audio": data})
    assert handler({"inputs": {"audio": "data:audio/wav;base64," + b64(data)}}) == handler.pipeline({"audio": data})
    assert handler({"inputs": {"audio": base64.encodebytes(data).decode()}}) == handler.pipeline({"audio": data})
    assert handler({"inputs": {"text": "so happy"}}) == handler.pipeline({"text": "so happy"})


def test_windows_and_segments_are_answered_by_a_timeline(handler: Any):
    data = encoded(seconds=2.5)
    answer = handler({"inputs": {"audio": b64(data), "segments": [{"start": 0.5, "end": 1.0, "text": "oh no"}]}})
    assert [(piece["start"], piece["end"], piece["text"]) for piece in answer["timeline"]] == [(0.5, 1.0, "oh no")]


def test_a_bad_request_in_a_list_leaves_the_others(handler: Any):
    good = {"audio": b64(encoded()), "text": "happy"}
    answers = handler({"inputs": [good, {"audio": b64(b"hello there")}, 7, good]})
    assert answers[0] == answers[3] == handler({"inputs": good})
    assert [list(answer) for answer in answers[1:3]] == [["error"], ["error"]]


def nan_floats() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.full(4000, np.nan, dtype=np.float32), RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()


def lying_wav(frames: int = 0x7FFFFF00 // 2) -> bytes:
    """A header that announces hours before a little audio."""
    body = encoded()[44:]
    size = frames * 2
    sizes = (16, 1, 1, RATE, 2 * RATE, 2, 16)
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", size, b"WAVE", b"fmt ", *sizes, b"data", size)
    return head + body


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"audio": "/etc/passwd"}, "no base64"),
        ({"audio": "https://example.org/a.wav"}, "no base64"),
        ({"audio": {"path": "/etc/passwd"}}, "base64 of"),
        ({"audio": ["/etc/passwd"]}, "base64 of"),
        ({"audio": ""}, "is empty"),
        (b"", "is empty"),
        ("/etc/passwd", "a request is an object"),
        ({"audio": b64(b"I am a text that is named .wav")}, "cannot be decoded"),
        ({"audio": b64(encoded()[:30])}, "cannot be decoded"),
        ({"audio": b64(nan_floats())}, "NaN"),
        ({"audio": b64(lying_wav(10**7))}, "of audio"),
        ({"text": "a" * 10_001}, "longer than 10000 characters"),
        ({"audio": b64(encoded()), "segments": [{"start": 0, "end": 1, "word": "a" * 10_001}]}, "longer than 10000"),
        ({"text": ["a"]}, "is a string"),
        ({"text": ""}, "nothing to judge"),
        ({}, "nothing to judge"),
        ({"file": "x", "text": "hm"}, "unknown field file"),
        ([], "holds 0 requests"),
        ([{"text": "a"}] * 33, "holds 33 requests"),
        ({"audio": b64(encoded()), "segments": [{"start": 0, "end": 1e9}]}, "more than 600 s"),
        ({"audio": b64(encoded()), "segments": [{"start": 0, "end": "1"}]}, "start"),
        ({"audio": b64(encoded()), "segments": [{"start": 0.5, "end": 10**400}]}, "start"),
        ({"audio": b64(encoded()), "segments": [{"start": 0.0, "end": 0.1}] * 1001}, "1 to 1000"),
    ],
)
def test_what_a_client_must_not_send_is_told(handler: Any, inputs: Any, message: str):
    with pytest.raises(ValueError, match=message):
        handler({"inputs": inputs})


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"transcriber": "openai/whisper-tiny"}, "unknown parameter transcriber"),
        ({"batch_size": 10**9}, "unknown parameter batch_size"),
        ({"chunk_length_s": 1e-9}, "windows last a second or more"),
        ({"chunk_length_s": 8, "step_s": 1}, "at most 4 of them overlap"),
        ({"chunk_length_s": float("nan")}, "chunk_length_s is a number"),
        ({"chunk_length_s": 10**400}, "chunk_length_s is a number"),
        ({"top_k": -1}, "top_k must be"),
        ({"top_k": "all"}, "top_k must be"),
        ([1], "is an object"),
    ],
)
def test_parameters_are_bounded(handler: Any, parameters: Any, message: str):
    with pytest.raises(ValueError, match=message):
        handler({"inputs": {"text": "hm"}, "parameters": parameters})


def test_a_message_does_not_repeat_what_a_client_sent(handler: Any):
    long = "a" * 100_000
    for request in (
        {"inputs": {"text": "hm"}, "parameters": {"top_k": long}},
        {"inputs": {"text": "hm"}, "parameters": {"chunk_length_s": long}},
        {"inputs": {"text": "hm"}, "parameters": {long: 1}},
        {"inputs": {"audio": long + "ü"}},
        {"inputs": {long: "hm"}},
    ):
        with pytest.raises(ValueError, match=r".") as caught:
            handler(request)
        assert len(str(caught.value)) <= 500


def test_too_many_bytes_are_refused_before_they_are_decoded(handler: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(handler), "max_audio_bytes", 20_000)
    with pytest.raises(ValueError, match="larger than"):
        handler({"inputs": {"audio": "A" * 30_000}})
    with pytest.raises(ValueError, match="larger than"):
        handler({"inputs": bytes(20_001)})


def test_a_decompression_bomb_is_stopped_by_its_header(handler: Any):
    bomb = io.BytesIO()
    with soundfile.SoundFile(bomb, "w", 8000, 1, format="FLAC") as file:
        for _ in range(75):
            file.write(np.zeros(80_000, dtype=np.float32))
    assert len(bomb.getvalue()) < 100_000
    before = psutil.Process().memory_info().rss
    with pytest.raises(ValueError, match=r"750.00 s of audio, longer than the limit of 600 s"):
        handler({"inputs": bomb.getvalue()})
    assert psutil.Process().memory_info().rss - before < 50 * 2**20


def wide_flac() -> bytes:
    bomb = io.BytesIO()
    with soundfile.SoundFile(bomb, "w", 192_000, 8, format="FLAC") as file:
        for _ in range(40):
            file.write(np.zeros((192_000, 8), dtype=np.float32))
    return bomb.getvalue()


@pytest.mark.parametrize(
    ("make", "described"),
    [
        (wide_flac, r"40\.00 s of 8 channels at 192000 Hz, longer than the limit of 37\.5 s"),
        (partial(silent_opus, 8, pages=19), r"570\.00 s of 8 channels at 48000 Hz, longer than the limit of 150 s"),
        (partial(silent_opus, 64, pages=1), "64 channels, more than 8; convert it to mono"),
        (partial(silent_opus, 255, pages=1), "255 channels, more than 8; convert it to mono"),
    ],
)
def test_a_bomb_of_channels_is_refused_by_its_header(handler: Any, make: Callable[[], bytes], described: str):
    with pytest.raises(ValueError, match=described):
        handler({"inputs": make()})


def test_a_request_has_a_deadline(handler: Any, monkeypatch: pytest.MonkeyPatch):
    good = {"audio": b64(encoded())}
    monkeypatch.setattr(type(handler), "max_answer_seconds", -1.0)
    with pytest.raises(ValueError, match=r"no answer within -1 s; send less at once"):
        handler({"inputs": good})
    monkeypatch.setattr(type(handler), "max_answer_seconds", 2.0)
    forward = handler.pipeline.model.forward

    def slow(*arguments: Any, **options: Any) -> Any:
        time.sleep(2.1)
        return forward(*arguments, **options)

    monkeypatch.setattr(handler.pipeline.model, "forward", slow)
    answers = handler({"inputs": [{"text": word} for word in ("so", "happy", "oh")]})
    assert [list(answer) == ["error"] for answer in answers] == [False, True, True]
    assert "no answer within 2 s" in answers[2]["error"]
    assert handler.pipeline({"text": "so"})["scores"]


def test_a_body_is_bounded_in_all_that_it_holds(handler: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(handler), "max_body_bytes", 2**20)
    many = [{"audio": "A" * 50_000} for _ in range(32)]
    for inputs in (many, b"0" * 2**20, {"text": "a", "segments": [[]] * 2**20}, {"a" * 2**20: None}):
        with pytest.raises(ValueError, match=r'"inputs" are larger than 1 MiB'):
            handler({"inputs": inputs})
    nested: Any = "x"
    for _ in range(5000):
        nested = [nested]
    with pytest.raises(ValueError, match=r'"text" is a string'):
        handler({"inputs": {"text": nested}})


def test_many_channels_at_a_high_rate_are_answered(handler: Any):
    loud = encoded("flac", seconds=0.5, rate=192_000, channels=8)
    plain = encoded("wav", seconds=0.5)
    scores = [{s["label"]: s["score"] for s in handler({"inputs": d})["scores"]} for d in (loud, plain)]
    assert scores[0] == pytest.approx(scores[1], abs=0.02)


def check_served(handler: Any, data: Any) -> bool:
    """A refusal that is fit for a client (False), or a whole answer (True); nothing else."""
    try:
        answer = handler(data)
    except ValueError as error:
        answer = {"error": str(error)}
    for part in answer if isinstance(answer, list) else [answer]:
        if list(part) == ["error"]:
            assert 0 < len(part["error"]) < 1000
        elif "timeline" in part:
            assert all("error" in piece or len(piece["scores"]) in (0, 3) for piece in part["timeline"])
        else:
            assert KEYS >= part.keys() >= KEYS - {"warning"}
            is_told = "no emotion is told" not in part.get("warning", "")
            assert sum(score["score"] for score in part["scores"]) == pytest.approx(float(is_told))
    json.dumps(answer)
    return answer != {"error": ANY}


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A real file with bytes changed, cut out, doubled, or cut off; the header twice as often as the rest."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not out:
            break
        place = rng.randrange(min(len(out), 128)) if rng.random() < 0.5 else rng.randrange(len(out))
        kind = rng.randrange(5)
        if kind == 0:
            out[place] = rng.randrange(256)
        elif kind == 1:
            out[place : place + 4] = rng.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", rng.randbytes(4)])
        elif kind == 2:
            del out[place : place + rng.randint(1, 64)]
        elif kind == 3:
            out[place:place] = out[place : place + rng.randint(1, 64)]
        else:
            del out[place + rng.randint(0, len(out)) :]
    return bytes(out)


def random_json(rng: random.Random, depth: int = 3) -> Any:
    kind = rng.randrange(9 if depth else 7)
    if kind == 7:
        return [random_json(rng, depth - 1) for _ in range(rng.randrange(4))]
    if kind == 8:
        keys = ["audio", "text", "segments", "start", "end", "path", "\ud800", ""]
        return {rng.choice(keys): random_json(rng, depth - 1) for _ in range(rng.randrange(4))}
    numbers = [0, -1, 1e308, float("nan"), 10**400]
    texts = ["", "happy", "\0" * 50, "/etc/passwd", "UklGRg=="]
    return [None, True, rng.choice(numbers), rng.choice(texts), rng.randbytes(20), rng.random(), rng.randrange(99)][
        kind
    ]


@pytest.mark.slow
def test_ten_thousand_requests_are_served_in_bounded_time_and_memory(handler: Any):
    rng = random.Random(1)
    originals = [encoded(kind) for kind in FORMATS] + [encoded("flac", rate=192_000, channels=8)]
    worst, start = 0.0, 0
    for number in range(10_000):
        data = mutated(rng.choice(originals), rng) if rng.random() < 0.5 else random_json(rng)
        segments = [{"start": random_json(rng, 0), "end": rng.random(), "text": random_json(rng, 1)}]
        inputs = rng.choice(
            [data, {"audio": data}, [{"text": data}, data], {"audio": originals[0], "segments": segments}]
        )
        parameters = {"top_k": rng.choice([3, None, -1, "all", 1e308, [1]])} if rng.random() < 0.1 else {}
        began = time.process_time()  # whatever else the machine does
        check_served(handler, {"inputs": inputs, "parameters": parameters})
        worst = max(worst, time.process_time() - began)
        if number == 1000:
            start = psutil.Process().memory_info().rss
    growth = psutil.Process().memory_info().rss - start
    print(f"worst {worst:.2f} s of CPU, growth {growth / 2**20:.0f} MiB")
    assert worst < 3
    assert growth < 100 * 2**20


def test_two_thousand_mutated_files_are_served_in_bounded_memory(handler: Any):
    rng = random.Random(0)
    originals = [encoded(kind) for kind in FORMATS]
    originals += [
        encoded("wav", subtype="FLOAT"),
        encoded("wav", rate=44_100, channels=2),
        encoded("flac", rate=96_000),
    ]
    good = {"inputs": {"audio": b64(originals[0]), "text": "happy"}}
    expected = handler(good)
    start = psutil.Process(os.getpid()).memory_info().rss
    served = []
    for number in range(2100):
        data = mutated(rng.choice(originals), rng)
        request = data if rng.random() < 0.5 else {"audio": b64(data), "text": "hm"}
        served.append(check_served(handler, {"inputs": request}))
        if number % 300 == 0:
            assert handler(good) == expected
    assert min(served.count(True), served.count(False)) > 300  # both sides of the line are tried
    assert psutil.Process(os.getpid()).memory_info().rss - start < MEMORY_LIMIT


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | st.binary(max_size=80),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)
requests = st.fixed_dictionaries(
    {}, optional={"audio": anything, "text": anything, "segments": anything, "x": anything}
)
parameters = st.fixed_dictionaries({}, optional={"top_k": anything, "chunk_length_s": anything, "step_s": anything})


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=anything
    | st.fixed_dictionaries({"inputs": requests | st.lists(requests, max_size=3) | anything})
    | st.fixed_dictionaries({"inputs": requests, "parameters": parameters})
)
@example(data={"inputs": {"text": "\ud800 lone surrogate"}})
@example(data={"inputs": {"text": "\0" * 100}})
@example(data={"inputs": {"text": "🙂" * 9999}})
def test_any_json_is_answered_or_refused(handler: Any, data: Any):
    check_served(handler, data)
