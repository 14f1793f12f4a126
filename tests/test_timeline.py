"""Answers as tables, subtitles and pictures."""

import csv
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from helpers.tiny import tiny_processor
from pyarrow import parquet
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from processing.answers import answer_columns, timeline_srt, write_results, write_table
from processing.explanation import Explanation, Word, merge_words
from processing.figures.timeline import _slice_means, _spans, clock, envelope, plot_timeline
from processing.transcripts.segments import parse_segments

LABELS = ["angry", "calm"]


def answer(angry: float, **fields: Any) -> dict[str, Any]:
    scores = sorted(zip((angry, 1 - angry), LABELS, strict=True), reverse=True)
    return {
        "text": "you came late",
        "scores": [{"label": label, "score": score} for score, label in scores],
        "consistency": 0.75,
        "dominant_modality": "speech",
        "modality_shares": {"speech": 0.6, "text": 0.4},
    } | fields


SILENT = {"text": None, "consistency": None, "dominant_modality": None, "modality_shares": None}
TIMELINE = {
    "audio_seconds": 9.5,
    "timeline": [
        answer(0.875, start=0.0, end=2.5),
        answer(0.25, start=3.0, end=9.5, warning="no words were given", **SILENT),
    ],
}


def test_a_table_holds_every_answer_and_every_error(tmp_path: Path):
    results = [
        {"audio": "a.wav", **answer(1 / 3, audio_seconds=1.25)},
        {"audio": "=b.wav", "error": "cannot be decoded"},
        {"audio": "c.wav", **TIMELINE},
    ]
    write_results(results, tmp_path / "out.parquet", LABELS)
    rows = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert list(rows[0]) == ["audio", "start", "end", "speaker", "text", *answer_columns(LABELS)]
    expected = {
        "audio": "a.wav", "start": None, "end": None, "speaker": None, "text": "you came late", "audio_seconds": 1.25,
        "prediction": "calm", "probability_angry": 1 / 3, "probability_calm": 1 - 1 / 3, "consistency": 0.75,
        "dominant_modality": "speech", "speech_share": 0.6, "text_share": 0.4, "warning": None, "error": None,
    }  # fmt: skip
    assert rows[0] == expected
    assert {name: value for name, value in rows[1].items() if value is not None} == {
        "audio": "=b.wav",
        "error": "cannot be decoded",
    }
    assert [(row["audio"], row["start"], row["end"], row["prediction"]) for row in rows[2:]] == [
        ("c.wav", 0.0, 2.5, "angry"),
        ("c.wav", 3.0, 9.5, "calm"),
    ]
    assert (rows[3]["warning"], rows[3]["consistency"]) == ("no words were given", None)
    assert [row["audio_seconds"] for row in rows] == [1.25, None, 2.5, 6.5]  # of a piece, its own
    write_results(results, tmp_path / "out.csv", LABELS)
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows] == read
    write_results(results, tmp_path / "out.json", LABELS)
    assert json.loads((tmp_path / "out.json").read_text()) == results


def test_label_sets_are_joined_and_never_empty(tmp_path: Path):
    both = answer(0.9) | {"scores": [{"label": "angry", "score": 0.9}, {"label": "calm", "score": 0.6}]}
    none = answer(0.4) | {"scores": [{"label": "calm", "score": 0.45}, {"label": "angry", "score": 0.4}]}
    write_results([{"audio": "a", **both}, {"audio": "b", **none}], tmp_path / "o.csv", LABELS, multi_label=True)
    with (tmp_path / "o.csv").open(newline="") as file:
        assert [row["prediction"] for row in csv.DictReader(file)] == ["angry|calm", "calm"]


def test_subtitles_say_what_is_felt_and_the_words(tmp_path: Path):
    assert [(cue["start"], cue["end"], cue["text"]) for cue in parse_segments(timeline_srt(TIMELINE))] == [
        (0.0, 2.5, "angry 0.88 | you came late"),
        (3.0, 9.5, "calm 0.75"),
    ]
    write_results([{"audio": "c.wav", **TIMELINE}], tmp_path / "out.srt", LABELS)
    assert (tmp_path / "out.srt").read_text() == timeline_srt(TIMELINE)
    with pytest.raises(ValueError, match="one long recording"):
        write_results([{"audio": "a.wav", **answer(0.5)}], tmp_path / "out.srt", LABELS)
    with pytest.raises(ValueError, match=r"out\.xls: .*\.json, \.csv, \.srt, \.parquet"):
        write_results([], tmp_path / "out.xls", LABELS)


