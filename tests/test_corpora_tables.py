"""Tables and text of any encoding and with any damage, as properties."""

import io
import re

import pytest
from helpers.corpora import own_cache, write_rows, write_table  # noqa: F401
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processing.corpora.checks import mend_text
from processing.corpora.registry import read_corpus
from processing.corpora.report import CorpusError, Report
from processing.corpora.tables import read_rows, read_text

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r\n"), max_size=20).map(str.strip)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6))
def test_any_table_survives_writing_and_reading(tmp_path, pairs):
    rows = [{"one": one, "two": two} for one, two in pairs]
    report = Report("test")
    for suffix in (".csv", ".tsv", ".jsonl", ".parquet"):
        columns, found = read_rows(write_rows(suffix, tmp_path, rows), report)
        assert columns == ["one", "two"]
        assert [row for _, row in found] == rows
        assert [number for number, _ in found] == [n + (suffix in (".csv", ".tsv")) for n in range(1, len(rows) + 1)]
    assert report.problems == []


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet", ".json", ".txt"]))
def test_any_bytes_end_in_a_report_and_never_in_a_traceback(tmp_path, content, suffix):
    path = tmp_path / f"fuzz{suffix}"
    path.write_bytes(content)
    with pytest.raises(CorpusError):
        read_corpus("manifest", path, progress=False)


@pytest.mark.parametrize("whole", ["It\u2019s “fine” \u2013 naïve…", "żółć", "plain", "你好", "Ça va? Ângela, Âge"])
def test_mending_restores_what_was_decoded_wrongly_and_keeps_the_rest(whole):
    assert mend_text(whole) == whole
    if all(ord(character) < 0x2200 for character in whole):
        as_cp1252 = io.TextIOWrapper(
            io.BytesIO(whole.encode("utf-8")), encoding="cp1252", errors="surrogateescape"
        ).read()
        if not re.search("[\udc80-\udcff]", as_cp1252):
            assert mend_text(as_cp1252) == whole


def test_read_text_reports_a_folder(tmp_path):
    report = Report("test")
    assert read_text(tmp_path, report) is None
    assert list(report.counts()) == ["unreadable_file"]


SENTENCES = {
    "gb18030": ["请把窗户关上吧。", "我今天不想出门。", "明天我们去公园。", "生气"],
    "big5": ["請把窗戶關上吧。", "他已經走了嗎?", "我真的非常高興!", "生氣"],
    "cp949": ["오늘은 정말 화가 나요.", "그 사람은 벌써 갔습니까?", "내일 우리는 공원에 갑니다", "분노"],
    "cp932": ["今日は本当に怒っています。", "窓を閉めてください。", "コーヒーをください", "怒り"],
    "euc_jp": ["今日は本当に怒っています。", "窓を閉めてください。", "この本は誰のですか?", "怒り"],
    "cp1251": ["Сегодня я очень зол.", "Закройте окно, пожалуйста.", "Чья это книга?", "гнев"],
    "koi8_r": ["Сегодня я очень зол.", "Закройте окно, пожалуйста.", "Чья это книга?", "гнев"],
    "cp1252": ["Ich bin so wütend auf dich!", "Où est-elle ? « Là-bas »", "it\u2019s “fine”", "colère"],
}


@pytest.mark.parametrize("encoding", SENTENCES)
def test_older_encodings_are_read_as_what_they_are(tmp_path, encoding):
    rows = [{"audio": f"{n}.wav", "text": text, "label": "x"} for n, text in enumerate(SENTENCES[encoding])]
    path, report = write_table(tmp_path / "clips.csv", rows, encoding=encoding), Report("test")
    _, found = read_rows(path, report)
    assert [row["text"] for _, row in found] == SENTENCES[encoding]
    [problem] = report.problems
    assert f"not in UTF-8, read as {encoding.upper()}" in problem.detail


@pytest.mark.parametrize("encoding", SENTENCES)
def test_lines_in_utf_8_stay_what_they_are_beside_foreign_ones(tmp_path, encoding):
    lines = [*(["Łódź, żółć"] * 5), SENTENCES[encoding][0]]
    encodings = ["utf-8"] * 5 + [encoding]
    path = tmp_path / "a.txt"
    path.write_bytes(b"\n".join(line.encode(name) for line, name in zip(lines, encodings, strict=True)))
    assert (read_text(path, Report("test")) or "").split("\n") == lines


@pytest.mark.parametrize(("text", "encoding"), [("Είμαι πολύ θυμωμένος.", "cp1253"), ("אני מאוד כועס היום", "cp1255")])
def test_an_encoding_that_cannot_be_known_is_refused_with_the_candidates(tmp_path, text, encoding):
    path, report = tmp_path / "a.txt", Report("test")
    path.write_bytes(text.encode(encoding))
    assert read_text(path, report) is None
    [problem] = report.problems
    assert problem.kind == "unreadable_file"
    assert "1 line not in UTF-8 (first: line 1); it may be in" in problem.detail
    assert encoding in problem.detail
    assert "iconv -f ENCODING -t UTF-8" in problem.remedy


ROW = {"audio": "a.wav", "text": "well, hello", "label": "happy"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("nemo.json", '{"audio": "a.wav", "text": "well, hello", "label": "happy"}\n'),
        ("list.json", '[{"audio": "a.wav", "text": "well, hello", "label": "happy"}]'),
        ("pipes.csv", "audio|text|label\na.wav|well, hello|happy\n"),
        ("filelist.txt", "audio|text|label\na.wav|well, hello|happy\n"),
        ("tabs.txt", "audio\ttext\tlabel\na.wav\twell, hello\thappy\n"),
        ("semicolons.csv", "\r\naudio;text;label\r\na.wav;well, hello;happy\r\n"),
    ],
)
def test_tables_of_other_tools_are_read(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    report = Report("test")
    assert [row for _, row in read_rows(tmp_path / name, report)[1]] == [ROW]
    assert report.problems == []


def test_json_by_ids_keeps_the_ids(tmp_path):
    (tmp_path / "train.json").write_text('{"u1": {"wav": "a.wav"}, "u2": {"wav": "b.wav", "utterance_id": "x"}}')
    columns, rows = read_rows(tmp_path / "train.json", Report("test"))
    assert columns == ["utterance_id", "wav"]
    assert [row for _, row in rows] == [{"utterance_id": "u1", "wav": "a.wav"}, {"utterance_id": "x", "wav": "b.wav"}]


@pytest.mark.parametrize(
    ("name", "content", "remedy"),
    [
        ("clips.xlsx", "PK", "save the sheet as CSV (UTF-8)"),
        ("clips.pkl", "x", "to_csv or to_parquet"),
        ("clips.csv.gz", "x", "unpack it"),
        ("clips.doc", "x", "write a table of one of these: .csv, .tsv, .jsonl, .parquet, .json, .txt"),
    ],
)
def test_what_is_no_table_is_refused_with_a_way_that_fits(tmp_path, name, content, remedy):
    (tmp_path / name).write_text(content)
    report = Report("test")
    assert read_rows(tmp_path / name, report) == ([], [])
    assert remedy in report.problems[0].remedy


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_json_nested_without_end_is_no_traceback(tmp_path, suffix):
    path, report = tmp_path / f"a{suffix}", Report("test")
    path.write_text("[" * 100_000)
    assert read_rows(path, report) == ([], [])
    assert "nested too deeply" in report.problems[0].detail
