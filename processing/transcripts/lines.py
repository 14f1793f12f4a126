"""Formats with a segment a line: Whisper's text and tables, LRC, SBV, Audacity's labels, RTTM and CTM."""

from __future__ import annotations

import csv
import re

from .transcript import Segment, SegmentError, Transcript, clock_seconds, lines_of, segment

NUMBER = r"\d{1,12}(?:\.\d{1,12})?"
WHISPER_LINE = re.compile(r"\s*\[([\d:.,]{1,20})\s*-->\s*([\d:.,]{1,20})\]\s?(.*)", re.ASCII)
LRC_TIME = re.compile(r"\s*\[(\d{1,3}:\d{1,2}(?:[.:]\d{1,3})?)\]", re.ASCII)
LRC_TAG = re.compile(r"\s*\[([a-zA-Z#]+):([^\]]*)\]\s*")
LRC_WORD = re.compile(r"<\d{1,3}:\d{1,2}(?:[.:]\d{1,3})?>", re.ASCII)
SBV_TIMES = re.compile(r"(\d+:\d{1,2}:\d{1,2}\.\d{1,3}),(\d+:\d{1,2}:\d{1,2}\.\d{1,3})\s*", re.ASCII)
LABEL = re.compile(rf"({NUMBER})\t({NUMBER})(?:\t(.*))?".replace(r"\.", "[.,]"), re.ASCII)
CTM_LINE = re.compile(rf"(\S+)\s+(\S+)\s+({NUMBER})\s+({NUMBER})\s+(\S+)(?:\s+(\S+))?(?:\s+(\S+))?(?:\s+(\S+))?\s*")
CTM_WORDLESS = ("<eps>", "<sil>", "sil", "@")
RTTM_KINDS = (
    *("SPEAKER", "LEXEME", "NON-LEX", "NON-SPEECH", "SEGMENT", "NOSCORE", "NO_RT_METADATA", "SPKR-INFO"),
    *("FILLER", "EDIT", "IP", "SU", "CB", "A/P"),
)
COMMENT = ";;"
SHORTEST_MEDIAN_MS = 50  # a table of whole numbers with shorter segments counts seconds
TABLE_ENDS = ("start", "end")


def parse_whisper_lines(text: str, name: str) -> Transcript:
    """`[00:00.500 --> 00:02.500]  words`, what Whisper and whisper.cpp print; other lines go on with the words."""
    segments: list[Segment] = []
    for number, line in lines_of(text):
        match = WHISPER_LINE.fullmatch(line)
        if match is None and segments:
            segments[-1]["text"] += f"\n{line}"
            continue
        times = [clock_seconds(time) for time in match.groups()[:2]] if match else [None]
        if match is None or None in times:
            raise _malformed(name, number, line, "[00:00.500 --> 00:02.500]  words")
        segments.append(segment(times[0], times[1], match[3]))
    return Transcript(segments)


def parse_lrc(text: str, name: str) -> Transcript:
    """LRC: a line lasts until the next one begins, and the last to the end of the recording.

    `[offset:+500]` brings all lines forward by 500 ms. A line may have several times, and one without words ends the
    line before.
    """
    offset, found = 0.0, []
    for number, line in lines_of(text):
        if LRC_TIME.match(line) is None:
            if (tag := LRC_TAG.fullmatch(line)) is None:
                raise _malformed(name, number, line, "[00:12.50]words")
            if tag[1].casefold() == "offset":
                try:
                    offset = int(tag[2]) / 1000
                except (ValueError, OverflowError):
                    raise _malformed(name, number, line, "[offset:+500], milliseconds") from None
            continue
        starts = []
        while match := LRC_TIME.match(line):
            starts.append(_lrc_seconds(match[1]))
            line = line[match.end() :]
        found += [(start, LRC_WORD.sub("", line)) for start in starts]
    found = [(max(0.0, round(start - offset, 3)), words) for start, words in sorted(found, key=lambda pair: pair[0])]
    ends = _next_starts([start for start, _ in found])
    return Transcript(
        [segment(start, end, words) for (start, words), end in zip(found, ends, strict=True) if words.strip()]
    )


def _next_starts(starts: list[float]) -> list[float | None]:
    """For each of the sorted starts the next one that is later; None for the last."""
    ends: list[float | None] = []
    following, later = None, None
    for start in reversed(starts):
        later = following if following is not None and following > start else later
        ends.append(later)
        following = start
    return ends[::-1]


def _lrc_seconds(written: str) -> float:
    minutes, seconds, fraction = [*re.split("[:.]", written), "0"][:3]
    return int(minutes) * 60 + int(seconds) + int(fraction) / 10 ** len(fraction)


def parse_sbv(text: str, name: str) -> Transcript:
    """YouTube's SBV: a line `0:00:00.500,0:00:02.500`, then the words, up to an empty line."""
    segments: list[Segment] = []
    for number, line in lines_of(text):
        if match := SBV_TIMES.fullmatch(line):
            segments.append(segment(clock_seconds(match[1]), clock_seconds(match[2]), ""))
        elif not segments:
            raise _malformed(name, number, line, "0:00:00.500,0:00:02.500")
        else:
            segments[-1]["text"] += f"\n{line}"
    return Transcript(segments)