def test_windows_that_overlap_are_cues_that_do_not():
    spans = [(0.0, 10.0), (5.0, 15.0), (10.0, 20.0), (20.0, 21.0)]
    timeline = {"timeline": [answer(0.9) | {"start": start, "end": end} for start, end in spans]}
    cues = parse_segments(timeline_srt(timeline))
    assert [(cue["start"], cue["end"]) for cue in cues] == [(0.0, 7.5), (7.5, 12.5), (12.5, 20.0), (20.0, 21.0)]
    nested = {"timeline": [answer(0.9) | {"start": start, "end": end} for start, end in [(0.0, 9.0), (2.0, 4.0)]]}
    assert [(cue["start"], cue["end"]) for cue in parse_segments(timeline_srt(nested))] == [(0.0, 9.0), (2.0, 4.0)]


def test_columns_of_any_type_survive_parquet(tmp_path: Path):
    rows = [{"mixed": 1, "list": [1, 2], "none": None}, {"mixed": "one", "list": None, "none": None}]
    write_table(rows, tmp_path / "o.parquet", dict.fromkeys(("mixed", "list", "none"), object))
    table = parquet.read_table(tmp_path / "o.parquet").to_pylist()
    assert table == [{"mixed": "1", "list": [1, 2], "none": None}, {"mixed": "one", "list": None, "none": None}]


def test_the_clock_has_hours_where_there_are_any():
    assert [clock(seconds) for seconds in (0, 75.4, 3599, 3725)] == ["00:00", "01:15", "59:59", "1:02:05"]
    assert clock(75, hours=True) == "0:01:15"
    assert [clock(seconds, decimals=1) for seconds in (1.5, 59.96, 3661.04)] == ["00:01.5", "01:00.0", "1:01:01.0"]


