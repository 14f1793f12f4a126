"""load_audio: real files in several formats, raw arrays, and everything that must be refused."""

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from processing.audio_drkf import AudioStream, load_audio
from processing.errors_drkf import AudioError

RATE = 16_000
FORMATS = {
    "wav": ("PCM_16", 1e-4),
    "flac": ("PCM_24", 1e-6),
    "ogg": ("VORBIS", 0.05),
    "mp3": ("MPEG_LAYER_III", 0.05),
}


def tone(frequency: float, rate: int, seconds: float, amplitude: float = 0.5) -> np.ndarray:
    """A sine (samples,), float64."""
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)


def peak_frequency(waveform: np.ndarray, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return float(np.argmax(spectrum)) * rate / len(waveform)


def encoded(samples: np.ndarray, rate: int = RATE, file_format: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=file_format, subtype=subtype)
    return buffer.getvalue()


@pytest.fixture(params=FORMATS)
def stereo_file(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, np.ndarray, float]:
    """Path of a stereo file at 16 kHz, the mean of its channels, and the tolerance of its format."""
    subtype, tolerance = FORMATS[request.param]
    channels = np.stack([tone(440, RATE, 1.0), tone(880, RATE, 1.0, amplitude=0.2)], axis=1)
    path = tmp_path / f"clip.{request.param}"
    soundfile.write(path, channels, RATE, subtype=subtype)
    return path, channels.mean(axis=1), tolerance


def test_every_kind_of_source_of_a_file_gives_the_mean_of_its_channels(stereo_file, monkeypatch):
    path, expected, tolerance = stereo_file
    monkeypatch.setenv("HOME", str(path.parent))
    data = path.read_bytes()
    with path.open("rb") as file:
        waveforms = [
            load_audio(source, RATE)
            for source in (
                str(path),
                path,
                f"~/{path.name}",
                data,
                bytearray(data),
                memoryview(data),
                file,
                io.BytesIO(data),
                {"path": str(path), "bytes": None},
                {"path": "elsewhere.wav", "bytes": data},
            )
        ]
    assert waveforms[0].dtype == np.float32
    assert waveforms[0].shape == (RATE,)
    np.testing.assert_allclose(waveforms[0], expected, atol=tolerance)
    for waveform in waveforms[1:]:
        np.testing.assert_array_equal(waveform, waveforms[0])


def test_file_of_several_decoding_blocks(tmp_path):
    noise = np.random.default_rng(0).uniform(-1, 1, 150_001).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", noise, RATE, subtype="FLOAT")
    np.testing.assert_array_equal(load_audio(tmp_path / "long.wav", RATE), noise)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_resampling_keeps_the_tone_and_the_duration(rate):
    waveform = load_audio(encoded(tone(1_000, rate, 1.0), rate, "WAV", "FLOAT"), RATE)
    assert abs(len(waveform) - RATE) <= 1
    expected = tone(1_000, RATE, 1.0)
    np.testing.assert_allclose(waveform[1000:-1000], expected[1000 : len(waveform) - 1000], atol=2e-3)


@settings(max_examples=40, deadline=None)
@given(
    frequency=st.integers(200, 3_000),
    rate=st.sampled_from([8_000, 12_000, 16_000, 22_050, 44_100, 48_000]),
    channels=st.integers(1, 6),
    channels_first=st.booleans(),
    dtype=st.sampled_from(["float64", "float32", "float16", "int32", "int16", "int8", "uint8", "uint16"]),
    as_tensor=st.booleans(),
)
def test_a_tone_survives_any_rate_type_and_layout(frequency, rate, channels, channels_first, dtype, as_tensor):
    samples = np.repeat(tone(frequency, rate, 0.25)[None], channels, axis=0)  # (channels, samples)
    kind = np.dtype(dtype)
    if kind.kind != "f":
        half = 2.0 ** (8 * kind.itemsize - 1)
        samples = samples * (half - 1) + (half if kind.kind == "u" else 0)
    array = samples.astype(kind) if channels_first else samples.T.astype(kind)
    waveform = load_audio(torch.from_numpy(array) if as_tensor else array, RATE, sampling_rate=rate)
    assert waveform.dtype == np.float32
    assert abs(len(waveform) - RATE // 4) <= 1
    assert abs(peak_frequency(waveform, RATE) - frequency) <= RATE / len(waveform)
    assert np.abs(waveform[500:-500]).max() == pytest.approx(0.5, abs=0.03)


@settings(max_examples=60, deadline=None)
@given(length=st.integers(1, 700), rate=st.integers(1_000, 200_000), seed=st.integers(0, 99))
def test_any_length_at_any_rate_gives_a_finite_waveform_of_the_right_length(length, rate, seed):
    samples = np.random.default_rng(seed).uniform(-1, 1, length)
    waveform = load_audio(samples, RATE, sampling_rate=rate)
    assert np.isfinite(waveform).all()
    assert len(waveform) >= 1
    assert len(waveform) == pytest.approx(length * RATE / rate, abs=1.0)


@pytest.mark.parametrize(
    ("gains", "heard"),
    [
        ((1, -1), 0),
        ((0.8, -1), 1),
        ((-0.5, 0.25, 0.25), 0),
        ((1, -0.4), None),
        ((1, 0), None),
        ((0, 0, 0, 0, 1), None),
        ((1, 1), None),
    ],
)
@pytest.mark.parametrize("as_file", [False, True])
def test_where_channels_cancel_the_loudest_is_heard(gains, heard, as_file):
    sound = np.concatenate([np.zeros(RATE), tone(300, RATE, 0.5)])
    channels = np.outer(sound, gains)
    source = encoded(channels, subtype="FLOAT") if as_file else {"array": channels, "sampling_rate": RATE}
    with AudioStream(source, RATE) as stream:
        waveform = stream.read()
    assert stream.cancels == (heard is not None)
    expected = np.mean(channels, axis=1) if heard is None else channels[:, heard]
    np.testing.assert_allclose(waveform, expected, atol=1e-7)


def test_unrelated_channels_are_averaged_however_many_they_are():
    channels = np.random.default_rng(0).uniform(-1, 1, (200, 4000))
    np.testing.assert_allclose(load_audio(channels, RATE, RATE), channels.mean(axis=0), atol=1e-6)


def test_an_array_may_stand_beside_its_rate():
    samples = tone(300, RATE, 0.1)
    expected = load_audio(samples, RATE, RATE)
    for pair in ((RATE, samples), (samples, RATE), (np.int64(RATE), list(samples))):
        np.testing.assert_array_equal(load_audio(pair, RATE), expected)
    for pair in ((RATE, "clip.wav"), (samples, samples), (RATE, samples, 1)):
        with pytest.raises(AudioError):
            load_audio(pair, RATE)


def test_a_list_of_floats_is_a_clip():
    np.testing.assert_array_equal(load_audio([0.0, 0.5, -1.0], RATE, RATE), np.float32([0, 0.5, -1]))


def test_two_by_two_array_averages_the_first_axis():
    np.testing.assert_array_equal(load_audio(np.float32([[1, 0], [0, 0.5]]), RATE, RATE), np.float32([0.5, 0.25]))


@pytest.mark.parametrize(
    ("pcm", "expected"),
    [
        (np.int8([-128, 0, 64]), [-1, 0, 0.5]),
        (np.int16([-32768, 0, 16384]), [-1, 0, 0.5]),
        (np.int32([-(2**31), 0, 2**30]), [-1, 0, 0.5]),
        (np.uint8([0, 128, 192]), [-1, 0, 0.5]),
        (np.uint16([0, 32768, 49152]), [-1, 0, 0.5]),
    ],
)
def test_pcm_is_scaled_by_the_range_of_its_type(pcm, expected):
    np.testing.assert_array_equal(load_audio(pcm, RATE, RATE), np.float32(expected))


def test_bfloat16_tensor_with_gradient():
    clip = torch.tensor([0.5, -0.25], dtype=torch.bfloat16, requires_grad=True)
    np.testing.assert_array_equal(load_audio({"array": clip, "sampling_rate": torch.tensor(RATE)}, RATE), [0.5, -0.25])


def test_silence_is_legal():
    assert load_audio(np.zeros(100), RATE, RATE).tolist() == [0.0] * 100


@pytest.mark.parametrize(
    ("source", "rate", "message"),
    [
        (np.array([0.0, np.nan, 1.0]), RATE, "NaN or infinite"),
        (np.array([0.0, np.inf]), RATE, "NaN or infinite"),
        (np.array([[np.inf] * 3, [-np.inf] * 3]), RATE, "NaN or infinite"),
        (np.array([1e300]), RATE, "NaN or infinite"),
        (encoded(np.array([0.0, np.nan]), subtype="FLOAT"), None, "NaN or infinite"),
        (np.array([0.0, -1e15]), RATE, "samples of -1e+15, the first at 0.000 s"),
        (np.zeros(0), RATE, "empty"),
        (np.zeros((2, 0)), RATE, "empty"),
        (encoded(np.zeros(0)), None, "empty"),
        (np.zeros((2, 2, 2)), RATE, "shape (2, 2, 2)"),
        (np.float32(0.5), RATE, "shape ()"),
        ([[0.0, 1.0], [0.0]], RATE, "rectangular"),
        (np.array(["a", "b"]), RATE, "no audio samples"),
        ([0.1, None], RATE, "no audio samples"),
        (np.array([True, False]), RATE, "no audio samples"),
        (np.array([1j]), RATE, "no audio samples"),
        ([0, 1, 2], RATE, "no PCM type"),
        (None, RATE, "NoneType"),
        (object(), RATE, "Audio(decode=False)"),
        (np.zeros(9), None, "needs its sampling rate"),
        ({"array": np.zeros(9)}, None, "needs its sampling rate"),
        ({"array": np.zeros(9), "sampling_rate": 8_000}, RATE, "has 8000 Hz but sampling_rate=16000"),
        (encoded(np.zeros(9), 8_000), RATE, "has 8000 Hz but sampling_rate=16000"),
        (np.zeros(9), 0, "implausible sampling rate 0"),
        (np.zeros(9), -16_000, "implausible sampling rate -16000"),
        (np.zeros(9), float("nan"), "implausible sampling rate nan"),
        (np.zeros(9), "16000", "implausible sampling rate '16000'"),
        (np.zeros(9), True, "implausible sampling rate True"),
        (b"", None, "the file is empty (0 bytes)"),
        (b"clip.wav", None, "cannot be decoded"),
        (b"RIFF\x00\x00", None, "cannot be decoded"),
        (io.StringIO("text"), None, "binary mode"),
        ({}, None, 'needs a value for "array"'),
        ({"path": None, "bytes": None}, None, 'needs a value for "array"'),
        ({"bytes": "clip.wav"}, None, "must be the bytes"),
        ("", None, "no such file"),
    ],
)
def test_unusable_audio_is_refused_with_its_name(source, rate, message):
    with pytest.raises(AudioError) as caught:
        load_audio(source, RATE, rate, name="sample 4")
    assert str(caught.value).startswith("sample 4")
    assert message in str(caught.value)


def test_paths_stand_in_the_message(tmp_path):
    (tmp_path / "notes.wav").write_text("no audio at all")
    (tmp_path / "samples.raw").write_bytes(b"\0" * 64)
    for source, message in [
        (tmp_path / "gone.wav", "no such file"),
        (tmp_path, "is a directory"),
        (tmp_path / "notes.wav", "cannot be decoded"),
        (tmp_path / "samples.raw", "cannot be decoded"),
        ({"path": str(tmp_path / "gone.wav"), "bytes": None}, "no such file"),
        ({"path": "inside.wav", "bytes": b"junk"}, "cannot be decoded"),
    ]:
        path = source["path"] if isinstance(source, dict) else source
        with pytest.raises(AudioError) as caught:
            load_audio(source, RATE, name="sample 4")
        assert str(caught.value).startswith(f"sample 4 ({path}): {message}")
    with (
        (tmp_path / "notes.wav").open("rb") as file,
        pytest.raises(AudioError, match=r"notes\.wav\): cannot be decoded"),
    ):
        load_audio(file, RATE)


@pytest.mark.parametrize("file_format", ["WAV", "FLAC", "OGG"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_truncated_files_are_refused(file_format, kept):
    data = encoded(np.random.default_rng(0).uniform(-0.5, 0.5, RATE), file_format=file_format)
    with pytest.raises(AudioError, match=r"truncated|cannot be decoded"):
        load_audio(data[: int(kept * len(data))], RATE)


def test_streamed_wav_with_a_placeholder_size_is_whole():
    samples = np.int16(np.arange(-500, 500))
    data = bytearray(encoded(samples))
    data[4:8] = b"\xff" * 4
    size_at = data.index(b"data") + 4
    data[size_at : size_at + 4] = b"\xff" * 4
    np.testing.assert_array_equal(load_audio(bytes(data), RATE), samples.astype(np.float32) / 32768)


@pytest.mark.filterwarnings("ignore:Exception ignored from cffi callback")  # seeks before the start of a corrupt file
@settings(max_examples=150, deadline=None)
@given(
    template=st.sampled_from(["WAV", "FLAC", "OGG", "MP3", None]),
    position=st.floats(0, 1),
    junk=st.binary(min_size=1, max_size=64),
)
def test_fuzzed_bytes_give_a_finite_waveform_or_an_audio_error(template, position, junk):
    data = junk
    if template:
        whole = encoded(tone(440, RATE, 0.05), file_format=template)
        start = int(position * len(whole))
        data = whole[:start] + junk + whole[start + len(junk) :]
    try:
        waveform = load_audio(data, RATE)
    except AudioError:
        return
    assert waveform.size
    assert np.isfinite(waveform).all()


def test_real_flac_has_the_duration_that_its_header_states(shared_data):
    path = sorted((shared_data / "nemo").rglob("*.flac"))[0]
    assert len(load_audio(path, RATE)) == round(soundfile.info(path).duration * RATE)


# ---- limits --------------------------------------------------------------------------------------------------------


def test_a_recording_over_the_limit_is_refused_by_its_header(tmp_path):
    samples = tone(300, 8_000, 2.0)
    samples[-1] = np.nan  # reading to the end would tell
    soundfile.write(tmp_path / "long.wav", samples, 8_000, subtype="FLOAT")
    with pytest.raises(
        AudioError, match=r"sample 4 \(.*long\.wav\): 2\.00 s of audio, longer than the limit of 1\.5 s"
    ):
        load_audio(tmp_path / "long.wav", RATE, name="sample 4", max_seconds=1.5)
    with pytest.raises(AudioError, match=r"longer than the limit of 1\.5 s"):
        load_audio(samples, RATE, 8_000, max_seconds=1.5)
    assert len(load_audio(samples[:8_000], RATE, 8_000, max_seconds=1.0)) == RATE


def test_a_recording_longer_than_it_announced_is_refused_while_it_is_read():
    stream = AudioStream(noise_of(2.0), RATE, RATE)
    stream.max_seconds = 1.0
    with pytest.raises(AudioError, match="more audio than its header announces"):
        stream.read()


def test_the_beginning_of_a_recording_is_read_without_the_rest(tmp_path):
    samples = noise_of(60.0)
    samples[-1] = np.nan
    soundfile.write(tmp_path / "long.wav", samples, RATE, subtype="FLOAT")
    stream = AudioStream(tmp_path / "long.wav", RATE)
    np.testing.assert_array_equal(stream.read(RATE), np.float32(samples[:RATE]))
    assert stream.seconds == 60.0
    assert stream.seconds_read < 60.0
    with pytest.raises(AudioError, match="the first at 60"):
        load_audio(tmp_path / "long.wav", RATE)


def test_eight_channels_at_192_khz_need_little_memory(tmp_path):
    block = np.random.default_rng(0).uniform(-0.5, 0.5, (192_000, 8)).astype(np.float32)
    with soundfile.SoundFile(tmp_path / "wide.wav", "w", 192_000, 8, subtype="FLOAT") as file:
        for _ in range(10):
            file.write(block)
    tracemalloc.start()
    waveform = load_audio(tmp_path / "wide.wav", RATE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(waveform) == 10 * RATE
    assert peak < 10e6  # decoded at once it would be 61 MB


def test_a_stream_gives_the_bits_of_resampling_at_once():
    samples = noise_of(40.0)
    at_once = soxr.resample(samples.astype(np.float32), 44_100, RATE, quality="HQ")
    np.testing.assert_array_equal(load_audio(samples, RATE, 44_100), at_once)


def noise_of(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * RATE))
