"""Protocols: how the utterances of a corpus are divided into training, validation and test parts.

The validation part is taken from the training material. Folds are deterministic.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets

from .corpus import Corpus
from .folds import Fold, ProtocolError, fold_of, load_folds
from .report import some
from .utterance import PARTS

SPLIT_TRIALS = 200

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
                "--skip-damaged repeated_audio leaves copies out.",
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


def _some_known(speakers: list[str | None]) -> list[str | None] | None:
    """None only where no speaker is known: a few gaps must not let the others into two parts."""
    return speakers if any(speaker is not None for speaker in speakers) else None


def _labels(rows: Dataset, problem_type: str) -> list:
    """Class ids or label sets; of a soft label its likeliest class."""
    if "label" in rows.column_names:
        return rows["label"][:]
    labels = rows["labels"][:]
    return labels if problem_type == "multi_label_classification" else np.argmax(labels, axis=1).tolist()


def leave_one_session_out(
    ids: Sequence[str],
    speakers: Sequence[str],
    sessions: Sequence[str],
    validation: Literal["speaker", "session"] = "speaker",
) -> list[Fold]:
    """One fold per session as test set (IEMOCAP: five). The fold is named after its test session.

    The validation part comes from the next session in sorted order (the first follows the last): all of it, or one of
    its speakers, taken in turn from fold to fold so that not always the same gender validates. With `"speaker"` the
    validation speaker's partner stays in the training part: the two share dialogues, but no speaker is shared.

    Raises:
        ProtocolError: columns of unequal length, unknown speakers or sessions, repeated ids, or too few sessions.
    """
    if validation not in ("speaker", "session"):
        raise ProtocolError(f'validation must be "speaker" or "session", not {validation!r}.')
    check_columns(ids, speakers=speakers, sessions=sessions)
    folds = []
    column, minimum = (sessions, 3) if validation == "session" else (speakers, 2)
    for number, (session, following) in enumerate(_with_next(sessions, "session", minimum)):
        candidates = sorted({value for value, s in zip(column, sessions, strict=True) if s == following})
        chosen = candidates[number % len(candidates)]
        parts = [
            "test" if s == session else "validation" if value == chosen else "train"
            for value, s in zip(column, sessions, strict=True)
        ]
        folds.append(fold_of(str(session), ids, parts, speakers))
    return folds


def leave_one_speaker_out(ids: Sequence[str], speakers: Sequence[str]) -> list[Fold]:
    """One fold per speaker as test set, named after the speaker; the next speaker in sorted order validates.

    Raises:
        ProtocolError: fewer than three speakers, an unknown speaker, columns of unequal length, or repeated ids.
    """
    check_columns(ids, speakers=speakers)
    folds = []
    for speaker, following in _with_next(speakers, "speaker", minimum=3):
        part_of = {speaker: "test", following: "validation"}
        folds.append(fold_of(str(speaker), ids, [part_of.get(p, "train") for p in speakers], speakers))
    return folds


def official_splits(ids: Sequence[str], splits: Sequence[str], speakers: Sequence[str] | None = None) -> Fold:
    """The corpus' own division; `splits` holds "train", "validation" or "test" for each utterance.

    `speaker_disjoint` is found out from `speakers` (MELD's official splits share speakers) and `False` without them.

    Raises:
        ProtocolError: another split name, repeated ids (MELD's repeat across splits: key them by split), or a corpus
            without an official validation part (carve one from train with `speaker_disjoint_split`).
    """
    check_columns(ids, splits=splits, **({} if speakers is None else {"speakers": speakers}))
    unknown = sorted(set(splits) - set(PARTS))
    if unknown:
        raise ProtocolError(f"Split names must be {', '.join(PARTS)}, not {some(unknown)}; rename dev or val first.")
    return fold_of("official", ids, splits, speakers)


def check_columns(ids: Sequence[str], **columns: Sequence[object]) -> None:
    """Raises `ProtocolError` for ids that are repeated, and for a column that is of another length or has gaps."""
    if len(set(ids)) < len(ids):
        repeated = [utterance for utterance, count in Counter(ids).items() if count > 1]
        raise ProtocolError(f"Utterance ids must be unique; repeated: {some(repeated)}.")
    for name, column in columns.items():
        if len(column) != len(ids):
            raise ProtocolError(f"There are {len(ids)} ids and {len(column)} {name}; one each is needed.")
        unknown = [u for u, v in zip(ids, column, strict=True) if v is None or (isinstance(v, str) and not v.strip())]
        if unknown:
            raise ProtocolError(
                f"{len(unknown)} utterances have no entry in {name}: {some(unknown)}. Fill them in, or leave the "
                "column out where a protocol can do without it."
            )


def _with_next(groups: Sequence[str], what: str, minimum: int) -> Iterable[tuple[str, str]]:
    names = sorted(set(groups))
    if len(names) < minimum:
        raise ProtocolError(f"Leaving one {what} out needs at least {minimum} of them, not {len(names)}.")
    return zip(names, names[1:] + names[:1], strict=True)


def speaker_disjoint_split(
    ids: Sequence[str],
    speakers: Sequence[str | None] | None,
    labels: Sequence[object] | None = None,
    validation_share: float = 0.1,
    test_share: float = 0.0,
    seed: int = 0,
) -> Fold:
    """A random division in which no speaker has utterances in two parts, for any corpus.

    Of `SPLIT_TRIALS` random orders of the speakers the one is kept whose parts come closest to the shares (of
    utterances) and, with `labels` (class ids, names or multi-hot rows), to the corpus' distribution of labels. Few or
    very unequal speakers can keep a part far from its share; a logged warning says so.

    Unknown speakers (`speakers=None`) leave only a stratified division by utterance: the fold is named
    "utterance_split", is not `speaker_disjoint`, and its scores are too good for new speakers.

    Raises:
        ProtocolError: shares that leave nothing for a part, too few speakers, unknown speakers among known ones,
            columns of unequal length, or repeated ids.
    """
    if not (0 < validation_share < 1 and 0 <= test_share < 1 and validation_share + test_share < 1):
        raise ProtocolError(
            f"validation_share must be positive, test_share not negative, and their sum below 1; they are "
            f"{validation_share} and {test_share}."
        )
    columns = {"speakers": speakers, "labels": labels}
    check_columns(ids, **{name: column for name, column in columns.items() if column is not None})
    kinds = _label_kinds(labels, len(ids))
    shares = {"test": test_share, "validation": validation_share}
    shares = {part: share for part, share in shares.items() if share > 0}
    rng = np.random.default_rng(seed)
    if speakers is None:
        logger.warning("The speakers are unknown: the division is by utterance, and speakers may be shared.")
        return fold_of("utterance_split", ids, _stratified_parts(kinds, shares, rng), None)
    names, speaker_of = np.unique(np.asarray(speakers, dtype=str), return_inverse=True)
    if len(names) <= len(shares):
        raise ProtocolError(
            f"{len(names)} speaker(s) cannot fill {len(shares) + 1} speaker-disjoint parts. Give a split column, "
            "fewer parts (a test share of 0), or no speakers at all: then utterances are divided, and speakers shared."
        )
    label_counts = np.zeros((len(names), kinds.max() + 1))
    np.add.at(label_counts, (speaker_of, kinds), 1)
    part_of_speaker = _best_speaker_parts(label_counts, shares, rng)
    parts = [part_of_speaker[speaker] for speaker in speaker_of]
    for part, share in shares.items():
        actual = parts.count(part) / len(ids)
        if abs(actual - share) > share / 2:
            logger.warning("The %s part has %.0f%% of the utterances, not %.0f%%.", part, 100 * actual, 100 * share)
    return fold_of("speaker_disjoint_split", ids, parts, [names[speaker] for speaker in speaker_of])


def _best_speaker_parts(label_counts: np.ndarray, shares: Mapping[str, float], rng: np.random.Generator) -> list[str]:
    """A part for each row of `label_counts` (speakers, labels)."""
    total = label_counts.sum()
    best_cost, best_parts = np.inf, ["train"] * len(label_counts)
    for _ in range(SPLIT_TRIALS):
        order = rng.permutation(len(label_counts))
        parts, cost = ["train"] * len(label_counts), 0.0
        for waiting, (part, share) in zip(range(len(shares), 0, -1), shares.items(), strict=True):
            sizes = label_counts[order].sum(axis=1).cumsum()[: len(order) - waiting]
            taken = int(np.abs(sizes - share * total).argmin()) + 1
            counts = label_counts[order[:taken]].sum(axis=0)
            for speaker in order[:taken]:
                parts[speaker] = part
            order = order[taken:]
            # in utterances: distance from the number of each label that the share asks for
            cost += np.abs(counts - share * label_counts.sum(axis=0)).sum() / total
        if cost < best_cost:
            best_cost, best_parts = cost, parts
    return best_parts


def _stratified_parts(kinds: np.ndarray, shares: Mapping[str, float], rng: np.random.Generator) -> list[str]:
    """A part for each utterance: shuffled within each label, then taken at even steps along the sorted labels."""
    parts = np.full(len(kinds), "train", dtype=object)
    left = rng.permutation(len(kinds))
    left = left[np.argsort(kinds[left], kind="stable")]
    for part, share in shares.items():
        steps = np.floor(np.arange(len(left) + 1) * share * len(kinds) / len(left) + 0.5)
        taken = np.diff(steps) > 0
        if not taken.any():
            raise ProtocolError(f"A {part} share of {share} leaves none of {len(kinds)} utterances for that part.")
        parts[left[taken]] = part
        left = left[~taken]
    return parts.tolist()


def _label_kinds(labels: Sequence[object] | None, length: int) -> np.ndarray:
    """Labels as integers; equal labels or equal label sets get the same one."""
    if labels is None:
        return np.zeros(length, dtype=int)
    keys = [label if isinstance(label, Hashable) else tuple(label) for label in labels]
    number_of = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([number_of[key] for key in keys])
