"""Windows and segments of a recording, read as a stream, are the slices of its whole waveform."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from processing import audio_drkf
from processing.audio_drkf import AudioStream, load_audio
from processing.windows_drkf import cut_segments, cut_windows

RATE = 1_000


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio_drkf, "DECODED_VALUES", 137)


def noise(samples: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(samples).uniform(-0.5, 0.5, (samples, channels)).astype(np.float32)


def stream_of(samples: int) -> AudioStream:
    return AudioStream(noise(samples)[:, 0], RATE, RATE)


def bounds(pieces) -> list[tuple[int, int]]:
    return [(round(piece.start * RATE), round(piece.end * RATE)) for piece in pieces]


@settings(max_examples=150)
@given(samples=st.integers(1, 3_000), length=st.integers(20, 900), step=st.floats(0.1, 1.0))
def test_windows_are_slices_that_leave_nothing_out(samples, length, step):
    stride = max(1, round(step * length))
    windows = list(cut_windows(stream_of(samples), length / RATE, stride / RATE))
    whole = noise(samples)[:, 0]
    for (start, end), window in zip(bounds(windows), windows, strict=True):
        np.testing.assert_array_equal(window.waveform, whole[start:end])
        assert end - start == min(length, samples)
    starts = [start for start, _ in bounds(windows)]
    assert starts[:-1] == [stride * i for i in range(len(windows) - 1)]
    assert 0 <= samples - bounds(windows)[-1][1] < 0.1 * RATE


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (2_000, [(0, 1_000), (1_000, 2_000)]),
        (2_099, [(0, 1_000), (1_000, 2_000)]),  # a rest below 0.1 s
        (2_100, [(0, 1_000), (1_000, 2_000), (1_100, 2_100)]),  # the last window reaches back
        (50, [(0, 50)]),
    ],
)
def test_the_last_window(samples, expected):
    assert bounds(cut_windows(stream_of(samples), 1.0, 1.0)) == expected


def test_windows_of_a_stereo_file_at_another_rate_are_slices_of_the_resampled_mean():
    buffer = io.BytesIO()
    soundfile.write(buffer, noise(5_000, channels=2), 2_500, format="WAV", subtype="FLOAT")
    whole = load_audio(buffer.getvalue(), RATE)
    windows = list(cut_windows(AudioStream(buffer.getvalue(), RATE), 0.5, 0.25))
    assert bounds(windows) == [(250 * i, 250 * i + 500) for i in range(7)]
    for (start, end), window in zip(bounds(windows), windows, strict=True):
        np.testing.assert_array_equal(window.waveform, whole[start:end])


def test_segments_come_by_their_start_overlap_and_end_with_the_recording():
    segments = [
        {"start": 1.5, "end": 9.0, "text": "d"},
        {"start": 0.2, "end": 0.9, "text": "b"},
        {"start": 0.0, "end": 0.25, "text": None, "id": 7},
        {"start": 0.2, "end": 0.3},
    ]
    pieces = list(cut_segments(stream_of(2_000), segments))
    assert bounds(pieces) == [(0, 250), (200, 300), (200, 900), (1_500, 2_000)]
    assert [piece.text for piece in pieces] == [None, None, "b", "d"]
    for (start, end), piece in zip(bounds(pieces), pieces, strict=True):
        np.testing.assert_array_equal(piece.waveform, noise(2_000)[start:end, 0])


@pytest.mark.parametrize("end", [None, 1e308, 10**400], ids=["open", "late", "huge"])
def test_an_end_that_is_open_or_beyond_all_is_the_recordings(end):
    (piece,) = cut_segments(stream_of(2_000), [{"start": 1.5, "end": end}])
    assert bounds([piece]) == [(1_500, 2_000)]
    np.testing.assert_array_equal(piece.waveform, noise(2_000)[1_500:, 0])


@settings(max_examples=100)
@given(
    ends=st.lists(st.tuples(st.integers(0, 1_900), st.integers(1, 800)), min_size=1, max_size=6),
    samples=st.integers(1_901, 2_500),
)
def test_any_segments_are_slices(ends, samples):
    segments = [{"start": start / RATE, "end": (start + length) / RATE} for start, length in ends]
    pieces = list(cut_segments(stream_of(samples), segments))
    assert bounds(pieces) == sorted((start, min(start + length, samples)) for start, length in ends)
    for (start, end), piece in zip(bounds(pieces), pieces, strict=True):
        np.testing.assert_array_equal(piece.waveform, noise(samples)[start:end, 0])


@pytest.mark.parametrize(
    ("segments", "error", "message"),
    [
        ([], ValueError, "holds no segment"),
        ("0-1", ValueError, "must be a list"),
        (["0-1"], ValueError, "segment 1 must be"),
        ([{"start": 0.0, "end": 1.0}, {"start": 0.0}], ValueError, 'segment 2: "end" must be a number'),
        ([{"start": 0.0, "end": float("nan")}], ValueError, 'segment 1: "end"'),
        ([{"start": 0.0, "end": 1.0, "text": 3}], ValueError, "segment 1: the text must be a str"),
        ([{"start": 0.0, "end": 1.0}, {"start": 1.0, "end": 1.0}], ValueError, "segment 2 (1 to 1 s) is empty"),
        ([{"start": -0.5, "end": 1.0}], ValueError, "segment 1 (-0.5 to 1 s)"),
        (
            [{"start": 0.0, "end": 1.0}, {"start": 2.0, "end": 3.0}],
            ValueError,
            "segment 2 starts at 2 s, after the end",
        ),
    ],
)
def test_segments_that_cannot_be_read_are_named(segments, error, message):
    if len(segments) > 1 and not isinstance(segments, str):
        good, bad = sorted(cut_segments(stream_of(2_000), segments), key=lambda piece: piece.error is not None)
        assert (bounds([good]), good.error) == ([(0, 1_000)], None)
        assert message in bad.error
        assert not len(bad.waveform)
        return
    with pytest.raises(error) as caught:
        list(cut_segments(stream_of(2_000), segments))
    assert message in str(caught.value)


def test_a_late_segment_of_a_recording_of_unknown_length_is_found_while_it_is_read():
    stream = stream_of(2_000)
    stream.seconds = None
    late, good = {"start": 2.5, "end": 3.0}, {"start": 1.0, "end": 1.5}
    pieces = list(cut_segments(stream, [late, good]))
    assert bounds(pieces[:1]) == [(1_000, 1_500)]
    assert pieces[1].error == "segment 1 starts at 2.5 s, after the end of the recording (2.00 s)"


def test_segments_in_milliseconds_are_refused_before_any_is_answered():
    spans = [(0, 500), (500, 1_100), (1_100, 1_900)]
    segments = [{"start": start, "end": end, "spk": 0} for start, end in spans]
    with pytest.raises(
        ValueError, match=r"^2 of 3 segments start after the end of the recording \(2\.00 s\), .*Divide"
    ):
        next(cut_segments(stream_of(2_000), segments))
    with pytest.raises(ValueError, match="the last at 90000 s: check that these are the segments of this recording"):
        next(cut_segments(stream_of(2_000), [{"start": 80_000, "end": 85_000}, {"start": 90_000, "end": 95_000}]))


@pytest.mark.parametrize("seconds", [2.0, None], ids=["known", "unknown"])
def test_a_segment_that_ends_far_beyond_the_recording_does_not_become_all_of_it(seconds):
    stream = stream_of(2_000)
    stream.seconds = seconds
    pieces = list(cut_segments(stream, [{"start": 0, "end": 2_500}, {"start": 1.0, "end": 31.0}]))
    (bad,) = [piece for piece in pieces if piece.error]
    assert bad.error.startswith(
        "segment 1 ends at 2500 s, far beyond the end of the recording (2.00 s): milliseconds?"
    )
    assert bounds([piece for piece in pieces if not piece.error]) == [(1_000, 2_000)]


@pytest.mark.parametrize("key", ["text", "transcript", "sentence", "word"])
def test_words_and_speakers_of_segments_are_read_under_every_known_key(key):
    segments = [{"start": 0.0, "end": 1.0, key: "yes", "speaker": 3}, {"start": 1.0, "end": 2.0, "caption": "no"}]
    good, bad = cut_segments(stream_of(2_000), segments)
    assert (good.text, good.speaker, good.error) == ("yes", "3", None)
    assert bad.error == (
        "segment 2: its words are under none of text, transcript, sentence, word, and there is text under 'caption'"
    )
