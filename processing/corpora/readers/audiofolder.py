"""A folder in the layout of the `audiofolder` builder of `datasets`, with metadata files.

`metadata.csv` or `metadata.jsonl` (or `.parquet`), at the top or in folders named after splits, has the column
`file_name` relative to itself, and text and label columns. Without any metadata a clip's folder is named after its
label, and what is said in `a.wav` stands in `a.txt` beside it, if anywhere.
"""

from __future__ import annotations

from pathlib import Path

from ..folders import PREFERENCE, absolute
from ..report import ProblemKind, Report
from ..splits import standard_split
from ..tables import TABLE_SUFFIXES, read_text
from ..utterance import CorpusSpec, Utterance
from . import manifest
from .sources import files_below


def read_utterances(
    data_dir: str | Path,
    report: Report,
    *,
    text_column: str = "text",
    label_column: str = "label",
    speaker_column: str = "speaker",
    words: bool = True,
) -> list[Utterance]:
    """The rows of all metadata files, or all clips.

    The split is the first folder between top and clip with a split's name; an utterance is called by the clip's
    path below the top folder.
    """
    root = absolute(data_dir)
    files = sorted(path for path in root.rglob("metadata.*") if path.suffix.lower() in TABLE_SUFFIXES)
    utterances = [] if files else _labelled_by_folder(root, report)
    if not files and not utterances:
        detail = "no metadata and no clips" if root.is_dir() else "no such folder"
        report.add(ProblemKind.MISSING_FILE, detail, file=root)
    for file in files:
        utterances += manifest.read_utterances(
            file,
            report,
            audio_column="file_name",
            text_column=text_column,
            label_column=label_column,
            speaker_column=speaker_column,
            words=words,
        )
    for utterance in utterances:
        clip = Path(utterance.audio)
        inside = clip.relative_to(root) if clip.is_relative_to(root) else clip
        utterance.utterance_id = str(inside) if utterance.audio else utterance.place
        named = [part for part in inside.parts[:-1] if standard_split(part)]
        if named:
            utterance.split = named[0]
    return utterances


def _labelled_by_folder(root: Path, report: Report) -> list[Utterance]:
    utterances = []
    for path in sorted(files_below(root)):
        clip = root / path
        if clip.suffix.lower() not in PREFERENCE:
            continue
        text = clip.with_suffix(".txt")
        utterances.append(
            Utterance(
                utterance_id=path,
                audio=str(clip),
                text=(read_text(text, report) or "") if text.is_file() else "",
                labels=(clip.parent.name if clip.parent != root else "",),
                file=str(clip),
            )
        )
    return utterances


CORPUS = CorpusSpec(
    name="audiofolder",
    title="audio folder",
    read=read_utterances,
    layout="metadata.csv (or .jsonl, .parquet) with file_name, text and label, beside the clips; or clips in folders "
    "that are named after labels",
)
