"""What a checkpoint was made from, as digests: it travels with the weights, and tells what must not test them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors_drkf import FileError
from .leaks import fold_name
from .report import plural

if TYPE_CHECKING:
    from datasets import Dataset

    from .corpus import Corpus

TRAINING_DATA = "training_data.json"
DIGEST_BYTES = 6  # two of 10,000 names agree by chance once in five million corpora
SHOWN = 5


@dataclass(frozen=True)
class Digests:
    """Of the utterances of a part: their ids, their speakers, their sounds."""

    utterances: frozenset[str] = frozenset()
    speakers: frozenset[str] = frozenset()
    sounds: frozenset[str] = frozenset()

    @classmethod
    def of(cls, rows: Dataset, sounds: Mapping[str, str]) -> Digests:
        """Of a part; `sounds` are those of its corpus, by utterance."""
        names, speakers = rows["utterance_id"][:], {speaker for speaker in rows["speaker"][:] if speaker}
        return cls(
            frozenset(map(_digest, names)),
            frozenset(_digest(fold_name(speaker)) for speaker in speakers),
            frozenset(_digest(sounds[name]) for name in names if name in sounds),
        )

    def __or__(self, other: Digests) -> Digests:
        return Digests(self.utterances | other.utterances, self.speakers | other.speakers, self.sounds | other.sounds)

    def has(self, utterance: str, sounds: Mapping[str, str]) -> bool:
        """Whether the utterance is among these, by its id or by its sound."""
        is_sound = utterance in sounds and _digest(sounds[utterance]) in self.sounds
        return is_sound or _digest(utterance) in self.utterances


@dataclass(frozen=True)
class TrainingData:
    """Which utterances trained a checkpoint, and which chose its epoch.

    Whoever knows a name or has a recording can find out whether it is among them; nobody can read names from it.
    """

    train: Digests = field(default_factory=Digests)
    validation: Digests = field(default_factory=Digests)

    @classmethod
    def of(cls, corpus: Corpus, parts: Mapping[str, Dataset]) -> TrainingData:
        """Of the parts `train` and `validation` of a corpus, as far as there are such."""
        found = {part: Digests.of(parts[part], corpus.sounds) for part in ("train", "validation") if part in parts}
        return cls(**found)

    def __or__(self, other: TrainingData) -> TrainingData:
        return TrainingData(self.train | other.train, self.validation | other.validation)

    def save(self, folder: str | Path) -> None:
        """Writes `training_data.json`: lists of digests by part and kind."""
        parts = {part: {kind: sorted(found) for kind, found in kinds.items()} for part, kinds in asdict(self).items()}
        (Path(folder) / TRAINING_DATA).write_text(json.dumps(parts) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> TrainingData:
        """Raises `FileError`: the file is not what `save` writes."""
        try:
            parts = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(
                **{part: Digests(**{kind: frozenset(map(str, found)) for kind, found in kinds.items()})
                   for part, kinds in parts.items()}
            )  # fmt: skip
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise FileError(f"{path} is damaged: restore it from its source, or remove it ({error})") from error


@dataclass(frozen=True)
class Leaks:
    """What evaluated utterances have in common with those that a checkpoint was made from.

    Attributes:
        known: whether the checkpoint says what it was made from.
        utterances: how many are evaluated. trained_on, selected_on: how many of them it was trained on, or chosen by.
        speakers: those of the evaluated utterances whose names are in its training part. of_speakers: of how many.
    """

    known: bool
    utterances: int = 0
    trained_on: int = 0
    selected_on: int = 0
    speakers: tuple[str, ...] = ()
    of_speakers: int = 0

    @property
    def any(self) -> bool:
        return bool(self.trained_on or self.selected_on or self.speakers)

    def __str__(self) -> str:
        if not self.known:
            return f"the checkpoint has no {TRAINING_DATA}: whether these clips or speakers trained it is not known"
        clips = plural(self.utterances, "clip")
        if not self.any:
            return (
                f"none of the {clips} and none of the speakers is among those that the checkpoint was trained on, by "
                "name or by sound; another encoding of a clip under another name would not be found"
            )
        found = []
        if self.trained_on:
            found.append(f"{self.trained_on:,} of the {clips} trained the checkpoint")
        if self.selected_on:
            found.append(f"{self.selected_on:,} of the {clips} chose its weights")
        if self.speakers:
            names = ", ".join(self.speakers[:SHOWN]) + (", ..." if len(self.speakers) > SHOWN else "")
            count = plural(self.of_speakers, "speaker")
            found.append(f"{len(self.speakers):,} of the {count} have the name of one who trained it ({names})")
        return f"these figures are too good for new speech: {'; '.join(found)}"


def find_leaks(made_from: TrainingData | None, corpus: Corpus, rows: Dataset) -> Leaks:
    """Compares rows of a corpus with what a checkpoint says; clips by id and sound, speakers by any spelling."""
    names, speakers = rows["utterance_id"][:], sorted({speaker for speaker in rows["speaker"][:] if speaker})
    if made_from is None:
        return Leaks(False, len(names), of_speakers=len(speakers))
    return Leaks(
        known=True,
        utterances=len(names),
        trained_on=_count(made_from.train, names, corpus.sounds),
        selected_on=_count(made_from.validation, names, corpus.sounds),
        speakers=tuple(name for name in speakers if _digest(fold_name(name)) in made_from.train.speakers),
        of_speakers=len(speakers),
    )


def _count(digests: Digests, names: Iterable[str], sounds: Mapping[str, str]) -> int:
    return sum(digests.has(name, sounds) for name in names)


def _digest(value: Any) -> str:
    return hashlib.blake2b(str(value).encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).hexdigest()
