"""Which utterances of a corpus train, validate and test."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets

from .corpus import Corpus
from .protocols import (
    PARTS,
    Fold,
    ProtocolError,
    leave_one_session_out,
    leave_one_speaker_out,
    load_folds,
    official_splits,
)
from .speaker_disjoint import speaker_disjoint_split

logger = logging.getLogger(__name__)


def resolve_protocol(corpus: Corpus, protocol: str = "auto") -> str:
    """What `auto` stands for: what the corpus declares, else "official" if it has splits, else "speaker_disjoint"."""
    if protocol != "auto" or corpus.protocol != "auto":
        return corpus.protocol if protocol == "auto" else protocol
    return "official" if "train" in corpus.dataset else "speaker_disjoint"


def folds_of(
    corpus: Corpus,
    protocol: str = "auto",
    validation_share: float = 0.1,
    test_share: float = 0.1,
    seed: int = 0,
    fold_file: str | Path | None = None,
) -> list[Fold]:
    """All divisions of a corpus under a protocol; one for "official" and "speaker_disjoint".

    Args:
        protocol: "official" (the corpus' own splits; a missing validation part is taken from training speakers),
            "speaker_disjoint", "leave_one_speaker_out", "leave_one_session_out", or "auto": see `resolve_protocol`.
        validation_share, test_share: shares of utterances for random parts. seed: of the random division.
        fold_file: folds that were saved, verified against this corpus, in place of a protocol.

    Raises:
        ProtocolError: the corpus cannot be divided so; the message says what it lacks.
    """
    folds = _folds(corpus, protocol, validation_share, test_share, seed, fold_file)
    for fold in folds:
        _warn_of_copies(fold, corpus.sounds)
    return folds


def _folds(
    corpus: Corpus,
    protocol: str,
    validation_share: float,
    test_share: float,
    seed: int,
    fold_file: str | Path | None,
) -> list[Fold]:
    rows = _rows(corpus)
    ids = rows["utterance_id"][:]
    speakers = rows["speaker"][:]
    known_speakers = None if None in speakers else speakers
    labels = _labels(rows, corpus.problem_type)
    if fold_file is not None:
        return load_folds(fold_file, ids, known_speakers)
    protocol = resolve_protocol(corpus, protocol)
    if protocol == "official":
        splits = [split for split, part in corpus.dataset.items() for _ in range(len(part))]
        return [_official(rows, labels, splits, known_speakers, validation_share, seed)]
    if protocol == "speaker_disjoint":
        return [speaker_disjoint_split(ids, _some_known(speakers), labels, validation_share, test_share, seed)]
    if protocol == "leave_one_speaker_out":
        return leave_one_speaker_out(ids, speakers)
    if protocol == "leave_one_session_out":
        return leave_one_session_out(ids, speakers, rows["session"][:])
    raise ProtocolError(f"unknown protocol {protocol!r}")


def find_fold(folds: list[Fold], name: str | None) -> Fold:
    """The fold of that name, or of that number from 1; the first if none is named.

    Raises:
        ProtocolError: there is no such fold; the message lists them.
    """
    if name is None:
        return folds[0]
    for fold in folds:
        if fold.name == name:
            return fold
    if name.isdecimal() and 1 <= int(name) <= len(folds):
        return folds[int(name) - 1]
    listed = ", ".join(f"{number} {fold.name}" for number, fold in enumerate(folds, 1))
    raise ProtocolError(f"no fold {name!r}; the folds are {listed}")


def parts_of(corpus: Corpus, fold: Fold) -> DatasetDict:
    """The utterances of a fold as the splits train, validation and test (absent if empty)."""
    rows = _rows(corpus)
    position = {utterance: index for index, utterance in enumerate(rows["utterance_id"][:])}
    return DatasetDict(
        {
            part: rows.select([position[utterance] for utterance in utterances])
            for part in PARTS
            if (utterances := getattr(fold, part))
        }
    )


def _warn_of_copies(fold: Fold, sounds: Mapping[str, str]) -> None:
    """Logs how many utterances of a part have the sound of one in an earlier part."""
    earlier: set[str] = set()
    for part in PARTS:
        found = [sounds[utterance] for utterance in getattr(fold, part) if utterance in sounds]
        if copies := sum(sound in earlier for sound in found):
            logger.warning(
                "Fold %r: %d of %d utterances of %s have the sound of a clip in an earlier part; "
                "--skip_damaged repeated_audio leaves copies out.",
                *(fold.name, copies, len(getattr(fold, part)), part),
            )
        earlier.update(found)


def _rows(corpus: Corpus) -> Dataset:
    return concatenate_datasets(list(corpus.dataset.values()))


def _official(
    rows: Dataset, labels: list, splits: list[str], speakers: list[str] | None, validation_share: float, seed: int
) -> Fold:
    if "validation" not in splits:
        training = [index for index, split in enumerate(splits) if split == "train"]
        train = rows.select(training)
        inner = speaker_disjoint_split(
            train["utterance_id"][:],
            _some_known(train["speaker"][:]),
            [labels[index] for index in training],
            validation_share,
            seed=seed,
        )
        chosen = set(inner.validation)
        splits = [
            "validation" if utterance in chosen else split
            for utterance, split in zip(rows["utterance_id"][:], splits, strict=True)
        ]
    return official_splits(rows["utterance_id"][:], splits, speakers)


def _some_known(speakers: list[str | None]) -> list[Any] | None:
    """None only where no speaker is known: a few gaps must not let the others into two parts."""
    return speakers if any(speaker is not None for speaker in speakers) else None


def _labels(rows: Dataset, problem_type: str) -> list:
    """Class ids or label sets; of a soft label its likeliest class."""
    if "label" in rows.column_names:
        return rows["label"][:]
    labels = rows["labels"][:]
    return labels if problem_type == "multi_label_classification" else np.argmax(labels, axis=1).tolist()
