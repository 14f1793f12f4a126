"""Evaluation protocols as data: which utterances train, select and test a model.

Every fold has a validation part that is carved from the training material, so that a checkpoint is never chosen on the
utterances that it is tested on. Folds are deterministic, and a saved file is verified when it is read back.
"""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..errors_drkf import DRKFError

PARTS = ("train", "validation", "test")

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
            raise ProtocolError(
                f"Fold {self.name!r}: {_some(twice)} would be used more than once; ids must be unique."
            )
        empty = [part for part in PARTS[:2] if not getattr(self, part)]
        if empty:
            raise ProtocolError(f"Fold {self.name!r} has no utterances in {' and '.join(empty)}.")


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
        raise ProtocolError(f"Split names must be {', '.join(PARTS)}, not {_some(unknown)}; rename dev or val first.")
    return fold_of("official", ids, splits, speakers)


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
    check_columns(ids, **({} if speakers is None else {"speakers": speakers}))
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))["folds"]
        folds = [Fold(**{**row, **{part: tuple(row[part]) for part in PARTS}}) for row in rows]
        _check_names(folds)
    except ProtocolError as error:
        raise ProtocolError(f"{path}: {error}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
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
            f"{where}: {len(used - ids)} utterances are not in the corpus: {_some(used - ids)}. "
            "Were the folds made for another corpus, or are files missing? Make them again if the corpus changed."
        )
    if ids - used:
        logger.warning("%s leaves out %d of %d utterances: %s.", where, len(ids - used), len(ids), _some(ids - used))
    if not fold.speaker_disjoint:
        return
    if speaker_of is None:
        raise ProtocolError(f"{where} claims disjoint speakers; give the speakers to verify it.")
    shared = _shared_speakers(fold, speaker_of)
    if shared:
        raise ProtocolError(f"{where} claims disjoint speakers, but {_some(shared)} stand(s) in more than one part.")


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
        logger.warning("Fold %r is not speaker-disjoint: %s speak in more than one part.", name, _some(shared))
    return replace(fold, speaker_disjoint=not shared)


def _shared_speakers(fold: Fold, speaker_of: Mapping[str, str]) -> set[str]:
    return _repeated(speaker for part in PARTS for speaker in {speaker_of[u] for u in getattr(fold, part)})


def _with_next(groups: Sequence[Any], what: str, minimum: int) -> Iterable[tuple[Any, Any]]:
    names = sorted(set(groups))
    if len(names) < minimum:
        raise ProtocolError(f"Leaving one {what} out needs at least {minimum} of them, not {len(names)}.")
    return zip(names, names[1:] + names[:1], strict=True)


def check_columns(ids: Sequence[str], **columns: Sequence[Any]) -> None:
    """
    Raises:
        ProtocolError: ids are repeated, or a column is of another length or has gaps.
    """
    if _repeated(ids):
        raise ProtocolError(f"Utterance ids must be unique; repeated: {_some(_repeated(ids))}.")
    for name, column in columns.items():
        if len(column) != len(ids):
            raise ProtocolError(f"There are {len(ids)} ids and {len(column)} {name}; one each is needed.")
        unknown = [u for u, v in zip(ids, column, strict=True) if v is None or (isinstance(v, str) and not v.strip())]
        if unknown:
            raise ProtocolError(
                f"{len(unknown)} utterances have no entry in {name}: {_some(unknown)}. Fill them in, or leave the "
                "column out where a protocol can do without it."
            )


def _check_names(folds: Sequence[Fold]) -> None:
    twice = _repeated(fold.name for fold in folds)
    if twice:
        raise ProtocolError(f"Two folds are named {_some(twice)}.")


def _repeated(items: Iterable[str]) -> set[str]:
    return {item for item, count in Counter(items).items() if count > 1}


def _some(items: Iterable[Any], limit: int = 5) -> str:
    names = sorted(str(item) for item in items)
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
