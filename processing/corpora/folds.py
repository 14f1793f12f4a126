"""Folds as data: which utterances train, validate and test a model.

Every fold has a validation part, so that a checkpoint is never chosen on the utterances that it is tested on. A saved
file is verified when it is read back.
"""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..errors_drkf import DRKFError
from .report import some
from .utterance import PARTS

logger = logging.getLogger(__name__)


class ProtocolError(DRKFError, ValueError):
    """Folds that cannot be built, or that do not hold what they claim."""


@dataclass(frozen=True)
class Fold:
    """One train / validation / test division, by utterance id. `test` may be empty.

    `speaker_disjoint` claims that no speaker has utterances in two parts; `False` means that it is not so, or unknown.

    Raises:
        ProtocolError: an utterance stands twice, or nothing is left to train or to validate on.
    """

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    speaker_disjoint: bool

    def __post_init__(self) -> None:
        twice = _repeated(utterance for part in PARTS for utterance in getattr(self, part))
        if twice:
            raise ProtocolError(f"Fold {self.name!r}: {some(twice)} would be used more than once; ids must be unique.")
        empty = [part for part in PARTS[:2] if not getattr(self, part)]
        if empty:
            raise ProtocolError(f"Fold {self.name!r} has no utterances in {' and '.join(empty)}.")


def fold_of(name: str, ids: Sequence[str], parts: Sequence[str], speakers: Sequence[str] | None) -> Fold:
    """The fold that puts each utterance into its part; `speaker_disjoint` is found out from `speakers`."""
    members: dict[str, list[str]] = defaultdict(list)
    for utterance, part in zip(ids, parts, strict=True):
        members[part].append(utterance)
    train, validation, test = (tuple(members[part]) for part in PARTS)
    fold = Fold(name, train, validation, test, speaker_disjoint=False)
    if speakers is None:
        return fold
    shared = _shared_speakers(fold, dict(zip(ids, speakers, strict=True)))
    if shared:
        logger.warning("Fold %r is not speaker-disjoint: %s speak in more than one part.", name, some(shared))
    return replace(fold, speaker_disjoint=not shared)


def save_folds(folds: Sequence[Fold], path: str | Path) -> None:
    """Write folds as JSON: {"folds": [{name, train, validation, test, speaker_disjoint}]}."""
    _check_names(folds)
    text = json.dumps({"folds": [asdict(fold) for fold in folds]}, indent=1, ensure_ascii=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


def load_folds(path: str | Path, ids: Sequence[str], speakers: Sequence[str] | None = None) -> list[Fold]:
    """Read folds and verify them against the corpus' utterance `ids` and their `speakers`.

    Utterances of the corpus that a fold leaves out are counted in a logged warning.

    Raises:
        ProtocolError: the file is missing, is not such JSON, or a fold repeats an utterance, names one that the corpus
            does not have, or claims disjoint speakers and is not so (or `speakers` are not given to check it).
    """
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))["folds"]
        folds = [Fold(**{**row, **{part: tuple(row[part]) for part in PARTS}}) for row in rows]
        _check_names(folds)
    except ProtocolError as error:
        raise ProtocolError(f"{path}: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ProtocolError(f"{path} holds no folds as save_folds writes them ({error!r}).") from error
    speaker_of = None if speakers is None else dict(zip(ids, speakers, strict=True))
    for fold in folds:
        _verify(fold, set(ids), speaker_of, path)
    return folds


def _verify(fold: Fold, ids: set[str], speaker_of: Mapping[str, str] | None, path: str | Path) -> None:
    used = {utterance for part in PARTS for utterance in getattr(fold, part)}
    where = f"{path}, fold {fold.name!r}"
    if used - ids:
        raise ProtocolError(
            f"{where}: {len(used - ids)} utterances are not in the corpus: {some(used - ids)}. "
            "Were the folds made for another corpus, or are files missing? Make them again if the corpus changed."
        )
    if ids - used:
        logger.warning("%s leaves out %d of %d utterances: %s.", where, len(ids - used), len(ids), some(ids - used))
    if not fold.speaker_disjoint:
        return
    if speaker_of is None:
        raise ProtocolError(f"{where} claims disjoint speakers; give the speakers to verify it.")
    shared = _shared_speakers(fold, speaker_of)
    if shared:
        raise ProtocolError(f"{where} claims disjoint speakers, but {some(shared)} stand(s) in more than one part.")


def _shared_speakers(fold: Fold, speaker_of: Mapping[str, str]) -> set[str]:
    return _repeated(speaker for part in PARTS for speaker in {speaker_of[u] for u in getattr(fold, part)})


def _check_names(folds: Sequence[Fold]) -> None:
    twice = _repeated(fold.name for fold in folds)
    if twice:
        raise ProtocolError(f"Two folds are named {some(twice)}.")


def _repeated(items: Iterable[str]) -> set[str]:
    return {item for item, count in Counter(items).items() if count > 1}
