"""Manifests: every format and encoding reads the same, every damage is named at its row, nothing goes silently."""

import re

import pytest
from helpers.corpora import kinds_at, own_cache, truncate, write_rows, write_table, write_tone  # noqa: F401

from processing.corpora.registry import read_corpus
from processing.corpora.report import CorpusError

ROWS = [
    {"audio": "a.wav", "text": "Café \u2013 naïve", "label": "sad", "speaker": "s1", "split": "train"},
    {"audio": "sub/b.flac", "text": 'so, "what"?', "label": "hap", "speaker": "s2", "split": "dev"},
]


@pytest.fixture
def folder(tmp_path):
    write_tone(tmp_path / "a.wav", 0.5)
    write_tone(tmp_path / "sub" / "b.flac", 0.25, rate=8000)
    return tmp_path


def write_as(suffix, folder, rows=ROWS):
    return write_rows(suffix, folder, rows)


def assert_read_exactly(corpus, folder):
    assert corpus.label_names == ["hap", "sad"]
    assert corpus.problem_type == "single_label_classification"
    assert set(corpus.dataset) == {"train", "validation"}
    assert corpus.dataset["train"][0] == {
        "audio": str(folder / "a.wav"),
        "text": "Café \u2013 naïve",
        "label": 1,
        "speaker": "s1",
        "utterance_id": "a.wav",
        "session": None,
        "duration": 0.5,
    }
    assert corpus.dataset["validation"][0] == {
        "audio": str(folder / "sub" / "b.flac"),
        "text": 'so, "what"?',
        "label": 0,
        "speaker": "s2",
        "utterance_id": "sub/b.flac",
        "session": None,
        "duration": 0.25,
    }
    assert corpus.dataset["train"].features["label"].names == ["hap", "sad"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_format_reads_the_same(folder, suffix):
    corpus = read_corpus("manifest", write_as(suffix, folder), progress=False)
    assert_read_exactly(corpus, folder)
    assert corpus.report.problems == []


@pytest.mark.parametrize(
    ("encoding", "warned"),
    [
        ("utf-8", False),
        ("utf-8-sig", False),
        ("utf-16", True),
        ("utf-16-le", True),
        ("utf-32", True),
        ("utf-32-be", True),
        ("cp1252", True),
    ],
)
def test_every_encoding_reads_the_same(folder, encoding, warned):
    corpus = read_corpus("manifest", write_table(folder / "manifest.csv", ROWS, encoding=encoding), progress=False)
    assert_read_exactly(corpus, folder)
    assert list(corpus.report.counts()) == (["wrong_encoding"] if warned else [])


def test_semicolons_and_windows_line_ends(folder):
    corpus = read_corpus("manifest", write_table(folder / "manifest.csv", ROWS, delimiter=";"), progress=False)
    assert_read_exactly(corpus, folder)


def test_a_folder_stands_for_its_only_table(folder):
    write_as(".csv", folder)
    assert_read_exactly(read_corpus("manifest", folder, progress=False), folder)


def test_one_foreign_line_spoils_no_other(folder):
    path = folder / "manifest.csv"
    path.write_bytes("audio,text,label\na.wav,Łódź,x\n".encode() + "sub/b.flac,dé\x85jà,x\n".encode("latin-1"))
    corpus = read_corpus("manifest", path, progress=False)
    assert corpus.dataset["all"]["text"][:] == ["Łódź", "dé…jà"]
    assert kinds_at(corpus.report.problems) == {("wrong_encoding", 3)}


def damaged_manifest(folder):
    write_tone(folder / "c.wav", 0.01)
    write_tone(folder / "d.wav", 26.0, rate=4000)
    write_tone(folder / "e.wav", 0.0)
    truncate(write_tone(folder / "f.wav"))
    truncate(write_tone(folder / "g.flac"))
    (folder / "h.wav").write_bytes(b"not audio")
    (folder / "i.wav").write_bytes(b"")
    (folder / "j.wav").mkdir()
    lines = [
        "audio,text,label,speker,split",  # a typo that only loses the speaker
        "a.wav,one,sad,s,train",
        "a.wav,two,sad,s,train",  # 3: the same id
        "c.wav,short,hap,s,train",  # 4
        "d.wav,long,hap,s,train",  # 5
        "e.wav,no samples,hap,s,train",  # 6
        "f.wav,cut WAV,hap,s,train",  # 7
        "g.flac,cut FLAC,hap,s,train",  # 8
        "h.wav,junk,hap,s,train",  # 9
        "i.wav,zero bytes,hap,s,train",  # 10
        "j.wav,folder,hap,s,train",  # 11
        "nowhere.wav,missing,hap,s,train",  # 12
        ",no audio,hap,s,train",  # 13
        "sub/b.flac,,hap,s,train",  # 14: empty text
        "./a.wav,no label,,s,train",  # 15
        "./sub/b.flac,no split,hap,s,",  # 16
        "a.wav,too,many,fields,in,here",  # 17
        "sub/../a.wav,other case,Sad,s,train",
        'a.wav,"never closed,hap,s,train',  # 19
        "a.wav,lost,hap,s,train",
    ]
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


ERRORS = {
    ("duplicate_id", 3),
    ("empty_audio", 6),
    ("unreadable_audio", 7),
    ("unreadable_audio", 8),
    ("unreadable_audio", 9),
    ("unreadable_audio", 10),
    ("missing_audio", 11),
    ("missing_audio", 12),
    ("missing_audio", 13),
    ("missing_label", 15),
    ("unknown_split", 16),
    ("malformed_row", 17),
    ("malformed_row", 19),
}
WARNINGS = {
    ("short_audio", 4),
    ("long_audio", 5),
    ("empty_text", 14),
    ("repeated_audio", 18),
    ("conflicting_labels", 18),
    ("suspicious_column", None),
    ("suspicious_label", None),
}


def test_every_damage_is_named_at_its_row_in_one_report(folder):
    path = damaged_manifest(folder)
    with pytest.raises(CorpusError) as caught:
        read_corpus("manifest", path, progress=False)
    report = caught.value.report
    assert kinds_at(report.problems) == ERRORS | WARNINGS
    assert kinds_at(report.blocking()) == ERRORS
    message = str(caught.value)
    assert message == report.table()
    assert message.startswith(f"manifest in {folder}: 13 errors to solve, 7 warnings")
    assert "manifest.csv:3 [a.wav]: the id stands first at manifest.csv:2" in message
    assert message.count(str(folder)) == 1
    assert "column 'speker' is not read (did you mean 'speaker'?)" in message
    assert "lines 19-20 were not read" in message
    assert all(problem.remedy for problem in report.problems)


def test_skipping_leaves_out_exactly_what_is_named_and_says_so(folder):
    path = damaged_manifest(folder)
    corpus = read_corpus("manifest", path, progress=False, skip_damaged="all")
    assert corpus.dataset["train"]["utterance_id"][:] == ["a.wav", "c.wav", "d.wav", "sub/b.flac", "sub/../a.wav"]
    assert corpus.report.excluded == {
        "malformed_row": [f"{path}:17", f"{path}:19"],
        "duplicate_id": ["a.wav"],
        "empty_audio": ["e.wav"],
        "unreadable_audio": ["f.wav", "g.flac", "h.wav", "i.wav"],
        "missing_audio": ["j.wav", "nowhere.wav", "row 13"],
        "missing_label": ["./a.wav"],
        "unknown_split": ["./sub/b.flac"],
    }
    stricter = {kind for kind, _ in ERRORS} | {"long_audio", "empty_text"}
    corpus = read_corpus("manifest", path, progress=False, skip_damaged=sorted(stricter))
    assert corpus.dataset["train"]["utterance_id"][:] == ["a.wav", "c.wav", "sub/../a.wav"]
    assert corpus.report.excluded["long_audio"] == ["d.wav"]
    with pytest.raises(CorpusError) as caught:
        read_corpus("manifest", path, progress=False, skip_damaged=["missing_audio"])
    assert kinds_at(caught.value.report.blocking()) == {item for item in ERRORS if item[0] != "missing_audio"}


def test_an_unknown_rule_suggests_the_right_one(folder):
    with pytest.raises(ValueError, match=r"'mising_audio' is no kind of problem \(did you mean 'missing_audio'\?\)"):
        read_corpus("manifest", write_as(".csv", folder), skip_damaged=["mising_audio"], progress=False)


def test_a_missing_column_suggests_the_nearest_name(folder):
    path = write_table(folder / "manifest.csv", [{"audio": "a.wav", "Texts": "hi", "label": "sad"}])
    with pytest.raises(CorpusError, match=r"manifest\.csv:1: no column 'text' \(did you mean 'Texts'\?\)") as caught:
        read_corpus("manifest", path, progress=False, skip_damaged="all")
    assert list(caught.value.report.counts()) == ["missing_column", "no_utterances"]
    assert read_corpus("manifest", path, text_column="Texts", progress=False).dataset["all"]["text"][:] == ["hi"]


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("absent.csv", None, "missing_file"),
        ("empty.csv", b"", "unreadable_file"),
        ("twice.csv", b"audio,text,label,text\n", "missing_column"),
        ("header.csv", b"audio,text,label\n", "no_utterances"),
        ("table.xlsx", b"PK", "unreadable_file"),
        ("table.parquet", b"PAR0", "unreadable_file"),
        ("lines.jsonl", b"[1]\n{", "malformed_row"),
    ],
)
def test_unusable_files_are_named(tmp_path, name, content, kind):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=rf"    (\S+/)?{re.escape(name)}") as caught:
        read_corpus("manifest", tmp_path / name, progress=False)
    assert {kind, "no_utterances"} <= set(caught.value.report.counts())


