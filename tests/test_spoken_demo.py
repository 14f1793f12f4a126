"""The spoken demo corpus: what it promises about its words, its voices and its files."""

import csv
import random
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from drkf_cli import app
from drkf_cli.spoken_demo import corpus
from drkf_cli.spoken_demo.corpus import AROUSAL, CUE_WORDS, EMOTIONS, VALENCE, make_spoken_demo, plan_utterances
from drkf_cli.spoken_demo.espeak import SpeechSynthesisError, speak

SENTENCE = "I feel furious about the train."


@pytest.fixture(scope="module")
def plan() -> list[corpus.Utterance]:
    return list(plan_utterances(random.Random(0)))


@pytest.fixture
def espeak():
    return pytest.importorskip("espeakng_loader", reason="the extra `demo` is not installed")


@pytest.fixture
def one_voice_a_split(monkeypatch):
    voices = {"train": ("en-us+f1",), "validation": ("en+m2",), "test": ("en-us+m3",)}
    monkeypatch.setattr(corpus, "SPEAKERS", voices)


def pitches(samples: np.ndarray, rate: int) -> np.ndarray:
    """Fundamental frequency of each voiced 40 ms frame in Hz, by autocorrelation."""
    size, low, high = rate // 25, rate // 400, rate // 60
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[:: rate // 100]
    loud = frames[(frames**2).mean(1) > 0.1 * (samples**2).mean()]
    spectrum = np.abs(np.fft.rfft(loud * np.hanning(size), 4 * size)) ** 2
    correlation = np.fft.irfft(spectrum)[:, low:high] / spectrum.mean(1, keepdims=True)
    return rate / (low + correlation.argmax(1))


def melody(samples: np.ndarray, rate: int) -> float:
    """The interval in semitones that holds the middle half of the pitches."""
    quartiles = np.percentile(pitches(samples, rate), [25, 75])
    return float(12 * np.log2(quartiles[1] / quartiles[0]))


def silence(samples: np.ndarray, rate: int) -> float:
    """The share of 10 ms frames that are 40 dB softer than the loudest."""
    size = rate // 100
    power = (samples[: len(samples) // size * size].reshape(-1, size) ** 2).mean(1)
    return float((power < 1e-4 * power.max()).mean())


def read(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_speaker_has_every_emotion_and_cue_pattern_equally(plan):
    assert len(plan) == 1040
    assert set(Counter((row.speaker, row.label) for row in plan).values()) == {10}
    for label in EMOTIONS:
        rows = [row for row in plan if row.speaker == "en-us+f1" and row.label == label and row.consistent == "true"]
        assert Counter((row.voice_cue, row.text_cue) for row in rows) == {
            (AROUSAL[label], label): 2,
            (label, VALENCE[label]): 2,
            (AROUSAL[label], VALENCE[label]): 3,
            (label, label): 2,
        }


def test_a_tenth_of_every_split_contradicts_itself_and_is_labelled_by_the_voice(plan):
    for split, speakers in corpus.SPEAKERS.items():
        rows = [row for row in plan if row.split == split and row.consistent == "false"]
        assert len(rows) == 4 * len(speakers)
        assert all(row.voice_cue == row.label and row.text_cue in EMOTIONS for row in rows)
        assert all(row.text_cue != row.label for row in rows)


@pytest.mark.parametrize(("cues", "share"), [("voice_cue", 0.75), ("text_cue", 0.65), ("voice_cue text_cue", 1.0)])
def test_a_perfect_listener_needs_both_modalities(plan, cues, share):
    heard = Counter((tuple(getattr(row, cue) for cue in cues.split()), row.label) for row in plan)
    best = {cue: max(count for (other, _), count in heard.items() if other == cue) for cue, _ in heard}
    assert sum(best.values()) / len(plan) == pytest.approx(share)


def test_no_speaker_sentence_topic_or_frame_is_shared_by_two_splits(plan):
    assert len({row.text for row in plan}) == len(plan)
    for kind in (corpus.SPEAKERS, corpus.TOPICS, corpus.FEELING_FRAMES, corpus.NEWS_FRAMES):
        members = [member for split in kind.values() for member in split]
        assert len(members) == len(set(members))
    for row in plan:
        topics = set(row.text.rstrip(".").split()) & {topic for split in corpus.TOPICS.values() for topic in split}
        assert topics <= set(corpus.TOPICS[row.split])


def test_a_sentence_carries_the_words_of_its_cue_and_no_other(plan):
    for row in plan:
        words = row.text.replace(",", "").rstrip(".").split()
        assert [cue for cue, vocabulary in CUE_WORDS.items() for word in words if word in vocabulary] == [row.text_cue]


def test_every_cue_word_of_the_test_sentences_was_heard_in_training(plan):
    train, test = (
        {word for row in plan if row.split == split for word in row.text.rstrip(".").split()}
        for split in ("train", "test")
    )
    vocabulary = {word for words in CUE_WORDS.values() for word in words}
    assert test & vocabulary <= train


def test_plan_follows_the_seed(plan):
    assert list(plan_utterances(random.Random(0))) == plan
    assert list(plan_utterances(random.Random(1))) != plan


@pytest.mark.usefixtures("espeak")
def test_speak_depends_neither_on_what_was_said_before_nor_on_the_clock():
    first, rate = speak(SENTENCE, "en+f2")
    time.sleep(1.1)
    speak("Something else.", "en-us+m7", rate=300)
    second, _ = speak(SENTENCE, "en+f2")
    assert rate == 22_050
    assert first.dtype == np.float32
    assert 0.1 < np.abs(first).max() <= 1
    np.testing.assert_array_equal(first, second)


@pytest.mark.usefixtures("espeak")
@pytest.mark.parametrize("voice", ["en-us+f1", "en-us+m3"])
def test_speak_follows_its_settings(voice):
    plain, rate = speak(SENTENCE, voice)
    assert len(speak(SENTENCE, voice, rate=350)[0]) == pytest.approx(len(plain) / 2, rel=0.15)
    assert np.std(speak(SENTENCE, voice, volume=50)[0]) == pytest.approx(np.std(plain) / 2, rel=0.1)
    assert silence(speak(SENTENCE, voice, word_gap=12)[0], rate) > silence(plain, rate) + 0.15
    high, _ = speak(SENTENCE, voice, pitch=90)
    assert np.median(pitches(high, rate)) > 1.25 * np.median(pitches(plain, rate))
    assert melody(speak(SENTENCE, voice, pitch_range=0)[0], rate) < 1
    assert melody(speak(SENTENCE, voice, pitch_range=99)[0], rate) > 3


@pytest.mark.usefixtures("espeak")
@pytest.mark.parametrize("voice", ["xx+f1", "en-us+nobody", ""])
def test_unknown_voice_is_an_error(voice):
    with pytest.raises(SpeechSynthesisError, match="has no voice"):
        speak(SENTENCE, voice)


@pytest.mark.usefixtures("espeak")
@pytest.mark.parametrize("text", ["", "  ", "..."])
def test_text_without_words_is_an_error(text):
    with pytest.raises(SpeechSynthesisError, match="nothing to say"):
        speak(text, "en-us")


@pytest.mark.parametrize(("setting", "value"), [("rate", 20), ("pitch_range", 100), ("volume", -1)])
def test_setting_out_of_range_is_an_error(setting, value):
    with pytest.raises(SpeechSynthesisError, match=f"{setting} is {value}"):
        speak(SENTENCE, "en-us", **{setting: value})


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(SpeechSynthesisError, match=r"pip install drkf\[demo\]"):
        speak(SENTENCE, "en-us")


def test_the_demo_without_the_package_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    told = CliRunner().invoke(app, ["demo", "--output-dir", str(tmp_path)])
    assert told.exit_code == 1
    assert told.stderr.splitlines()[-1] == "error: the spoken demo needs eSpeak NG: `pip install drkf[demo]`"


def test_data_under_a_long_path_are_found(espeak, monkeypatch, tmp_path):
    deep = tmp_path / ("d" * 120) / ("e" * 120)
    deep.mkdir(parents=True)
    (deep / "espeak-ng-data").symlink_to(espeak.get_data_path())
    expected, _ = speak(SENTENCE, "en-us")
    monkeypatch.setattr(espeak, "get_data_path", lambda: str(deep / "espeak-ng-data"))
    np.testing.assert_array_equal(speak(SENTENCE, "en-us")[0], expected)


@pytest.mark.usefixtures("espeak", "one_voice_a_split")
def test_corpus_is_written_once_and_the_same_for_a_seed(tmp_path):
    manifest = make_spoken_demo(tmp_path / "a", seed=3, progress=False)
    rows = read(manifest)
    assert len(rows) == 120
    columns = "audio text label speaker split utterance_id voice_cue text_cue consistent"
    assert list(rows[0]) == columns.split()
    by_style: dict[str, list[tuple[float, float, float]]] = {cue: [] for cue in corpus.STYLES}
    for row in rows:
        samples, rate = soundfile.read(manifest.parent / row["audio"])
        assert (rate, samples.ndim) == (16_000, 1)
        assert 0.5 < len(samples) / rate < 4.5
        assert 0.05 < np.abs(samples).max() < 0.999
        pace = len(samples) / rate / len(row["text"])
        by_style[row["voice_cue"]].append((pace, silence(samples, rate), melody(samples, rate)))
    pace, pauses, tune = ({cue: np.median(values, axis=0)[i] for cue, values in by_style.items()} for i in range(3))
    assert 1.3 * max(pace["happy"], pace["aroused"]) < min(pace["neutral"], pace["sad"], pace["subdued"])
    assert max(pauses[cue] for cue in ("happy", "neutral", "aroused", "subdued")) + 0.08 < pauses["sad"]
    assert max(pauses[cue] for cue in ("happy", "neutral", "aroused", "subdued")) + 0.08 < pauses["angry"]
    assert min(tune["happy"], tune["neutral"]) > 3 * max(tune[cue] for cue in ("angry", "sad", "aroused", "subdued"))

    again = make_spoken_demo(tmp_path / "b", seed=3, progress=False)
    assert again.read_bytes() == manifest.read_bytes()
    for row in rows[::7]:
        assert (again.parent / row["audio"]).read_bytes() == (manifest.parent / row["audio"]).read_bytes()


@pytest.mark.usefixtures("espeak", "one_voice_a_split")
def test_a_whole_corpus_is_left_alone_and_a_damaged_one_is_made_again(tmp_path):
    manifest = make_spoken_demo(tmp_path, progress=False)
    clip = tmp_path / read(manifest)[0]["audio"]
    written = clip.stat().st_mtime_ns
    assert make_spoken_demo(tmp_path, progress=False) == manifest
    assert clip.stat().st_mtime_ns == written

    samples = clip.read_bytes()
    clip.unlink()
    make_spoken_demo(tmp_path, progress=False)
    assert clip.read_bytes() == samples

    texts = {row["text"] for row in read(manifest)}
    make_spoken_demo(tmp_path, seed=1, progress=False)
    assert {row["text"] for row in read(manifest)} != texts
