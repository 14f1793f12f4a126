"""What a timeline says about each speaker: how much they speak, what they express, and how that changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .answers import told


def speakers_of(answers: Sequence[Mapping[str, Any]]) -> list[str]:
    """The speakers of some answers, in the order in which they begin to speak."""
    return list(dict.fromkeys(answer["speaker"] for answer in answers if answer.get("speaker") is not None))


def summarise_speakers(timeline: Mapping[str, Any], label_names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """A summary of each speaker of a timeline; empty where no speaker is known.

    Silence counts for nobody.

    Returns: speaker -> `pieces` (answers), `seconds` of speech, `share` of what all speakers say together (0 to 1),
        `emotions` (label -> mean probability over those seconds), and `change` (label -> mean of the second half of
        them less that of the first, None where there is one piece). Labels that `top_k` leaves out count 0.
    """
    answers = told(timeline)
    found: dict[str, dict[str, Any]] = {}
    for speaker in speakers_of(answers):
        own = sorted((a for a in answers if a.get("speaker") == speaker), key=lambda answer: answer["start"])
        scores = np.zeros((len(own), len(label_names)))
        for row, answer in enumerate(own):
            for entry in answer["scores"]:
                scores[row, label_names.index(entry["label"])] = entry["score"]
        lengths = np.array([max(answer["end"] - answer["start"], 1e-3) for answer in own])
        until = np.cumsum(lengths)
        first = np.clip(until[-1] / 2 - (until - lengths), 0, lengths)  # of each piece, what lies in the first half
        change = _mean(scores, lengths - first) - _mean(scores, first) if len(own) > 1 else None
        found[speaker] = {
            "pieces": len(own),
            "seconds": round(float(lengths.sum()), 3),
            "share": 0.0,
            "emotions": dict(zip(label_names, _mean(scores, lengths).tolist(), strict=True)),
            "change": None if change is None else dict(zip(label_names, change.tolist(), strict=True)),
        }
    total = sum(one["seconds"] for one in found.values())
    for one in found.values():
        one["share"] = one["seconds"] / total
    return found


def _mean(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return weights @ scores / weights.sum()
