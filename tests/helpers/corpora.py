"""Small copies of the corpora in their distributors' layout, with real sound and the damage of the real ones."""

from __future__ import annotations

import csv
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

RATE = 16_000


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keeps the durations that a test scans out of the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("DRKF_CACHE", str(folder))
    return folder


def write_tone(path: Path, seconds: float = 0.5, rate: int = RATE, channels: int = 1) -> Path:
    """A tone of 220 Hz whose phase, and so whose sound, is that of the last two parts of the path alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    phase = zlib.crc32("/".join(path.parts[-2:]).encode())
    tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(round(seconds * rate)) / rate + phase)
    soundfile.write(path, np.tile(tone[:, None], channels), rate)
    return path


def truncate(path: Path, share: float = 0.5) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def write_table(
    path: Path, rows: Sequence[Mapping[str, object]], delimiter: str = ",", encoding: str = "utf-8"
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_rows(suffix: str, folder: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """The rows as `manifest` in the format of the suffix."""
    path = folder / f"manifest{suffix}"
    if suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", encoding="utf-8")
    elif suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
    else:
        write_table(path, rows, delimiter="\t" if suffix == ".tsv" else ",")
    return path


def kinds_at(problems: Iterable) -> set[tuple[str, int | None]]:
    """(kind, row) of every problem: what a test expects, without the wording."""
    return {(problem.kind.value, problem.row) for problem in problems}


IEMOCAP_LABELS = {
    "F000": "neu",
    "F001": "exc",
    "M000": "fru",
    "M001": "ang",
    "M002": "xxx",
    "F002": "hap",
    "F003": "sad",
}


def make_iemocap(root: Path, sessions: Sequence[int] = (1, 2, 3, 4, 5)) -> Path:
    """One improvised and one scripted dialog a session; of 7 utterances each, 5 are within the four classes."""
    for number in sessions:
        session = root / f"Session{number}"
        for dialog in (f"Ses0{number}F_impro01", f"Ses0{number}M_script01_1b"):
            _write_iemocap_dialog(session, dialog)
        evaluation = session / "dialog" / "EmoEvaluation"
        for folder in ("Categorical", "Attribute", "Self-evaluation"):
            trap = evaluation / folder / f"Ses0{number}F_impro01_e2_cat.txt"
            trap.parent.mkdir()
            trap.write_text(f"[1.0000 - 2.0000]\tSes0{number}F_impro01_F999\tang\t[1.0, 1.0, 1.0]\n")
        (evaluation / f"._Ses0{number}F_impro01.txt").write_bytes(b"\x00\x05\x16\x07\xff\xfe[")
    return root


def _write_iemocap_dialog(session: Path, dialog: str) -> None:
    evaluation = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    transcript = []
    for position, (turn, label) in enumerate(IEMOCAP_LABELS.items()):
        start, end = 6.29 + position, 7.29 + position
        name = f"{dialog}_{turn}"
        evaluation += [f"[{start:.4f} - {end:.4f}]\t{name}\t{label}\t[2.5000, 2.5000, 2.5000]"]
        evaluation += ["C-E2:\tNeutral;\t()", "A-E3:\tval 3; act 2; dom  2;\t()", ""]
        transcript += [f"{name} [{start:08.4f}-{end:08.4f}]: Excuse me, {turn}.", "M: [LAUGHTER]"]
        write_tone(session / "sentences" / "wav" / dialog / f"{name}.wav", 0.2 + position / 10)
    transcript[0] = transcript[0].replace("Excuse me,", "Café\x97")
    for folder, lines, encoding in (("EmoEvaluation", evaluation, "utf-8"), ("transcriptions", transcript, "latin-1")):
        file = session / "dialog" / folder / f"{dialog}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes("\n".join(lines).encode(encoding))


MELD_HEADER = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime".split(",")
)
MELD_FOLDERS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
MELD_ROWS = {
    "train": [
        ("also I was the point person", "Chandler", "neutral", 0, 0),
        ("You must\x92ve had your hands full.", "The Interviewer", "surprise", 0, 1),
        ("Itâ€™s me!", "Joey", "joy", 125, 3),
    ],
    "dev": [("Oh my God, he\u2019s lost it.", "Phoebe", "sadness", 0, 0), ("What?", "Monica", "surprise", 110, 7)],
    "test": [
        ("What?!", "Phoebe", "anger", 0, 0),
        ("Push 'em out!", "Joey", "disgust", 38, 4),
        ("No.", "Ross", "fear", 1, 0),
    ],
}


def make_meld(root: Path, suffix: str = ".wav") -> Path:
    """Three splits with the release's damage: train 125_3 corrupt, dev 110_7 missing, test 38_4 lasts minutes."""
    for split, rows in MELD_ROWS.items():
        cells = [
            (number, text, speaker, emotion, "neutral", dialogue, turn, 8, 21, "00:16:16,059", "00:16:21,731")
            for number, (text, speaker, emotion, dialogue, turn) in enumerate(rows, start=1)
        ]
        write_table(root / f"{split}_sent_emo.csv", [dict(zip(MELD_HEADER, row, strict=True)) for row in cells])
        for *_, dialogue, turn in rows:
            write_tone(root / MELD_FOLDERS[split] / f"dia{dialogue}_utt{turn}{suffix}")
    (root / "train_splits" / f"dia125_utt3{suffix}").write_bytes(b"moov atom not found")
    (root / "dev_splits_complete" / f"dia110_utt7{suffix}").unlink()
    test = root / "output_repeated_splits_test"
    write_tone(test / f"dia38_utt4{suffix}", 90.0, 8000)
    write_tone(test / f"dia1_utt0{suffix}", 0.04)
    write_tone(test / f"final_videos_testdia3_utt0{suffix}")
    (test / f"._dia0_utt0{suffix}").write_bytes(b"\x00\x05\x16\x07")
    return root


