"""What the page of `drkf app` makes of conversations: steps, interruptions, speakers, HTML."""

import asyncio
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from transformers import pipeline

import modeling_drkf  # noqa: F401  (registers the pipeline)

pytest.importorskip("gradio", reason="the web page needs the extra `app`")

from drkf_cli.web.clips import ClipError
from drkf_cli.web.conversations import AS_WRITTEN, recognise_conversation
from drkf_cli.web.lanes import render_conversation
from drkf_cli.web.limits import Limits
from drkf_cli.web.turns import Steps, Turns
from processing.segment_keys_drkf import BY_CHANNEL


@pytest.fixture(scope="module")
def pipe(checkpoint: Path) -> Any:
    return pipeline("multimodal-emotion-recognition", model=str(checkpoint))


@pytest.fixture(scope="module")
def turns_of_two_recordings(clips: Path) -> Path:
    lines = [
        f"SPEAKER {name} 1 {0.3 * turn:.1f} 0.3 <NA> <NA> {name}_{turn % 2} <NA> <NA>"
        for name in ("other", "talk")
        for turn in range(4)
    ]
    (clips / "turns.rttm").write_text("\n".join(lines))
    return clips / "turns.rttm"


def ended(steps: Steps, after: int | None = None) -> Any:
    """What the steps return; interrupted after so many of them."""
    taken = 0
    try:
        while True:
            next(steps) if taken != after else steps.throw(ClipError("Stopped."))
            taken += 1
    except StopIteration as end:
        return end.value


def conversation(pipe: Any, audio: Path, transcript: Path | None, speakers: str = AS_WRITTEN, **limits: Any) -> Steps:
    return recognise_conversation(pipe, str(audio), transcript and str(transcript), speakers, Limits(**limits))


def test_turns_are_those_of_the_recording_with_its_name(pipe, clips, turns_of_two_recordings):
    found = ended(conversation(pipe, clips / "talk.wav", turns_of_two_recordings))
    assert [piece["speaker"] for piece in found["timeline"]] == ["talk_0", "talk_1", "talk_0", "talk_1"]
    assert [summary["share"] for summary in found["speakers"].values()] == pytest.approx([0.5, 0.5])


def test_what_is_answered_before_an_interruption_is_kept(pipe, clips, turns_of_two_recordings):
    whole = ended(conversation(pipe, clips / "talk.wav", turns_of_two_recordings))
    found = ended(conversation(pipe, clips / "talk.wav", turns_of_two_recordings), after=3)
    assert (found["stopped"], found["timeline"]) == (True, whole["timeline"][:3])
    assert found["warning"] == "Stopped. What is answered by then, up to 0:01, is kept."
    with pytest.raises(ClipError, match="Stopped"):
        ended(conversation(pipe, clips / "talk.wav", turns_of_two_recordings), after=0)


def test_a_call_is_answered_channel_by_channel(pipe, tmp_path):
    noise = np.random.default_rng(0).normal(size=(8000, 2)) * 0.1
    noise[:4000, 1] = 0
    soundfile.write(tmp_path / "call.wav", noise, 16_000)
    found = ended(conversation(pipe, tmp_path / "call.wav", None, BY_CHANNEL))
    assert [piece["speaker"] for piece in found["timeline"]] == ["channel 0", "channel 1"]
    soundfile.write(tmp_path / "mono.wav", noise[:, 0], 16_000)
    with pytest.raises(ClipError, match="has one channel"):
        ended(conversation(pipe, tmp_path / "mono.wav", None, BY_CHANNEL))


def test_transcripts_have_limits(pipe, clips, turns_of_two_recordings):
    with pytest.raises(ClipError, match="has 4 segments; at most 3 are answered"):
        ended(conversation(pipe, clips / "talk.wav", turns_of_two_recordings, transcript_segments=3))
    with pytest.raises(ClipError, match="no words need so much"):
        ended(conversation(pipe, clips / "talk.wav", turns_of_two_recordings, transcript_bytes=100))
    with pytest.raises(ClipError, match="files are deleted after a while"):
        ended(conversation(pipe, clips / "talk.wav", clips / "nowhere.srt"))


def piece(number: int, speaker: str | None, **fields: Any) -> dict[str, Any]:
    answer: dict[str, Any] = {"start": float(number), "end": number + 0.5, "text": f"word {number}"}
    answer |= {"scores": [{"label": "glad", "score": 0.75}, {"label": "calm", "score": 0.25}]}
    answer |= dict.fromkeys(("consistency", "dominant_modality", "modality_shares"))
    return {**answer, **({} if speaker is None else {"speaker": speaker}), **fields}


def test_many_speakers_share_the_last_lane_and_colours_stay_with_their_emotions():
    found = {"audio_seconds": 15.0, "timeline": [piece(number, f"S{number}") for number in range(15)]}
    html = render_conversation(found, "/uploads/talk.wav", np.ones(10), ["calm", "glad"])
    lanes = re.findall(r'<span class="name" title="(.*?)">.*?</span><svg.*?>(.*?)</svg>', html)
    assert [name for name, _ in lanes] == [*(f"S{number}" for number in range(11)), "others"]
    assert [blocks.count("<g ") for _, blocks in lanes] == [1] * 11 + [4]
    assert set(re.findall(r'height="0.7500" fill="(.*?)"', html)) == {"#ee6677"}  # of the second class


def test_segments_without_an_emotion_and_those_with_an_error_are_told_apart():
    errors = {"scores": (), "error": "segment 3 is <empty>", "start": None}
    found = {"audio_seconds": 4.0, "timeline": [piece(0, "A"), piece(1, "A", scores=[]), piece(2, None, **errors)]}
    html = render_conversation(found, "/uploads/<b>.wav", np.ones(10), ["calm", "glad"])
    rows = re.findall(r"<tr>(.*?)</tr>", html.partition('aria-label="The segments"')[2])[1:]
    cells = [re.findall(r"<td.*?>(.*?)</td>", row) for row in rows]
    assert cells == [
        ["A", "glad", "75.0 %", "word 0"],
        ["A", "none", "", "word 1"],
        ["", "segment 3 is &lt;empty&gt;"],
    ]
    assert "1 of 3 segments have an answer" in html
    assert html.count("<g ") == 1
    assert "<b>" not in html


@pytest.mark.parametrize(("seconds", "why"), [(60.0, "Stopped."), (0.2, "No answer within 0.2 seconds")])
def test_a_question_that_is_stopped_or_late_gives_what_it_has(seconds: float, why: str):
    def steps() -> Steps:
        found = 0
        try:
            while True:
                found += 1
                yield
        except ClipError as end:
            return found, str(end)

    async def run() -> Any:
        turns = Turns(Limits(answer_seconds=seconds))
        asked = asyncio.create_task(turns.ask("a", "mine", steps()))
        await asyncio.sleep(0.05)
        turns.stop("somebody else's")
        await asyncio.sleep(0.05)
        if seconds > 1:
            assert not asked.done()
            turns.stop("mine")
        return await asked

    found, message = asyncio.run(run())
    assert found > 0
    assert message.startswith(why)
