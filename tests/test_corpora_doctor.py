"""The doctor's figures, its verdict, and `prepare`."""

import io
import json
import os
import shutil
import subprocess

import numpy as np
import pytest
import rich.console
import soundfile
from helpers.corpora import make_iemocap, make_meld, make_nemo, own_cache, write_table, write_tone  # noqa: F401

from processing.corpora.doctor import examine
from processing.corpora.leaks import fold_text
from processing.corpora.prepare import prepare
from processing.corpora.registry import read_corpus
from processing.corpora.report import CorpusError
from processing.figures.durations import plot_durations


def printed(examination):
    console = rich.console.Console(width=1000, record=True, file=io.StringIO())
    console.print(examination)
    return console.export_text()


def test_counts_durations_and_verdict(tmp_path):
    root = make_iemocap(tmp_path, sessions=(1, 2))
    (root / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F003.wav").unlink()
    examination = examine("iemocap", root, progress=False)
    assert examination.exit_status == 1
    sessions = {
        count.value: (count.annotated, count.usable, count.published) for count in examination.counts["session"]
    }
    assert sessions["Session1"] == (10, 9, 1085)
    assert sessions["Session2"] == (10, 10, 1023)
    assert sessions["Session3"] == (0, 0, 1151)
    classes = {count.value: (count.annotated, count.usable) for count in examination.counts["class"]}
    assert classes == {"ang": (4, 4), "hap": (8, 8), "sad": (4, 3), "neu": (4, 4)}
    assert {c.value: c.annotated for c in examination.counts["speaker"]} == {
        "Ses01F": 8, "Ses01M": 2, "Ses02F": 8, "Ses02M": 2
    }  # fmt: skip
    seconds = [0.2, 0.3, 0.5, 0.7, 0.8] * 4
    seconds.remove(0.8)
    statistics = examination.duration_statistics()
    assert (statistics["clips"], statistics["min"], statistics["max"]) == (19, 0.2, 0.8)
    assert statistics["mean"] == pytest.approx(np.mean(seconds), abs=1e-3)
    text = printed(examination)
    assert "not usable as it is" in text
    assert "1,085 (-1,075)" in text
    with pytest.raises(CorpusError) as caught:
        read_corpus("iemocap", root, progress=False)
    assert str(caught.value) == examination.report.table()
    assert str(caught.value) in text
    assert examine("iemocap", root, skip_damaged="all", progress=False).exit_status == 0


def test_names_in_brackets_are_shown_as_they_are(tmp_path):
    rows = [
        {"audio": write_tone(tmp_path / f"{number}.wav"), "text": "a", "label": "[/x]calm", "speaker": "[ada]"}
        for number in range(2)
    ]
    text = printed(examine("manifest", write_table(tmp_path / "manifest.csv", rows), progress=False))
    assert "[/x]calm" in text
    assert "[ada]" in text


def test_overlaps_between_splits(tmp_path):
    examination = examine("meld", make_meld(tmp_path), skip_damaged="all", progress=False)
    assert examination.usable
    shared = {o.part: (o.utterances, o.same_speaker, o.same_session, o.same_text) for o in examination.overlaps}
    assert shared == {"train": (3, 1, 3, 0), "validation": (2, 1, 2, 1), "test": (3, 2, 3, 1)}


def test_overlaps_between_speakers_where_there_are_no_splits(tmp_path):
    examination = examine("nemo", make_nemo(tmp_path), progress=False)
    assert examination.overlap_axis == "speaker"
    assert [(o.part, o.same_text) for o in examination.overlaps] == [("EB0", 6), ("KS0", 6)]
    assert "4,481 (-4,469)" in printed(examination)


def test_folding_keeps_words_only():
    assert fold_text("  What?! He\u2019s — GONE ") == fold_text("what he's gone")
    assert fold_text("...") == ""


def test_the_doctor_survives_an_empty_folder_and_writes_json(tmp_path):
    examination = examine("meld", tmp_path, progress=False)
    assert examination.exit_status == 1
    assert examination.duration_statistics() == {"clips": 0, "hours": 0.0}
    assert "no utterance was found" in printed(examination)
    found = json.loads(examination.to_json())
    assert found["usable"] is False
    assert found["report"]["counts"] == {"missing_file": 6, "no_utterances": 1}


def test_the_histogram_is_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    plot_durations([1.0, 2.0, 2.5], tmp_path / "durations.png", "test")
    assert (tmp_path / "durations.png").read_bytes().startswith(b"\x89PNG")


def manifest_of_all_sorts(folder):
    write_tone(folder / "a.wav", 0.5, rate=44_100, channels=2)
    write_tone(folder / "b.mp3", 0.6, rate=22_050)
    rows = [
        {"audio": "a.wav", "text": "one", "label": "sad", "speaker": "s", "split": "train", "utterance_id": "../a b"},
        {"audio": "b.mp3", "text": "two", "label": "hap", "speaker": "t", "split": "test", "utterance_id": "b"},
    ]
    return write_table(folder / "manifest.csv", rows)


def test_prepared_clips_are_16_khz_mono_flac_and_read_back_the_same(tmp_path):
    manifest = prepare("manifest", manifest_of_all_sorts(tmp_path), tmp_path / "out", progress=False)
    corpus = read_corpus("manifest", manifest, progress=False)
    assert corpus.label_names == ["hap", "sad"]
    row = corpus.dataset["train"][0]
    assert (row["text"], row["label"], row["speaker"], row["utterance_id"]) == ("one", 1, "s", "../a b")
    info = soundfile.info(row["audio"])
    assert (info.format, info.samplerate, info.channels, info.frames) == ("FLAC", 16_000, 1, 8_000)
    tone, _ = soundfile.read(row["audio"])
    spectrum = np.abs(np.fft.rfft(tone))
    assert np.argmax(spectrum) * 16_000 / len(tone) == pytest.approx(220, abs=2)
    assert len(list((tmp_path / "out" / "audio").iterdir())) == 2


def test_prepare_resumes_and_converts_only_what_is_new(tmp_path):
    source = manifest_of_all_sorts(tmp_path)
    manifest = prepare("manifest", source, tmp_path / "out", progress=False)
    clips = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "audio").iterdir()}
    write_tone(tmp_path / "b.mp3", 0.9)
    os.utime(tmp_path / "b.mp3", ns=(2**62, 2**62))
    before = manifest.read_text()
    assert prepare("manifest", source, tmp_path / "out", progress=False) == manifest
    changed = [path.name for path, mtime in clips.items() if path.stat().st_mtime_ns != mtime]
    assert changed == ["b.flac"]
    assert manifest.read_text() != before


