"""Transcripts of other tools: a file of each format, read to the last value, and a broken one with its message."""

import json
import xml.sax.saxutils
from pathlib import Path

import pympi
import pysubs2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from praatio import textgrid

from processing.transcripts import segments as reading
from processing.transcripts.formats import FORMATS, parse_any
from processing.transcripts.segments import SegmentError, parse_segments, read_segments
from processing.transcripts.speakers import assign_speakers, joined_words
from processing.transcripts.transcript import segment

JSON = "JSON, JSON Lines"
SAID = [segment(0.5, 2.25, "I am furious,", "speaker 0"), segment(2.25, 4.0, "and she is sad.", "speaker 1")]
QUIET = [{key: value for key, value in one.items() if key != "speaker"} for one in SAID]

WHISPERX = {
    "segments": [
        {
            "start": 0.5,
            "end": 2.25,
            "text": " I am furious,",
            "words": [{"word": "I", "start": 0.5, "end": 0.6, "score": 0.9, "speaker": "SPEAKER_00"}],
            "speaker": "SPEAKER_00",
        },
        {"start": 2.25, "end": 4.0, "text": " in 2014.", "words": [{"word": "2014."}], "speaker": "SPEAKER_01"},
    ],
    "word_segments": [
        {"word": "I", "start": 0.5, "end": 0.6, "score": 0.9, "speaker": "SPEAKER_00"},
        {"word": "2014."},
    ],
    "language": "en",
}
WHISPERX_WORDS = {
    "word_segments": [
        {"word": "I", "start": 0.5, "end": 0.6, "score": 0.9, "speaker": "SPEAKER_00"},
        {"word": "am", "start": 0.7, "end": 0.8, "score": 0.9, "speaker": "SPEAKER_00"},
        {"word": "40.", "speaker": "SPEAKER_00"},
        {"word": "Oh?", "start": 1.0, "end": 1.5, "score": 0.4, "speaker": "SPEAKER_01"},
        {"word": "Yes.", "start": 9.0, "end": 9.5, "score": 0.4, "speaker": "SPEAKER_01"},
    ]
}
FASTER_WHISPER = [
    {"id": 1, "seek": 380, "start": 0.5, "end": 2.25, "text": " I am furious,", "tokens": [50364], "avg_logprob": -0.3,
     "compression_ratio": 1.1, "no_speech_prob": 0.01, "words": None, "temperature": 0.0},
    {"id": 2, "seek": 380, "start": 2.25, "end": 4.0, "text": " and she is sad.", "tokens": [50364], "words": None},
]  # fmt: skip
WHISPER_CPP = {
    "systeminfo": "AVX = 1",
    "model": {"type": "base", "multilingual": True},
    "result": {"language": "en"},
    "transcription": [
        {
            "timestamps": {"from": "00:00:00,500", "to": "00:00:02,250"},
            "offsets": {"from": 500, "to": 2250},
            "text": " I am furious,",
            "speaker": "0",
        },
        {
            "timestamps": {"from": "00:00:02,250", "to": "00:00:04,000"},
            "offsets": {"from": 2250, "to": 4000},
            "text": " and she is sad.",
            "speaker": "?",
        },
    ],
}
DEEPGRAM_WORDS = [
    {"word": "i'm", "start": 0.5, "end": 0.75, "confidence": 0.99, "speaker": 0, "punctuated_word": "I'm"},
    {"word": "furious", "start": 0.75, "end": 2.25, "confidence": 0.98, "speaker": 0, "punctuated_word": "furious,"},
    {"word": "oh", "start": 2.25, "end": 2.5, "confidence": 0.9, "speaker": 1, "punctuated_word": "Oh."},
]
DEEPGRAM = {
    "metadata": {"request_id": "a", "duration": 4.0, "channels": 2},
    "results": {
        "channels": [{"alternatives": [{"transcript": "I'm furious, Oh.", "words": DEEPGRAM_WORDS}]}],
        "utterances": [
            {"start": 0.5, "end": 2.25, "confidence": 0.9, "channel": 0, "transcript": "I am furious,",
             "words": DEEPGRAM_WORDS[:2], "speaker": 0, "id": "b1"},
            {"start": 2.25, "end": 4.0, "confidence": 0.9, "channel": 1, "transcript": "and she is sad.",
             "words": DEEPGRAM_WORDS[2:], "speaker": 1, "id": "b2"},
        ],
    },
}  # fmt: skip
DEEPGRAM_PARAGRAPHS = {
    "results": {
        "channels": [
            {
                "alternatives": [
                    {
                        "transcript": "I'm furious. Oh.",
                        "words": DEEPGRAM_WORDS,
                        "paragraphs": {
                            "transcript": "\nSpeaker 0: I'm furious.\n\nSpeaker 1: Oh.",
                            "paragraphs": [
                                {"sentences": [{"text": "I'm furious.", "start": 0.5, "end": 2.25}], "speaker": 0},
                                {"sentences": [{"text": "Oh.", "start": 2.25, "end": 2.5}], "speaker": 1},
                            ],
                        },
                    }
                ]
            }
        ]
    }
}
ASSEMBLYAI = {
    "id": "6rlr",
    "audio_url": "https://example.com/talk.mp3",
    "status": "completed",
    "text": "I am furious, and she is sad.",
    "words": [{"text": "I", "start": 500, "end": 600, "confidence": 0.9, "speaker": "A"}],
    "utterances": [
        {"confidence": 0.9, "start": 500, "end": 2250, "text": "I am furious,", "speaker": "A", "words": []},
        {"confidence": 0.9, "start": 2250, "end": 4000, "text": "and she is sad.", "speaker": "B", "words": []},
    ],
    "audio_duration": 4,
}
FUNASR = [
    {
        "key": "talk",
        "text": "I am furious, and she is sad.",
        "timestamp": [[500, 2250], [2250, 4000]],
        "sentence_info": [
            {"text": "I am furious,", "start": 500, "end": 2250, "timestamp": [[500, 2250]], "spk": 0},
            {"sentence": "and she is sad.", "start": 2250, "end": 4000, "timestamp": [[2250, 4000]], "spk": 1},
        ],
    }
]
JSON3 = {
    "wireMagic": "pb3",
    "pens": [{}],
    "events": [
        {"tStartMs": 0, "dDurationMs": 5000, "id": 1, "wpWinPosId": 1, "wsWinStyleId": 1},
        {"tStartMs": 500, "dDurationMs": 3500, "wWinId": 1,
         "segs": [{"utf8": "I am", "acAsrConf": 0}, {"utf8": " furious,", "tOffsetMs": 400}]},
        {"tStartMs": 2250, "dDurationMs": 1750, "wWinId": 1, "aAppend": 1, "segs": [{"utf8": "\n"}]},
        {"tStartMs": 2250, "dDurationMs": 1750, "wWinId": 1, "segs": [{"utf8": "and she is sad."}]},
    ],
}  # fmt: skip
TRANSFORMERS_WORDS = {
    "text": " I am furious, sad",
    "chunks": [
        {"text": " I", "timestamp": [0.5, 0.75]},
        {"text": " am", "timestamp": [0.75, 1.0]},
        {"text": " furious,", "timestamp": [1.0, 2.25]},
        {"text": " sad", "timestamp": [4.0, None]},
    ],
}
OBJECTS = {
    "whisperX": (WHISPERX, [
        segment(0.5, 2.25, "I am furious,", "SPEAKER_00"), segment(2.25, 4.0, "in 2014.", "SPEAKER_01"),
    ]),
    "whisperX' words": (WHISPERX_WORDS, [
        segment(0.5, 0.8, "I am 40.", "SPEAKER_00"), segment(1.0, 1.5, "Oh?", "SPEAKER_01"),
        segment(9.0, 9.5, "Yes.", "SPEAKER_01"),
    ]),
    "faster-whisper": (FASTER_WHISPER, QUIET),
    "whisper.cpp": (WHISPER_CPP, [SAID[0], QUIET[1]]),
    "Deepgram": (DEEPGRAM, [SAID[0] | {"channel": 0}, SAID[1] | {"channel": 1}]),
    "Deepgram's words": ({"results": {"channels": DEEPGRAM["results"]["channels"]}}, [  # type: ignore[index]
        segment(0.5, 2.25, "I'm furious,", "speaker 0"), segment(2.25, 2.5, "Oh.", "speaker 1"),
    ]),
    "Deepgram's paragraphs": (DEEPGRAM_PARAGRAPHS, [
        segment(0.5, 2.25, "I'm furious.", "speaker 0"), segment(2.25, 2.5, "Oh.", "speaker 1"),
    ]),
    "AssemblyAI": (ASSEMBLYAI, [QUIET[0] | {"speaker": "A"}, QUIET[1] | {"speaker": "B"}]),
    "FunASR": (FUNASR, SAID),
    "FunASR's sentences": (FUNASR[0]["sentence_info"], SAID),
    "YouTube's json3": (JSON3, QUIET),
    "youtube-transcript-api": (
        [
            {"text": "I am furious,", "start": 0.5, "duration": 3.0},
            {"text": "and she is sad.", "start": 2.25, "duration": 1.75},
        ],
        QUIET,
    ),
    "words of transformers": (TRANSFORMERS_WORDS, [
        segment(0.5, 2.25, "I am furious,"), segment(4.0, None, "sad"),
    ]),
    "OpenAI's diarized_json": (
        {"duration": 4.0, "segments": [{"type": "transcript.text.segment", "id": "seg_0", "start": 0.5, "end": 2.25,
                                        "text": "I am furious,", "speaker": "agent"}]},
        [segment(0.5, 2.25, "I am furious,", "agent")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("tool", OBJECTS)
def test_json_of_every_tool_is_read_in_its_units_and_with_its_speakers(tool):
    content, expected = OBJECTS[tool]
    assert parse_segments(json.dumps(content)) == expected
    assert parse_segments(json.dumps(content, indent=1, ensure_ascii=False).replace("\n", "\r\n")) == expected


def test_a_transcript_of_one_channel_says_nothing_of_channels():
    items = [{"start": 0, "end": 1, "text": "a", "channel": 0}, {"start": 1, "end": 2, "text": "b", "channel": 0}]
    assert parse_segments(json.dumps(items)) == [segment(0, 1, "a"), segment(1, 2, "b")]
    items[1]["channel"] = 1
    assert [one["channel"] for one in parse_segments(json.dumps(items))] == [0, 1]


LINES = [json.dumps(item) for item in FASTER_WHISPER]
NEMO = "\n".join(
    json.dumps({"audio_filepath": f"/data/{name}.wav", "offset": 0.5, "duration": 1.75, "text": name, "speaker": "a"})
    for name in ("talk", "other")
)

VTT = """WEBVTT
Kind: captions

NOTE made by hand

1
00:00.500 --> 00:02.250 align:start
<v.loud Anna Bell>I am <i>furious</i>,
still Anna</v>
no one

2
00:02.250 --> 00:04.000
<v Ben>and &amp; she is sad.
<v Anna Bell>No.
"""
ASS = """[Script Info]
; a comment: [Events]
Title: talk
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname
Style: Default,Arial

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Comment: 0,0:00:00.00,0:00:09.00,Default,,0,0,0,,left out
Dialogue: 0,0:00:00.50,0:00:02.25,Default,Anna,0,0,0,,{\\i1}I am{\\i0}\\Nfurious, {\\k20}yes
Dialogue: 0,0:00:00.50,0:00:02.25,Default,,0,0,0,,{\\p1}m 0 0 l 10 10{\\p0}
Dialogue: 0,0:00:02.25,0:00:04.00,Default,,0,0,0,,and she\\his sad.
"""
LONG_TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 4
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "Anna"
        xmin = 0
        xmax = 4
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = ""
        intervals [2]:
            xmin = 0.5
            xmax = 2.25
            text = "I said ""item [2]:"" and 3 = 4,
furious"
    item [2]:
        class = "TextTier"
        name = "bell"
        xmin = 0
        xmax = 4
        points: size = 1
        points [1]:
            number = 1.5
            mark = "H*"
    item [3]:
        class = "IntervalTier"
        name = "Anna - phones"
        xmin = 0
        xmax = 4
        intervals: size = 1
        intervals [1]:
            xmin = 0.5
            xmax = 0.6
            text = "AY1"
"""
SHORT_TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

0
4
<exists>
2
"IntervalTier"
"Anna - words"
0
4
4
0
0.5
"sil"
0.5
0.75
"I"
0.75
1.25
"am"
2.5
4
"sad"
"IntervalTier"
"Anna - phones"
0
4
1
0.5
0.75
"AY1"
"""
EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2024-01-01T00:00:00+00:00" FORMAT="3.0" VERSION="3.0">
  <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"/>
  <TIME_ORDER>
    <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="2250"/>
    <TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="4000"/>
    <TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="500"/>
    <TIME_SLOT TIME_SLOT_ID="ts4"/>
  </TIME_ORDER>
  <TIER LINGUISTIC_TYPE_REF="default-lt" PARTICIPANT="Ben" TIER_ID="tx@B">
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
      <ANNOTATION_VALUE>and she is &lt;sad&gt;.</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER LINGUISTIC_TYPE_REF="default-lt" TIER_ID="Anna">
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts1">
      <ANNOTATION_VALUE>I am furious,</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER LINGUISTIC_TYPE_REF="words" PARENT_REF="Anna" PARTICIPANT="Anna" TIER_ID="words@A">
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a4" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts4">
      <ANNOTATION_VALUE>I</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER LINGUISTIC_TYPE_REF="translation" PARENT_REF="Anna" TIER_ID="ft@A">
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a3" ANNOTATION_REF="a2">
      <ANNOTATION_VALUE>Ich bin wütend</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
  </TIER>
</ANNOTATION_DOCUMENT>
"""
TTML = """<?xml version="1.0" encoding="utf-16"?>
<!-- <tt> in a comment -->
<tt xmlns="http://www.w3.org/ns/ttml" xmlns:ttm="http://www.w3.org/ns/ttml#metadata"
    xmlns:ttp="http://www.w3.org/ns/ttml#parameter" ttp:frameRate="25" ttp:tickRate="10000000" xml:lang="en">
  <head><metadata><ttm:agent xml:id="a1"><ttm:name type="full">Anna</ttm:name></ttm:agent></metadata></head>
  <body begin="10s">
    <div>
      <p begin="5000000t" end="22500000t" ttm:agent="a1">I am
        <span>furious</span>,<br/>yes</p>
      <p begin="00:00:02:10" dur="1600ms">and she is sad.</p>
      <p ttm:agent="a1"><span begin="00:00:05.000" end="5500ms">No</span> <span begin="5.5s" end="6s">no</span></p>
    </div>
  </body>
</tt>
"""
KARAOKE = "\n\n".join(
    f"{number}\n00:00:0{start},000 --> 00:00:0{start + 1},000\n{words}"
    for number, (start, words) in enumerate(
        [
            (0, "[SPEAKER_00]: <u>I</u> am so"),
            (1, "[SPEAKER_00]: I <u>am</u> so"),
            (2, "[SPEAKER_00]: I am so"),
            (3, "[SPEAKER_00]: I am <u>so</u>"),
            (4, "[SPEAKER_01]: No."),
            (5, "[SPEAKER_01]: No."),
        ],
        1,
    )
)

FILES = {
    "WebVTT": ("talk.vtt", VTT, [
        segment(0.5, 2.25, "I am furious, still Anna", "Anna Bell"), segment(0.5, 2.25, "no one"),
        segment(2.25, 4.0, "and & she is sad.", "Ben"), segment(2.25, 4.0, "No.", "Anna Bell"),
    ]),
    "ASS, SSA": ("talk.ass", ASS, [
        segment(0.5, 2.25, "I am furious, yes", "Anna"), segment(2.25, 4.0, "and she is sad."),
    ]),
    "TextGrid": ("talk.TextGrid", LONG_TEXTGRID, [
        segment(0.5, 2.25, 'I said "item [2]:" and 3 = 4, furious', "Anna"),
    ]),
    "short TextGrid": ("talk.TextGrid", SHORT_TEXTGRID, [
        segment(0.5, 1.25, "I am", "Anna"), segment(2.5, 4.0, "sad", "Anna"),
    ]),
    "ELAN": ("talk.eaf", EAF, [
        segment(0.5, 2.25, "I am furious,", "Anna"), segment(2.25, 4.0, "and she is <sad>.", "Ben"),
    ]),
    "TTML": ("talk.ttml", TTML, [
        segment(10.5, 12.25, "I am furious, yes", "Anna"), segment(12.4, 14.0, "and she is sad."),
        segment(15.0, 16.0, "No no", "Anna"),
    ]),
    JSON: ("talk.json", json.dumps(WHISPERX), OBJECTS["whisperX"][1]),
    "JSON Lines": ("talk.jsonl", "\n".join(LINES) + "\n\n", QUIET),
    "one line": ("talk.jsonl", LINES[0], QUIET[:1]),
    "NeMo's manifest": ("talk.json", NEMO, [segment(0.5, 2.25, "talk", "a")]),
    "Whisper's text": (
        "talk.txt", "[00:00.500 --> 00:02.250]  I am furious,\n[01:00:02.250 --> 01:00:04.000]  and she\nis sad.\n",
        [QUIET[0], segment(3602.25, 3604.0, "and she is sad.")],
    ),
    "LRC": (
        "talk.lrc",
        "[ti:Talk]\n[length:00:09]\n[offset:+500]\n\n"
        "[00:01.00]I am <00:01.20>furious,\n[00:02.75][00:09]no\n[00:04:50]\n",
        [segment(0.5, 2.25, "I am furious,"), segment(2.25, 4.0, "no"), segment(8.5, None, "no")],
    ),
    "SBV": (
        "talk.sbv", "0:00:00.500,0:00:02.250\nI am\nfurious,\n\n0:00:02.250,0:00:04.000\nand she is sad.\n", QUIET,
    ),
    "tables": (
        "talk.tsv", 'start\tend\ttext\n500\t2250\t"I am" furious,\n2250\t4000\tand she, is sad.\n',
        [segment(0.5, 2.25, '"I am" furious,'), segment(2.25, 4.0, "and she, is sad.")],
    ),
    "whisper.cpp's CSV": (
        "talk.csv", 'start,end,speaker,text\n500,2250,0," I am ""furious"","\n2250,4000,1," and she is sad."\n',
        [segment(0.5, 2.25, 'I am "furious",', "speaker 0"), segment(2.25, 4.0, "and she is sad.", "speaker 1")],
    ),
    "a CSV without quotes": (
        "talk.csv", "start,end,text\n500,2250,well, no\n2250,4000,and, she, is sad.\n",
        [segment(0.5, 2.25, "well, no"), segment(2.25, 4.0, "and, she, is sad.")],
    ),
    "seconds": (
        "talk.tsv", "start\tend\ttext\n0.5\t2\ta\n2\t4\tb\n", [segment(0.5, 2.0, "a"), segment(2.0, 4.0, "b")],
    ),
    "RTTM": (
        "talk.rttm",
        ";; who\nSPKR-INFO talk 1 <NA> <NA> <NA> unknown Anna <NA>\n"
        "SPEAKER talk 1 0.50 1.75 <NA> <NA> Anna <NA> <NA>\nSPEAKER talk 1 2.25 1.75 <NA> <NA> 1 <NA> <NA>\n"
        "SPEAKER other 1 0.00 9.00 <NA> <NA> Zoe <NA> <NA>\n",
        [segment(0.5, 2.25, "", "Anna"), segment(2.25, 4.0, "", "speaker 1")],
    ),
    "RTTM with words": (
        "talk.rttm",
        "SPEAKER talk 1 0.50 1.75 <NA> <NA> Anna <NA> <NA>\nLEXEME talk 1 0.50 0.25 I lex Anna 0.9 <NA>\n"
        "LEXEME talk 1 0.75 0.25 am lex Anna 0.9 <NA>\n",
        [segment(0.5, 1.0, "I am", "Anna")],
    ),
    "CTM": (
        "talk.ctm",
        ";; words\ntalk 1 0.50 0.25 I 0.99\ntalk 1 0.75 1.50 am 0.99\nother 1 0.1 0.1 no\ntalk 1 2.30 0.10 <eps>\n"
        "talk 1 5.00 0.50 sad 0.90 lex Ben\n",
        [segment(0.5, 2.25, "I am"), segment(5.0, 5.5, "sad", "Ben")],
    ),
    "Audacity's labels": (
        "labels.txt",
        "0.500000\t2.250000\tI am furious,\n\\\t100.0\t200.0\n"
        "2,250000\t4,000000\tand she is sad.\n3.0\t3.0\tx\n",
        QUIET,
    ),
    "SubRip": ("talk.srt", KARAOKE, [
        segment(0.0, 4.0, "I am so", "SPEAKER_00"), segment(4.0, 5.0, "No.", "SPEAKER_01"),
        segment(5.0, 6.0, "No.", "SPEAKER_01"),
    ]),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_each_format_is_read_exactly(tmp_path: Path, kind):
    name, text, expected = FILES[kind]
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_segments(tmp_path / name, "talk") == expected
    (tmp_path / name).write_bytes(text.replace("\n", "\r\n").encode("utf-16"))
    assert read_segments(tmp_path / name, "talk") == expected


@pytest.mark.parametrize("kind", FILES)
def test_a_format_is_known_by_what_it_says_whatever_its_name(kind):
    _, text, expected = FILES[kind]
    for name in ("talk", "talk.txt", "talk.srt", "talk.json"):
        assert parse_segments(text, name, recording="talk") == expected


def test_the_documentation_has_the_table_of_formats():
    page = (Path(__file__).resolve().parents[1] / "docs/tutorials/long-recordings.md").read_text(encoding="utf-8")
    table = page.partition("| format | endings | written by |\n|---|---|---|\n")[2].partition("\n\n")[0]
    assert table.splitlines() == [
        f"| {known.title} | {', '.join(f'`{ending}`' for ending in known.endings)} | {known.written_by} |"
        for known in FORMATS
    ]


def test_every_format_has_its_file_here():
    assert {known.title for known in FORMATS} <= FILES.keys()
    assert len({ending for known in FORMATS for ending in known.endings}) == sum(len(k.endings) for k in FORMATS)


BROKEN = {
    "WebVTT": ("WEBVTT\n\n00:00.5 -> 00:02\nI am\n", "line 3: no times"),
    "ASS, SSA": (
        "[Script Info]\n[Events]\nDialogue: 0,0:00:00.50,words\n",
        "line 3: .* is not of the form Dialogue: 0",
    ),
    "TextGrid": (LONG_TEXTGRID[:400], "ends too early; save it in Praat again"),
    "TextGrid's tiers": (LONG_TEXTGRID.replace('"TextTier"', '"Pitch"'), "a tier of the kind 'Pitch'"),
    "TextGrid's numbers": (LONG_TEXTGRID.replace("xmin = 0.5", 'xmin = "a"'), "a text where a number is due"),
    "ELAN": (
        EAF.replace(' PARENT_REF="Anna" PARTICIPANT="Anna"', ""),
        "annotation a4 of tier words@A has no times; align",
    ),
    "TTML": (TTML.replace("22500000t", "soon"), "the time 'soon' is not of the form 00:01:02.500"),
    "TTML's frames": (TTML.replace('"25"', '"0"'), "frameRate.* is no positive number"),
    "TTML cut short": (TTML[:600], "no well-formed XML"),
    JSON: (
        '[{"start": 0, "end": 1, "caption": "I am"}]',
        "item 1 of the list: .* text under 'caption': rename the key",
    ),
    "lines": ("\n".join([LINES[0], LINES[1][:40]]), "line 2: no valid JSON"),
    "lists": ('[[1, 0, 0.5, 2.25, " I am", [50364]]]', r"item 1 is a list; older faster-whisper .*_asdict\(\)"),
    "FunASR": ('[{"key": "a", "text": "I am", "timestamp": [[500, 2250]]}]', "no times"),
    "FunASR's answer": ('{"key": "a", "text": "I am", "timestamp": [[500, 2250]]}', "sentence_timestamp=True"),
    "Deepgram": ('{"results": {"channels": [{"alternatives": [{"transcript": "a"}]}]}}', "ask for utterances=true"),
    "keys": ('{"monologues": [], "version": 1}', "there are the keys monologues, version"),
    "NeMo": (NEMO, r"2 recordings \(talk, other\), none of which is called None: name the audio file"),
    "Whisper's text": ("[00:00.500 --> 0:0:0:2]  I am\n", "line 1: .* is not of the form"),
    "LRC": ("[00:01.00]I am\nwho said that\n", r"line 2: 'who said that' is not of the form \[00:12.50\]words"),
    "LRC's offset": ("[00:01.00]I am\n[offset:soon]\n", "milliseconds"),
    "SBV": ("0:00:00.500 0:00:02.250\nI am\n", "line 1: .* is not of the form 0:00:00.500,0:00:02.500"),
    "tables": ("start\tend\ttext\n500\tlate\tI am\n", "line 2: .* two numbers, and the words"),
    "tables' columns": ("start\tend\twords\n500\t2250\tI am\n", "lacks text and has start, end, words: rename"),
    "tables' units": ("start\tend\ttext\n0\t2\tI am\n2\t4\tso\n", "whole numbers are milliseconds"),
    "RTTM": ("SPEAKER talk 1 0.50 long <NA> <NA> Anna <NA> <NA>\n", "line 1: .* is not of the form SPEAKER talk 1"),
    "CTM": ("talk 1 0.50 0.25 I\ntalk 1 soon 0.25 am\n", "line 2: .* is not of the form talk 1 0.50 0.20 word"),
    "Audacity's labels": ("0.5\t2.25\tI am\n2.25 4.0 so\n", "line 2: .* is not of the form 0.5<tab>2.5<tab>words"),
    "SubRip": ("1\n00:00:01 --> 00:00:02\na\n", "line 2: .* is not of the form"),
    "MicroDVD": ("{12}{60}I am\n", "MicroDVD subtitles are not read; convert it: ffmpeg"),
    "MPL2": ("[12][60]I am\n", "MPL2 subtitles are not read"),
    "SAMI": ("<SAMI><BODY><SYNC Start=500><P>I am\n", "SAMI subtitles are not read"),
    "web page": ("<!DOCTYPE html><html></html>", "web pages are not read; save the transcript itself"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_of_each_format_is_named_by_its_place_and_remedy(kind):
    text, message = BROKEN[kind]
    ending = {"SBV": ".sbv", "LRC": ".lrc"}.get(kind, "")
    with pytest.raises(SegmentError, match=f"^talk{ending}.*{message}"):
        parse_segments(text, f"talk{ending}")


def test_every_format_has_a_broken_file_here():
    assert {known.title for known in FORMATS} <= BROKEN.keys()


BOMB = '<!DOCTYPE tt [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'{BOMB}<tt><body><p begin="0s" end="1s">&b;</p></body></tt>', "declares a DOCTYPE or entities"),
        (f'<?xml version="1.0"?>{BOMB}<ANNOTATION_DOCUMENT/>', "declares a DOCTYPE or entities"),
        ('<tt><body><p begin="0s" end="1s">&b;</p></body></tt>', "undefined entity"),
        ("<tt>" + "<div>" * 200_000, "nested more than 100 deep"),
        ('<tt begin="' + "9" * 5000 + 's"/>', "is not of the form"),
    ],
    ids=["ttml", "elan", "unknown", "deep", "long"],
)
def test_xml_expands_nothing_and_is_bounded(text, message):
    with pytest.raises(SegmentError, match=message):
        parse_segments(text, "talk.ttml")


def test_the_size_of_a_file_is_bounded(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(reading, "LARGEST", 1 << 20)
    (tmp_path / "talk.srt").write_bytes(b"\n" * ((1 << 20) + 1))
    with pytest.raises(SegmentError, match="larger than 1 MiB"):
        read_segments(tmp_path / "talk.srt")
    (tmp_path / "talk.TextGrid").write_bytes(b"ooBinaryFile\x08TextGrid")
    with pytest.raises(SegmentError, match="a binary TextGrid; save it in Praat as text"):
        read_segments(tmp_path / "talk.TextGrid")


# ---- speakers -------------------------------------------------------------------------------------------------------


def test_labels_before_the_words_are_speakers_and_names_only_with_the_option():
    text = "[00:01.000 --> 00:02.000] Anna: I said: go.\n[00:02.000 --> 00:03.000] Speaker 1: Note: no.\n"
    assert parse_segments(text) == [
        segment(1.0, 2.0, "Anna: I said: go."),
        segment(2.0, 3.0, "Note: no.", "Speaker 1"),
    ]
    assert parse_segments(text, names=True)[0] == segment(1.0, 2.0, "I said: go.", "Anna")
    srt = "1\n00:00:01,000 --> 00:00:02,000\nAnna: one\ntwo\nBen Bell: three\n"
    assert parse_segments(srt, names=True) == [
        segment(1.0, 2.0, "one two", "Anna"),
        segment(1.0, 2.0, "three", "Ben Bell"),
    ]
    for words in ("at 12:30 today", "he said, no: go", "https://example.com", "Wait. What: no"):
        assert parse_segments(json.dumps([{"start": 0, "end": 1, "text": words}]), names=True) == [
            segment(0, 1, words)
        ]


def test_turns_of_an_rttm_give_words_their_speakers(tmp_path: Path):
    (tmp_path / "talk.rttm").write_text(FILES["RTTM"][1])
    (tmp_path / "talk.srt").write_text(
        "1\n00:00:00,000 --> 00:00:02,300\na\n\n2\n00:00:02,000 --> 00:00:04,000\nb\n\n"
        "3\n00:00:05,000 --> 00:00:06,000\nc\n"
    )
    found = read_segments(tmp_path / "talk.srt", "talk", turns=tmp_path / "talk.rttm")
    assert [one.get("speaker") for one in found] == ["Anna", "speaker 1", None]
    (tmp_path / "talk.ctm").write_text("talk 1 2.0 0.2 I\ntalk 1 2.3 0.2 no\n")
    assert read_segments(tmp_path / "talk.ctm", "talk", turns=tmp_path / "talk.rttm") == [
        segment(2.0, 2.2, "I", "Anna"),
        segment(2.3, 2.5, "no", "speaker 1"),
    ]
    with pytest.raises(SegmentError, match=r"talk\.ctm: it names no speaker; RTTM says"):
        read_segments(tmp_path / "talk.srt", "talk", turns=tmp_path / "talk.ctm")


def test_the_speaker_is_whose_turns_share_most_time_together():
    turns = [segment(0, 1, "", "a"), segment(1, 2.5, "", "b"), segment(2.5, 4, "", "a")]
    assert assign_speakers([segment(0, 4, "x"), segment(0.9, 2.6, "y"), segment(9, None, "z")], turns) == [
        segment(0, 4, "x", "a"),
        segment(0.9, 2.6, "y", "b"),
        segment(9, None, "z"),
    ]


def test_words_become_segments_up_to_a_pause_a_sentence_a_speaker_or_half_a_minute():
    words = [
        segment(0, 1.5, "No."),
        segment(1.5, 2.5, "Go."),
        segment(2.6, 3, "我"),
        segment(3, 4, "很"),
        segment(5.5, 6, "a"),
    ]
    assert joined_words(words) == [
        segment(0, 2.5, "No. Go."), segment(2.6, 4, "我很"), segment(5.5, 6, "a"),
    ]  # fmt: skip
    long = joined_words([segment(n, n + 0.9, "a") for n in range(60)])
    assert [(one["start"], one["end"]) for one in long] == [(0, 29.9), (30, 59.9)]


# ---- what the formats' own libraries write is read ------------------------------------------------------------------

plain = st.text(st.characters(categories=["L", "N"], include_characters="'!?-"), min_size=1, max_size=8)
spoken = st.lists(plain, min_size=1, max_size=4).map(" ".join)
rows = st.lists(st.tuples(st.integers(1, 2000), st.integers(0, 500), spoken), min_size=1, max_size=5)


def timed(rows: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Rows of (length, pause before, words) as (start, end, words), in hundredths of a second."""
    found, now = [], 0
    for length, pause, words in rows:
        found.append((now + pause, now + pause + length, words))
        now += pause + length
    return found


def expected_of(found: list[tuple[int, int, str]], speaker: str | None = None) -> list:
    return [segment(start / 100, end / 100, words, speaker) for start, end, words in found]


def rounded(segments: list) -> list:
    return [{key: round(v, 4) if isinstance(v, float) else v for key, v in one.items()} for one in segments]


@given(rows, st.sampled_from(["srt", "vtt", "ass", "ttml"]))
def test_what_pysubs2_writes_is_read(rows, kind):
    found = timed(rows)
    subtitles = pysubs2.SSAFile()
    for start, end, words in found:
        subtitles.append(pysubs2.SSAEvent(start=start * 10, end=end * 10, text=words))
    assert rounded(parse_segments(subtitles.to_string(kind), f"talk.{kind}")) == expected_of(found)


@given(rows, st.sampled_from(["long_textgrid", "short_textgrid"]))
def test_what_praatio_writes_is_read(tmp_path_factory, rows, kind):
    found = timed(rows)
    path = tmp_path_factory.mktemp("praat") / "talk.TextGrid"
    grid = textgrid.Textgrid()
    entries = [(start / 100, end / 100, f'{words} "x"') for start, end, words in found]
    grid.addTier(textgrid.IntervalTier("Anna", entries, 0, found[-1][1] / 100 + 1))
    grid.save(str(path), kind, includeBlankSpaces=True)
    said = [{**one, "text": f'{one["text"]} "x"'} for one in expected_of(found, "Anna")]
    assert rounded(read_segments(path)) == said


@given(rows)
def test_what_pympi_writes_is_read(tmp_path_factory, rows):
    found = timed(rows)
    path = tmp_path_factory.mktemp("elan") / "talk.eaf"
    document = pympi.Elan.Eaf(author="nobody")
    document.add_tier("tx@A", part="Anna")
    for start, end, words in found:
        document.add_annotation("tx@A", start * 10, end * 10, words)
    document.to_file(str(path))
    assert rounded(read_segments(path)) == expected_of(found, "Anna")


def lrc(found):
    ends = [*(start for start, _, _ in found[1:]), None]
    text = "\n".join(f"[{s // 6000:02}:{s // 100 % 60:02}.{s % 100:02}]{words}" for s, _, words in found)
    return text, [segment(s / 100, e and e / 100, words) for (s, _, words), e in zip(found, ends, strict=True)]


def table(found):
    return "start\tend\ttext\n" + "\n".join(f"{s * 10}\t{e * 10}\t{w}" for s, e, w in found), None


def labels(found):
    return "\n".join(f"{s / 100:.6f}\t{e / 100:.6f}\t{w}" for s, e, w in found), None


def whisper(found):
    def stamp(n):
        return f"{n // 6000:02}:{n // 100 % 60:02}.{n % 100:02}0"

    return "\n".join(f"[{stamp(s)} --> {stamp(e)}]  {w}" for s, e, w in found), None


def sbv(found):
    def stamp(n):
        return f"{n // 360_000}:{n // 6000 % 60:02}:{n // 100 % 60:02}.{n % 100:02}0"

    return "\n\n".join(f"{stamp(s)},{stamp(e)}\n{w}" for s, e, w in found), None


def rttm(found):
    lines = [f"SPEAKER talk 1 {s / 100:.3f} {(e - s) / 100:.3f} <NA> <NA> Anna <NA> <NA>" for s, e, _ in found]
    return "\n".join(lines), [segment(s / 100, e / 100, "", "Anna") for s, e, _ in found]


def ttml(found):
    lines = [f'<p begin="{s * 10}ms" end="{e / 100}s">{xml.sax.saxutils.escape(w)}</p>' for s, e, w in found]
    return f"<tt><body><div>{''.join(lines)}</div></body></tt>", None


@given(rows.map(timed), st.sampled_from([lrc, table, labels, whisper, sbv, rttm, ttml]))
def test_what_is_written_in_the_smaller_formats_is_read(found, write):
    found = [(s, max(e, s + 10), w) for s, e, w in timed([(max(e - s, 10), 1, w) for s, e, w in found])]
    text, expected = write(found)
    assert rounded(parse_segments(text)) == rounded(expected or expected_of(found))


PIECES = [
    *(
        "-->",
        "[",
        "]",
        "{",
        "}",
        '"',
        "\n",
        "\n\n",
        "\t",
        " ",
        ":",
        ",",
        "0",
        "1.5",
        "00:01.000",
        "<tt>",
        "<p",
        "</tt>",
    ),
    *("WEBVTT", "[Script Info]", "[Events]", "Dialogue:", "SPEAKER", "LEXEME", "<NA>", ";;", "start\tend\ttext", "\\"),
    *(
        '"ooTextFile"',
        '"TextGrid"',
        '"IntervalTier"',
        "<exists>",
        "<TIER>",
        "<ANNOTATION_DOCUMENT>",
        'begin="1s"',
        ">",
    ),
    *("[00:01.00]", "[offset:5]", "0:00:01.000,0:00:02.000", "talk 1 0.5 0.2 word", "Anna:", "[SPEAKER_00]:"),
    *('{"events": [', '{"results": {"channels": [', '{"words": [', '"start": 1', '"word": "a"', "<v Anna>", "{\\p1}"),
]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=30).map("".join), st.sampled_from(FORMATS))
def test_no_parser_raises_anything_but_a_segment_error(text, known):
    for parse in (known.parse, parse_any):
        try:
            found = parse(text, "talk")
        except SegmentError:
            continue
        assert all({"start", "end", "text"} <= one.keys() for one in found.segments)