def parse_table(text: str, name: str) -> Transcript:
    """A table with the columns start, end and text, and perhaps speaker: Whisper's TSV, the CSV of whisper.cpp.

    Whole numbers are milliseconds, as both write them; with decimals they are seconds.
    """
    lines = re.split(r"\r\n|\r|\n", text.lstrip("\r\n"))
    separator = "\t" if "\t" in lines[0] else ","
    try:
        if separator == "\t":  # Whisper's TSV quotes nothing: a quotation mark there is a word's
            rows = list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
        else:
            rows = list(csv.reader(lines))
    except csv.Error as error:
        raise SegmentError(f"{name}: no table that can be read ({error})") from error
    columns = [column.strip().casefold() for column in rows[0]]
    if missing := [column for column in (*TABLE_ENDS, "text") if column not in columns]:
        raise SegmentError(
            f"{name}: a table needs the columns start, end and text; it lacks {', '.join(missing)} and has "
            f"{', '.join(columns)}: rename them in its first line"
        )
    found = []
    for number, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) > len(columns):  # words that hold the separator, and are not quoted
            row = [*row[: len(columns) - 1], separator.join(row[len(columns) - 1 :])]
        cells = dict(zip(columns, [cell.strip() for cell in row], strict=False))
        if not all(re.fullmatch(NUMBER, cells.get(column, ""), re.ASCII) for column in TABLE_ENDS):
            raise _malformed(name, number, "\t".join(row), "start, end, text: two numbers, and the words")
        found.append(cells)
    are_milliseconds = all(cells[column].isdecimal() for cells in found for column in TABLE_ENDS)
    if are_milliseconds and found:
        lengths = sorted(int(cells["end"]) - int(cells["start"]) for cells in found)
        if lengths[len(lengths) // 2] < SHORTEST_MEDIAN_MS:
            raise SegmentError(
                f"{name}: whole numbers are milliseconds, as Whisper writes them, but most segments would last less "
                f"than {SHORTEST_MEDIAN_MS} ms; write seconds with decimals (2.0)"
            )
    unit = 1000 if are_milliseconds else 1
    return Transcript(
        [
            segment(
                float(cells["start"]) / unit, float(cells["end"]) / unit, cells.get("text", ""), cells.get("speaker")
            )
            for cells in found
        ]
    )


def parse_labels(text: str, name: str) -> Transcript:
    """Audacity's labels: start, end and words between tabs; lines of frequencies, which begin with a backslash, and
    labels of one moment are left out."""
    segments = []
    for number, line in lines_of(text):
        if line.startswith("\\"):
            continue
        if (match := LABEL.fullmatch(line)) is None:
            raise _malformed(name, number, line, "0.5<tab>2.5<tab>words")
        start, end = (float(time.replace(",", ".")) for time in match.groups()[:2])
        if end > start:
            segments.append(segment(start, end, match[3] or ""))
    return Transcript(segments)


def parse_rttm(text: str, name: str) -> Transcript:
    """RTTM: who speaks when (SPEAKER), without words; with words where there are LEXEME lines."""
    turns: list[tuple[str, Segment]] = []
    words: list[tuple[str, Segment]] = []
    for number, line in lines_of(text):
        fields = line.split()
        if line.startswith(COMMENT):
            continue
        if fields[0] not in RTTM_KINDS:
            raise _malformed(name, number, line, "SPEAKER talk 1 0.50 2.00 <NA> <NA> Anna <NA> <NA>")
        if fields[0] not in ("SPEAKER", "LEXEME"):
            continue
        if len(fields) < 8 or not all(re.fullmatch(NUMBER, field, re.ASCII) for field in fields[3:5]):
            raise _malformed(name, number, line, f"{fields[0]} talk 1 0.50 2.00 <NA> <NA> Anna <NA> <NA>")
        start = float(fields[3])
        word = fields[5] if fields[0] == "LEXEME" and fields[5] != "<NA>" else ""
        found = segment(start, round(start + float(fields[4]), 6), word, fields[7])
        (words if fields[0] == "LEXEME" else turns).append((fields[1], found))
    chosen = words or turns
    return Transcript([found for _, found in chosen], bool(words), [recording for recording, _ in chosen])


def parse_ctm(text: str, name: str) -> Transcript:
    """CTM, as Kaldi, NeMo and sclite write it: recording, channel, start, length and word, perhaps confidence, type
    and speaker."""
    words: list[Segment] = []
    recordings = []
    for number, line in lines_of(text):
        if line.startswith(COMMENT):
            continue
        if (match := CTM_LINE.fullmatch(line)) is None:
            raise _malformed(name, number, line, "talk 1 0.50 0.20 word")
        if match[5].casefold() in CTM_WORDLESS:
            continue
        start = float(match[3])
        words.append(segment(start, round(start + float(match[4]), 6), match[5], match[8]))
        recordings.append(match[1])
    return Transcript(words, True, recordings)


def _malformed(name: str, number: int, line: str, form: str) -> SegmentError:
    return SegmentError(f"{name}, line {number}: {line.strip()[:60]!r} is not of the form {form}")
