"""Conversations in which each speaker is judged beside what else they say."""

import base64
import io
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from helpers.pipelines import RATE, assert_same, clip, noise, pipe_of

from modeling_drkf.extended_encoding_drkf import moments_of_the_others, shrunk, speaker_moments
from processing.errors_drkf import OptionError
from processing.handler import EndpointHandler
from processing.speaker_sums_drkf import ENOUGH_SEGMENTS, SpeakerSums

OPTIONS: dict[str, Any] = {"speech_statistics": True, "speech_pooling": 2, "standardize_states": True}
SOUND = noise(1.6) * np.repeat(np.random.default_rng(1).uniform(0.02, 1.0, 32), RATE // 20).astype(np.float32)
BEN = [0, 4, 8]  # as many others each as are too few
TALK = [
    {"start": 0.15 * n, "end": 0.15 * n + 0.06 + 0.01 * n, "speaker": "Ben" if n in BEN else "Anna", "text": "oh no"}
    for n in range(10)
]


@pytest.fixture(scope="module")
def pipe():
    return pipe_of(**OPTIONS)


def sound(segment: dict[str, Any]) -> dict[str, Any]:
    first, last = (round(segment[name] * RATE) for name in ("start", "end"))
    return {"array": SOUND[first:last], "sampling_rate": RATE}


def alone(pipe: Any, segment: dict[str, Any], others: list[dict[str, Any]]) -> dict[str, Any]:
    """The scores of a segment beside some others, by the option for clips."""
    known = {"speaker": [sound(other) for other in others]} if len(others) >= ENOUGH_SEGMENTS else {}
    scores = pipe({"audio": sound(segment), "text": "oh no"}, **known)["scores"]
    return {entry["label"]: entry["score"] for entry in scores}


def conversation(segments: Any = TALK) -> dict[str, Any]:
    return {"audio": {"array": SOUND, "sampling_rate": RATE}, "segments": segments}


def check(pipe: Any, timeline: list[dict[str, Any]], expected: list[list[dict[str, Any]]]) -> None:
    """Each piece is answered beside the expected other segments."""
    for n, (segment, piece, others) in enumerate(zip(TALK, timeline, expected, strict=True)):
        assert piece["standardised_by"] == ("speaker" if len(others) >= ENOUGH_SEGMENTS else "training")
        if n in (0, 7, 9):
            scores = {entry["label"]: entry["score"] for entry in piece["scores"]}
            assert scores == pytest.approx(alone(pipe, segment, others), abs=1e-5)


def test_a_segment_is_judged_beside_the_speakers_other_segments(pipe):
    timeline = pipe(conversation(), batch_size=4)["timeline"]
    assert_same(pipe(conversation())["timeline"], timeline)
    check(pipe, timeline, [[b for b in TALK if b["speaker"] == a["speaker"] and b is not a] for a in TALK])
    assert [n for n, piece in enumerate(timeline) if piece["standardised_by"] == "training"] == BEN
    plain = pipe(conversation(), speaker_statistics="off")["timeline"]
    moved = [abs(a["scores"][0]["score"] - b["scores"][0]["score"]) for a, b in zip(timeline, plain, strict=True)]
    assert max(moved) > 1e-2
    assert max(moved[n] for n in BEN) < 1e-6
    assert not any("standardised_by" in piece for piece in plain)


def test_before_is_what_was_said_before(pipe):
    timeline = pipe(conversation(), speaker_statistics="before", batch_size=4)["timeline"]
    assert_same(pipe(conversation(), speaker_statistics="before")["timeline"], timeline)
    check(pipe, timeline, [[b for b in TALK[:n] if b["speaker"] == a["speaker"]] for n, a in enumerate(TALK)])
    start = pipe(conversation(TALK[:7]), speaker_statistics="before", batch_size=3)["timeline"]
    assert_same(start, timeline[:7])


def test_a_recording_that_can_be_read_once_is_heard_twice(pipe, tmp_path: Path):
    expected, file = pipe(conversation()), io.BytesIO()
    soundfile.write(file, SOUND, RATE, "FLOAT", format="WAV")
    queue = tmp_path / "queue"
    os.mkfifo(queue)
    writer = threading.Thread(target=lambda: queue.write_bytes(file.getvalue()))
    writer.start()
    assert_same(pipe({"audio": str(queue), "segments": TALK}), expected)
    writer.join()
    file.seek(0)
    assert_same(pipe({"audio": file, "segments": TALK}), expected)


def test_channels_are_speakers_and_conversations_do_not_mix(pipe):
    both = {"array": np.stack([SOUND, noise(1.6, 7)], 1), "sampling_rate": RATE}
    call = pipe({"audio": both}, speakers="by-channel", chunk_length_s=0.2, batch_size=5)
    assert {piece["standardised_by"] for piece in call["timeline"]} == {"speaker"}
    own = [piece for piece in call["timeline"] if piece["speaker"] == "channel 0"]
    windows = [{"start": 0.2 * n, "end": 0.2 * (n + 1), "speaker": "Ben"} for n in range(8)]
    single = pipe(conversation(windows))["timeline"]
    assert_same([{**piece, "speaker": "Ben"} for piece in own], single)
    two = pipe([conversation(), conversation(windows), clip(0.3), {"text": "oh no"}], batch_size=7)
    assert_same(two[1]["timeline"], single)
    assert_same(two[0], pipe(conversation()))
    assert_same(two[2:], [pipe(clip(0.3)), pipe({"text": "oh no"})])


def test_what_cannot_be_read_is_no_part_of_what_is_normal(pipe):
    broken = [*TALK, {"start": 1.0, "end": 0.5, "speaker": "Anna"}, {"start": 9.0, "end": 9.5, "speaker": "Ben"}]
    timeline = pipe(conversation(broken), batch_size=4)["timeline"]
    good = [piece for piece in timeline if "error" not in piece]
    assert len(timeline) == len(good) + 2
    assert_same(good, pipe(conversation())["timeline"])


def test_given_clips_of_a_speaker_come_first_and_checkpoints_may_know_no_speakers(pipe):
    told = pipe(conversation(TALK[:2]), speaker=[sound(TALK[9])])["timeline"]
    assert not any("standardised_by" in piece for piece in told)
    ignorant = pipe_of()(conversation())["timeline"]
    assert not any("standardised_by" in piece for piece in ignorant)
    with pytest.raises(OptionError, match='speaker_statistics must be "others", "before" or "off", not \'after\''):
        pipe(conversation(), speaker_statistics="after")


def test_sums_are_the_moments_of_the_others():
    generator = np.random.default_rng(0)
    segments = generator.normal(300.0, 0.1, (9, 3, 4)).astype(np.float32)
    usual = np.stack([generator.normal(size=(3, 4)), generator.uniform(0.1, 1.0, (3, 4))])

    def moments(mean: np.ndarray, deviation: np.ndarray, clips: int) -> np.ndarray:
        return shrunk(torch.from_numpy(usual), torch.from_numpy(mean), torch.from_numpy(deviation), clips).numpy()

    sums = SpeakerSums(moments, least=8)
    assert sums.known("Anna") is None
    for number, segment in enumerate(segments):
        assert (sums.known("Anna") is None) == (number < 8)
        sums.add("Anna", segment)
    sums.add("Ben", segments[0] * 2)
    expected = moments_of_the_others(torch.from_numpy(segments), torch.from_numpy(usual))
    for segment, others in zip(segments, expected, strict=True):
        np.testing.assert_allclose(sums.known("Anna", own=segment), others, rtol=1e-5)
    whole = speaker_moments(torch.from_numpy(segments).double(), torch.from_numpy(usual))
    np.testing.assert_allclose(sums.known("Anna"), whole, rtol=1e-5)
    assert sums.known("Ben", own=segments[0] * 2) is None


def test_an_endpoint_answers_before_it_has_heard_the_end(pipe):
    handler, file = EndpointHandler.__new__(EndpointHandler), io.BytesIO()
    handler.pipeline = pipe
    soundfile.write(file, SOUND, RATE, "FLOAT", format="WAV")
    request = {"audio": base64.b64encode(file.getvalue()).decode(), "segments": TALK}
    assert_same(handler({"inputs": request}), pipe(conversation(), speaker_statistics="before"))
