"""Silence does not count: where something sounds, what a processor reads of a clip, and what is answered."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.pipelines import RATE, WORDS, assert_same, noise, pipe_of
from helpers.tiny import tiny_processor
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

from drkf_cli.answer_tables import rows_table
from drkf_cli.evaluate import _probabilities
from drkf_cli.web.recordings import render_timeline
from processing.answers import result_rows, timeline_srt
from processing.errors_drkf import InputError, OptionError
from processing.explanation import explain, over_clip
from processing.figures.timeline import plot_timeline
from processing.processing_drkf import DRKFProcessor
from processing.silence_drkf import sounding_stretches
from processing.speakers import summarise_speakers

MARGIN = 0.15


def quiet(seconds: float, amplitude: float = 0.0) -> np.ndarray:
    return amplitude * noise(seconds, seed=9) if amplitude else np.zeros(round(seconds * RATE), dtype=np.float32)


def joined(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts).astype(np.float32)


def seconds(waveform: np.ndarray) -> list[list[float]]:
    return (sounding_stretches(waveform, RATE) / RATE).tolist()


VOICE = joined(quiet(0.2), 0.3 * noise(0.8), quiet(0.2))


def spoken(pauses: list[float]) -> np.ndarray:
    return joined(*(part for pause in pauses for part in (0.3 * noise(0.5), quiet(pause))))


def test_what_sounds_has_a_margin_and_long_pauses_are_cut_to_both_margins():
    assert seconds(spoken([0.2, 0.25, 2.0])) == [pytest.approx([0, 1.95 + MARGIN], abs=0.021)]
    assert seconds(spoken([0.2, 1.0, 2.0])) == [
        pytest.approx([0, 1.2 + MARGIN], abs=0.021),
        pytest.approx([2.2 - MARGIN, 2.7 + MARGIN], abs=0.021),
    ]


@pytest.mark.parametrize("amplitude", [0.0, 1e-5, 5e-4])
def test_silence_around_a_voice_changes_nothing(amplitude: float):
    (alone,) = sounding_stretches(VOICE, RATE)
    (within,) = sounding_stretches(joined(quiet(1.5, amplitude), VOICE, quiet(1.5, amplitude)), RATE)
    assert (within - round(1.5 * RATE)).tolist() == alone.tolist()


@pytest.mark.parametrize("gain", [0.1, 0.003, 30.0])
def test_loudness_and_the_offset_of_a_microphone_change_nothing(gain: float):
    wave = joined(quiet(1.0, 1e-4), VOICE, quiet(0.7, 1e-4), VOICE)
    expected = sounding_stretches(wave, RATE).tolist()
    assert len(expected) == 2
    assert sounding_stretches(wave * np.float32(gain), RATE).tolist() == expected
    assert sounding_stretches(wave + np.float32(0.2), RATE).tolist() == expected


def test_a_click_neither_sounds_nor_hides_a_voice():
    wave = joined(quiet(0.6), VOICE * 0.05, quiet(1.0))
    expected = sounding_stretches(wave, RATE)
    wave[RATE // 4] = 1.0
    stretches = sounding_stretches(wave, RATE)
    assert stretches[-1, 1] == expected[-1, 1]
    alone = quiet(1.0)
    alone[RATE // 2] = 1.0
    assert len(sounding_stretches(alone, RATE)) == 0


@pytest.mark.parametrize("wave", [quiet(0.0), quiet(1.0), quiet(1.0, 1e-4) * 0.5, quiet(1.0) + 0.3])
def test_nothing_sounds_in_silence(wave: np.ndarray):
    assert sounding_stretches(wave, RATE).shape == (0, 2)


def test_a_voice_in_noise_is_kept_whole():
    rng = np.random.default_rng(0)
    hidden = joined(quiet(1.0), VOICE, quiet(1.0))
    noisy = hidden + (rng.standard_normal(len(hidden)) * hidden.std() / 10**0.5).astype(np.float32)
    assert sounding_stretches(noisy, RATE).tolist() == [[0, len(noisy)]]


lengths = st.lists(st.tuples(st.sampled_from([0.0, 1e-4, 1e-3, 0.05, 0.8]), st.integers(1, 9_000)), max_size=8)


@given(parts=lengths, rate=st.sampled_from([8_000, 16_000, 22_050]))
@example(parts=[(0.8, 1)], rate=16_000)
@settings(max_examples=60, deadline=None)
def test_stretches_are_in_order_apart_and_found_again(parts: list[tuple[float, int]], rate: int):
    rng = np.random.default_rng(len(parts))
    wave = np.concatenate([np.zeros(0), *(a * rng.uniform(-1, 1, n) for a, n in parts)]).astype(np.float32)
    stretches = sounding_stretches(wave, rate)
    borders = stretches.ravel()
    assert (np.diff(borders) > 0).all()
    assert borders.size == 0 or (borders[0] >= 0 and borders[-1] <= len(wave))
    kept = np.concatenate([wave[:0], *(wave[start:end] for start, end in stretches)])
    again = sounding_stretches(kept, rate)
    assert again.tolist() == ([[0, len(kept)]] if len(stretches) else [])


# ---- processor ---------------------------------------------------------------------------------------------------


EXTRACTORS = {
    "raw": lambda: Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True),
    "log_mel": lambda: SeamlessM4TFeatureExtractor(feature_size=20, num_mel_bins=20),
    "window": lambda: WhisperFeatureExtractor(feature_size=8, chunk_length=3),
}


@pytest.mark.parametrize("extractor", EXTRACTORS)
def test_a_processor_reads_what_sounds(extractor: str, tmp_path: Path):
    processor = DRKFProcessor(EXTRACTORS[extractor](), tiny_processor().tokenizer, skip_silence=True)
    processor.save_pretrained(tmp_path)
    processor = DRKFProcessor.from_pretrained(tmp_path)
    assert processor.skip_silence is True
    around = joined(quiet(0.5), VOICE, quiet(0.5))
    options: dict[str, Any] = {"sampling_rate": RATE, "return_tensors": "np"}
    expected = processor(audio=VOICE, **options)
    batch = processor(audio=[around, np.tile(VOICE, 2), quiet(0.3), quiet(0.9)], **options)
    frames = int(expected["audio_attention_mask"].sum())
    time = 1 if extractor == "window" else 0
    for name, axis in (("input_values", time), ("audio_attention_mask", 0)):
        one = np.moveaxis(expected[name][0], axis, 0)[:frames]
        np.testing.assert_array_equal(np.moveaxis(batch[name][0], axis, 0)[:frames], one)
    assert batch["audio_attention_mask"].sum(1)[[0, 2]].tolist() == [
        frames,
        batch["audio_attention_mask"][3].sum(),  # of silence the length does not count, either
    ]
    plain = DRKFProcessor(processor.feature_extractor, processor.tokenizer)
    assert plain(audio=around, **options)["audio_attention_mask"].sum() > frames
    waveforms = [joined(quiet(0.5), VOICE[:40]), VOICE]  # a click alone; as a call reads it
    heard = processor.features(waveforms, ["", ""], ["a", "b"])["input_values"]
    np.testing.assert_array_equal(heard, processor(audio=waveforms, **options)["input_values"])


def test_an_answer_is_that_to_the_voice_without_its_silence():
    pipe = pipe_of()
    pipe.processor.skip_silence = True
    around = joined(quiet(0.5), VOICE, quiet(0.5))
    inputs = [{"audio": {"array": wave, "sampling_rate": RATE}, "text": WORDS} for wave in (VOICE, around)]
    alone, within = pipe(inputs, batch_size=2)
    assert within["audio_seconds"] == alone["audio_seconds"] + 1.0
    assert_same(within["scores"], alone["scores"])
    pipe.processor.skip_silence = False
    other = pipe(inputs[1])
    assert max(abs(a["score"] - b["score"]) for a, b in zip(other["scores"], within["scores"], strict=True)) > 1e-4


# ---- explanations ------------------------------------------------------------------------------------------------


def test_attention_lies_where_it_was_in_the_clip():
    stretches = np.array([[100, 200], [400, 600]])
    spread = over_clip(np.array([1.0, 2.0, 3.0]), stretches, 1000)
    np.testing.assert_allclose(spread, [0, 1, 0, 0, 2, 3, 0, 0, 0, 0])
    np.testing.assert_allclose(over_clip(np.arange(1.0, 5), np.array([[0, 80]]), 80), np.arange(1.0, 5))
    halves = over_clip(np.array([4.0, 2.0]), np.array([[50, 150], [250, 350]]), 400)  # frames begin within frames
    np.testing.assert_allclose(halves, [2, 2, 1, 1])


def test_an_explanation_has_the_times_of_the_clip():
    pipe = pipe_of()
    pipe.processor.skip_silence = True
    around = joined(quiet(1.0), VOICE, quiet(0.8))
    audio = {"array": around, "sampling_rate": RATE}
    explanation = explain(pipe, audio, WORDS)
    alone = explain(pipe, {"array": VOICE, "sampling_rate": RATE}, WORDS)
    assert explanation.seconds == pytest.approx(3.0)
    assert explanation.frame_seconds == pytest.approx(alone.frame_seconds, rel=0.1)
    assert explanation.frame_attention.sum() == pytest.approx(alone.frame_attention.sum(), rel=1e-5)
    times = (np.arange(len(explanation.frame_attention)) + 0.5) * explanation.frame_seconds
    is_read = (times > 1.06) & (times < 2.14)
    assert explanation.frame_attention[is_read].min() > 0
    assert explanation.frame_attention[(times < 1.03) | (times > 2.17)].max() == 0
    frames, _, _ = explanation.multiples()
    assert frames[is_read].mean() == pytest.approx(1, abs=0.1)


# ---- answers -----------------------------------------------------------------------------------------------------

NO_EMOTION = {
    "text": None,
    "scores": [],
    "consistency": None,
    "dominant_modality": None,
    "modality_shares": None,
    "warning": "silence: nothing sounds; there is neither voice nor words: no emotion is told",
}


def recording(*parts: np.ndarray) -> dict[str, Any]:
    return {"array": joined(*parts), "sampling_rate": RATE}


@pytest.fixture(scope="module")
def pipe():
    return pipe_of()


@pytest.mark.parametrize("skip", [False, True])
def test_silence_without_words_has_no_emotion(pipe, skip: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pipe.processor, "skip_silence", skip)
    monkeypatch.setattr(pipe.recognizer, "infer", None)  # the model is not run
    silence, hiss = recording(quiet(1.0)), recording(quiet(1.0, 1e-4))
    assert pipe([{"audio": silence}, {"audio": hiss, "text": " "}]) == [{"audio_seconds": 1.0, **NO_EMOTION}] * 2
    steps = pipe.postprocess(pipe.forward(pipe.preprocess({"audio": silence})))
    assert steps == {"audio_seconds": 1.0, **NO_EMOTION}
    vectors = pipe({"audio": silence}, return_embeddings=True)["embeddings"]
    assert vectors == {"fused": None, "speech": None, "text": None}
    with pytest.raises(InputError, match=r"no answer to explain .*nothing sounds"):
        explain(pipe, silence, None)


def test_silence_with_words_is_answered_by_the_words_alone(pipe):
    said, told = pipe({"audio": recording(quiet(1.5)), "text": WORDS}), pipe({"text": WORDS})
    alone = ", for which this checkpoint was not trained"
    assert said.pop("warning") == f"silence: nothing sounds; the answer rests on the words alone{alone}"
    assert told.pop("warning") == f"no audio was given: the answer rests on the words alone{alone}"
    assert (said.pop("audio_seconds"), told.pop("audio_seconds")) == (1.5, None)
    assert_same(said, told)
    assert said["consistency"] is said["modality_shares"] is None
    prepared = pipe_of(modality_dropout=0.2)({"audio": recording(quiet(0.5)), "text": WORDS})
    assert prepared["warning"] == "silence: nothing sounds; the answer rests on the words alone"
    heard = explain(pipe, recording(quiet(1.0)), WORDS)
    assert heard.seconds == 1.0
    assert [word.text for word in heard.said] == WORDS.split()


def test_silent_pieces_of_a_recording_have_no_emotion_and_are_not_transcribed(pipe, tmp_path: Path):
    heard = []

    def transcriber(audio: dict[str, Any]) -> str:
        heard.append(round(float(np.abs(audio["array"]).max()), 2))
        return WORDS

    audio = recording(0.3 * noise(0.5), quiet(0.5), 0.3 * noise(0.5))
    found = pipe({"audio": audio}, chunk_length_s=0.5, transcriber=transcriber, batch_size=2)
    assert len(heard) == 2
    first, silence, last = found["timeline"]
    assert silence == {"start": 0.5, "end": 1.0, **NO_EMOTION}
    assert_same({**last, "start": 0.0, "end": 0.5}, first)
    assert [cue.splitlines()[1][:8] for cue in timeline_srt(found).split("\n\n")] == ["00:00:00", "00:00:01"]
    rows = result_rows([{"audio": "a.wav", **found}], pipe.label_names, False)
    assert [row["prediction"] is None for row in rows] == [False, True, False]
    assert (rows[1]["error"], rows[1]["warning"]) == (None, NO_EMOTION["warning"])
    for piece in found["timeline"]:
        piece["speaker"] = "Anna"
    summary = summarise_speakers(found, pipe.label_names)["Anna"]
    assert (summary["pieces"], summary["seconds"]) == (2, 1.0)
    assert sum(summary["emotions"].values()) == pytest.approx(1.0)
    shown = rows_table("time", ["a", "b", "c"], found["timeline"], False)
    assert [cell == "none" for cell in shown.columns[2].cells] == [False, True, False]
    render_timeline(found, audio["array"])
    pytest.importorskip("matplotlib")
    plot_timeline(found, pipe.label_names, tmp_path / "t.svg")
    with pytest.raises(OptionError, match="no piece of the timeline has an answer"):
        plot_timeline({**found, "timeline": [silence]}, pipe.label_names, tmp_path / "t.svg")


def test_a_silent_clip_of_a_corpus_counts_as_an_even_guess():
    answers = [{"scores": []}, {"scores": [{"label": "b", "score": 0.75}, {"label": "a", "score": 0.25}]}]
    assert _probabilities(answers, ["a", "b"]).tolist() == [[0.5, 0.5], [0.25, 0.75]]
