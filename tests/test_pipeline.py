"""The multimodal-emotion-recognition pipeline: its answers are the model's, however the inputs come."""

import functools
import http.server
import io
import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from datasets import Audio, Dataset
from helpers.pipelines import RATE, TASK, WORDS, assert_same, clip, model_of, noise, pipe_of, write_pipeline
from helpers.tiny import MULTI_LABEL, tiny_processor
from huggingface_hub import constants
from transformers import pipeline

from processing import MultimodalEmotionRecognitionPipeline
from processing.errors_drkf import AudioError, InputError, OptionError


@pytest.fixture(scope="module")
def pipe() -> MultimodalEmotionRecognitionPipeline:
    return pipe_of()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pipeline(tmp_path_factory.mktemp("checkpoint"))


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
    assert "only the first 0.5 s were read" in answer.pop("warning")
    beginning = {"array": noise(0.8)[: RATE // 2], "sampling_rate": RATE}
    assert_same(answer, pipe_of()({"audio": beginning, "text": WORDS}))
    assert not caplog.records
    strict = pipe_of({"max_audio_seconds": 0.5, "long_audio": "error"})
    with pytest.raises(AudioError, match=r"the input: 0\.80 s of audio, longer than the limit of 0\.50 s; split it"):
        strict(clip(0.8))
    segments = [{"start": 0.1, "end": 0.7, "text": "so"}]
    (piece,) = strict({"audio": clip(0.8), "segments": segments})["timeline"]
    assert piece.pop("error").startswith("0.60 s of audio, longer than the limit of 0.50 s; split it")
    assert piece == {"start": 0.1, "end": 0.7, "text": "so"}


def test_no_signal_is_said_beside_the_answer(pipe):
    sound = noise(0.6)
    opposed = {"array": np.stack([sound, -sound]), "sampling_rate": RATE}
    answer, plain = (pipe({"audio": audio, "text": WORDS}) for audio in (opposed, clip(0.6)))
    assert answer.pop("warning") == "the channels cancel each other: the loudest alone was read"
    assert_same(answer, plain)


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


def test_options_of_the_pipeline_are_the_defaults_of_its_calls(checkpoint):
    pipe = pipeline(TASK, model=str(checkpoint), top_k=1, batch_size=4)
    assert len(pipe(clip(0.1))["scores"]) == 1
    assert len(pipe(clip(0.1), top_k=None)["scores"]) == 3
    assert pipe.recognizer.options.batch_size == 4
    with pytest.raises(OptionError, match="unknown option top_n"):
        pipeline(TASK, model=str(checkpoint), top_n=1)


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
