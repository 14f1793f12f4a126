"""IEMOCAP (Busso et al., 2008), four classes: excitement counts as happiness; 5,531 of 10,039 utterances.

The folder is the release's own: `Session{1..5}/dialog/EmoEvaluation/*.txt`, `dialog/transcriptions/*.txt` and
`sentences/wav/<dialog>/<utterance>.wav`. There is no canonical order of the classes; ours is `LABELS`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..folders import AudioFolder, absolute, locate
from ..report import ProblemKind, Report
from ..tables import read_lines
from ..utterance import CorpusSpec, Utterance

LABELS = ("ang", "hap", "sad", "neu")
SESSIONS = (1, 2, 3, 4, 5)

SEXES = {"F": "female", "M": "male"}

NUMBER = r"\d+(?:\.\d+)?"
EVALUATION = re.compile(rf"\[({NUMBER}) - ({NUMBER})\]\t(\S+)\t(\S+)\t\[[^\]]*\]\s*")
TRANSCRIPT = re.compile(rf"(Ses\S+) \[({NUMBER})-({NUMBER})\]:\s?(.*)")
UTTERANCE_ID = re.compile(r"(Ses0(\d)[FM]_\S+)_([FM])[^_\s]*")


class Evaluation(NamedTuple):
    """One line of an evaluation file: seconds in the dialog, the utterance and its majority label."""

    start: float
    end: float
    utterance_id: str
    label: str


def parse_evaluation(line: str) -> Evaluation | None:
    """`[6.2901 - 8.2357]<TAB>Ses01F_impro01_F000<TAB>neu<TAB>[2.5000, 2.5000, 2.5000]`, else None."""
    match = EVALUATION.fullmatch(line)
    return Evaluation(float(match[1]), float(match[2]), match[3], match[4]) if match else None


def parse_transcript(line: str) -> tuple[str, str] | None:
    """The utterance and its text out of `Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.`, else None."""
    match = TRANSCRIPT.fullmatch(line.strip())
    return (match[1], match[4].strip()) if match else None


def dialog_and_speaker(utterance_id: str) -> tuple[str, str] | None:
    """(`Ses05M_script01_1b`, `Ses05F`) for `Ses05M_script01_1b_F012`, whose last field starts with the speaker."""
    match = UTTERANCE_ID.fullmatch(utterance_id)
    return (match[1], f"Ses0{match[2]}{match[3]}") if match else None


def read_utterances(data_dir: str | Path, report: Report, *, sessions: Sequence[int] = SESSIONS) -> list[Utterance]:
    """All annotated utterances of the sessions, labels of every kind; `session` is `Session1` and so on."""
    root = absolute(data_dir)
    roots = (root, root / "IEMOCAP_full_release")
    utterances: list[Utterance] = []
    for number in sessions:
        session = locate(roots, f"Session{number}", report)
        if session.is_dir():
            utterances += _read_session(session, report)
    return utterances


def _read_session(session: Path, report: Report) -> Iterable[Utterance]:
    evaluations = locate([session], "dialog/EmoEvaluation", report)
    for file in sorted(evaluations.glob("Ses*.txt")):
        texts = _read_transcripts(session / "dialog" / "transcriptions" / file.name, report)
        clips = AudioFolder(session / "sentences" / "wav" / file.stem)
        listed = []
        for row, evaluation, speaker in _read_evaluations(file, report):
            listed.append(evaluation.utterance_id)
            yield Utterance(
                utterance_id=evaluation.utterance_id,
                audio=clips.path(evaluation.utterance_id),
                rivals=clips.rivals(evaluation.utterance_id),
                text=texts.get(evaluation.utterance_id, ""),
                labels=(evaluation.label,),
                speaker=speaker,
                session=session.name,
                extra={"sex": SEXES[speaker[-1]]},
                file=str(file),
                row=row,
            )
        clips.report_unlisted(listed, report)


def _read_evaluations(file: Path, report: Report) -> Iterable[tuple[int, Evaluation, str]]:
    """(row, evaluation, speaker) of the lines that begin with `[`; the others are annotators' and carry no label."""
    for row, line in enumerate(read_lines(file, report), start=1):
        if not line.startswith("["):
            continue
        evaluation = parse_evaluation(line)
        origin = dialog_and_speaker(evaluation.utterance_id) if evaluation else None
        if evaluation is None or origin is None:
            detail = f"not of the form '[start - end]<TAB>utterance<TAB>label<TAB>[v, a, d]': {line[:80]!r}"
        elif origin[0] != file.stem:
            detail = f"{evaluation.utterance_id} does not belong to this dialog"
        else:
            yield row, evaluation, origin[1]
            continue
        report.add(ProblemKind.MALFORMED_ROW, detail, file=file, row=row, remedy="restore the file")


def _read_transcripts(file: Path, report: Report) -> dict[str, str]:
    """Utterance -> text; lines that name no utterance (bare speakers, noises) belong to none and are passed over."""
    parsed = map(parse_transcript, read_lines(file, report))
    return dict(pair for pair in parsed if pair)


CORPUS = CorpusSpec(
    name="iemocap",
    title="IEMOCAP",
    read=read_utterances,
    layout="the folders Session1 to Session5 of IEMOCAP_full_release",
    labels=LABELS,
    label_map={"exc": "hap"},
    protocol="leave_one_session_out",
    left_out=frozenset({"fru", "sur", "fea", "dis", "oth", "xxx"}),
    published={
        "session": {"Session1": 1085, "Session2": 1023, "Session3": 1151, "Session4": 1031, "Session5": 1241},
        "class": {"ang": 1103, "hap": 1636, "sad": 1084, "neu": 1708},
    },
)
