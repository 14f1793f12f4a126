"""The checks that every corpus goes through: ids, labels, splits, text and audio."""

from __future__ import annotations

import contextlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from ..errors_drkf import OptionError
from ..excerpt_drkf import Excerpt
from ..suggestions import did_you_mean
from ..waveform_drkf import AudioError
from .report import ProblemKind, Report, plural
from .scan import VIDEO_SUFFIXES, AudioFacts, classify, scan_audio
from .utterance import Utterance

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


def class_names(
    labels: Sequence[str], corpus_map: Mapping[str, str], label_map: Mapping[str, str]
) -> tuple[list[str], Callable[[str], str]]:
    """The classes after both maps, in order, and the translation of a source label.

    Order: each of the corpus' `labels` in turn, translated; then the further targets of `label_map` as it names them.
    The caller's `label_map` goes before the corpus' own, and also applies to what the corpus' own one yields.
    """

    def translate(source: str) -> str:
        if source in label_map:
            return label_map[source]
        merged = corpus_map.get(source, source)
        return label_map.get(merged, merged)

    return list(dict.fromkeys([*map(translate, labels), *label_map.values()])), translate


def check_labels(
    utterances: Sequence[Utterance],
    report: Report,
    *,
    labels: Sequence[str] | None,
    corpus_map: Mapping[str, str],
    left_out: frozenset[str],
    label_map: Mapping[str, str],
    label_names: Sequence[str] | None,
) -> list[str]:
    """Translates every utterance's labels and returns the classes in order.

    Labels in `left_out` that no map takes in exclude their utterance by protocol; others outside the classes are
    errors. Raises `ValueError` for a `label_map` or invalid `label_names`.
    """
    occurring = {label for utterance in utterances for label in utterance.labels if label}
    sources = {*labels, *corpus_map, *left_out} if labels is not None else occurring
    for source in label_map:
        if source not in sources:
            raise OptionError(
                f"label_map: the corpus has no label {source!r}{did_you_mean(source, sources)}; "
                f"its labels: {', '.join(sorted(sources))}"
            )
    names, translate = class_names(sorted(occurring) if labels is None else labels, corpus_map, label_map)
    if labels is None:
        names.sort()
        _check_spellings(names, report)
    if label_names is not None:
        if len(set(label_names)) != len(label_names):
            raise OptionError(f"label_names: {list(label_names)} names a class twice")
        names = list(label_names)
    outside = (sources if labels is not None else set()) - {source for source in sources if translate(source) in names}
    for utterance in utterances:
        _translate_labels(utterance, translate, names, outside, report)
    return names


def _translate_labels(
    utterance: Utterance, translate: Callable[[str], str], names: list[str], outside: set[str], report: Report
) -> None:
    if not utterance.labels or "" in utterance.labels:
        add_problem(report, utterance, ProblemKind.MISSING_LABEL, "the label is empty")
        return
    translated = tuple(dict.fromkeys(map(translate, utterance.labels)))
    strange = [source for source in utterance.labels if translate(source) not in names]
    unknown = [source for source in strange if source not in outside]
    if unknown:
        detail = f"{unknown[0]!r} is none of the classes {', '.join(names)}{did_you_mean(unknown[0], names)}"
        add_problem(report, utterance, ProblemKind.UNKNOWN_LABEL, detail)
    elif strange:
        add_problem(report, utterance, ProblemKind.OUTSIDE_CLASSES, f"{strange[0]!r} is not among the classes")
    else:
        utterance.labels = translated
        if utterance.weights:
            _merge_weights(utterance, translate)


def _merge_weights(utterance: Utterance, translate: Callable[[str], str]) -> None:
    merged: dict[str, float] = defaultdict(float)
    for source, weight in (utterance.weights or {}).items():
        merged[translate(source)] += weight
    utterance.labels = tuple(sorted(merged, key=merged.__getitem__, reverse=True))
    utterance.weights = dict(merged)


def _check_spellings(names: Iterable[str], report: Report) -> None:
    spellings: dict[str, list[str]] = defaultdict(list)
    for name in names:
        spellings[name.casefold()].append(name)
    for variants in spellings.values():
        if len(variants) > 1:
            detail = f"{' and '.join(map(repr, variants))} differ only in case and count as different classes"
            report.add(ProblemKind.SUSPICIOUS_LABEL, detail)


def check_text(utterances: Iterable[Utterance], report: Report) -> None:
    """Strips text, mends punctuation that was decoded the wrong way, and names what cannot be mended."""
    for utterance in utterances:
        text = utterance.text.strip()
        utterance.text = mended = mend_text(text)
        if not text:
            add_problem(report, utterance, ProblemKind.EMPTY_TEXT, "the transcript is empty")
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
    known_damage: Mapping[str, str],
    scan: bool,
    decode: bool | None,
    videos: bool,
    progress: bool,
) -> None:
    """Looks at every clip when `scan` (see `scan_audio` for `decode`), otherwise only whether the file exists."""
    paths = [utterance.audio for utterance in utterances if utterance.audio]
    facts = scan_audio(paths, progress=progress, decode=decode) if scan else {p: _existence(p) for p in paths}
    undecoded = [found for found in facts.values() if not found.digest and not (found.kind and found.kind.is_error)]
    if scan and undecoded:
        count = plural(len(undecoded), "clip")
        detail = f"{count} judged by the header alone: damage inside, silence and copies unseen"
        report.add(ProblemKind.NOT_DECODED, detail)
    for utterance in utterances:
        if not utterance.audio:
            add_problem(report, utterance, ProblemKind.MISSING_AUDIO, "the row names no audio file")
            continue
        found = _cut(facts[utterance.audio], utterance)
        utterance.duration, utterance.digest = found.duration, found.digest
        is_video = os.path.splitext(utterance.audio)[1].lower() in VIDEO_SUFFIXES
        if is_video and not videos and not (found.kind and found.kind.is_error):
            add_problem(report, utterance, ProblemKind.VIDEO_AUDIO, "the processor reads no videos")
        if found.kind:
            remedy = known_damage.get(utterance.utterance_id) if found.kind.is_error else None
            name = os.path.basename(utterance.audio)
            known = name in f"{utterance.utterance_id} {found.detail}"
            add_problem(report, utterance, found.kind, found.detail if known else f"{name}: {found.detail}", remedy)


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
    if found.kind is ProblemKind.SILENT_AUDIO:
        return replace(found, duration=end - start, digest=digest)
    return classify(end - start, digest)


def _existence(path: str) -> AudioFacts:
    if os.path.isfile(path):
        return AudioFacts()
    return AudioFacts(kind=ProblemKind.MISSING_AUDIO, detail=f"no such file: {path}")