def pixels(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return (imread(path)[..., :3] * 255).round().astype(int)


def share_of(colour: str, image: np.ndarray) -> float:
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return float((np.abs(image - wanted).max(-1) <= 2).mean())


def test_the_picture_fills_a_band_as_high_as_its_probability(tmp_path: Path):
    pytest.importorskip("matplotlib")
    blue, grey = "#4477aa", "#444444"
    full, half = (
        pixels(plot_timeline({"audio_seconds": 8.0, "timeline": [part]}, LABELS, tmp_path / "t.png"))
        for part in (answer(1.0, start=0.0, end=8.0), answer(0.6, start=0.0, end=4.0))
    )
    assert share_of(blue, half) == pytest.approx(0.3 * share_of(blue, full), rel=0.05)  # 0.6 high, half as long
    assert share_of(blue, full) > 0.05
    silent = plot_timeline(
        {"audio_seconds": 8.0, "timeline": [answer(1.0, start=0.0, end=8.0, **SILENT)]}, LABELS, tmp_path / "s.png"
    )
    assert share_of(grey, full) > 0.05
    assert share_of(grey, pixels(silent)) < 0.01
    with pytest.raises(ValueError, match="no piece of the timeline has an answer"):
        plot_timeline({"audio_seconds": 1.0, "timeline": []}, LABELS, tmp_path / "t.png")


def test_the_sound_is_drawn_where_it_is_loud(tmp_path: Path):
    pytest.importorskip("matplotlib")
    sound = np.zeros(8 * 22_050, dtype=np.float32)
    sound[2 * 22_050 : 4 * 22_050] = 0.5
    sound[-1] = -0.25
    soundfile.write(tmp_path / "talk.wav", sound, 22_050, subtype="FLOAT")
    times, peaks = envelope(tmp_path / "talk.wav", 8.0)
    assert (len(times), times[0], peaks[-1]) == (1500, 0.0, 0.25)
    loud = times[peaks == 0.5]
    assert (loud.min(), loud.max()) == pytest.approx((2.0, 4.0), abs=0.01)
    assert len(loud) == pytest.approx(375, abs=1)
    one = {"audio_seconds": 8.0, "timeline": [answer(0.9, start=0.0, end=8.0)]}
    drawn = pixels(plot_timeline(one, LABELS, tmp_path / "t.png", audio=tmp_path / "talk.wav"))
    assert (
        share_of("#888888", drawn) > 0.01 > share_of("#888888", pixels(plot_timeline(one, LABELS, tmp_path / "u.png")))
    )


def test_a_voice_that_goes_on_beneath_another_is_drawn_again():
    answers = [{"start": start, "end": end} for start, end in ((0, 10), (2, 5), (3, 4), (11, 14), (12, 15))]
    assert _spans(answers) == [
        (0, 2, 0),
        (2, 3, 1),
        (3, 4, 2),
        (4, 5, 1),
        (5, 10, 0),
        (11, 12, 3),
        (12, 14, 4),
        (14, 15, 4),
    ]


@pytest.mark.parametrize(("count", "duration"), [(2, 5.2), (700, 3700.0)])
def test_pictures_of_seconds_and_of_an_hour_are_drawn(tmp_path: Path, count: int, duration: float):
    pytest.importorskip("matplotlib")
    edges = np.linspace(0, duration, count + 1)
    parts = [answer(0.3 + 0.4 * (i % 2), start=a, end=b) for i, (a, b) in enumerate(pairwise(edges))]
    path = plot_timeline({"audio_seconds": duration, "timeline": parts}, LABELS, tmp_path / "t.svg", "talk")
    svg = path.read_text()
    labels = {"00:05"} if duration < 60 else {"0:00:00", "0:10:00", "1:00:00"}
    for shown in (*labels, "angry", "calm", "talk"):
        assert f"<!-- {shown} -->" in svg


def test_a_strip_holds_means_over_time_and_leaves_gaps():
    """Up to 150 s a second at 0.2 and one at 0.6 in turn, then 50 s of nothing, then 0.9."""
    spans = [(float(second), second + 1.0, second % 2) for second in range(150)] + [(200.0, 300.0, 2)]
    means = _slice_means(spans, [0.2, 0.6, 0.9], 600.0)  # slices of 2 s
    assert means[:75] == pytest.approx(0.4)
    assert np.isnan(means[75:100]).all()
    assert means[100:150] == pytest.approx(0.9)
    assert np.isnan(means[150:]).all()


def test_tokens_become_words_and_keep_their_attention():
    tokenizer = tiny_processor().tokenizer
    text = "you  came,back sad"  # the tokenizer splits the middle word in three
    ids = tokenizer(text)["input_ids"]
    attention = [0.01, 0.1, 0.2, 0.03, 0.04, 0.5, 0.02]
    words = merge_words(tokenizer, text, ids, attention)
    assert [(word.text, word.tokens, word.special) for word in words] == [
        ("<s>", 1, True),
        ("you", 1, False),
        ("came,back", 3, False),
        ("sad", 1, False),
        ("</s>", 1, True),
    ]
    assert [word.attention for word in words] == pytest.approx([0.01, 0.1, 0.27, 0.5, 0.02])


def test_tokens_that_begin_with_their_space_become_words():
    bytes_and_spaces = Tokenizer(models.BPE({"a": 0, "b": 1, "\u0120": 2, "\u0120a": 3}, [("\u0120", "a")]))
    bytes_and_spaces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_and_spaces)
    words = merge_words(tokenizer, "b aab", tokenizer("b aab")["input_ids"], [0.1, 0.2, 0.3, 0.4])
    assert [(word.text, word.attention) for word in words] == [("b", 0.1), ("aab", pytest.approx(0.9))]


def test_a_word_that_was_cut_off_is_not_counted_in():
    tokenizer = tiny_processor().tokenizer
    ids = tokenizer("you came back", truncation=True, max_length=4)["input_ids"]
    words = merge_words(tokenizer, "you came back", ids, [0.1, 0.2, 0.3, 0.4])
    assert [word.text for word in words] == ["<s>", "you", "came", "</s>"]


