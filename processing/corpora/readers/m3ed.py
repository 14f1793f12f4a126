"""M3ED (Zhao et al., 2022): Chinese television dialogues, seven labels, several per utterance, official splits.

The folder holds `annotation.json`, `splitInfo/movie_list_{train,val,test}.txt` (lists of shows) and, anywhere below,
the clips `{Speaker}_{utterance}.wav`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from ..folders import AudioFolder, absolute, locate
from ..report import ProblemKind, Report
from ..tables import read_lines, read_text
from ..utterance import CorpusSpec, Utterance

LABELS = ("Happy", "Neutral", "Sad", "Disgust", "Anger", "Fear", "Surprise")
SPLITS = ("train", "val", "test")


def read_utterances(data_dir: str | Path, report: Report) -> list[Utterance]:
    """The utterances of `annotation.json` with the labels of `final_mul_emo`; `session` is the show.

    A speaker is a show and the character's name, since characters return; one without a name is known in its dialogue
    only.
    """
    root = absolute(data_dir)
    split_of_show = _read_splits(root, report)
    file = locate([root], "annotation.json", report)
    shows = _read_annotation(file, report) if file.exists() else {}
    for show in split_of_show.keys() - shows.keys():
        detail = f"the show {show!r} of the split {split_of_show[show]!r} is not annotated"
        report.add(ProblemKind.MALFORMED_ROW, detail, file=file, remedy="restore annotation.json and splitInfo")
    clips = AudioFolder(root, recursive=True)
    utterances = []
    for show, dialogue, speakers, name, entry in _entries(shows, file, report):
        try:
            labels, speaker, text = entry["EmoAnnotation"]["final_mul_emo"], entry["Speaker"], entry["Text"]
            labels = tuple(label.strip() for label in labels.split(",") if label.strip())
        except (LookupError, TypeError, AttributeError) as error:
            detail = f"Speaker, Text and EmoAnnotation.final_mul_emo are needed ({type(error).__name__}: {error})"
            report.add(ProblemKind.MALFORMED_ROW, detail, file=file, utterance_id=name)
            continue
        audio, nearby = _clip(clips, speaker, show, name)
        utterances.append(
            Utterance(
                utterance_id=name,
                audio=audio,
                nearby=nearby,
                rivals=clips.rivals(f"{speaker}_{name}"),
                text=text or "",
                labels=labels,
                multi_label=True,
                speaker=_speaker_name(show, dialogue, speakers, speaker),
                session=show,
                split=split_of_show.get(show, ""),
                file=str(file),
            )
        )
    clips.report_unlisted((Path(utterance.audio).stem for utterance in utterances), report)
    return utterances


def _clip(clips: AudioFolder, speaker: str, show: str, name: str) -> tuple[str, str | None]:
    """An utterance's clip; where there is none, where it should lie, and the clip with another speaker's letter."""
    stem = f"{speaker}_{name}"
    if stem in clips:
        return clips.path(stem), None
    sibling = next((clips.path(f"{letter}_{name}") for letter in ascii_uppercase if f"{letter}_{name}" in clips), None)
    neighbour = sibling or clips.first_with(f"_{show}_")
    return str(Path(neighbour).with_name(f"{stem}.wav")) if neighbour else clips.path(stem), sibling


def _read_splits(root: Path, report: Report) -> dict[str, str]:
    split_of_show: dict[str, str] = {}
    for split in SPLITS:
        file = locate([root], f"splitInfo/movie_list_{split}.txt", report)
        lines = read_lines(file, report) if file.exists() else []
        for row, line in enumerate(lines, start=1):
            show = line.strip()
            if show and split_of_show.setdefault(show, split) != split:
                detail = f"the show {show!r} stands in the split {split_of_show[show]!r} already"
                report.add(ProblemKind.MALFORMED_ROW, detail, file=file, row=row, remedy="restore splitInfo")
    return split_of_show


def _read_annotation(file: Path, report: Report) -> dict[str, object]:
    text = read_text(file, report)
    try:
        shows = json.loads(text or "")
    except ValueError as error:
        report.add(ProblemKind.UNREADABLE_FILE, f"no valid JSON ({error})", file=file)
        return {}
    if not isinstance(shows, dict):
        report.add(ProblemKind.UNREADABLE_FILE, "an object of shows is expected", file=file)
        return {}
    return shows


def _speaker_name(show: str, dialogue: str, speakers: object, letter: str) -> str:
    about = speakers.get(letter) if isinstance(speakers, dict) else None
    name = about.get("Name") if isinstance(about, dict) else None
    return f"{show}_{name}" if name else f"{dialogue}_{letter}"


def _entries(shows: dict[str, object], file: Path, report: Report) -> Iterator[tuple[str, str, object, str, Any]]:
    """(show, dialogue, SpeakerInfo, utterance, entry) of everything that has the annotation's nesting."""
    for show, dialogues in shows.items():
        for dialogue, content in dialogues.items() if isinstance(dialogues, dict) else [(show, None)]:
            if not isinstance(content, dict) or not isinstance(content.get("Dialog"), dict):
                detail = f"{show} / {dialogue}: an object with 'Dialog' is expected"
                report.add(ProblemKind.MALFORMED_ROW, detail, file=file)
                continue
            for name, entry in content["Dialog"].items():
                yield show, dialogue, content.get("SpeakerInfo"), name, entry


CORPUS = CorpusSpec(
    name="m3ed",
    title="M3ED",
    read=read_utterances,
    layout="annotation.json, splitInfo/movie_list_{train,val,test}.txt and the clips",
    labels=LABELS,
    protocol="official",
    published={"split": {"train": 17427, "validation": 2821, "test": 4201}},
)
