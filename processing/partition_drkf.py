"""Which utterances of a corpus train, validate and test."""

from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets

from .corpora import Corpus
from .protocols_drkf import (
    Fold,
    ProtocolError,
    leave_one_session_out,
    leave_one_speaker_out,
    load_folds,
    official_splits,
    speaker_disjoint_split,
)


def partition(
    corpus: Corpus,
    protocol: str = "auto",
    fold: str | None = None,
    validation_share: float = 0.1,
    test_share: float = 0.1,
    seed: int = 0,
    fold_file: str | Path | None = None,
) -> tuple[Fold, DatasetDict]:
    """Divides a corpus.

    Args:
        protocol: "official" (the corpus' own splits; a missing validation part is taken from training speakers),
            "speaker_disjoint", "leave_one_speaker_out", "leave_one_session_out", or "auto": the first if the corpus
            has splits, else the second.
        fold: the test speaker or session of a leave-one-out protocol; the first if not given.
        validation_share, test_share: shares of utterances for random parts. seed: of the random division.
        fold_file: folds that were saved, verified against this corpus, in place of a protocol.

    Returns: the fold, and its parts as the splits train, validation and test (absent if empty).

    Raises:
        ProtocolError: the corpus cannot be divided so; the message says what it lacks.
    """
    rows = concatenate_datasets(list(corpus.dataset.values()))
    splits = [split for split, part in corpus.dataset.items() for _ in range(len(part))]
    if protocol == "auto":
        protocol = "official" if "train" in corpus.dataset else "speaker_disjoint"
    ids = rows["utterance_id"][:]
    speakers = rows["speaker"][:]
    known_speakers = None if None in speakers else speakers
    labels = _labels(rows, corpus.problem_type)
    if fold_file is not None:
        chosen = _named(load_folds(fold_file, ids, known_speakers), fold)
    elif protocol == "official":
        chosen = _official(rows, labels, splits, known_speakers, validation_share, seed)
    elif protocol == "speaker_disjoint":
        chosen = speaker_disjoint_split(ids, known_speakers, labels, validation_share, test_share, seed)
    elif protocol in ("leave_one_speaker_out", "leave_one_session_out"):
        folds = (
            leave_one_speaker_out(ids, speakers)
            if protocol == "leave_one_speaker_out"
            else leave_one_session_out(ids, speakers, rows["session"][:])
        )
        chosen = _named(folds, fold)
    else:
        raise ProtocolError(f"unknown protocol {protocol!r}")
    position = {utterance: index for index, utterance in enumerate(ids)}
    parts = {
        part: rows.select([position[utterance] for utterance in utterances])
        for part in ("train", "validation", "test")
        if (utterances := getattr(chosen, part))
    }
    return chosen, DatasetDict(parts)


def _official(
    rows: Dataset, labels: list, splits: list[str], speakers: list[str] | None, validation_share: float, seed: int
) -> Fold:
    if "validation" not in splits:
        training = [index for index, split in enumerate(splits) if split == "train"]
        train = rows.select(training)
        inner = speaker_disjoint_split(
            train["utterance_id"][:],
            None if speakers is None else train["speaker"][:],
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


def _labels(rows: Dataset, problem_type: str) -> list:
    """Class ids or label sets; of a soft label its likeliest class."""
    if "label" in rows.column_names:
        return rows["label"][:]
    labels = rows["labels"][:]
    return labels if problem_type == "multi_label_classification" else np.argmax(labels, axis=1).tolist()


def _named(folds: list[Fold], name: str | None) -> Fold:
    if name is None:
        return folds[0]
    for fold in folds:
        if fold.name == name:
            return fold
    raise ProtocolError(f"no fold {name!r}; the folds are {', '.join(fold.name for fold in folds)}")
