"""MELD: official splits, repeated ids, the release's known damage, sound instead of video; the real tables."""

import shutil
import subprocess
from collections import Counter

import pytest
from helpers.corpora import MELD_FOLDERS, kinds_at, make_meld, own_cache, write_tone  # noqa: F401

from processing.corpora.doctor import examine
from processing.corpora.registry import read_corpus, survey_corpus
from processing.corpora.report import CorpusError

KNOWN_DAMAGE = ["missing_audio", "unreadable_audio"]


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_the_release_is_read_exactly(tmp_path, suffix):
    root = make_meld(tmp_path, suffix)
    corpus = read_corpus("meld", root, skip_damaged=KNOWN_DAMAGE, progress=False)
    assert corpus.label_names == ["neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"]
    ids = {split: rows["utterance_id"][:] for split, rows in corpus.dataset.items()}
    assert ids == {
        "train": ["train_dia0_utt0", "train_dia0_utt1"],
        "validation": ["dev_dia0_utt0"],
        "test": ["test_dia0_utt0", "test_dia38_utt4", "test_dia1_utt0"],
    }
    assert corpus.dataset["train"][1] == {
        "audio": str(root / "train_splits" / f"dia0_utt1{suffix}"),
        "text": "You must\u2019ve had your hands full.",
        "label": 1,
        "speaker": "The Interviewer",
        "utterance_id": "train_dia0_utt1",
        "session": "s08e21",
        "duration": 0.5,
    }
    assert corpus.report.excluded == {"missing_audio": ["dev_dia110_utt7"], "unreadable_audio": ["train_dia125_utt3"]}
    warnings = {(p.kind.value, p.utterance_id) for p in corpus.report.problems if not p.kind.is_error}
    assert warnings == {
        ("long_audio", "test_dia38_utt4"),
        ("short_audio", "test_dia1_utt0"),
        ("garbled_text", "train_dia0_utt1"),
        ("garbled_text", "train_dia125_utt3"),
        ("unlisted_audio", None),
        ("shared_speaker", None),
        ("unlike_published", None),
    }
    unlisted = [problem.detail for problem in corpus.report.problems if problem.kind == "unlisted_audio"]
    assert unlisted == ["1 clip without annotation: final_videos_testdia3_utt0"]


def test_damage_raises_unless_it_is_named(tmp_path):
    root = make_meld(tmp_path)
    table = root / "test_sent_emo.csv"
    table.write_text(table.read_text() + "9,Hm,Joey,joyful,p,x,1,8,21,a,b\n9,Hm,Joey,joyful,p,0,0,8,21,a,b\n")
    with pytest.raises(CorpusError) as caught:
        read_corpus("meld", root, progress=False)
    assert kinds_at(caught.value.report.blocking()) == {
        ("unreadable_audio", 4),
        ("missing_audio", 3),
        ("malformed_row", 5),
        ("duplicate_id", 6),
        ("unknown_label", 6),
    }
    assert "the release itself lacks this clip: skip missing_audio" in str(caught.value)
    assert "'joyful' is none of the classes" in str(caught.value)
    assert "must be numbers" in str(caught.value)


def test_sound_is_preferred_to_the_video_beside_it(tmp_path):
    root = make_meld(tmp_path)
    for clip in (root / "train_splits").glob("*.wav"):
        clip.with_suffix(".mp4").write_bytes(b"a video")
    corpus = read_corpus("meld", root, skip_damaged=KNOWN_DAMAGE, progress=False)
    assert all(path.endswith(".wav") for path in corpus.dataset["train"]["audio"])


def test_videos_without_ffmpeg_say_what_to_install(tmp_path, monkeypatch):
    root = make_meld(tmp_path)
    for folder in MELD_FOLDERS.values():
        for clip in (root / folder).glob("*.wav"):
            clip.rename(clip.with_suffix(".mp4"))
    monkeypatch.setenv("PATH", "")
    report = survey_corpus("meld", root, progress=False).report
    assert report.counts()["missing_tool"] == 7
    assert "install ffmpeg" in report.table()


@pytest.mark.skipif(not (shutil.which("ffmpeg") and shutil.which("ffprobe")), reason="ffmpeg is not installed")
def test_videos_are_measured_with_ffprobe(tmp_path):
    root = make_meld(tmp_path)
    sound = root / "train_splits" / "dia0_utt0.wav"
    subprocess.run(["ffmpeg", "-v", "error", "-i", sound, sound.with_suffix(".mp4")], check=True)
    sound.unlink()
    video = survey_corpus("meld", root, videos=True, progress=False).utterances[0]
    assert video.audio.endswith("dia0_utt0.mp4")
    assert video.duration == pytest.approx(0.5, abs=0.1)
    assert not video.kinds
    with pytest.raises(CorpusError, match="the processor reads no videos") as caught:
        read_corpus("meld", root, skip_damaged=KNOWN_DAMAGE, progress=False)
    assert ("video_audio", 2) in kinds_at(caught.value.report.problems)
    assert "drkf prepare" in str(caught.value)


def test_a_missing_split_is_named(tmp_path):
    root = make_meld(tmp_path)
    (root / "test_sent_emo.csv").rename(root / "Test_sent_emo.csv")
    with pytest.raises(CorpusError, match=r"test_sent_emo.csv: missing \(did you mean 'Test_sent_emo.csv'\?\)"):
        read_corpus("meld", root, skip_damaged=KNOWN_DAMAGE, progress=False)
    partial = read_corpus("meld", root, skip_damaged=[*KNOWN_DAMAGE, "missing_file"], progress=False)
    assert set(partial.dataset) == {"train", "validation"}


def test_the_real_tables_are_read_whole(shared_data):
    survey = survey_corpus("meld", shared_data / "meld", progress=False)
    assert Counter(u.split for u in survey.utterances) == {"train": 9989, "validation": 1109}
    train = Counter(u.labels[0] for u in survey.utterances if u.split == "train")
    assert train == {
        "neutral": 4710, "joy": 1743, "surprise": 1205, "anger": 1109, "sadness": 683, "disgust": 271, "fear": 268
    }  # fmt: skip
    assert survey.report.counts() == {
        "missing_file": 4,
        "missing_audio": 9989 + 1109,
        "suspicious_speaker": 1,
        "unlike_published": 2,
    }
    assert "'Phoebe Sr' and 'Phoebe Sr.' are taken for one speaker" in survey.report.table()
    first = survey.utterances[0]
    assert first.text == "also I was the point person on my company\u2019s transition from the KL-5 to GR-6 system."
    assert (first.utterance_id, first.speaker, first.session) == ("train_dia0_utt0", "Chandler", "s08e21")
    with pytest.raises(CorpusError):
        survey.corpus()


def test_the_real_splits_share_speakers_episodes_and_texts(shared_data):
    examination = examine("meld", shared_data / "meld", progress=False)
    assert examination.exit_status == 1
    assert examination.overlap_axis == "split"
    train, validation = examination.overlaps
    assert (train.utterances, validation.utterances) == (9989, 1109)
    assert validation.same_speaker > 1000
    assert validation.same_session > 1000
    assert validation.same_text > 100