def test_prepare_follows_a_row_to_another_clip(tmp_path):
    row = {"text": "one", "label": "sad", "utterance_id": "u1"}
    for name, seconds, changed in (("new.wav", 0.7, 10**18), ("old.wav", 0.4, 10**17)):
        os.utime(write_tone(tmp_path / name, seconds), ns=(changed, changed))
        source = write_table(tmp_path / "manifest.csv", [row | {"audio": name}])
        prepare("manifest", source, tmp_path / "out", progress=False)
        assert soundfile.info(tmp_path / "out" / "audio" / "u1.flac").duration == pytest.approx(seconds)


def test_prepare_names_what_it_cannot_convert(tmp_path):
    source = manifest_of_all_sorts(tmp_path)
    bad = np.full(8000, 0.1, dtype=np.float32)
    bad[100] = np.nan
    soundfile.write(tmp_path / "a.wav", bad, 16_000, subtype="FLOAT")
    with pytest.raises(CorpusError, match=r"manifest\.csv:2 \[\.\./a b\]: .*a\.wav"):
        prepare("manifest", source, tmp_path / "out", progress=False)
    assert not (tmp_path / "out" / "manifest.csv").exists()
    manifest = prepare("manifest", source, tmp_path / "out", progress=False, skip_damaged=["unreadable_audio"])
    assert list(read_corpus("manifest", manifest, progress=False).dataset) == ["test"]
    assert [path.name for path in (tmp_path / "out" / "audio").iterdir()] == ["b.flac"]


@pytest.mark.skipif(not (shutil.which("ffmpeg") and shutil.which("ffprobe")), reason="ffmpeg is not installed")
def test_prepare_takes_the_sound_out_of_videos(tmp_path):
    source = manifest_of_all_sorts(tmp_path)
    video = tmp_path / "a.mp4"
    picture = ["-f", "lavfi", "-i", "color=size=64x64:rate=10"]
    command = ["ffmpeg", "-v", "error", *picture, "-i", tmp_path / "a.wav", "-shortest", "-t", "0.5", video]
    subprocess.run(command, check=True)
    source.write_text(source.read_text().replace("a.wav", "a.mp4"))
    manifest = prepare("manifest", source, tmp_path / "out", progress=False)
    info = soundfile.info(read_corpus("manifest", manifest, progress=False).dataset["train"][0]["audio"])
    assert (info.samplerate, info.channels) == (16_000, 1)
    assert info.duration == pytest.approx(0.5, abs=0.1)


def test_what_strangers_wrote_into_a_corpus_does_not_control_the_terminal(tmp_path):
    write_tone(tmp_path / "a.wav")
    rows = [("a.wav", "hi", "jo\x1b[31my", "s\x9b5m"), ("b\x1b[2J.wav", "ho", "sad", "t")]
    names = ("audio", "text", "label", "speaker")
    table = write_table(tmp_path / "clips.csv", [dict(zip(names, row, strict=True)) for row in rows])
    found = examine("manifest", table, progress=False)
    console = rich.console.Console(file=io.StringIO(), width=200)
    console.print(found)
    shown = console.file.getvalue()
    assert "jo\\x1b[31my" in shown
    assert "b\\x1b[2J.wav" in shown
    assert not {"\x1b", "\x9b"} & set(shown + found.to_json())
