"""Conversations and the microphone on the page of `drkf app`, in a real browser."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from helpers.page import close, upload
from transformers import pipeline

import modeling_drkf  # noqa: F401  (registers the pipeline)

pytest.importorskip("gradio", reason="the web page needs the extra `app`")

HOSTILE = "<img src=x onerror=\"document.title='hit'\"> & so"
SEGMENTS = [
    {"start": 0.0, "end": 0.4, "text": "i am so happy", "speaker": "Anna"},
    {"start": 0.4, "end": 0.8, "text": HOSTILE, "speaker": "Ben <b>"},
    {"start": 0.9, "end": 1.3, "text": "so am i", "speaker": "Anna"},
]
PLAYER = "() => { const one = document.querySelector('#conversation audio'); return [one.currentTime, one.paused]; }"


@pytest.fixture(scope="module")
def transcript(clips: Path) -> Path:
    (clips / "talk.json").write_text(json.dumps({"segments": SEGMENTS}))
    return clips / "talk.json"


@pytest.fixture
def conversation(page: Any) -> Any:
    page.get_by_role("tab", name="A conversation").click()
    return page


def ask(page: Any, audio: Path | None, transcript: Path | None) -> Any:
    """The answer, once it is there."""
    if audio is not None:
        upload(page, audio, "recording")
    if transcript is not None:
        upload(page, transcript, "transcript")
    page.get_by_role("button", name="Recognise conversation").click()
    return page.locator("#conversation[role=status]")


def test_a_conversation_has_lanes_segments_and_files(conversation, clips, checkpoint, transcript):
    answer = ask(conversation, clips / "talk.wav", transcript)
    answer.get_by_text("2 speakers, 3 of 3 segments have an answer").wait_for()
    expected = pipeline("multimodal-emotion-recognition", model=str(checkpoint))(
        {"audio": str(clips / "talk.wav"), "segments": SEGMENTS}
    )
    rows = answer.get_by_role("region", name="The segments").locator("tbody").get_by_role("row")
    assert [row.get_by_role("cell").all_inner_texts() for row in rows.all()] == [
        [piece["speaker"], piece["scores"][0]["label"], f"{100 * piece['scores'][0]['score']:.1f} %", piece["text"]]
        for piece in expected["timeline"]
    ]
    speakers = answer.get_by_role("region", name="The speakers").locator("tbody").get_by_role("row").all()
    assert [one.get_by_role("cell").first.inner_text() for one in speakers] == ["66.7 %", "33.3 %"]
    lanes = answer.locator(".lanes > .name")
    assert lanes.all_inner_texts() == ["Anna", "Ben <b>"]
    assert [lane.locator("g").count() for lane in answer.locator(".lanes > .name + svg").all()] == [2, 1]
    assert conversation.title() == "Emotion in speech: Three feelings"
    with conversation.expect_download() as download:
        answer.get_by_role("link", name="JSON").click()
    assert download.value.suggested_filename == "talk.json"
    (kept,) = json.loads(Path(download.value.path()).read_text())
    assert kept["timeline"] == close(expected["timeline"])
    assert kept["speakers"]["Anna"]["share"] == pytest.approx(2 / 3)
    with conversation.expect_download() as download:
        answer.get_by_role("link", name="CSV").click()
    with Path(download.value.path()).open(newline="", encoding="utf-8") as file:
        assert [row["speaker"] for row in csv.DictReader(file)] == ["Anna", "Ben <b>", "Anna"]


def test_a_segment_is_heard_by_click_and_by_keyboard(conversation, clips, transcript):
    answer = ask(conversation, clips / "talk.wav", transcript)
    conversation.wait_for_function("() => document.querySelector('#conversation audio')?.src.startsWith('blob:')")
    answer.locator(".lanes g").nth(2).click()  # Ben's, in the last lane
    conversation.wait_for_function("() => document.querySelector('#conversation tr:has(button.heard)')")
    conversation.wait_for_function("() => document.querySelector('#conversation audio').paused")
    position, _ = conversation.evaluate(PLAYER)
    assert 0.8 <= position < 1.4  # stopped by itself, before the recording ends
    answer.get_by_role("button", name="0:01 to 0:01: hear it").press("Enter")
    conversation.wait_for_function("() => document.querySelector('#conversation audio').currentTime >= 0.9")


@pytest.mark.parametrize(
    ("audio", "written", "message"),
    [
        (None, None, "Add the recording of the conversation."),
        ("talk.wav", None, "Add the transcript: it says who speaks when."),
        ("talk.wav", "no times", "talk.srt, line 1: no times; a cue is a line such as"),
        ("talk.wav", "00:05:00,000 --> 00:05:01,000\nso\n\n00:06:00,000 --> 00:06:01,000\nso", "of another one?"),
    ],
)
def test_what_is_wrong_with_a_conversation_is_said(conversation, clips, tmp_path, audio, written, message):
    if written is not None:
        (tmp_path / "talk.srt").write_text(written)
    answer = ask(conversation, audio and clips / audio, written and tmp_path / "talk.srt")
    answer.get_by_text(message).wait_for()
    assert str(clips) not in answer.inner_text()
    assert re.search(r"/[\w-]+/", answer.inner_text()) is None, "the message shows a path of the server"


def test_every_control_for_conversations_and_the_microphone_has_a_name(conversation, clips, transcript):
    ask(conversation, clips / "talk.wav", transcript).get_by_text("Who speaks when").wait_for()
    trees = [conversation.locator("body").aria_snapshot()]
    conversation.get_by_role("tab", name="Live").click()
    trees.append(conversation.locator("body").aria_snapshot())
    assert '- group "Transcript"' in trees[0]
    assert '- button "Start listening"' in trees[1]
    controls = re.findall(r"- (?:button|textbox|combobox|slider|checkbox|radio|link|tab)\b.*", "\n".join(trees))
    assert [control for control in controls if not re.match(r"""- '?\w+ "[^"]+\"""", control)] == []
    assert conversation.get_by_role("tab").all_inner_texts() == ["A clip", "A conversation", "Live"]


@pytest.mark.slow
def test_the_microphone_is_answered_while_it_listens(page):
    page.get_by_role("tab", name="Live").click()
    page.get_by_role("button", name="Start listening").click()
    rows = page.get_by_role("region", name="What was recognised").locator("tbody").get_by_role("row")
    rows.nth(1).wait_for()
    page.get_by_role("button", name="Stop listening").click()
    page.get_by_text("Stopped after 0:0").wait_for()
    said = [row.get_by_role("cell").all_inner_texts() for row in rows.all()]
    assert {emotion for _, emotion, *_ in said} <= {"calm", "tense", "glad", "silence"}
    assert [time for time, *_ in said] == sorted((time for time, *_ in said), reverse=True)
    assert page.locator("#live-now").inner_text() == said[0][1]
    page.get_by_role("button", name="Start listening").wait_for()
    asked = len(page.requested)
    page.wait_for_timeout(3000)
    assert len(page.requested) == asked, "it goes on listening"
