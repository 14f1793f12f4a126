"""Subtitles and transcripts: every format that is met, and what is said about broken ones."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from processing.answers import format_srt
from processing.audio_drkf import AudioStream
from processing.transcripts.segments import SegmentError, parse_segments, read_segments
from processing.windows_drkf import cut_segments

SRT = """1
00:00:01,500 --> 00:00:03,000
Oh, you came <i>back</i>!

2
01:00:00,000 --> 01:00:02,250
{\\an8}<font color="#fff">I am</font>
so happy. 2 < 3

3
01:00:02,250 --> 01:00:02,250
"""
SRT_SEGMENTS = [
    {"start": 1.5, "end": 3.0, "text": "Oh, you came back!"},
    {"start": 3600.0, "end": 3602.25, "text": "I am so happy. 2 < 3"},
    {"start": 3602.25, "end": 3602.25, "text": ""},
]

VTT = """WEBVTT - a title
Kind: captions

STYLE
::cue { color: red }

NOTE
this --is not a cue

REGION
id:bottom

intro
00:01.500 --> 00:03.000 align:start position:10%
<v.loud Ada>Oh, <00:00:02.000><c.yellow>you</c> came back!

NOTE one line

1:00:00.000 --> 01:00:02.250
I &amp; you &lt;3
"""
VTT_SEGMENTS = [
    {"start": 1.5, "end": 3.0, "text": "Oh, you came back!", "speaker": "Ada"},
    {"start": 3600.0, "end": 3602.25, "text": "I & you <3"},
]

LINE_ENDS = {"lf": "\n", "crlf": "\r\n", "cr": "\r"}


@pytest.mark.parametrize("end", LINE_ENDS.values(), ids=LINE_ENDS)
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "bom"])
@pytest.mark.parametrize(("text", "segments"), [(SRT, SRT_SEGMENTS), (VTT, VTT_SEGMENTS)], ids=["srt", "vtt"])
def test_subtitles_are_read_whatever_their_line_ends(text, segments, mark, end):
    assert parse_segments(mark + text.replace("\n", end)) == segments


@pytest.mark.parametrize(
    "content",
    [
        {"text": "a b", "segments": [{"id": 0, "start": 0, "end": 1.5, "text": " a\n b"}, {"start": 2, "end": 3.25}]},
        {"text": "a b", "chunks": [{"timestamp": [0.0, 1.5], "text": " a b"}, {"timestamp": [2.0, 3.25], "text": ""}]},
        {
            "transcription": [
                {"offsets": {"from": 0, "to": 1500}, "text": "a b"},
                {"offsets": {"from": 2000, "to": 3250}, "text": " "},
            ]
        },
        [{"start": 0.0, "end": 1.5, "text": "a b"}, {"start": 2.0, "end": 3.25, "text": ""}],
    ],
    ids=["openai-whisper", "transformers", "whisper.cpp", "list"],
)
def test_whispers_json_is_read_in_all_its_dialects(content):
    expected = [{"start": 0.0, "end": 1.5, "text": "a b"}, {"start": 2.0, "end": 3.25, "text": ""}]
    assert parse_segments(json.dumps(content, indent=1)) == expected


def test_an_open_end_is_closed_by_the_next_start():
    chunks = [{"timestamp": [0.5, None], "text": "a"}, {"timestamp": [2.0, 3.0], "text": "b"}]
    assert [segment["end"] for segment in parse_segments(json.dumps({"chunks": chunks}))] == [2.0, 3.0]
    assert [segment["end"] for segment in parse_segments(json.dumps({"chunks": chunks[:1]}))] == [None]


@pytest.mark.parametrize("head", ["", "WEBVTT\n\n"], ids=["srt", "vtt"])
@pytest.mark.parametrize("gap", ["", " \n", "\t \n", "\n", "\n\n", " \n\n"])
@pytest.mark.parametrize("names", [("1\n", "2\n"), ("", "")], ids=["numbered", "bare"])
def test_cues_are_set_apart_by_their_times(head, gap, names):
    first, second = names
    text = (
        f"{head}{first}00:00:00,000 --> 00:00:02,000\nno, not\n42\n{gap}{second}00:00:02,000 --> 00:00:04,000\nyes\n"
    )
    assert parse_segments(text) == [
        {"start": 0.0, "end": 2.0, "text": "no, not 42"},
        {"start": 2.0, "end": 4.0, "text": "yes"},
    ]


def test_white_space_alone_is_neither_words_nor_an_end():
    text = "WEBVTT\n\n00:00.000 --> 00:01.000\n \none\n \ntwo\n \nname\n00:01.000 --> 00:02.000\n \n"
    assert [segment["text"] for segment in parse_segments(text)] == ["one two", ""]


ROLLING = """WEBVTT
Kind: captions

