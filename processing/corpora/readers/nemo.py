"""nEMO (Christop, 2024): acted Polish speech, six classes. The same sentences are spoken in every emotion.

The folder holds `data.tsv` and the clips in `samples/`, as WAV or converted.
"""

from __future__ import annotations

from pathlib import Path

from ..folders import AudioFolder, absolute, locate
from ..report import ProblemKind, Report
from ..tables import has_columns, read_rows
from ..utterance import CorpusSpec, Utterance

LABELS = ("anger", "fear", "happiness", "neutral", "sadness", "surprised")
COLUMNS = ("file_id", "emotion", "raw_text", "speaker_id")


def read_utterances(data_dir: str | Path, report: Report) -> list[Utterance]:
    """The rows of `data.tsv`; an utterance is called by its `file_id` without the ending."""
    root = absolute(data_dir)
    table = locate([root], "data.tsv", report)
    clips = AudioFolder(locate([root], "samples", report))
    columns, rows = read_rows(table, report) if table.exists() else ([], [])
    if not columns or not has_columns(COLUMNS, columns, table, report):
        return []
    utterances = []
    for line, row in rows:
        cells = {name: row[name].strip() for name in COLUMNS}
        stem = Path(cells["file_id"]).stem
        if not stem:
            report.add(ProblemKind.MALFORMED_ROW, "file_id is empty", file=table, row=line)
            continue
        utterances.append(
            Utterance(
                utterance_id=stem,
                audio=clips.path(stem),
                text=cells["raw_text"],
                labels=(cells["emotion"],),
                speaker=cells["speaker_id"] or None,
                file=str(table),
                row=line,
            )
        )
    clips.report_unlisted((utterance.utterance_id for utterance in utterances), report)
    return utterances


CORPUS = CorpusSpec(
    name="nemo",
    title="nEMO",
    read=read_utterances,
    layout="data.tsv and the folder samples",
    labels=LABELS,
    published={"split": {"all": 4481}},
)
