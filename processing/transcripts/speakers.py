"""Who speaks: names before the words, turns of a diarisation, and words of one speaker as one segment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .transcript import Segment, speaker_name

LABEL = re.compile(r"\s*(?:\[([^\[\]:\n]{1,40})\]|((?:SPEAKER|Speaker|speaker)[ _-]?[0-9A-Z]{1,3}))\s*:\s*")
NAME = re.compile(r"\s*([^\W\d_][^:\n.!?,;<>\[\]()]{0,39}):(?=\s)\s*")
LONGEST_PAUSE = 1.0  # s; within a segment of words
SHORTEST_SENTENCE = 2.0  # s; a segment of words that lasts as long ends with its sentence
LONGEST_SEGMENT = 30.0  # s
SENTENCE_ENDS = (".", "?", "!", "。", "？", "！", "…")  # noqa: RUF001
UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uff00-\uffef\u3000-\u303f]")  # scripts without spaces


def with_speakers(segments: Sequence[Segment], names: bool = False) -> Iterator[Segment]:
    """Segments of one speaker each, their words on one line.

    `[SPEAKER_00]:` and `Speaker 1:` before the words say who speaks, in any format; with `names`, any short text and
    a colon do. A name further down in a segment begins a segment of its own, at the same times.
    """
    for found in segments:
        if not isinstance(found["text"], str):
            yield found
            continue
        lines = [_labelled(line, names) for line in found["text"].splitlines()]
        turns: list[tuple[Any, list[str]]] = [(None, [])]
        for speaker, words in lines:
            if speaker is not None:
                turns.append((speaker, []))
            turns[-1][1].append(words)
        spoken = [(speaker, " ".join(" ".join(words).split())) for speaker, words in turns]
        spoken = [turn for turn in spoken if turn != (None, "")] or [(None, "")]
        for speaker, words in spoken:
            yield {**found, "text": words} | ({} if speaker is None else {"speaker": speaker})


def _labelled(line: str, names: bool) -> tuple[str | None, str]:
    match = LABEL.match(line) or (NAME.match(line) if names else None)
    if match is None:
        return None, line
    return speaker_name(next(filter(None, match.groups()))), line[match.end() :]


def assign_speakers(segments: Sequence[Segment], turns: Sequence[Segment]) -> list[Segment]:
    """The segments, each with the speaker whose turns share most time with it; without one where there is none.

    Args:
        turns: segments with a `speaker`, as an RTTM file gives them.
    """
    names = sorted({turn["speaker"] for turn in turns if "speaker" in turn})
    known = [turn for turn in turns if "speaker" in turn]
    starts, ends = (np.array([turn[key] for turn in known], dtype=float) for key in ("start", "end"))
    owners = np.array([names.index(turn["speaker"]) for turn in known], dtype=int)
    found = []
    for segment in segments:
        rest = {key: value for key, value in segment.items() if key != "speaker"}
        if not _is_timed(segment):
            found.append(rest)
            continue
        last = np.inf if segment["end"] is None else segment["end"]
        shared = np.clip(np.minimum(ends, last) - np.maximum(starts, segment["start"]), 0, None)
        totals = np.bincount(owners, shared, minlength=len(names)) if names else np.zeros(1)
        found.append(rest | ({"speaker": names[int(totals.argmax())]} if totals.max() > 0 else {}))
    return found


def joined_words(words: Sequence[Segment]) -> list[Segment]:
    """Words as segments: of one speaker, up to a pause of a second, the end of a sentence, or half a minute.

    Words without times, which aligners leave where they find none, belong to the segment before.
    """
    segments: list[Segment] = []
    for word in words:
        before = segments[-1] if segments else None
        if before is not None and _continues(before, word):
            before["text"] = _spaced(before["text"], word["text"])
            if _is_timed(word):
                before["end"] = None if word["end"] is None else max(before["end"], word["end"])
        elif _is_timed(word):
            segments.append(dict(word))
    return segments


def _continues(before: Segment, word: Segment) -> bool:
    if not isinstance(word["text"], str) or before["end"] is None:
        return False
    if not _is_timed(word):
        return True
    same = all(before.get(key) == word.get(key) for key in ("speaker", "channel"))
    is_whole = before["end"] - before["start"] >= SHORTEST_SENTENCE and before["text"].endswith(SENTENCE_ENDS)
    is_near = word["start"] - before["end"] <= LONGEST_PAUSE
    is_short = 0 <= (word["start"] if word["end"] is None else word["end"]) - before["start"] <= LONGEST_SEGMENT
    return same and is_near and is_short and not is_whole


def _spaced(text: str, word: str) -> str:
    word = " ".join(word.split())
    if not text or not word:
        return text or word
    is_unspaced = UNSPACED.match(text[-1]) and UNSPACED.match(word[0])
    return text + ("" if is_unspaced else " ") + word


def _is_timed(segment: Segment) -> bool:
    return _is_time(segment["start"]) and (segment["end"] is None or _is_time(segment["end"]))


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
