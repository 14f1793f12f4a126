"""The checks that every corpus goes through: ids, text, audio, and the numbers that its authors publish."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..audio_drkf import Excerpt
from ..errors_drkf import AudioError
from ..printable import plural
from .paths import whereabouts
from .report import ProblemKind, Report
from .scan import CLIPPED_SHARE, VIDEO_SUFFIXES, AudioFacts, Sound, classify, path_of, scan_audio
from .utterance import CorpusSpec, Utterance, is_absent

AXES = ("split", "session", "speaker", "class", "total")
MOST_COUNTS = 12  # in one line

C1_CONTROLS = re.compile("[\x80-\x9f]")
UTF8_READ_AS_CP1252 = re.compile("[\u00c2\u00c3\u00e2][\u0080-\u00bf\u0152-\u0178\u2013-\u2122]")


def add_problem(
    report: Report, utterance: Utterance, kind: ProblemKind, detail: str, remedy: str | None = None
) -> None:
    """Records a problem of one utterance at its file and row, and marks the utterance with it."""
    utterance.kinds.add(kind)
    report.add(
        kind,
        detail,
        file=utterance.file,
        row=utterance.row,
        utterance_id=utterance.utterance_id,
        remedy=remedy,
    )


def check_ids(utterances: Iterable[Utterance], report: Report) -> None:
    """The first utterance with an id stands; the later ones are errors."""
    first: dict[str, Utterance] = {}
    for utterance in utterances:
        earlier = first.setdefault(utterance.utterance_id, utterance)
        if earlier is not utterance:
            add_problem(report, utterance, ProblemKind.DUPLICATE_ID, f"the id stands first at {earlier.place}")


def check_rivals(utterances: Iterable[Utterance], report: Report) -> None:
    """An utterance that several files may be is an error, whichever comes first in the folder."""
    for utterance in utterances:
        if utterance.rivals:
            names = [str(path) for path in (utterance.audio, *utterance.rivals)]
            add_problem(
                report,
                utterance,
                ProblemKind.AMBIGUOUS_AUDIO,
                f"{' and '.join(names[:3])} differ, and may all be meant",
            )


def check_text(utterances: Iterable[Utterance], report: Report, words: bool = True) -> None:
    """Strips text, mends punctuation that was decoded the wrong way, and names what cannot be mended; where there need
    be no `words`, their absence is no problem."""
    for utterance in utterances:
        written = utterance.text.strip()
        text = "" if is_absent(written) else written
        utterance.text = mended = mend_text(text)
        if not text:
            detail = f"{written!r} is what tables write for no words" if written else "the transcript is empty"
            if words:
                add_problem(report, utterance, ProblemKind.EMPTY_TEXT, detail)
        elif "\ufffd" in mended:
            add_problem(report, utterance, ProblemKind.GARBLED_TEXT, f"characters were lost: {mended[:60]!r}")
        elif mended != text:
            add_problem(report, utterance, ProblemKind.GARBLED_TEXT, f"mended {text[:60]!r} to {mended[:60]!r}")


def mend_text(text: str) -> str:
    """Undoes two common accidents: UTF-8 read as CP1252, and CP1252 punctuation read as Latin-1 control characters."""
    if UTF8_READ_AS_CP1252.search(text):
        with contextlib.suppress(UnicodeError):
            text = text.encode("cp1252").decode("utf-8")
    return C1_CONTROLS.sub(lambda control: control[0].encode("latin-1").decode("cp1252", "replace"), text)


def check_audio(
    utterances: Sequence[Utterance],
    report: Report,
    *,
    folder: Path,
    known_damage: Mapping[str, str],
    scan: bool,
    decode: bool | None,
    videos: bool,
    progress: bool,
) -> None:
    """Looks at every clip when `scan` (see `scan_audio` for `decode`), otherwise only whether the file exists.

    Files that missing paths may mean are looked for in `folder`.
    """
    sounds = [_sound(utterance) for utterance in utterances if utterance.audio]
    facts = scan_audio(sounds, progress=progress, decode=decode) if scan else {s: _existence(s) for s in sounds}
    undecoded = [found for found in facts.values() if not found.digest and not (found.kind and found.kind.is_error)]
    if scan and undecoded:
        count = plural(len(undecoded), "clip")
        detail = f"{count} judged by the header alone: damage inside, silence and copies unseen"
        report.add(ProblemKind.NOT_DECODED, detail)
    missing = [path_of(sound) for sound, found in facts.items() if found.kind is ProblemKind.MISSING_AUDIO]
    there, audio_root = whereabouts(missing, folder) if missing else ({}, None)
    there |= {utterance.audio: utterance.nearby for utterance in utterances if utterance.nearby}
    for utterance in utterances:
        if not utterance.audio:
            add_problem(report, utterance, ProblemKind.MISSING_AUDIO, "the row names no audio file")
            continue
        found = _cut(facts[_sound(utterance)], utterance)
        utterance.duration, utterance.digest = found.duration, found.digest
        is_video = os.path.splitext(utterance.audio)[1].lower() in VIDEO_SUFFIXES
        if is_video and not videos and not (found.kind and found.kind.is_error):
            add_problem(report, utterance, ProblemKind.VIDEO_AUDIO, "the processor reads no videos")
        if found.clipped >= CLIPPED_SHARE:
            detail = f"{found.clipped:.0%} of it is cut off at its loudest level"
            add_problem(report, utterance, ProblemKind.CLIPPED_AUDIO, detail)
        if found.kind:
            remedy = known_damage.get(utterance.utterance_id) if found.kind.is_error else None
            name, detail = os.path.basename(utterance.audio), found.detail
            if utterance.audio in there:
                detail += f"; there is {there[utterance.audio]}"
                remedy = remedy or (audio_root and f"take the clips from there: --audio-root {audio_root}")
            known = name in f"{utterance.utterance_id} {detail}"
            add_problem(report, utterance, found.kind, detail if known else f"{name}: {detail}", remedy)


def _cut(found: AudioFacts, utterance: Utterance) -> AudioFacts:
    """What is said of a recording, as of the part of it that the utterance is."""
    if found.duration is None or (utterance.start is None and utterance.end is None):
        return found
    try:
        Excerpt(utterance.audio, utterance.start, utterance.end).check(found.duration)
    except AudioError as error:
        return AudioFacts(kind=ProblemKind.OUTSIDE_AUDIO, detail=error.reason)
    start, end = utterance.start or 0.0, found.duration if utterance.end is None else utterance.end
    digest = found.digest and f"{found.digest} {start}-{end}"
    if found.kind in (ProblemKind.SILENT_AUDIO, ProblemKind.CANCELLING_AUDIO):
        return replace(found, duration=end - start, digest=digest)
    if any(first <= start and end <= last for first, last in found.silences):
        return replace(classify(end - start, digest, peak=0.0), detail="that part of the recording is silent")
    return replace(classify(end - start, digest), clipped=found.clipped)


def _sound(utterance: Utterance) -> Sound:
    return utterance.audio if utterance.channel is None else (utterance.audio, utterance.channel)


def _existence(sound: Sound) -> AudioFacts:
    path = path_of(sound)
    if os.path.isfile(path):
        return AudioFacts()
    return AudioFacts(kind=ProblemKind.MISSING_AUDIO, detail=f"no such file: {path}")


def values_of(utterance: Utterance, axis: str) -> tuple[str, ...]:
    """The parts along an axis in which the utterance counts."""
    if axis == "total":
        return ("all",)
    if axis == "class":
        return utterance.labels[:1] if utterance.weights else utterance.labels
    value = getattr(utterance, axis)
    return (value,) if value else ()


def check_published(spec: CorpusSpec, utterances: Iterable[Utterance], report: Report) -> None:
    """Names the parts that the copy has more or fewer of than its authors count, once for each axis."""
    utterances = list(utterances)
    for axis in AXES:
        published = spec.published.get(axis, {})
        found = Counter(value for utterance in utterances for value in values_of(utterance, axis))
        unlike = [
            f"{value} {found[value]:,} of {count:,}" for value, count in published.items() if found[value] != count
        ]
        if unlike:
            shown = ", ".join(unlike[:MOST_COUNTS]) + (", ..." if len(unlike) > MOST_COUNTS else "")
            where = f" ({spec.published_source})" if spec.published_source else ""
            detail = f"utterances here of those published{where}, by {axis}: {shown}"
            report.add(ProblemKind.UNLIKE_PUBLISHED, detail)
