"""Noise, babble, rooms and telephone lines: measured back from what they make of a clip."""

from contextlib import suppress

import numpy as np
import pytest
import soundfile
from datasets import Dataset
from helpers.tiny import tiny_processor
from hypothesis import given
from hypothesis import strategies as st

from modeling_drkf.experiments.data_options import DataArguments
from processing import augmentation
from processing.collator import DRKFDataCollator
from processing.conditions import KINDS, Condition, clip_of, drawn_by
from processing.copies import heard_under, under_condition, with_copies
from processing.errors_drkf import OptionError

RATE = 16_000


@pytest.fixture
def clip() -> np.ndarray:
    """A second of a voice-like tone between half a second of pauses each."""
    time = np.arange(RATE) / RATE
    tone = 0.2 * np.sin(2 * np.pi * 150 * time) + 0.1 * np.sin(2 * np.pi * 1000 * time)
    return np.pad(tone, RATE // 2).astype(np.float32)


def power(wave: np.ndarray) -> float:
    return float(np.square(wave, dtype=np.float64).mean())


def decibels(ratio: float) -> float:
    return 10 * np.log10(ratio)


def band_power(wave: np.ndarray, low: float, high: float) -> float:
    spectrum = np.square(np.abs(np.fft.rfft(wave)))
    frequencies = np.fft.rfftfreq(len(wave), 1 / RATE)
    return float(spectrum[(frequencies >= low) & (frequencies < high)].sum())


def test_pauses_do_not_count_as_voice(clip):
    assert augmentation.voice_power(clip, RATE) == pytest.approx(0.025, rel=0.05)  # 0.2² / 2 + 0.1² / 2
    assert augmentation.voice_power(np.zeros(100, np.float32), RATE) == 0


@pytest.mark.parametrize("snr", [20, 10, 0, -5])
def test_noise_lies_as_far_below_the_voice_as_asked_for(clip, snr):
    noisy = Condition.parse(f"noise:{snr}").apply(clip, RATE, drawn_by("a"))
    noise = noisy - clip
    assert decibels(0.025 / power(noise)) == pytest.approx(snr, abs=0.2)
    thirds = [band_power(noise, low, low + 2500) for low in (0, 2500, 5000)]  # white: as much everywhere
    assert max(thirds) / min(thirds) < 1.1


def test_babble_is_of_the_voices_given_at_the_level_asked_for(clip):
    time = np.arange(RATE // 3) / RATE
    voices = [amplitude * np.sin(2 * np.pi * pitch * time) for amplitude, pitch in ((0.01, 400), (0.5, 2000))]
    babble = Condition.parse("babble:10").apply(clip, RATE, drawn_by("a"), voices) - clip
    assert decibels(0.025 / power(babble)) == pytest.approx(10, abs=0.2)
    parts = [band_power(babble, pitch - 50, pitch + 50) for pitch in (400, 2000)]
    assert sum(parts) == pytest.approx(band_power(babble, 0, 8000), rel=0.05)
    assert parts[0] == pytest.approx(parts[1], rel=0.1)  # both equally loud, however they were recorded


@pytest.mark.parametrize("rt60", [0.2, 0.35, 0.6])
def test_a_room_rings_as_long_as_asked_for(rt60):
    response = augmentation.room_response(rt60, RATE, drawn_by("room"))
    left = 10 * np.log10(np.cumsum(np.square(response[::-1]))[::-1])  # Schroeder's integral
    left -= left[1]
    from_5, to_25 = (int(np.argmax(left[1:] < -level)) for level in (5, 25))
    assert 3 * (to_25 - from_5) / RATE == pytest.approx(rt60, rel=0.1)
    assert response[0] ** 2 == pytest.approx(np.square(response[1:]).sum())


def test_a_clip_in_a_room_is_as_long_and_as_loud_and_rings_into_its_pause(clip):
    heard = Condition.parse("reverb:0.35").apply(clip, RATE, drawn_by("a"))
    assert len(heard) == len(clip)
    assert augmentation.voice_power(heard, RATE) == pytest.approx(augmentation.voice_power(clip, RATE))
    end = 3 * RATE // 2
    assert not clip[end:].any()
    early, late = (power(heard[end + start : end + start + 800]) for start in (0, 2800))
    assert decibels(early / late) == pytest.approx(60 * 0.175 / 0.35, abs=6)


def test_a_telephone_line_passes_its_band_alone():
    noise = (0.05 * drawn_by("a").standard_normal(2 * RATE)).astype(np.float32)
    heard = augmentation.telephone(noise, RATE)
    assert heard.shape == noise.shape
    assert heard.dtype == np.float32
    gain = {band: decibels(band_power(heard, *band) / band_power(noise, *band)) for band in ((500, 3000), (0, 100))}
    assert gain[500, 3000] == pytest.approx(0, abs=0.3)
    assert gain[0, 100] < -30
    assert decibels(band_power(heard, 4100, 8000) / band_power(noise, 4100, 8000)) < -40
    delay = np.correlate(heard[:4000], noise[:4000], "full").argmax() - 3999
    assert 0 <= delay < 0.002 * RATE


def test_silence_and_gain_do_what_they_say(clip):
    around = Condition.parse("silence:1.5").apply(clip, RATE, drawn_by("a"))
    np.testing.assert_array_equal(around, np.pad(clip, 24_000))
    np.testing.assert_allclose(Condition.parse("gain:-20").apply(clip, RATE, drawn_by("a")), clip / 10, rtol=1e-6)


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("samples", [1, 300, RATE])
@pytest.mark.parametrize("rate", [8000, RATE])
def test_every_condition_keeps_what_it_should_of_any_clip(kind, samples, rate):
    for wave in (np.zeros(samples, np.float32), np.linspace(-1, 1, samples, dtype=np.float32)):
        heard = Condition.parse(kind).apply(wave, rate, drawn_by("a"), [np.ones(7, np.float32)])
        assert heard.dtype == np.float32
        assert np.isfinite(heard).all()
        assert len(heard) == samples if kind != "silence" else len(heard) > samples
        assert wave.any() or not heard.any()  # nothing comes out of silence


@given(st.sampled_from(sorted(set(KINDS) - {"telephone"})), st.floats(0, 1), st.floats(0, 1))
def test_conditions_are_read_as_they_are_written(kind, first, second):
    low, high = KINDS[kind].limits
    levels = sorted(float(f"{low + (high - low) * share:g}") for share in (first, second))
    condition = Condition(kind, *levels)
    assert Condition.parse(str(condition)) == condition
    assert low <= drawn_by(first).uniform(condition.low, condition.high) <= high


@given(
    st.text(max_size=12) | st.sampled_from(sorted(KINDS)).flatmap(lambda kind: st.text().map(f"{kind}:{{}}".format))
)
def test_what_is_no_condition_is_refused_in_words(text):
    with suppress(OptionError):
        condition = Condition.parse(text)
        assert condition.kind in KINDS
        assert condition.low <= condition.high


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nose:10", "did you mean 'noise'"),
        ("noise:loud", "signal-to-noise ratio in dB from -30 to 60"),
        ("noise:20:0", "as in noise:0:20"),
        ("noise:0:5:10", "or two to draw between"),
        ("noise:nan", "takes a"),
        ("reverb:0", "reverberation time in seconds from 0.05"),
        ("telephone:8000", "takes no level"),
        ("", "none of the conditions"),
    ],
)
def test_wrong_conditions_say_what_is_right(text, message):
    with pytest.raises(OptionError, match=message):
        DataArguments(manifest="clips.csv", augment=["babble", text])


