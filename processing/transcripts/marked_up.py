"""XML: subtitles in TTML, annotations of ELAN. Documents that declare types or entities are refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from .transcript import Segment, SegmentError, Transcript, clock_seconds, segment

DECLARATION = re.compile(r"<!(?:DOCTYPE|ENTITY)")
SPACE = re.compile(r"\s+")
DEEPEST = 100
OFFSET = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)(h|m|s|ms|f|t)", re.ASCII)
FRAMES = re.compile(r"(\d+):(\d{2}):(\d{2}):(\d{2,})(?:\.\d+)?", re.ASCII)
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
XML_ID = "{http://www.w3.org/XML/1998/namespace}id"


def parse_xml(text: str, name: str) -> Element:
    """The root of a document without entities of its own.

    Raises:
        SegmentError: no well-formed XML, a declaration of types or entities, or elements nested too deeply.
    """
    if DECLARATION.search(text):
        raise SegmentError(f"{name}: the document declares a DOCTYPE or entities, which are not read; remove them")
    parser: Any = ElementTree.XMLPullParser(("start", "end"))
    depth = 0
    root: Element | None = None
    try:
        for start in range(0, len(text), 1 << 16):
            parser.feed(text[start : start + (1 << 16)])
            for event, element in parser.read_events():
                root = element if root is None else root
                depth += 1 if event == "start" else -1
                if depth > DEEPEST:
                    raise SegmentError(f"{name}: elements are nested more than {DEEPEST} deep; export the file again")
        parser.close()
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        if isinstance(error, SegmentError):
            raise
        raise SegmentError(f"{name}: no well-formed XML ({error}); export the file again") from error
    if root is None:
        raise SegmentError(f"{name}: the document is empty")
    return root


# ---- TTML -----------------------------------------------------------------------------------------------------------


def parse_ttml(text: str, name: str) -> Transcript:
    """TTML, also as DFXP, iTT and IMSC1: a segment for each `<p>`, with the speaker that its `ttm:agent` names.

    Times are clocks, offsets (`1.5s`, `1500ms`, `90f`, `15000000t`) or clocks with frames, and count from where the
    elements around begin.
    """
    root = parse_xml(text, name)
    if _tag(root) != "tt":
        raise SegmentError(f"{name}: the root is <{_tag(root)}>; TTML has <tt>")
    parameters = {_local(key): value for key, value in root.attrib.items()}
    seconds = _ttml_clock(parameters, name)
    agents = {}
    for agent in root.iter():
        if _tag(agent) == "agent" and (key := agent.get(XML_ID)):
            names = ["".join(child.itertext()).strip() for child in agent if _tag(child) == "name"]
            agents[key] = next(filter(None, names), key)
    return Transcript(list(_paragraphs(root, 0.0, None, seconds, agents)))


def _paragraphs(
    element: Element, origin: float, speaker: str | None, seconds: Callable[[str], float], agents: dict[str, str]
) -> Iterator[Segment]:
    attributes = {_local(key): value for key, value in element.attrib.items()}
    speaker = agents.get(attributes["agent"], attributes["agent"]) if "agent" in attributes else speaker
    begin, end = _span(attributes, origin, seconds)
    if _tag(element) != "p":
        for child in element:
            yield from _paragraphs(child, origin if begin is None else begin, speaker, seconds, agents)
        return
    if begin is None:  # timed word by word
        spans = [_span({_local(k): v for k, v in span.attrib.items()}, origin, seconds) for span in element.iter()]
        begin = min((start for start, _ in spans if start is not None), default=None)
        end = max((stop for _, stop in spans if stop is not None), default=None)
    if begin is not None:
        yield segment(begin, end, _text(element), speaker)


def _span(
    attributes: dict[str, str], origin: float, seconds: Callable[[str], float]
) -> tuple[float | None, float | None]:
    begin = origin + seconds(attributes["begin"]) if "begin" in attributes else None
    end: float | None
    if "end" in attributes:
        end = origin + seconds(attributes["end"])
    else:
        end = (origin if begin is None else begin) + seconds(attributes["dur"]) if "dur" in attributes else None
    return (origin if begin is None and end is not None else begin), end


def _text(element: Element) -> str:
    """The words of an element; only `<br/>` breaks a line."""
    parts = [SPACE.sub(" ", element.text or "")]
    for child in element:
        if _tag(child) == "br":
            parts.append("\n")
        elif _tag(child) != "metadata":
            parts.append(_text(child))
        parts.append(SPACE.sub(" ", child.tail or ""))
    return "".join(parts)


def _ttml_clock(parameters: dict[str, str], name: str) -> Callable[[str], float]:
    """From a written time to seconds, at the document's frames and ticks."""
    try:
        over, under = (float(part) for part in parameters.get("frameRateMultiplier", "1 1").split())
        frames = float(parameters.get("frameRate", "30")) * over / under
        ticks = float(parameters.get("tickRate", "0")) or (frames if "frameRate" in parameters else 1.0)
        if not (frames > 0 and ticks > 0):
            raise ValueError
    except (ValueError, ZeroDivisionError):
        raise SegmentError(f"{name}: frameRate, frameRateMultiplier or tickRate is no positive number") from None
    units = UNITS | {"f": 1 / frames, "t": 1 / ticks}

    def seconds(written: str) -> float:
        written = written.strip()
        if match := OFFSET.fullmatch(written):
            return float(match[1]) * units[match[2]]
        if match := FRAMES.fullmatch(written):
            hours, minutes, rest, count = (int(group) for group in match.groups())
            return hours * 3600 + minutes * 60 + rest + count / frames
        if (found := clock_seconds(written)) is None:
            raise SegmentError(f"{name}: the time {written[:40]!r} is not of the form 00:01:02.500, 62.5s or 62500ms")
        return found

    return seconds


# ---- ELAN -----------------------------------------------------------------------------------------------------------


def parse_elan(text: str, name: str) -> Transcript:
    """ELAN's `.eaf`: the annotations of the tiers that depend on no other, by their participant or tier.

    Tiers with a parent hold translations, glosses and words of what the parent says, and are left out.
    """
    root = parse_xml(text, name)
    slots = {}
    for slot in root.iter("TIME_SLOT"):
        value = slot.get("TIME_VALUE")
        slots[slot.get("TIME_SLOT_ID")] = int(value) / 1000 if value and re.fullmatch(r"\d{1,12}", value) else None
    segments = []
    for tier in root.iter("TIER"):
        if tier.get("PARENT_REF"):
            continue
        speaker = tier.get("PARTICIPANT") or tier.get("TIER_ID")
        for annotation in tier.iter("ALIGNABLE_ANNOTATION"):
            start, end = (slots.get(annotation.get(f"TIME_SLOT_REF{number}")) for number in (1, 2))
            if start is None or end is None:
                raise SegmentError(
                    f"{name}: annotation {annotation.get('ANNOTATION_ID')} of tier {tier.get('TIER_ID')} has no "
                    "times; align it in ELAN"
                )
            segments.append(segment(start, end, annotation.findtext("ANNOTATION_VALUE") or "", speaker))
    return Transcript(sorted(segments, key=lambda found: (found["start"], found["end"])))


def _tag(element: Element) -> str:
    return _local(element.tag) if isinstance(element.tag, str) else ""


def _local(name: str) -> str:
    return name.rpartition("}")[2]
