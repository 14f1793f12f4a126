"""Header scan: durations, damage, the cache, and its speed."""

import os

import numpy as np
import pytest
import soundfile
from helpers.corpora import own_cache, truncate, write_tone  # noqa: F401

from processing.corpora.scan import scan_audio


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_durations_are_those_of_the_files(tmp_path, suffix):
    path = str(write_tone(tmp_path / f"a{suffix}", 1.5, rate=22_050, channels=2))
    assert scan_audio([path], progress=False)[path].duration == pytest.approx(1.5, abs=0.06)
    assert scan_audio([path], progress=False)[path].kind is None


def test_damage_is_told_apart(tmp_path):
    paths = {
        "missing_audio": tmp_path / "absent.wav",
        "unreadable_audio": truncate(write_tone(tmp_path / "cut.flac"), 0.99),
        "empty_audio": write_tone(tmp_path / "empty.wav", 0.0),
        "short_audio": write_tone(tmp_path / "short.wav", 0.099),
        "long_audio": write_tone(tmp_path / "long.wav", 25.1, rate=2000),
    }
    facts = scan_audio(map(str, paths.values()), progress=False)
    assert {kind: facts[str(path)].kind for kind, path in paths.items()} == {kind: kind for kind in paths}
    assert scan_audio(map(str, paths.values()), progress=False) == facts


@pytest.mark.parametrize("format", ["WAV", "WAVEX", "FLAC"])
def test_half_a_clip_is_damage_in_every_container(tmp_path, format):
    path = tmp_path / "cut.wav"
    soundfile.write(path, np.zeros((8000, 2)), 16_000, "PCM_24", format=format)
    assert scan_audio([str(truncate(path))], progress=False)[str(path)].kind == "unreadable_audio"


def test_a_wav_without_a_final_length_is_no_damage(tmp_path):
    path = write_tone(tmp_path / "streamed.wav")
    content = bytearray(path.read_bytes())
    content[4:8] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert scan_audio([str(path)], progress=False)[str(path)].kind is None


def test_the_cache_answers_until_size_or_time_change(tmp_path, monkeypatch):
    path = write_tone(tmp_path / "a.wav", 1.0)
    opened = []
    original = soundfile.SoundFile

    def count_and_open(file, *arguments, **options):
        if arguments == ():
            opened.append(file)
        return original(file, *arguments, **options)

    monkeypatch.setattr(soundfile, "SoundFile", count_and_open)
    for _ in range(2):
        assert scan_audio([str(path)], progress=False)[str(path)].duration == 1.0
    assert len(opened) == 1
    write_tone(path, 2.0)
    assert scan_audio([str(path)], progress=False)[str(path)].duration == 2.0
    assert len(opened) == 2
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    scan_audio([str(path)], progress=False)
    assert len(opened) == 3


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"PATH": [1]}', '{"PATH": null}'])
def test_a_broken_cache_is_made_anew(tmp_path, own_cache, content):  # noqa: F811
    path = str(write_tone(tmp_path / "a.wav", 1.0))
    (own_cache / "clips.json").write_text(content.replace("PATH", path))
    assert scan_audio([path], progress=False)[path].duration == 1.0


def test_an_unwritable_cache_is_no_obstacle(tmp_path):
    path = str(write_tone(tmp_path / "a.wav", 1.0))
    (tmp_path / "file").write_text("")
    assert scan_audio([path], progress=False, cache=tmp_path / "file" / "clips.json")[path].duration == 1.0


def test_the_cache_of_a_real_corpus_holds_what_the_scan_found(shared_data, tmp_path):
    paths = [str(path) for path in sorted((shared_data / "nemo" / "samples").iterdir())]
    facts = scan_audio(paths, progress=False, cache=tmp_path / "clips.json")
    assert len(facts) == 2696
    assert all(facts[path].duration == soundfile.info(path).duration for path in paths[::100])
    assert scan_audio(paths, progress=False, cache=tmp_path / "clips.json") == facts