def test_a_condition_is_given_once():
    with pytest.raises(OptionError, match="twice"):
        DataArguments(manifest="clips.csv", augment=["noise", "noise:0:20"])
    assert len(DataArguments(manifest="clips.csv", augment=["noise:0:10", "noise:10:20"]).conditions) == 2


@pytest.fixture
def rows(tmp_path, clip) -> Dataset:
    names = ["a", "b", "c", "d", "e", "f"]
    for number, name in enumerate(names):
        soundfile.write(tmp_path / f"{name}.wav", clip * (number + 1) / 6, RATE, "FLOAT")
    columns = {"utterance_id": names, "audio": [str(tmp_path / f"{name}.wav") for name in names], "text": ["hm"] * 6}
    return Dataset.from_dict(columns | {"speaker": ["ada", "ada", "bob", "bob", None, None], "label": [0, 1] * 3})


def test_copies_follow_the_rows_and_say_what_they_are(rows):
    copies = with_copies(rows, [0.9], [Condition.parse("noise"), Condition.parse("telephone")])
    assert copies["utterance_id"][::6] == ["a", "a at speed 0.9", "a with noise:0:20", "a with telephone"]
    assert copies["speaker"][::6] == ["ada", "ada at speed 0.9", "ada with noise:0:20", "ada with telephone"]
    assert copies["condition"][::6] == [None, None, "noise:0:20", "telephone"]
    assert copies["label"][:] == rows["label"][:] * 4