00:00:00.000 --> 00:00:02.400 align:start position:0%
 
never<00:00:00.500><c> mind</c>

00:00:02.400 --> 00:00:02.410 align:start position:0%
never mind
 

00:00:02.410 --> 00:00:05.000 align:start position:0%
never mind
you<00:00:03.000><c> came</c>

00:00:05.000 --> 00:00:05.010 align:start position:0%
you came
 

00:00:05.010 --> 00:00:07.000 align:start position:0%
you came
back<00:00:06.000><c> today</c>
"""  # noqa: W293
UNROLLED = [
    {"start": 0.0, "end": 2.4, "text": "never mind"},
    {"start": 2.41, "end": 5.0, "text": "you came"},
    {"start": 5.01, "end": 7.0, "text": "back today"},
]


def test_rolling_captions_give_each_line_once():
    assert parse_segments(ROLLING) == UNROLLED
    plain = re.sub(r"<[^>]*>| align.*", "", ROLLING.partition("captions\n\n")[2]).replace(".", ",")
    assert parse_segments(plain) == UNROLLED


def test_a_word_that_is_said_twice_stays_twice():
    cues = [{"start": n, "end": n + 1, "text": text} for n, text in enumerate(["No.", "No.", "No.", "No.", "Oh."])]
    assert parse_segments(format_srt(cues)) == cues


def test_an_entity_of_many_digits_is_words():
    text = "WEBVTT\n\n00:00.000 --> 00:01.000\n&#" + "9" * 5000 + ";\n"
    assert parse_segments(text)[0]["text"].startswith("&#9")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_marked_encodings_are_read(tmp_path: Path, encoding):
    (tmp_path / "a.srt").write_text(SRT, encoding=encoding)
    assert read_segments(tmp_path / "a.srt") == SRT_SEGMENTS


def test_utf_16_files_are_read_and_other_encodings_named_by_line(tmp_path: Path):
    (tmp_path / "a.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nżółć 王\n", encoding="utf-16")
    assert read_segments(tmp_path / "a.srt") == [{"start": 0.0, "end": 1.0, "text": "żółć 王"}]
    (tmp_path / "a.srt").write_bytes("1\n00:00:00,000 --> 00:00:01,000\nfrüh\n".encode("cp1252"))
    with pytest.raises(SegmentError, match=r"a\.srt, line 3: not UTF-8"):
        read_segments(tmp_path / "a.srt")
    with pytest.raises(SegmentError, match=r"none\.srt: No such file"):
        read_segments(tmp_path / "none.srt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no segment in it"),
        ("WEBVTT\n", "no segment in it"),
        ('{"segments": []}', "no segment in it"),
        ("words alone", "line 1: no times"),
        ("[Script Info]\nTitle: a\n", "no segment in it"),
        ("1\n00:00:01,000 --> 00:00:02,000\na\n\nb\n", "line 5: no times"),
        ("1\n00:00:01 --> 00:00:02\na\n", r"line 2: '00:00:01 --> 00:00:02' is not of the form"),
        ("1\n00:61:01,000 --> 00:62:02,000\na\n", "line 2: .* is not of the form"),
        ("1\nmore\n00:00:01,000 --> 00:00:02,000\na\n", "line 3: 2 lines before the times"),
        ('{"segments": [\n{"start": 0,}]}', "line 2: no valid JSON"),
        ('{"segments": 3}', "a list of segments is expected"),
        ('{"text": "a"}', "a list of segments is expected"),
        ('{"segments": [{"text": "a"}]}', "no times; an item has start and end"),
        ("[7]", "no times"),
    ],
)
def test_what_is_broken_is_named_by_its_place(text, message):
    with pytest.raises(SegmentError, match=f"^talk.*{message}"):
        parse_segments(text, "talk")


milliseconds = st.integers(0, 99_999 * 3_600_000)
words = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="<>{}&\x85\u2028\u2029")).map(
    lambda text: " ".join(text.replace("-->", "").split())
)
segment_lists = st.lists(
    st.tuples(milliseconds, milliseconds, words).map(
        lambda values: {"start": min(values[:2]) / 1000, "end": max(values[:2]) / 1000, "text": values[2]}
    ),
    min_size=1,
    max_size=5,
)


@given(segment_lists)
def test_what_is_written_is_read_back(segments):
    assert parse_segments(format_srt(segments)) == segments
    assert parse_segments("WEBVTT\n\n" + format_srt(segments).replace(",", ".")) == [
        {**segment, "text": segment["text"].replace(",", ".")} for segment in segments
    ]
    assert parse_segments(json.dumps({"segments": segments})) == segments


PIECES = ["-->", "00:00:01,000", "1:02.5", "\n", "\n\n", "\r", "WEBVTT", "NOTE", "<v A>", "1", "{", "[", "]", "}", " "]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(["segments", "chunks", "start", "end", "text", "timestamp", "offsets"]), children
        )
    ),
    max_leaves=12,
)


@given(
    st.text()
    | st.lists(st.sampled_from(PIECES) | st.text(max_size=3)).map("".join)
    | JSON_VALUES.map(json.dumps)
    | st.binary().map(lambda raw: raw.decode("latin-1"))
)
@example("[" * 100_000)
@example("[1" + "0" * 5000 + "]")
@example("0" * 5000 + ":00:00,0 --> 00:00:01,000")
@example("WEBVTT\n\n\x1f")
def test_any_text_gives_segments_or_a_segment_error(text):
    try:
        segments = parse_segments(text)
    except SegmentError:
        return
    assert segments
    for segment in segments:
        assert {"start", "end", "text"} <= segment.keys() <= {"start", "end", "text", "speaker", "channel"}


BROKEN = {
    "srt": "1\n00:00:00,000 --> 00:00:00,200\na\n\n2\n00:00:00,400 --> 00:00:00,300\nb\n\n"
    "3\n00:00:00,200 --> 00:00:00,400\nc\n",
    "whisper": json.dumps(
        {
            "segments": [
                {"start": 0, "end": 0.2, "text": "a"},
                {"start": 0.4, "end": 0.3, "text": "b"},
                {"start": 0.2, "end": 0.4, "text": "c"},
                {"text": "d"},
                {"start": True, "end": 1},
                {"start": 0.1, "end": math.nan},
                {"start": 0.1, "end": 0.2, "text": ["e"]},
                7,
            ]
        }
    ),
    "transformers": json.dumps({"chunks": [{"timestamp": [0, 0.2], "text": "a"}, {"timestamp": [None, None]}]}),
    "whisper.cpp": json.dumps(
        {
            "transcription": [
                {"offsets": {"from": 0, "to": 200}, "text": "a"},
                {"offsets": {"from": "0", "to": 1}},
                {"offsets": {"from": 0, "to": 10**400}},
            ]
        }
    ),
}
FAULTS = {
    "srt": {2: "is empty"},
    "whisper": {
        2: "is empty",
        4: '"start" must be a number',
        5: '"start" must be a number',
        6: '"end" must be a number',
        7: "the text must be a str or None, not list",
        8: '"start" must be a number',
    },
    "transformers": {2: '"start" must be a number of seconds, not None'},
    "whisper.cpp": {2: '"start" must be', 3: '"end" must be a number'},
}


@pytest.mark.parametrize("source", BROKEN)
def test_a_segment_that_is_broken_costs_no_other(source):
    stream = AudioStream(np.ones(16_000, np.float32), 16_000, 16_000)
    segments = parse_segments(BROKEN[source])
    pieces = list(cut_segments(stream, segments))
    faults = FAULTS[source]
    found = sorted(piece.error for piece in pieces if piece.error)
    assert len(found) == len(faults)
    for error, (number, fault) in zip(found, faults.items(), strict=True):
        assert error.startswith(f"segment {number}")
        assert fault in error
    good = [piece for piece in pieces if piece.error is None]
    assert len(good) == len(segments) - len(faults)
    assert all(len(piece.waveform) == 3_200 for piece in good)
