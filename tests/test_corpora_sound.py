"""What the doctor says of a clip's sound is what training meets: damage inside files, silence, copies, videos."""

import numpy as np
import pytest
import soundfile
from helpers.corpora import RATE, kinds_at, own_cache, truncate, write_table, write_tone  # noqa: F401

from processing.audio_drkf import load_audio
from processing.corpora import scan
from processing.corpora.doctor import examine
from processing.corpora.registry import read_corpus
from processing.corpora.report import CorpusError
from processing.corpora.scan import scan_audio


def facts_of(path, **options):
    return scan_audio([str(path)], progress=False, **options)[str(path)]


def with_data_size(path, size):
    """The same WAV, whose `data` chunk announces another size."""
    content = bytearray(path.read_bytes())
    start = content.index(b"data") + 4
    content[start : start + 4] = size.to_bytes(4, "little")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("decode", [False, True])
def test_ten_hours_announced_by_the_data_chunk_alone_are_damage(tmp_path, decode):
    found = facts_of(with_data_size(write_tone(tmp_path / "a.wav"), 36_000 * 2 * RATE), decode=decode)
    assert found.kind == "unreadable_audio"
    assert found.detail.startswith("truncated: 16000 bytes of audio where the header announces 1152000000")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_damage_once_decoded(tmp_path, value):
    samples = np.full(RATE, 0.1, dtype=np.float32)
    samples[800] = value
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    assert facts_of(tmp_path / "a.wav", decode=False).kind is None
    found = facts_of(tmp_path / "a.wav", decode=True)
    assert (found.kind, found.detail) == (
        "unreadable_audio",
        "NaN or infinite samples, the first at 0.050 s; repair the recording",
    )


@pytest.mark.parametrize(("suffix", "options"), [(".mp3", {}), (".opus", {"format": "OGG", "subtype": "OPUS"})])
def test_half_of_a_compressed_clip_is_damage(tmp_path, suffix, options):
    tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(3 * RATE) / RATE)
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, tone, RATE, **options)
    assert facts_of(path).kind is None
    truncate(path)
    assert (facts_of(path).kind, facts_of(path).detail[:9]) == ("unreadable_audio", "truncated")


def test_silence_is_named_and_whispering_is_not(tmp_path):
    for name, peak in (("silent", 0.0), ("dither", 3e-5), ("whisper", 1e-3)):
        soundfile.write(tmp_path / f"{name}.wav", peak * np.sign(np.sin(np.arange(RATE))), RATE, subtype="FLOAT")
    assert facts_of(tmp_path / "silent.wav").kind == "silent_audio"
    assert facts_of(tmp_path / "dither.wav").kind == "silent_audio"
    assert facts_of(tmp_path / "whisper.wav").kind is None
    assert not facts_of(tmp_path / "silent.wav").kind.is_error


def test_channels_that_cancel_are_named(tmp_path):
    tone = 0.3 * np.sin(np.arange(RATE) / 9)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, -tone], axis=1), RATE)
    soundfile.write(tmp_path / "b.wav", np.stack([tone, tone], axis=1), RATE)
    assert (facts_of(tmp_path / "a.wav").kind, facts_of(tmp_path / "b.wav").kind) == ("cancelling_audio", None)
    assert not facts_of(tmp_path / "a.wav").kind.is_error


def test_the_digest_is_of_the_sound_and_not_of_the_container(tmp_path):
    one, same = write_tone(tmp_path / "a.wav"), tmp_path / "b.flac"
    soundfile.write(same, soundfile.read(one, dtype="int16")[0], RATE)
    other = write_tone(tmp_path / "c.wav", 0.6)
    assert facts_of(one).digest == facts_of(same).digest
    assert facts_of(one).digest != facts_of(other).digest


def test_files_are_decoded_up_to_a_size_and_what_was_decoded_stays(tmp_path, monkeypatch):
    path = write_tone(tmp_path / "a.wav")
    monkeypatch.setattr(scan, "DECODED_BYTES", path.stat().st_size - 1)
    assert facts_of(path).digest is None
    decoded = facts_of(path, decode=True)
    assert decoded.digest is not None
    assert facts_of(path) == decoded == facts_of(path, decode=False)
    fresh = write_tone(tmp_path / "b.wav", 0.2)
    assert facts_of(fresh).digest is not None


def damaged(folder):
    samples = np.full(RATE, 0.1, dtype=np.float32)
    samples[0] = np.nan
    soundfile.write(folder / "nan.wav", samples, RATE, subtype="FLOAT")
    with_data_size(write_tone(folder / "size.wav"), 2**30)
    write_tone(folder / "good.wav")
    rows = [{"audio": f"{name}.wav", "text": "a", "label": "b"} for name in ("good", "nan", "size")]
    return write_table(folder / "manifest.csv", rows)


def test_doctor_and_training_agree_on_every_clip(tmp_path):
    manifest = damaged(tmp_path)
    examination = examine("manifest", manifest, progress=False)
    assert kinds_at(examination.report.blocking()) == {("unreadable_audio", 3), ("unreadable_audio", 4)}
    with pytest.raises(CorpusError):
        read_corpus("manifest", manifest, progress=False)
    corpus = read_corpus("manifest", manifest, skip_damaged="all", progress=False)
    assert [len(load_audio(path, RATE)) for path in corpus.dataset["all"]["audio"]] == [RATE // 2]


def test_a_corpus_too_large_to_decode_says_what_was_not_looked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(scan, "DECODED_BYTES", 0)
    manifest = damaged(tmp_path)
    report = examine("manifest", manifest, progress=False).report
    assert report.counts() == {"unreadable_audio": 1, "not_decoded": 1}
    assert "2 clips judged by the header alone" in report.table()
    assert examine("manifest", manifest, decode=True, progress=False).report.counts() == {"unreadable_audio": 2}
    assert examine("manifest", manifest, progress=False).report.counts() == {"unreadable_audio": 2}


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg"])
def test_a_recording_that_is_clipped_is_named_and_a_loud_one_is_not(tmp_path, suffix):
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(2 * RATE) * 0.02 * (1 + np.sin(np.arange(2 * RATE) / 3000))
    tone = np.sin(2 * np.pi * 220 * np.arange(2 * RATE) / RATE)
    sounds = {"clipped": np.clip(80 * noise, -1, 1), "loud": noise / np.abs(noise).max(), "tone": 0.999 * tone}
    for name, samples in sounds.items():
        soundfile.write(tmp_path / f"{name}{suffix}", samples, RATE)
    for _ in ("decoded", "remembered"):
        facts = scan_audio([str(tmp_path / f"{name}{suffix}") for name in sounds], progress=False)
        clipped = [facts[str(tmp_path / f"{name}{suffix}")].clipped >= scan.CLIPPED_SHARE for name in sounds]
        assert clipped == [True, False, False]


def test_the_doctor_says_which_recordings_are_clipped(tmp_path):
    samples = np.clip(np.random.default_rng(0).standard_normal(RATE), -0.5, 0.5)
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    soundfile.write(tmp_path / "quiet.wav", samples / 10, RATE)
    rows = [{"audio": f"{name}.wav", "text": "so", "label": name} for name in ("a", "quiet")]
    report = examine("manifest", write_table(tmp_path / "clips.csv", rows), progress=False).report
    assert [(p.kind.value, p.row) for p in report.problems] == [("clipped_audio", 2)]
    assert report.problems[0].detail == "39% of it is cut off at its loudest level"
