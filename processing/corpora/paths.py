"""Clips that were listed on another machine: which file here each path means.

Roots, separators, drive letters, case and Unicode's normal forms make no difference.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path

from .folders import absolute
from .utterance import Utterance

MOST_FILES = 500_000  # in a folder that is searched; data may lie in a home folder

Parts = tuple[str, ...]


def path_parts(path: str) -> Parts:
    """The folders and the name, folded: `C:\\Clips\\A.WAV` and `clips/a.wav` end alike."""
    return tuple(unicodedata.normalize("NFC", part).casefold() for part in re.split(r"[\\/]+", path) if part)


class Files:
    """The files below a folder by what their paths end with."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.by_name: dict[str, list[tuple[Parts, str]]] = defaultdict(list)
        count = 0
        for parent, _, names in os.walk(folder):
            inside = path_parts(os.path.relpath(parent, folder)) if parent != str(folder) else ()
            for name in names:
                parts = (*inside, *path_parts(name))
                self.by_name[parts[-1]].append((parts, os.path.join(parent, name)))
            count += len(names)
            if count > MOST_FILES:
                break

    def below(self, written: str) -> str | None:
        """The file whose whole path below the folder is the end of the written one; the longest, if only one is."""
        parts = path_parts(written)
        found = [(len(inside), path) for inside, path in self._named(parts) if parts[-len(inside) :] == inside]
        return _only_best(found)

    def alike(self, written: str) -> str | None:
        """The file that shares most of the written path's end, if only one does."""
        parts = path_parts(written)
        root = path_parts(str(self.folder))
        return _only_best([(_common_end(parts, root + inside), path) for inside, path in self._named(parts)])

    def _named(self, parts: Parts) -> list[tuple[Parts, str]]:
        return self.by_name.get(parts[-1], []) if parts else []


def relocate(utterances: Iterable[Utterance], audio_root: str | Path) -> None:
    """Takes each clip from below `audio_root`, where a file there ends as its path does."""
    files = Files(absolute(audio_root))
    for utterance in utterances:
        if utterance.audio:
            utterance.audio = files.below(utterance.audio) or utterance.audio


def whereabouts(missing: Sequence[str], folder: Path) -> tuple[dict[str, str], str | None]:
    """The files below `folder` that missing paths may mean, and the `audio_root` under which most of these are."""
    files = Files(folder)
    found = {path: there for path in missing if (there := files.alike(path))}
    roots: Counter[str] = Counter()
    for path, there in found.items():
        above = Path(there).parents[_common_end(path_parts(path), path_parts(there)) - 1]
        roots[str(above if above.is_relative_to(folder) else folder)] += 1
    [(root, count)] = roots.most_common(1) or [("", 0)]
    return found, root if 2 * count >= len(found) and count else None


def _common_end(one: Parts, other: Parts) -> int:
    pairs = zip(reversed(one), reversed(other), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _only_best(found: list[tuple[int, str]]) -> str | None:
    found = sorted(found, reverse=True)
    return found[0][1] if found and (len(found) == 1 or found[0][0] > found[1][0]) else None
