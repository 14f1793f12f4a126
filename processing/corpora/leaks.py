"""What the parts of a corpus share: a model tested on one part should not have met its speakers or clips before."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .checks import add_problem
from .report import ProblemKind, Report, plural
from .utterance import PARTS, Utterance, is_absent

NOT_WORDS = re.compile(r"[\W_]+")
LEAKS = frozenset({ProblemKind.SHARED_SPEAKER, ProblemKind.SHARED_AUDIO})


@dataclass(frozen=True)
class Overlap:
    """How many of a part's `utterances` have a speaker, a session, a text or a sound that another part has, too."""

    part: str
    utterances: int
    same_speaker: int
    same_session: int
    same_text: int
    same_audio: int


def find_overlaps(utterances: Sequence[Utterance]) -> tuple[str, list[Overlap]]:
    """The axis along which the corpus is divided ("split", else "session", else "speaker") and its parts' overlaps.

    Texts are the same when they agree without case and punctuation; empty ones do not count.
    """
    for axis in ("split", "session", "speaker"):
        parts: dict[str, list[Utterance]] = defaultdict(list)
        for utterance in utterances:
            parts[getattr(utterance, axis) or "unknown"].append(utterance)
        if len(parts) > 1:
            return axis, _overlaps(parts)
    return "split", []


def fold_text(text: str) -> str:
    """The words alone, case-folded: what two transcripts of the same sentence have in common."""
    return NOT_WORDS.sub(" ", text.casefold()).strip()


def fold_name(name: str) -> str:
    """What the spellings of one name have in common: `S3`, `s3` and `s-3`."""
    return NOT_WORDS.sub("", unicodedata.normalize("NFKC", name).casefold()) or name


def sound_of(utterance: Utterance) -> str | None:
    """What identifies the clip: a digest of its sound, else its file; None for silence and rows with errors."""
    if utterance.is_broken or ProblemKind.SILENT_AUDIO in utterance.kinds:
        return None
    return (
        utterance.digest
        or f"{os.path.realpath(utterance.audio)} {utterance.channel} {utterance.start} {utterance.end}"
    )


def check_speakers(utterances: Iterable[Utterance], report: Report) -> None:
    """Spellings of one name become the first of them: `s3` must not test a model that was trained on `S3`. Cells such
    as `nan` name nobody; how many utterances have no speaker is recorded where others have one."""
    utterances = list(utterances)
    spellings: dict[str, dict[str, None]] = defaultdict(dict)
    for utterance in utterances:
        if utterance.speaker and is_absent(utterance.speaker):
            utterance.speaker = None
        if utterance.speaker:
            variants = spellings[fold_name(utterance.speaker)]
            variants.setdefault(utterance.speaker)
            utterance.speaker = next(iter(variants))
    for first, *others in spellings.values():
        if others:
            detail = f"{', '.join(map(repr, others))} and {first!r} are taken for one speaker, {first!r}"
            report.add(ProblemKind.SUSPICIOUS_SPEAKER, detail)
    if spellings and (unknown := [utterance for utterance in utterances if not utterance.speaker]):
        detail = f"{len(unknown):,} of {plural(len(utterances), 'utterance')} have no speaker"
        example = unknown[0]
        report.add(
            *(ProblemKind.MISSING_SPEAKER, f"{detail}, as {example.utterance_id!r}"),
            file=example.file,
            row=example.row,
        )


def check_repeats(utterances: Iterable[Utterance], report: Report) -> None:
    """Names every clip that holds the sound of an earlier one, and whether the two have the same labels."""
    first: dict[str, Utterance] = {}
    for utterance in utterances:
        sound = sound_of(utterance)
        earlier = first.setdefault(sound, utterance) if sound else utterance
        if earlier is utterance:
            continue
        same = f"the sound of {earlier.utterance_id!r} ({earlier.place})"
        add_problem(report, utterance, ProblemKind.REPEATED_AUDIO, same)
        if set(earlier.labels) != set(utterance.labels):
            there, here = ("|".join(each.labels) for each in (earlier, utterance))
            add_problem(report, utterance, ProblemKind.CONFLICTING_LABELS, f"{here!r} here, {there!r} for {same}")


def check_shared(utterances: Iterable[Utterance], report: Report) -> None:
    """Names the speakers and sounds that an own split has in an earlier part, too: train, validation, test."""
    parts: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        parts[utterance.split].append(utterance)
    keys: dict[ProblemKind, Callable[[Utterance], str | None]] = {
        ProblemKind.SHARED_SPEAKER: lambda utterance: utterance.speaker,
        ProblemKind.SHARED_AUDIO: sound_of,
    }
    for kind, key in keys.items():
        earlier: set[str] = set()
        for part in PARTS:
            values = [key(utterance) for utterance in parts[part]]
            shared = [value in earlier for value in values]
            if any(shared):
                utterance = parts[part][shared.index(True)]
                what = "a speaker" if kind is ProblemKind.SHARED_SPEAKER else "the sound of a clip"
                detail = f"{sum(shared):,} of {len(shared):,} utterances of {part} have {what} of an earlier part"
                example = utterance.speaker if kind is ProblemKind.SHARED_SPEAKER else utterance.utterance_id
                report.add(kind, f"{detail}, as {example!r}")
            earlier.update(value for value in values if value)


def _overlaps(parts: dict[str, list[Utterance]]) -> list[Overlap]:
    keys: tuple[Callable[[Utterance], str | None], ...] = (
        lambda utterance: utterance.speaker,
        lambda utterance: utterance.session,
        lambda utterance: fold_text(utterance.text),
        sound_of,
    )
    shared = [_shared_counts(parts, key) for key in keys]
    return [
        Overlap(part, len(members), *(counts[part] for counts in shared)) for part, members in sorted(parts.items())
    ]


def _shared_counts(parts: dict[str, list[Utterance]], key: Callable[[Utterance], str | None]) -> dict[str, int]:
    found_in: dict[str, set[str]] = defaultdict(set)
    for part, members in parts.items():
        for utterance in members:
            if value := key(utterance):
                found_in[value].add(part)
    return {
        part: sum(len(found_in.get(key(utterance) or "", ())) > 1 for utterance in members)
        for part, members in parts.items()
    }