def make_m3ed(root: Path) -> Path:
    """Three shows, one a split; a speaker who returns in a second dialogue, and one without a name."""
    dialogues = {
        "anjia": {"anjia_1": [("A", "你先把衣服换了", "Happy,Surprise")], "anjia_2": [("B", "好", "Neutral")]},
        "shaonianpai": {"shaonianpai_1": [("A", "钟点工阿姨", "Anger"), ("C", "谁", "Fear, Sad")]},
        "qinggandian": {"qinggandian_1": [("A", "", "Disgust")]},
    }
    names = {"anjia_1": {"A": "房似锦"}, "anjia_2": {"B": "房似锦"}, "shaonianpai_1": {"A": "林大为"}}
    annotation: dict = {}
    for show, contents in dialogues.items():
        for dialogue, turns in contents.items():
            speakers = {letter: {"Name": name, "Gender": "female"} for letter, name in names.get(dialogue, {}).items()}
            dialog = {
                f"{dialogue}_{number}": {
                    "StartTime": "00:00:00:01",
                    "EndTime": "00:00:01:04",
                    "Text": text,
                    "Speaker": speaker,
                    "EmoAnnotation": {
                        "EmoAnnotator1": "Neutral",
                        "final_mul_emo": labels,
                        "final_main_emo": "Neutral",
                    },
                }
                for number, (speaker, text, labels) in enumerate(turns, start=1)
            }
            annotation.setdefault(show, {})[dialogue] = {"SpeakerInfo": speakers, "Dialog": dialog}
            for name, entry in dialog.items():
                write_tone(root / "audio" / show / f"{entry['Speaker']}_{name}.wav", 0.3)
    (root / "annotation.json").write_text(json.dumps(annotation, ensure_ascii=False), encoding="utf-8")
    (root / "splitInfo").mkdir()
    for split, show in zip(("train", "val", "test"), dialogues, strict=True):
        (root / "splitInfo" / f"movie_list_{split}.txt").write_text(f"{show}\n\n", encoding="utf-8")
    return root


def make_nemo(root: Path, suffix: str = ".wav") -> Path:
    """Two speakers, two sentences, three emotions; `speaker_id` carries stray spaces as in the release."""
    rows = [
        {
            "file_id": f"{speaker}_{emotion}_{number}.wav",
            "emotion": emotion,
            "raw_text": text,
            "normalized_text": text.lower(),
            "speaker_id": f"        {speaker}",
            "gender": "female",
            "age": "27",
        }
        for speaker in ("EB0", "KS0")
        for emotion in ("neutral", "anger", "surprised")
        for number, text in ((13, "Interesuje mnie historia Polski."), (10, "Kupiłem nową szafę do sypialni."))
    ]
    for row in rows:
        write_tone(root / "samples" / Path(row["file_id"]).with_suffix(suffix))
    write_table(root / "data.tsv", rows, delimiter="\t")
    return root
