"""Paths from another machine: the report says which file is there, and --audio-root reads it; no clip is guessed."""

import unicodedata

import pytest
from helpers.corpora import make_m3ed, own_cache, write_table, write_tone  # noqa: F401
from typer.testing import CliRunner

from drkf_cli import app
from processing.corpora.registry import read_corpus, survey_corpus
from processing.corpora.report import CorpusError

NAME = "Zoë.wav"
WRITTEN = {
    "backslashes": f"wavs\\s1\\{NAME}",
    "drive letter": f"C:\\corpus\\wavs\\s1\\{NAME}",
    "another root": f"/home/ann/corpus/wavs/s1/{NAME}",
    "case": f"WAVS/s1/{NAME.upper()}",
    "decomposed": f"wavs/s1/{unicodedata.normalize('NFD', NAME)}",
}


def listing(folder, *paths):
    rows = [{"audio": path, "text": "a", "label": "ab"[n % 2]} for n, path in enumerate(paths)]
    return write_table(folder / "manifest.csv", rows)


@pytest.mark.parametrize("kind", WRITTEN)
def test_the_file_that_is_there_is_named_and_audio_root_reads_it(tmp_path, kind):
    there = write_tone(tmp_path / "wavs" / "s1" / unicodedata.normalize("NFC", NAME))
    path = listing(tmp_path, WRITTEN[kind])
    with pytest.raises(CorpusError) as caught:
        read_corpus("manifest", path, progress=False)
    [problem] = caught.value.report.problems
    assert problem.detail.endswith(f"; there is {there}")
    assert problem.remedy == f"take the clips from there: --audio-root {tmp_path}"
    corpus = read_corpus("manifest", path, audio_root=tmp_path, progress=False)
    assert corpus.dataset["all"]["audio"][:] == [str(there)]


def test_clips_of_one_name_are_told_apart_by_their_folders_and_never_guessed(tmp_path):
    root = tmp_path / "clips"
    for speaker in ("s1", "s2"):
        write_tone(root / speaker / "a.wav")
    path = listing(tmp_path, "/old/s2/a.wav", "/old/s3/a.wav")
    with pytest.raises(CorpusError) as caught:
        read_corpus("manifest", path, audio_root=root, progress=False)
    [problem] = caught.value.report.problems
    assert (problem.row, "there is" in problem.detail) == (3, False)
    corpus = read_corpus("manifest", path, audio_root=root, skip_damaged="all", progress=False)
    assert corpus.dataset["all"]["audio"][:] == [str(root / "s2" / "a.wav")]


def test_the_folder_that_is_offered_lies_where_the_listed_paths_begin(tmp_path):
    write_tone(tmp_path / "Corpus" / "deep" / "wavs" / "a.wav")
    path = listing(tmp_path, "wavs\\a.wav")
    command = ["doctor", "--data-dir", str(path)]
    refused = CliRunner().invoke(app, command)
    offered = tmp_path / "Corpus" / "deep"
    assert refused.exit_code == 1
    assert f"--audio-root {offered}" in refused.stdout.replace("\n", "")
    assert CliRunner().invoke(app, [*command, "--audio-root", str(offered)]).exit_code == 0


def test_a_clip_that_is_nowhere_is_only_missing(tmp_path):
    report = survey_corpus("manifest", listing(tmp_path, "a.wav"), progress=False).report
    assert [problem.detail for problem in report.problems] == [f"no such file: {tmp_path / 'a.wav'}"]


def test_m3ed_names_the_right_folder_and_the_clip_with_another_letter(tmp_path):
    root = make_m3ed(tmp_path)
    folder = root / "audio" / "anjia"
    (folder / "A_anjia_1_1.wav").rename(folder / "B_anjia_1_1.wav")
    (folder / "B_anjia_2_1.wav").unlink()
    report = survey_corpus("m3ed", root, progress=False).report
    assert [problem.detail for problem in report.problems if problem.kind == "missing_audio"] == [
        f"no such file: {folder / 'A_anjia_1_1.wav'}; there is {folder / 'B_anjia_1_1.wav'}",
        f"no such file: {folder / 'B_anjia_2_1.wav'}",
    ]
