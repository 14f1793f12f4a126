"""The study's conversation: what is cut together is what its RTTM and its table say."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.pipelines import RATE, noise, pipe_of

from study.conversation import PAUSES, Clip, cut_conversation, score_conversation, sweep

OPTIONS = {"speech_statistics": True, "speech_pooling": 2, "standardize_states": True}
LABELS = ("calm", "cross", "glad")


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    found = []
    for number in range(8):
        path = tmp_path / f"{number}.flac"
        soundfile.write(path, noise(0.1 + 0.02 * number, number), RATE)
        found.append(Clip(path, LABELS[number % 3], ("Anna", "Ben")[number % 2]))
    return found


def test_turns_and_truth_say_where_each_clip_lies(clips, tmp_path: Path):
    cut_conversation(clips, tmp_path)
    sound, _ = soundfile.read(tmp_path / "conversation.flac", dtype="float32")
    rows = list(csv.DictReader((tmp_path / "conversation.csv").open()))
    turns = [line.split() for line in (tmp_path / "conversation.rttm").read_text().splitlines()]
    end, met = 0.0, set()
    for row, turn in zip(rows, turns, strict=True):
        start = float(row["start"])
        assert PAUSES[0] - 1e-3 <= start - end <= PAUSES[1] + 1e-3
        end = float(row["end"])
        assert (float(turn[3]), float(turn[4]), turn[7]) == (
            start,
            pytest.approx(end - start, abs=1e-6),
            row["speaker"],
        )
        piece = sound[round(start * RATE) : round(end * RATE)]
        (clip,) = [c for c in clips if np.array_equal(soundfile.read(c.path, dtype="float32")[0], piece)]
        assert (clip.label, clip.speaker) == (row["label"], row["speaker"])
        met.add(clip.path)
    assert len(met) == len(clips)


def test_accuracies_are_those_of_the_answers(clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pipe = pipe_of(**OPTIONS, id2label=dict(enumerate(LABELS)))
    alike = [clip._replace(label=pipe(str(clip.path))["scores"][0]["label"]) for clip in clips]
    cut_conversation(alike, tmp_path)
    assert score_conversation(pipe, tmp_path, "off") == 1.0
    monkeypatch.setattr("study.conversation.OTHERS", (1, 3))
    monkeypatch.setattr("study.conversation.DRAWS", 2)
    found = sweep(pipe, alike)
    assert found[0] == [1.0]
    assert [len(scores) for scores in found.values()] == [1, 2, 2]
    assert found[3][0] == found[3][1]  # all others: nothing is drawn