def test_a_folder_with_two_tables_asks_for_one(folder):
    write_table(folder / "one.csv", ROWS)
    write_table(folder / "two.csv", ROWS)
    with pytest.raises(CorpusError, match="2 tables in the folder, expected one"):
        read_corpus("manifest", folder, progress=False)


@pytest.mark.parametrize(
    ("suffix", "first"), [(".csv", "sad|hap"), (".jsonl", ["sad", "hap"]), (".parquet", ["sad", "hap"])]
)
def test_lists_and_bars_make_labels_multi_hot(folder, suffix, first):
    second = "neu" if suffix == ".csv" else ["neu"]
    rows = [{**ROWS[0], "label": first}, {**ROWS[1], "label": second}]
    corpus = read_corpus("manifest", write_as(suffix, folder, rows), progress=False)
    assert corpus.problem_type == "multi_label_classification"
    assert corpus.label_names == ["hap", "neu", "sad"]
    assert corpus.dataset["train"]["labels"][0] == [1.0, 0.0, 1.0]
    assert corpus.dataset["validation"]["labels"][0] == [0.0, 1.0, 0.0]
    assert "label" not in corpus.dataset["train"].column_names


def test_label_map_joins_classes_and_label_names_fix_them(folder):
    path = write_as(".csv", folder)
    joined = read_corpus("manifest", path, label_map={"sad": "negative"}, progress=False)
    assert joined.label_names == ["hap", "negative"]
    fixed = read_corpus("manifest", path, label_names=["sad", "neu", "hap"], progress=False)
    assert fixed.dataset["train"]["label"][:] == [0]
    assert fixed.dataset["validation"]["label"][:] == [2]
    with pytest.raises(
        CorpusError, match=r":3 \[sub/b.flac\]: 'hap' is none of the classes sad, happy \(did you mean 'happy'"
    ):
        read_corpus("manifest", path, label_names=["sad", "happy"], progress=False)
    with pytest.raises(ValueError, match=r"label_map: the corpus has no label 'sadd' \(did you mean 'sad'\?\)"):
        read_corpus("manifest", path, label_map={"sadd": "x"}, progress=False)
    with pytest.raises(ValueError, match="names a class twice"):
        read_corpus("manifest", path, label_names=["sad", "sad"], progress=False)


