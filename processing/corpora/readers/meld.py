"""MELD (Poria et al., 2019), seven classes, official splits.

The folder holds `{train,dev,test}_sent_emo.csv` and the clips in `train_splits/`, `dev_splits_complete/` and
`output_repeated_splits_test/` as `dia{D}_utt{U}.mp4` or extracted to WAV, FLAC, ... (sound is preferred to video).
Known damage of the release: the clip of train dia125_utt3 is corrupt, that of dev dia110_utt7 is missing, two test
clips last minutes, some clips have no annotation. Speakers and episodes occur in more than one split.
"""

from __future__ import annotations

from pathlib import Path

from ..folders import AudioFolder, absolute, locate
from ..report import ProblemKind, Report
from ..tables import has_columns, read_rows
from ..utterance import CorpusSpec, Utterance

LABELS = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID", "Season", "Episode")
SPLITS = {
    "train": ("train_sent_emo.csv", "train_splits"),
    "dev": ("dev_sent_emo.csv", "dev_splits_complete"),
    "test": ("test_sent_emo.csv", "output_repeated_splits_test"),
}


def read_utterances(data_dir: str | Path, report: Report) -> list[Utterance]:
    """The rows of the three CSV files. Ids repeat across splits, so an id begins with its split: `dev_dia110_utt7`."""
    root = absolute(data_dir)
    utterances: list[Utterance] = []
    for split, (table, clips) in SPLITS.items():
        roots = (root, root / split)
        utterances += _read_split(split, locate(roots, table, report), locate(roots, clips, report), report)
    return utterances


def _read_split(split: str, table: Path, folder: Path, report: Report) -> list[Utterance]:
    if not table.exists():
        return []
    columns, rows = read_rows(table, report)
    if not columns or not has_columns(COLUMNS, columns, table, report):
        return []
    clips = AudioFolder(folder)
    utterances = []
    stems = []
    for line, row in rows:
        cells = {name: str(row[name]).strip() for name in COLUMNS}
        if not (cells["Dialogue_ID"].isdecimal() and cells["Utterance_ID"].isdecimal()):
            detail = f"Dialogue_ID {cells['Dialogue_ID']!r} and Utterance_ID {cells['Utterance_ID']!r} must be numbers"
            report.add(ProblemKind.MALFORMED_ROW, detail, file=table, row=line)
            continue
        stem = f"dia{int(cells['Dialogue_ID'])}_utt{int(cells['Utterance_ID'])}"
        stems.append(stem)
        utterances.append(
            Utterance(
                utterance_id=f"{split}_{stem}",
                audio=clips.path(stem, ".mp4"),
                rivals=clips.rivals(stem),
                text=cells["Utterance"],
                labels=(cells["Emotion"],),
                speaker=cells["Speaker"] or None,
                session=f"s{cells['Season'].zfill(2)}e{cells['Episode'].zfill(2)}",
                split=split,
                file=str(table),
                row=line,
            )
        )
    clips.report_unlisted(stems, report)
    return utterances


CORPUS = CorpusSpec(
    name="meld",
    title="MELD",
    read=read_utterances,
    layout="train_sent_emo.csv, dev_sent_emo.csv, test_sent_emo.csv and the three folders of clips of MELD.Raw",
    labels=LABELS,
    protocol="official",
    known_damage={
        "train_dia125_utt3": "the release itself is damaged here: skip unreadable_audio",
        "dev_dia110_utt7": "the release itself lacks this clip: skip missing_audio",
    },
    published={
        "split": {"train": 9989, "validation": 1109, "test": 2610},
        "class": {
            "neutral": 6436,
            "surprise": 1636,
            "fear": 358,
            "sadness": 1002,
            "joy": 2308,
            "disgust": 361,
            "anger": 1607,
        },
    },
)
