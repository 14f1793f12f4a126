"""JSON: what speech recognisers and video sites write, one object or one a line."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from ..segment_keys_drkf import WORD_KEYS, WORDLESS_KEYS
from .transcript import Segment, SegmentError, Transcript, lines_of, segment

STARTS = ("start", "start_time", "startTime", "begin", "offset")
ENDS = ("end", "end_time", "endTime")
LENGTHS = ("duration", "dur")
SPEAKERS = ("speaker", "spk", "speaker_id", "speaker_label")
WORDLESS = (*WORDLESS_KEYS, *SPEAKERS, *STARTS, *ENDS, *LENGTHS, "uuid", "lang", "key")
"""Keys of an item whose texts are not what is said."""
LISTS = ("segments", "utterances", "chunks", "transcription", "sentence_info", "word_segments", "words")
SHORT_WORDS = 3  # so many chunks, each a single word, and they are words rather than segments


class Items(NamedTuple):
    """A list of things with times: what one of them is called, in how many parts of a second its times are counted,
    and whether they are words."""

    values: list[Any]
    where: str
    unit: float = 1.0
    are_words: bool = False


def parse_json(text: str, name: str) -> Transcript:
    """JSON of whisper, faster-whisper, whisperX, whisper.cpp, transformers, OpenAI, Deepgram, AssemblyAI and FunASR,
    YouTube's json3, lists of segments, and JSON Lines of them.

    An item whose times or words are of the wrong type is passed on as it stands: `cut_segments` reports it, and
    answers the others.

    Raises:
        SegmentError: no valid JSON, no list of segments, none with times, or words under a key that is not known.
    """
    content = _loaded(text, name)
    if isinstance(content, dict) and isinstance(content.get("events"), list):
        return Transcript(list(_captions(content["events"])))
    items = _items(content, name)
    found = [
        _item(value, f"{name}, item {number} of {items.where}", items) for number, value in enumerate(items.values, 1)
    ]
    if found and not any(isinstance(one["start"], int | float) and one["start"] == one["start"] for one in found):
        kept = sorted({str(key)[:30] for value in items.values if isinstance(value, dict) for key in value})[:12]
        has = f"; these have {', '.join(kept)}" if kept else ""
        raise SegmentError(
            f"{name}: no times; an item has start and end, start and duration, timestamp: [start, end], or offsets: "
            f"from, to (ms){has}"
        )
    for one, following in zip(found, [*found[1:], None], strict=False):
        if following is not None and (one["end"] is None or _is_overtaken(one, following, items)):
            one["end"] = following["start"]
    if not any(one.get("channel") for one in found):  # a mix of channels is called channel 0, too
        for one in found:
            one.pop("channel", None)
    recordings = [value.get("audio_filepath") for value in items.values if isinstance(value, dict)]
    named = [str(recording) for recording in recordings if isinstance(recording, str)]
    return Transcript(found, items.are_words, named if len(named) == len(found) else None)


def _loaded(text: str, name: str) -> Any:
    lines = lines_of(text)
    is_lines = len(lines) > 1 and lines[0][1].rstrip().endswith("}") and all(_begins(line) for _, line in lines)
    if not is_lines:
        return _decoded(text, name)
    return [_decoded(line, name, number) for number, line in lines]


def _decoded(text: str, name: str, line: int = 1) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise SegmentError(f"{name}, line {line - 1 + error.lineno}: no valid JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:  # a number or a nesting beyond what Python reads
        raise SegmentError(f"{name}: no JSON that can be read ({error})") from error


def _begins(line: str) -> bool:
    return line.lstrip().startswith("{")


# ---- which list, and in which unit ----------------------------------------------------------------------------------


def _items(content: Any, name: str) -> Items:
    """The list of segments, or of words where there is nothing else."""
    if isinstance(content, list):
        return _bare(content, name)
    if not isinstance(content, dict):
        raise SegmentError(f"{name}: a list of segments is expected, not {type(content).__name__}")
    if isinstance(content.get("results"), dict) and isinstance(content["results"].get("channels"), list):
        return _deepgram(content["results"], name)
    if _has_times(content):
        return _bare([content], name)
    lists = [key for key in LISTS if isinstance(content.get(key), list)]
    key = next((key for key in lists if content[key]), next(iter(lists), ""))
    values = content.get(key)
    if not isinstance(values, list):
        hint = ""
        if isinstance(content.get("timestamp"), list):
            hint = (
                "; FunASR writes sentence_info with sentence_timestamp=True, or with a model of speakers (spk_model)"
            )
        raise SegmentError(
            f"{name}: a list of segments is expected, alone or under one of {', '.join(LISTS)}; there are the keys "
            f"{', '.join(str(key)[:30] for key in list(content)[:12]) or 'none'}{hint}"
        )
    if key == "sentence_info":
        return Items(values, key, 1000)
    if key in ("utterances", "words") and _are_milliseconds(content, values):
        return Items(values, key, 1000, key == "words")
    are_words = key in ("word_segments", "words") or (key == "chunks" and _are_short(values))
    return Items(values, key, 1.0, are_words)


def _bare(values: list[Any], name: str) -> Items:
    if values and isinstance(values[0], list):
        raise SegmentError(
            f"{name}: item 1 is a list; older faster-whisper gives its segments so: write segment._asdict() of each"
        )
    results = [value for value in values if isinstance(value, dict) and isinstance(value.get("sentence_info"), list)]
    if results:
        if len(results) > 1:
            raise SegmentError(
                f"{name}: FunASR's results of {len(results)} recordings; write each to a file of its own"
            )
        return Items(results[0]["sentence_info"], "sentence_info", 1000)
    if values and all(isinstance(value, dict) and "spk" in value and _has_own_milliseconds(value) for value in values):
        return Items(values, "the list", 1000)  # FunASR's sentence_info alone
    if len(values) == 1 and isinstance(values[0], dict) and not _has_times(values[0]):
        return _items(values[0], name) if any(key in values[0] for key in LISTS) else Items(values, "the list")
    are_words = bool(values) and all(
        isinstance(value, dict) and "word" in value and "text" not in value for value in values
    )
    return Items(values, "the list", 1.0, are_words)


def _deepgram(results: Mapping[str, Any], name: str) -> Items:
    """Deepgram's utterances; else the sentences of its paragraphs; else its words."""
    if isinstance(results.get("utterances"), list):
        return Items(results["utterances"], "utterances")
    sentences, words = [], []
    for number, channel in enumerate(results["channels"]):
        many = {"channel": number} if len(results["channels"]) > 1 else {}
        best: Any = next(iter(_list(channel, "alternatives")), {})
        for paragraph in _list(best.get("paragraphs") if isinstance(best, dict) else None, "paragraphs"):
            said = {"speaker": paragraph.get("speaker")} if isinstance(paragraph, dict) else {}
            sentences += [{**said, **one, **many} for one in _list(paragraph, "sentences") if isinstance(one, dict)]
        words += [{**word, **many} for word in _list(best, "words") if isinstance(word, dict)]
    if not sentences and not words:
        raise SegmentError(f"{name}: Deepgram's answer has no words with times; ask for utterances=true")
    return Items(sentences, "sentences") if sentences else Items(words, "words", 1.0, True)