def test_a_copy_is_the_same_on_any_machine_and_in_any_order(rows):
    noisy = under_condition(rows, Condition.parse("noise"))
    first = clip_of(noisy[0], RATE)["array"]
    backwards = under_condition(rows.select(range(5, -1, -1)), Condition.parse("noise"))
    np.testing.assert_array_equal(clip_of(backwards[5], RATE)["array"], first)
    clean = soundfile.read(rows[0]["audio"], dtype="float32")[0]
    expected = drawn_by("a with noise:0:20", "noise:0:20").uniform(0, 20)
    assert expected == pytest.approx(3.73, abs=0.01)
    measured = decibels(augmentation.voice_power(clean, RATE) / power(first - clean))
    assert measured == pytest.approx(expected, abs=0.2)


def test_each_clip_draws_its_own_level(rows):
    levels = []
    for clean, noisy in zip(rows, under_condition(rows, Condition.parse("noise")), strict=True):
        wave = soundfile.read(clean["audio"], dtype="float32")[0]
        noise = clip_of(noisy, RATE)["array"] - wave
        levels.append(decibels(augmentation.voice_power(wave, RATE) / power(noise)))
    assert len({round(level, 1) for level in levels}) == 6
    assert all(-0.2 < level < 20.2 for level in levels)


def test_nobody_babbles_beside_themselves(rows):
    heard = heard_under(rows, Condition.parse("babble:0"))
    speaker_of = dict(zip(rows["audio"], rows["speaker"], strict=True))
    for row in heard:
        beside = [voice["audio"] for voice in row["babble"]]
        assert len(set(beside)) == 4
        assert row["audio"] not in beside
        assert row["speaker"] is None or row["speaker"] not in {speaker_of[path] for path in beside}
    again = heard_under(rows.select([3, 1, 5, 0, 2, 4]), Condition.parse("babble:0"))
    assert again[1]["babble"] == heard[1]["babble"]
    alone = rows.select([0, 1])
    with pytest.raises(OptionError, match="ada is alone"):
        heard_under(alone, Condition.parse("babble"))


def test_the_model_hears_what_the_condition_makes_of_a_row(rows):
    processor = tiny_processor()
    noisy = with_copies(rows, conditions=[Condition.parse("noise:10")])
    batch = DRKFDataCollator(processor)([noisy[0], noisy[6]])
    direct = processor(audio=[rows[0]["audio"], clip_of(noisy[6], RATE)], text=["hm", "hm"], return_tensors="pt")
    assert batch["input_values"].equal(direct["input_values"])
    assert not batch["input_values"][0].equal(batch["input_values"][1])
