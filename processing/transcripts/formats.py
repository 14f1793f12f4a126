"""The formats of transcripts: how each is recognised, and who reads it.

A format is recognised by what it says, and by its name where that does not tell. `FORMATS` is in the order in which
they are tried; documentation and messages list it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath

from . import lines as by_line
from .cues import ARROW, parse_ass, parse_subtitles
from .marked_up import parse_elan, parse_ttml
from .objects import parse_json
from .textgrid import parse_textgrid
from .transcript import Parse, SegmentError, Transcript

HEAD = 4000  # characters that tell what a file is
FEW = 30  # lines
JSON = re.compile(r"\{\s*[\"}]|\[\s*(?:[\[{\]\"-]|\d+\s*[,\]]|true|false|null)")
ROOT = re.compile(r"<(?:[\w.-]+:)?(tt|ANNOTATION_DOCUMENT)[\s>/]")
TABLE_HEAD = re.compile(r"[^\n]*[\t,][^\n]*")


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        title: what documentation and messages call it.
        endings: of file names, in lower case.
        written_by: who writes it.
        is_it: whether the first lines of a text (those that hold anything) are of it.
    """

    title: str
    endings: tuple[str, ...]
    written_by: str
    is_it: Callable[[list[str]], bool]
    parse: Parse


def _begins(pattern: str) -> Callable[[list[str]], bool]:
    compiled = re.compile(pattern, re.IGNORECASE)
    return lambda lines: bool(lines) and compiled.match(lines[0].lstrip()) is not None


def _first_line(pattern: re.Pattern[str], passed_over: str = "") -> Callable[[list[str]], bool]:
    """Whether the first line, after those that begin with `passed_over`, is of a form."""

    def is_it(lines: list[str]) -> bool:
        line = next((line for line in lines if not (passed_over and line.startswith(passed_over))), "")
        return pattern.fullmatch(line) is not None

    return is_it


def _is_lrc(lines: list[str]) -> bool:
    line = next((line for line in lines if not by_line.LRC_TAG.fullmatch(line) or by_line.LRC_TIME.match(line)), "")
    return by_line.LRC_TIME.match(line) is not None


def _is_rttm(lines: list[str]) -> bool:
    fields = next((line.split() for line in lines if not line.startswith(";;")), [])
    return len(fields) >= 8 and fields[0] in by_line.RTTM_KINDS


def _is_table(lines: list[str]) -> bool:
    columns = {column.strip().casefold() for column in re.split("[\t,]", lines[0])} if lines else set()
    return {"start", "end"} <= columns


def _is_textgrid(lines: list[str]) -> bool:
    return any("ooTextFile" in line for line in lines[:1]) and any('"TextGrid"' in line for line in lines[:3])


def _has_root(name: str) -> Callable[[list[str]], bool]:
    def is_it(lines: list[str]) -> bool:
        if not lines or not lines[0].lstrip().startswith("<"):
            return False
        match = ROOT.search("\n".join(lines))
        return match is not None and match[1] == name

    return is_it


def _has_times(lines: list[str]) -> bool:
    return any(ARROW in line and re.match(r"\s*[\d:]", line) for line in lines[:FEW])


FORMATS = (
    Format("WebVTT", (".vtt",), "Whisper, YouTube, Zoom, Teams", _begins(r"WEBVTT(\s|$)"), parse_subtitles),
    Format("ASS, SSA", (".ass", ".ssa"), "Aegisub", _begins(r"\[script info\]"), parse_ass),
    Format("TextGrid", (".textgrid",), "Praat, the Montreal Forced Aligner, WebMAUS", _is_textgrid, parse_textgrid),
    Format("ELAN", (".eaf",), "ELAN", _has_root("ANNOTATION_DOCUMENT"), parse_elan),
    Format("TTML", (".ttml", ".dfxp", ".itt", ".xml"), "broadcasters, YouTube", _has_root("tt"), parse_ttml),
    Format(
        "JSON, JSON Lines",
        (".json", ".jsonl", ".json3"),
        "openai-whisper, faster-whisper, whisperX, whisper.cpp, transformers, Deepgram, AssemblyAI, FunASR, NeMo, "
        "YouTube (json3, youtube-transcript-api)",
        lambda lines: bool(lines) and JSON.match("\n".join(lines[:2]).lstrip()) is not None,
        parse_json,
    ),
    Format(
        "Whisper's text",
        (),
        "what whisper and whisper.cpp print",
        _first_line(by_line.WHISPER_LINE),
        by_line.parse_whisper_lines,
    ),
    Format("LRC", (".lrc",), "whisper.cpp, players of music", _is_lrc, by_line.parse_lrc),
    Format("SBV", (".sbv",), "YouTube", _first_line(by_line.SBV_TIMES), by_line.parse_sbv),
    Format("tables", (".tsv", ".csv"), "Whisper (TSV), whisper.cpp (CSV)", _is_table, by_line.parse_table),
    Format("RTTM", (".rttm",), "pyannote, NeMo, NIST", _is_rttm, by_line.parse_rttm),
    Format("CTM", (".ctm",), "Kaldi, NeMo, sclite", _first_line(by_line.CTM_LINE, ";;"), by_line.parse_ctm),
    Format("Audacity's labels", (), "Audacity", _first_line(by_line.LABEL, "\\"), by_line.parse_labels),
    Format("SubRip", (".srt",), "Whisper, whisperX, most editors", _has_times, parse_subtitles),
)
SUBRIP = FORMATS[-1]
TITLES = ", ".join(known.title for known in FORMATS)

OTHERS = (  # what is refused by its name
    (_begins(r"\{\d+\}\{\d*\}"), "MicroDVD subtitles are"),
    (_begins(r"\[\d+\]\[\d+\]"), "MPL2 subtitles are"),
    (_begins(r"<SAMI"), "SAMI subtitles are"),
    (_begins(r"(<!doctype html|<html)"), "web pages are"),
)


def parse_any(text: str, name: str) -> Transcript:
    """The transcript in a text, whatever its format.

    Raises:
        SegmentError: a format that is not read, or a text that its format does not allow.
    """
    lines = [line for line in islice(re.split(r"\r\n|\r|\n", text[:HEAD]), 200) if line.strip()]
    for is_other, what in OTHERS:
        if is_other(lines):
            remedy = "save the transcript itself" if "web" in what else "convert it: ffmpeg -i IN OUT.srt"
            raise SegmentError(f"{name}: {what} not read; {remedy}")
    return _format_of(lines, name).parse(text, name)


def _format_of(lines: list[str], name: str) -> Format:
    ending = PurePath(name).suffix.casefold()
    by_content = [known for known in FORMATS if known.is_it(lines)]
    by_name = [known for known in FORMATS if ending in known.endings]
    both = [known for known in by_content if known in by_name]
    return next(iter([*both, *by_content, *by_name]), SUBRIP)
