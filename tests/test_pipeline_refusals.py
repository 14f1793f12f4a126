"""What the pipeline refuses: options, inputs, pieces and weights; each is named, and costs no other."""

import io
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from helpers.pipelines import RATE, TASK, WORDS, assert_same, clip, noise, pipe_of
from helpers.tiny import tiny_model, tiny_processor
from transformers import pipeline

from processing import MultimodalEmotionRecognitionPipeline
from processing.errors_drkf import AudioError, FileError, InputError, OptionError


@pytest.fixture(scope="module")
def pipe() -> MultimodalEmotionRecognitionPipeline:
    return pipe_of()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"topk": 2},
            "unknown option topk; the options are batch_size, num_workers, top_k, transcriber, can_read, ",
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


BAD_INPUTS: list[tuple[Any, type[Exception], str]] = [
    ({"text": "\ud800"}, InputError, "the text holds halves of characters"),
    ({"audio": clip(0.1), "text": "\ud800"}, InputError, "the text holds halves of characters"),
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
