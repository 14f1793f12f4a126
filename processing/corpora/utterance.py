"""One annotated row of a corpus, and what a corpus module declares about itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .report import ProblemKind

PARTS = ("train", "validation", "test")
ALL = "all"  # the split of a corpus without a division
LABEL_SEPARATOR = "|"  # between the labels of one cell
ABSENT = frozenset({"nan", "none", "null", "n/a", "<na>"})  # "na" is a word, and somebody's initials


def is_absent(cell: str) -> bool:
    """Whether a cell says what tables write where there is nothing: nan, None, NULL, N/A."""
    return cell.strip().casefold() in ABSENT


@dataclass(slots=True)
class Utterance:
    """One row as its reader found it.

    `labels` are the source's names, one unless `multi_label`; `file` and `row` say where the row stands; `kinds` are
    the problems found with it; `duration` is in seconds and `digest` identifies the clip's sound, both None while
    unknown. The clip is `audio` from `start` to `end` (seconds) and one `channel` of it (from 0), where they are
    given; `nearby` is a file that may be meant where there is no `audio`, `rivals` are files that may be meant as
    well. A soft label has `weights`, a share of 1 for each of `labels`, which begin with the likeliest.
    """

    utterance_id: str
    audio: str
    text: str
    labels: tuple[str, ...]
    multi_label: bool = False
    weights: dict[str, float] | None = None
    speaker: str | None = None
    session: str | None = None
    split: str = ALL
    file: str | None = None
    row: int | None = None
    start: float | None = None
    end: float | None = None
    channel: int | None = None
    nearby: str | None = None
    rivals: tuple[str, ...] = ()
    duration: float | None = None
    digest: str | None = None
    kinds: set[ProblemKind] = field(default_factory=set)
    extra: dict[str, str | None] = field(default_factory=dict)

    @property
    def is_broken(self) -> bool:
        """Whether an error makes it unusable."""
        return any(kind.is_error for kind in self.kinds)

    @property
    def place(self) -> str:
        """`file:row`, as far as they are known."""
        return f"{self.file or ''}{f':{self.row}' if self.row else ''}"


@dataclass(frozen=True)
class CorpusSpec:
    """What a corpus module declares as `CORPUS`; the registry finds it by that name.

    Args:
        name: the key in the registry.
        title: the name to print.
        read: `read(data_dir, report, **options)` returns the utterances of a folder (or file) and records in `report`
            what it could not read.
        layout: what the folder must hold, for messages.
        labels: the classes in their fixed order; None takes the sorted names that occur.
        label_map: source label -> class, for source labels that the protocol merges.
        left_out: labels of the source that the protocol leaves out; any other name is an `unknown_label`.
        known_damage: utterance -> what to do about the damage that its clip has in every copy of the release.
        published: "split", "session", "class" or "total" -> its values -> utterances as its authors count them.
        published_source: where they count them.
        protocol: what the protocol "auto" stands for.
        facts: what its declaration says: `title`, `language`, `licence`, `license` (as the Hub spells it),
            `download`, `source` (what to cite), `speakers`, `traps`.
    """

    name: str
    title: str
    read: Callable[..., list[Utterance]]
    layout: str
    labels: tuple[str, ...] | None = None
    label_map: Mapping[str, str] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()
    known_damage: Mapping[str, str] = field(default_factory=dict)
    published: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    published_source: str = ""
    protocol: str = "auto"
    facts: Mapping[str, Any] = field(default_factory=dict)
