"""A dataset of the Hub, or one that `datasets` has saved, with audio, text and label columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from datasets import Audio, ClassLabel, Dataset, DatasetDict, List, load_dataset, load_from_disk

from ...errors_drkf import FileError
from ...hub_ids import HUB_ID
from ..folders import absolute
from ..report import ProblemKind, Report
from ..splits import standard_split
from ..tables import has_columns
from ..utterance import ALL, CorpusSpec, Utterance
from .cells import audio_cell, label_cell, text_cell
from .columns import check_unread_columns
from .embedded import embedded_audio, write_once
from .manifest import BOUNDS, Cut, check_whole, read_cuts


def read_utterances(
    data_dir: str | Path,
    report: Report,
    *,
    config: str | None = None,
    audio_column: str = "audio",
    text_column: str = "text",
    label_column: str = "label",
    speaker_column: str = "speaker",
    id_column: str = "utterance_id",
    extra_columns: Sequence[str] = (),
    words: bool = True,
) -> list[Utterance]:
    """The rows of all splits of a Hub id, a folder of `save_to_disk`, or a folder that `load_dataset` understands.

    `row` counts from 1 in each split. Columns `start` and `end`, seconds, make a row a part of its recording. Audio
    that is stored inside the dataset is written to the cache folder, since every corpus hands out paths. Class names
    are taken from a `ClassLabel`; their order is alphabetical all the same.
    """
    splits = _load(data_dir, config, report)
    utterances: list[Utterance] = []
    for split, rows in splits.items():
        if len(splits) == 1 and not standard_split(split):  # no division, whatever its name
            split = ALL
        place = Path(f"{data_dir}/{split}.parquet")
        text = [text_column] if words or text_column in rows.column_names else []
        roles = {audio_column: "audio", text_column: "text", label_column: "label"}
        required = [audio_column, *text, label_column, *extra_columns]
        if not has_columns(required, rows.column_names, place, report, roles):
            continue
        optional = [text_column, speaker_column, id_column, *BOUNDS]
        check_unread_columns(optional, required, label_column, rows.column_names, place, report)
        cuts = rows.select_columns([name for name in BOUNDS if name in rows.column_names])
        bounds = read_cuts(enumerate(cuts, start=1), place, report) if cuts.column_names else None
        if isinstance(rows.features[audio_column], Audio):
            rows = rows.cast_column(audio_column, Audio(decode=False))
        names = _class_names(rows.features[label_column])
        for number, row in enumerate(rows, start=1):
            if bounds is not None and number not in bounds:
                continue
            cut = bounds[number] if bounds else Cut()
            labels, multi_label = label_cell(_named(row[label_column], names))
            utterances.append(
                Utterance(
                    utterance_id=text_cell(row.get(id_column)) or f"{split}_{number}",
                    audio=_audio_path(row[audio_column], f"{data_dir} {config} {split} {number}"),
                    text=text_cell(row.get(text_column)) or "",
                    labels=labels,
                    multi_label=multi_label,
                    speaker=text_cell(row.get(speaker_column)),
                    split=split,
                    file=f"{data_dir}/{split}",
                    row=number,
                    **cut._asdict(),
                    extra={name: text_cell(row[name]) for name in extra_columns},
                )
            )
    check_whole(utterances, report)
    return utterances


def _load(data_dir: str | Path, config: str | None, report: Report) -> dict[str, Dataset]:
    folder = absolute(data_dir)
    try:
        if (folder / "dataset_dict.json").exists() or (folder / "dataset_info.json").exists():
            loaded = load_from_disk(str(folder))
        elif folder.is_dir():
            loaded = load_dataset(str(folder), config)
        elif HUB_ID.fullmatch(str(data_dir)):
            loaded = load_dataset(str(data_dir), config)
        else:
            raise FileError(f"no such folder, and {str(data_dir)!r} is no Hub id (owner/name)")
    except Exception as error:  # whatever builders and the network raise, the report must name
        causes = dict.fromkeys(f"{type(cause).__name__}: {cause}" for cause in _chain(error))
        detail = f"datasets cannot load it ({'; because of '.join(causes)})"
        remedy = "check the name, the config and the connection to the Hub"
        report.add(ProblemKind.MISSING_FILE, detail, file=data_dir, remedy=remedy)
        return {}
    return dict(loaded) if isinstance(loaded, DatasetDict) else {ALL: loaded}


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from: of builders, the last one says what is wrong."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _class_names(feature: object) -> list[str] | None:
    inner = feature.feature if isinstance(feature, List) else feature
    return inner.names if isinstance(inner, ClassLabel) else None


def _named(value: object, names: list[str] | None) -> object:
    """Class indices by their names; -1 and None mean that there is no label."""
    if names is None or value is None:
        return value
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    return names[value] if isinstance(value, int) and value >= 0 else None


def _audio_path(value: object, key: str) -> str:
    if found := embedded_audio(value):
        return write_once(*found, key)
    path = audio_cell(value)
    return str(absolute(path)) if path else ""


CORPUS = CorpusSpec(
    name="hub",
    title="Hub dataset",
    read=read_utterances,
    layout="a Hub id or a dataset folder with the columns audio, text and label",
)