def test_paths_may_be_absolute_relative_or_at_home(folder, tmp_path_factory, monkeypatch):
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    write_tone(home / "c.wav")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    rows = [{**ROWS[0], "audio": audio} for audio in (str(folder / "a.wav"), "sub/b.flac", "~/c.wav")]
    path = write_table(elsewhere / "m.csv", rows)
    corpus = read_corpus("manifest", path, audio_dir=folder, progress=False)
    expected = [str(folder / "a.wav"), str(folder / "sub" / "b.flac"), str(home / "c.wav")]
    assert corpus.dataset["train"]["audio"][:] == expected
    write_table(path, [{**ROWS[0], "audio": "~no-such-user/x.wav"}])
    with pytest.raises(CorpusError, match="no such file"):
        read_corpus("manifest", path, progress=False)


def test_extra_columns_are_carried_over(folder):
    rows = [{**ROWS[0], "consistent": True, "take": None}, {**ROWS[1], "consistent": False, "take": 3}]
    corpus = read_corpus(
        "manifest", write_as(".jsonl", folder, rows), extra_columns=["consistent", "take"], progress=False
    )
    assert corpus.dataset["train"][0]["consistent"] == "True"
    assert corpus.dataset["validation"][0]["take"] == "3"
    assert corpus.dataset["train"][0]["take"] is None


def test_half_characters_and_lost_characters_are_reported(folder):
    path = folder / "m.jsonl"
    path.write_text('{"audio": "a.wav", "text": "half \\ud83d", "label": "x"}\n')
    corpus = read_corpus("manifest", path, progress=False)
    assert corpus.dataset["all"]["text"][:] == ["half \ufffd"]
    assert kinds_at(corpus.report.problems) == {("garbled_text", 1)}


def test_without_scanning_only_existence_is_checked(folder):
    (folder / "a.wav").write_bytes(b"junk")
    corpus = read_corpus("manifest", write_as(".csv", folder), scan=False, progress=False)
    assert corpus.dataset["train"]["duration"][:] == [None]


def test_a_hundred_thousand_rows_are_all_accounted_for(folder):
    lines = ["audio,text,label,utterance_id"]
    lines += [f"{'a.wav' if row % 2 else 'lost.wav'},text {row},{'ab'[row % 2]},u{row}" for row in range(100_000)]
    path = folder / "big.csv"
    path.write_text("\n".join(lines))
    corpus = read_corpus("manifest", path, skip_damaged=["missing_audio"], progress=False)
    assert corpus.dataset["all"].num_rows == len(corpus.report.excluded["missing_audio"]) == 50_000
