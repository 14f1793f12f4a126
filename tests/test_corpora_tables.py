"""Tables and text of any encoding and with any damage, as properties."""

import io
import re

import pytest
from helpers.corpora import own_cache, write_rows  # noqa: F401
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
@given(st.binary(max_size=300), st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet"]))
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