def _list(value: Any, key: str) -> list[Any]:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def _are_milliseconds(content: Mapping[str, Any], values: list[Any]) -> bool:
    """Whether a list is AssemblyAI's, which counts whole milliseconds and says `text`; others count seconds."""
    times: list[Any] = [value.get(end) for value in values if isinstance(value, dict) for end in ("start", "end")]
    is_whole = bool(times) and all(isinstance(time, int) and not isinstance(time, bool) for time in times)
    is_its = any(key in content for key in ("audio_duration", "audio_url", "acoustic_model", "speech_model"))
    length = content.get("audio_duration")
    if is_whole and is_its and isinstance(length, int | float) and max(times) <= length:
        return False
    return is_whole and (is_its or all(isinstance(value, dict) and "text" in value for value in values))


def _has_own_milliseconds(value: Mapping[str, Any]) -> bool:
    return all(isinstance(value.get(end), int) for end in ("start", "end"))


def _are_short(values: list[Any]) -> bool:
    texts = [value.get("text") for value in values if isinstance(value, dict)]
    return len(texts) >= SHORT_WORDS and all(isinstance(text, str) and len(text.split()) == 1 for text in texts)


# ---- one item -------------------------------------------------------------------------------------------------------


def _item(value: Any, place: str, items: Items) -> Segment:
    if not isinstance(value, dict):
        return {"start": math.nan, "end": math.nan, "text": ""}
    start, end = _span(value, items.unit)
    channel = value.get("channel")
    channel = int(channel) - 1 if isinstance(channel, str) and re.fullmatch(r"[1-9]", channel) else channel
    is_channel = isinstance(channel, int) and not isinstance(channel, bool)
    speaker = next((value[key] for key in SPEAKERS if value.get(key) is not None), None)
    return segment(start, end, _said(value, place), speaker, channel if is_channel else None)


