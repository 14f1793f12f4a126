"""What a test part shares with training is named with counts: speakers by any spelling, sounds by any name."""

import logging

import numpy as np
import pytest
import soundfile
from helpers.corpora import own_cache, write_table, write_tone  # noqa: F401
from helpers.tones import write_tones

from processing.corpora.doctor import examine
from processing.corpora.leaks import fold_name
from processing.corpora.protocols import folds_of
from processing.corpora.registry import read_corpus

COLUMNS = ("audio", "text", "label", "speaker", "split", "utterance_id")


def manifest(folder, *rows):
    return write_table(folder / "manifest.csv", [dict(zip(COLUMNS, row, strict=True)) for row in rows])


def problems_of(report, kind):
    return [problem.detail for problem in report.problems if problem.kind == kind]


@pytest.mark.parametrize(
    ("one", "other"), [("S3", "s3"), ("s3", "s-3"), ("\uff21\uff4e\uff4e\uff41", "anna"), ("Straße", "STRASSE")]
)
def test_spellings_of_one_name_are_one_speaker(one, other):
    assert fold_name(one) == fold_name(other)


@pytest.mark.parametrize(("one", "other"), [("s3", "s30"), ("房似锦", "林大为"), ("+", "-")])
def test_different_names_stay_different(one, other):
    assert fold_name(one) != fold_name(other)


def test_a_speaker_in_two_spellings_trains_or_tests_and_the_report_says_so(tmp_path):
    path = write_tones(tmp_path)
    path.write_text(path.read_text().replace("dan\n", "Dan\n", 2))
    corpus = read_corpus("manifest", path, progress=False)
    assert problems_of(corpus.report, "suspicious_speaker") == ["'dan' and 'Dan' are taken for one speaker, 'Dan'"]
    assert set(corpus.dataset["all"]["speaker"]) == {"ada", "bob", "cleo", "Dan"}
    speaker_of = dict(zip(corpus.dataset["all"]["utterance_id"], corpus.dataset["all"]["speaker"], strict=True))
    for fold in folds_of(corpus, "leave_one_speaker_out"):
        heard = {speaker_of[name].casefold() for name in fold.train + fold.validation}
        assert not heard & {speaker_of[name].casefold() for name in fold.test}


def leaking(folder):
    """Three test rows: one by a speaker who trains, one with a clip that trains under another id, one clean."""
    for name in ("a", "b", "c", "d", "e"):
        write_tone(folder / f"{name}.wav")
    (folder / "copy.wav").write_bytes((folder / "a.wav").read_bytes())
    return manifest(
        folder,
        ("a.wav", "one", "sad", "s1", "train", "1"),
        ("b.wav", "two", "hap", "S3", "train", "2"),
        ("e.wav", "two", "hap", "s2", "validation", "3"),
        ("c.wav", "one", "sad", "s3", "test", "4"),
        ("copy.wav", "one", "hap", "s4", "test", "5"),
        ("d.wav", "two", "hap", "s5", "test", "6"),
    )


def test_the_own_split_of_a_manifest_is_checked_for_leaks(tmp_path):
    examination = examine("manifest", leaking(tmp_path), progress=False)
    report = examination.report
    assert examination.usable
    assert problems_of(report, "shared_speaker") == [
        "1 of 3 utterances of test have a speaker of an earlier part, as 'S3'"
    ]
    assert problems_of(report, "shared_audio") == [
        "1 of 3 utterances of test have the sound of a clip of an earlier part, as '5'"
    ]
    assert problems_of(report, "repeated_audio") == [f"the sound of '1' ({tmp_path / 'manifest.csv'}:2)"]
    assert problems_of(report, "conflicting_labels")[0].startswith("'hap' here, 'sad' for the sound of '1'")
    assert {o.part: (o.same_speaker, o.same_audio) for o in examination.overlaps} == {
        "train": (1, 1), "validation": (0, 0), "test": (1, 1)
    }  # fmt: skip


def test_leaving_copies_out_ends_the_leak(tmp_path):
    corpus = read_corpus("manifest", leaking(tmp_path), skip_damaged=["repeated_audio"], progress=False)
    assert corpus.report.excluded == {"repeated_audio": ["5"]}
    assert corpus.dataset["test"]["utterance_id"][:] == ["4", "6"]
    assert problems_of(corpus.report, "shared_audio") == []
    assert problems_of(corpus.report, "shared_speaker")[0].startswith("1 of 2 utterances of test")


def test_training_is_warned_of_copies_in_a_fold(tmp_path, caplog):
    path = write_tones(tmp_path)
    header, *rows = path.read_text().splitlines()
    copied = rows[-1].replace("dan_tense_1.wav", "copy.wav").replace("dan", "eve")
    (tmp_path / "copy.wav").write_bytes((tmp_path / "dan_tense_1.wav").read_bytes())
    path.write_text("\n".join([header, *rows, copied]))
    corpus = read_corpus("manifest", path, progress=False)
    assert len(corpus.sounds) == len(rows) + 1
    assert {name for name, sound in corpus.sounds.items() if sound == corpus.sounds["copy.wav"]} == {
        *("dan_tense_1.wav", "copy.wav")
    }
    with caplog.at_level(logging.WARNING):
        folds_of(corpus, "leave_one_speaker_out")
    warned = [record.getMessage() for record in caplog.records if "sound of a clip" in record.getMessage()]
    assert "Fold 'eve': 1 of 1 utterances of test have the sound of a clip in an earlier part" in warned[-1]


def test_silent_clips_are_no_copies_of_each_other(tmp_path):
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(8000), 16_000)
    path = manifest(tmp_path, *((f"{n}.wav", "x", "sad", "s", "train", n) for n in "ab"))
    assert read_corpus("manifest", path, progress=False).report.counts() == {"silent_audio": 2}


def test_without_decoding_links_to_one_file_are_copies(tmp_path):
    write_tone(tmp_path / "a.wav")
    (tmp_path / "b.wav").symlink_to("a.wav")
    path = manifest(tmp_path, *((f"{n}.wav", "x", "sad", "s", "train", n) for n in "ab"))
    assert read_corpus("manifest", path, decode=False, progress=False).report.counts() == {
        "not_decoded": 1,
        "repeated_audio": 1,
    }


@pytest.mark.parametrize("nobody", ["", "nan", "None", "NULL"])
def test_gaps_among_speakers_are_counted_and_nobody_is_a_speaker(tmp_path, nobody):
    rows = []
    for number, speaker in enumerate(("ann", nobody, "bob", nobody)):
        write_tone(tmp_path / f"{number}.wav")
        rows.append((f"{number}.wav", "x", "sad", speaker, "train", f"u{number}"))
    corpus = read_corpus("manifest", manifest(tmp_path, *rows), progress=False)
    assert corpus.dataset["train"]["speaker"][:] == ["ann", None, "bob", None]
    assert problems_of(corpus.report, "missing_speaker") == ["2 of 4 utterances have no speaker, as 'u1'"]
    assert [problem.row for problem in corpus.report.problems] == [3]


def test_no_speaker_at_all_is_no_gap_and_initials_are_a_name(tmp_path):
    write_tone(tmp_path / "0.wav")
    row = ("0.wav", "x", "sad", "", "train", "u0")
    assert read_corpus("manifest", manifest(tmp_path, row), progress=False).report.problems == []
    row = ("0.wav", "x", "sad", "NA", "train", "u0")
    assert read_corpus("manifest", manifest(tmp_path, row), progress=False).dataset["train"]["speaker"][:] == ["NA"]
