"""What the page of `drkf app` is made of: titles, notes, examples, drawings."""

import re

import numpy as np
import pytest
from helpers.page import WORDS
from transformers import pipeline

import modeling_drkf  # noqa: F401  (registers the pipeline)
from drkf_cli.checkpoint import model_title, packaged
from drkf_cli.web.attention import _colour, _slices
from drkf_cli.web.clips import read_examples
from drkf_cli.web.recordings import recognise_pieces, render_timeline
from drkf_cli.web.rendering import render_answer
from processing.figures.explanation import COLOURS

pytest.importorskip("gradio", reason="the web page needs the extra `app`")


def test_a_checkpoint_without_a_card_is_called_after_its_folder(tmp_path):
    assert model_title(str(tmp_path)) == tmp_path.name
    assert model_title("someone/drkf-mine") == "drkf-mine"
    assert model_title(packaged("starter")) == "Starter checkpoint"


def test_a_visitor_is_told_what_was_read_and_not_which_options_there_are(checkpoint):
    answer = pipeline("multimodal-emotion-recognition", model=str(checkpoint))({"text": "so " * 200})
    assert "tokens of the text were read; segments with their words cover" in answer["warning"]
    shown = render_answer(answer)
    assert "tokens of the text were read;" in shown
    assert "segments with" not in shown


def test_a_recording_is_answered_in_steps(checkpoint, clips):
    pipe = pipeline("multimodal-emotion-recognition", model=str(checkpoint))
    recording = pipe.read_audio(str(clips / "talk.wav"))
    steps, found = recognise_pieces(pipe, recording, 0.25, None), None
    count = 0
    while found is None:
        try:
            next(steps)
            count += 1
        except StopIteration as end:
            found = end.value
    assert (count, len(found["timeline"])) == (2, 7)


def test_examples_need_their_columns(tmp_path):
    (tmp_path / "other.csv").write_text("file,words\na.wav,b\n")
    with pytest.raises(ValueError, match="columns audio and text"):
        read_examples(tmp_path / "other.csv")


def test_examples_may_come_from_a_spreadsheet_and_bad_ones_are_named(clips, tmp_path):
    listed = clips / "saved.csv"
    listed.write_text(f"audio,text\ngood.wav,{WORDS}\ngood.wav\ngood.wav,{'say ' * 30}\n", encoding="utf-8-sig")
    assert [(example.title, example.text) for example in read_examples(listed)] == [
        (WORDS, WORDS),
        ("good.wav", ""),
        (f"{'say ' * 15} ...", "say " * 30),
    ]
    for name in ("words.wav", "nowhere.wav", ""):
        listed.write_text(f"text,audio\n{WORDS},good.wav\n{WORDS},{name}\n")
        with pytest.raises(ValueError, match=f"example 2 .*{name}"):
            read_examples(listed)


@pytest.mark.parametrize("frames", [1, 7, 120, 3001])
def test_attention_on_frames_keeps_its_mean_and_place(frames):
    weights = np.zeros(frames)
    weights[-1] = 0.25
    slices = _slices(weights)
    assert slices.mean() == pytest.approx(0.25 / frames)
    assert slices[-1] == pytest.approx(slices.max())
    assert slices[0] == pytest.approx(0.25 if frames == 1 else 0)


def test_the_page_has_the_colours_of_the_picture():
    scale = pytest.importorskip("matplotlib").colormaps[COLOURS]
    for share in (0.0, 0.3, 0.77, 1.0):
        red, green, blue = (round(255 * part) for part in scale(share)[:3])
        found = [int(part) for part in re.findall(r"\d+", _colour(share))]
        assert found == pytest.approx([red, green, blue], abs=2)


@pytest.mark.parametrize(
    ("found", "lead"),
    [
        (["joy", "joy", "fear"], "mostly <strong>joy</strong>, in 2 of 3 parts<"),
        (["joy", "joy", "fear", "anger"], "<strong>joy</strong>, in 2 of 4 parts, fear in 1, anger in 1<"),
        (["joy"], "mostly <strong>joy</strong>, in 1 of 1 parts<"),
    ],
)
def test_mostly_is_said_of_more_than_half_of_the_parts(found: list[str], lead: str):
    labels = sorted(set(found))
    pieces = [
        {"start": i, "end": i + 1, "text": None}
        | {"scores": [{"label": x, "score": 0.9 if x == label else 0.05} for x in [label, *(set(labels) - {label})]]}
        | dict.fromkeys(("consistency", "dominant_modality", "modality_shares"))
        for i, label in enumerate(found)
    ]
    summary, _ = render_timeline({"audio_seconds": len(found), "timeline": pieces}, np.ones(100, np.float32))
    assert f'<p class="lead">{lead}' in summary