@pytest.mark.parametrize(
    ("frames", "seconds", "moment"),
    [(4, 2.4, "1.2 to 1.8 s"), (100, 2.0, "0.04 to 0.06 s"), (3, 4.5, "3 to 4 s"), (20, 2.0, "0.2 to 0.3 s")],
)
def test_when_the_model_looked_is_as_exact_as_its_frames(frames: int, seconds: float, moment: str):
    attention = np.ones(frames)
    attention[2] = 2
    explanation = Explanation({}, np.zeros(round(seconds * 1000), np.float32), 1000, attention, [])
    assert explanation.moment() == moment


@pytest.mark.filterwarnings("ignore:Glyph")  # the machine may have no Chinese font
def test_an_explanation_is_drawn_with_its_words_and_scores(tmp_path: Path):
    pytest.importorskip("matplotlib")
    from processing.figures.explanation import plot_explanation

    words = [Word("<s>", 0.05, special=True), Word("costs", 0.1), Word("$5", 0.2, 2), Word("王先生", 0.1)]
    frames = np.array([0.1, 0.3, 0.1])
    wave = np.sin(np.arange(24_000) / 9).astype(np.float32)
    explanation = Explanation(answer(0.875), wave, 16_000, frames, words)
    svg = plot_explanation(explanation, tmp_path / "e.svg", "clip.wav").read_text()
    for shown in ("costs", "angry", "calm", "0.88", "0.12", "voice and words agree", "0.75", "0.60", "clip.wav"):
        assert f"<!-- {shown} -->" in svg
    assert "attention is not an explanation of cause" in svg.replace("\n", " ")
    told = explanation.to_dict()
    assert (told["frame_seconds"], told["frame_attention"]) == (0.5, [0.1, 0.3, 0.1])
    assert told["words"][2] == {"text": "$5", "attention": 0.2, "special": False, "tokens": 2}


def test_an_explanation_without_words_is_drawn(tmp_path: Path):
    pytest.importorskip("matplotlib")
    from processing.figures.explanation import plot_explanation

    specials = [Word("<s>", 0.05, special=True), Word("</s>", 0.05, special=True)]
    heard = Explanation(answer(0.9, **SILENT), np.zeros(1600, np.float32), 16_000, np.full(4, 0.2), specials)
    svg = plot_explanation(heard, tmp_path / "e.svg").read_text()
    assert "<!-- 0.90 -->" in svg
    assert "agree -->" not in svg
    assert "agreement and shares" not in svg  # no empty panel


def test_an_earlier_table_survives_a_full_disk(tmp_path: Path):
    resource = pytest.importorskip("resource")
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for name in ("out.csv", "out.json", "out.parquet"):
        write_results([{"audio": "a.wav", "error": "e"}], tmp_path / name, LABELS)
        before = (tmp_path / name).read_bytes()
        resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, hard))
        try:
            with pytest.raises(OSError, match="File too large"):
                write_results(
                    [{"audio": f"{i}.wav", "error": f"{i}" * 99} for i in range(999)], tmp_path / name, LABELS
                )
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert (tmp_path / name).read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 3


def test_a_link_to_a_table_stays_a_link(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out.json").symlink_to(tmp_path / "elsewhere" / "real.json")
    write_results([{"audio": "a.wav", "error": "e"}], tmp_path / "out.json", LABELS)
    assert (tmp_path / "out.json").is_symlink()
    assert json.loads((tmp_path / "elsewhere" / "real.json").read_text()) == [{"audio": "a.wav", "error": "e"}]


def test_no_cell_is_a_formula_where_that_is_asked_for(tmp_path: Path):
    texts = ["=HYPERLINK(1)", " +1+1", "-1", "@SUM(1)", "\t=1", "\uff1d1", "so = so", "", "-- no"]
    rows = [{"text": text, "=x": 1.5} for text in texts]
    write_table(rows, tmp_path / "plain.csv", {"text": str, "=x": float})
    write_table(rows, tmp_path / "safe.csv", {"text": str, "=x": float}, spreadsheet=True)
    with (tmp_path / "plain.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["text", "=x"], *([text, "1.5"] for text in texts)]
    with (tmp_path / "safe.csv").open(newline="") as file:
        head, *cells = csv.reader(file)
    assert head == ["text", "'=x"]
    assert [cell for cell, _ in cells] == [
        *("'=HYPERLINK(1)", "' +1+1", "-1", "'@SUM(1)", "'\t=1", "'\uff1d1", "so = so", "", "'-- no")
    ]