def _said(value: Mapping[str, Any], place: str) -> Any:
    """The words of an item. SegmentError: they are under a key that is not known."""
    key = next((key for key in ("punctuated_word", *WORD_KEYS) if value.get(key) is not None), None)
    if key is not None:
        return value[key]
    if any(name in value for name in WORD_KEYS):
        return ""
    texts = [str(name)[:40] for name, held in value.items() if isinstance(held, str) and name not in WORDLESS]
    if texts:
        raise SegmentError(
            f"{place}: its words are under none of {', '.join(WORD_KEYS)}, and there is text under "
            f"{', '.join(map(repr, texts[:5]))}: rename the key, or remove it if there are no words"
        )
    return ""


def _has_times(value: Mapping[str, Any]) -> bool:
    return any(not (isinstance(time, float) and math.isnan(time)) for time in _span(value, 1.0))


def _span(value: Mapping[str, Any], unit: float) -> tuple[Any, Any]:
    """Start and end in seconds, unchecked; NaN where the item has none."""
    offsets, stamp = value.get("offsets"), value.get("timestamp")  # type: Any, Any
    if isinstance(offsets, dict) and "from" in offsets and "to" in offsets:
        return _divided(offsets["from"], 1000), _divided(offsets["to"], 1000)
    start_key = next((key for key in STARTS if key in value), None)
    if start_key is None:
        is_pair = isinstance(stamp, list) and len(stamp) == 2
        return (_divided(stamp[0], unit), _divided(stamp[1], unit)) if is_pair else (math.nan, math.nan)
    start = _divided(value[start_key], unit)
    end_key = next((key for key in ENDS if key in value), None)
    if end_key is not None:
        return start, _divided(value[end_key], unit)
    length = next((_divided(value[key], unit) for key in LENGTHS if key in value), math.nan)
    try:
        return start, round(start + length, 6)
    except (TypeError, OverflowError, ValueError):
        return start, math.nan


def _divided(value: Any, unit: float) -> Any:
    """`value` in seconds; as it stands where it counts seconds already, NaN where it is no number of a unit."""
    if unit == 1.0 or value is None:
        return value
    try:
        return value / unit
    except (TypeError, OverflowError):
        return math.nan


def _is_overtaken(one: Segment, following: Segment, items: Items) -> bool:
    """Whether a caption of youtube-transcript-api is still on the screen while the next one is said."""
    if not all(isinstance(value, dict) and {"start", "duration"} <= value.keys() for value in items.values[:1]):
        return False
    times = (one["start"], following["start"], one["end"])
    return all(isinstance(time, int | float) for time in times) and times[0] < times[1] < times[2]


# ---- YouTube's json3 ------------------------------------------------------------------------------------------------


def _captions(events: list[Any]) -> Iterator[Segment]:
    """Captions that last until the next ones begin: a line stays on the screen while the next one is said."""
    found = []
    for event in events:
        parts = _list(event, "segs")
        words = "".join(part["utf8"] for part in parts if isinstance(part, dict) and isinstance(part.get("utf8"), str))
        times: list[Any] = [event.get(key) for key in ("tStartMs", "dDurationMs")] if isinstance(event, dict) else []
        if words.strip() and all(isinstance(time, int | float) and abs(time) < 1e12 for time in times):
            found.append((times[0] / 1000, round((times[0] + times[1]) / 1000, 3), words))
    found.sort(key=lambda caption: caption[0])
    starts = [start for start, _ in groupby(caption[0] for caption in found)]
    following = dict(pairwise(starts))
    for start, end, words in found:
        yield segment(start, min(end, following.get(start, end)), words)
