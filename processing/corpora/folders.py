"""Folders of clips: which file belongs to an utterance, whatever it was converted to."""

from __future__ import annotations

import filecmp
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from ..printable import plural
from ..suggestions import did_you_mean
from .report import ProblemKind, Report, some
from .scan import VIDEO_SUFFIXES

SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
PREFERENCE = {suffix: rank for rank, suffix in enumerate([*SOUND_SUFFIXES, *sorted(VIDEO_SUFFIXES)])}


def absolute(path: str | Path) -> Path:
    """The absolute path, `~` expanded, symbolic links kept."""
    return Path(os.path.expanduser(path)).absolute()


def locate(roots: Iterable[Path], name: str, report: Report) -> Path:
    """`name` in the first root that has it. If none has, the problem is recorded and the first candidate returned."""
    candidates = [root / name for root in roots]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    first = candidates[0]
    siblings = os.listdir(first.parent) if first.parent.is_dir() else []
    detail = (
        f"missing{did_you_mean(first.name, siblings, cutoff=0.9)}"
        if siblings
        else f"missing, and so is {first.parent}"
    )
    report.add(ProblemKind.MISSING_FILE, detail, file=first)
    return first


class AudioFolder:
    """The audio and video files of a folder by their stem; sound is preferred to video. Hidden files do not count."""

    def __init__(self, folder: Path, *, recursive: bool = False):
        self.folder = folder
        self._by_stem: dict[str, str] = {}
        self._rivals: dict[str, list[str]] = defaultdict(list)
        for parent, subfolders, names in os.walk(folder, followlinks=True):
            if not recursive:
                subfolders.clear()
            for name in names:
                self._consider(parent, name)

    def _consider(self, parent: str, name: str) -> None:
        stem, suffix = os.path.splitext(name)
        rank = PREFERENCE.get(suffix.lower())
        if rank is None or name.startswith("."):
            return
        path = os.path.join(parent, name)
        known = self._by_stem.get(stem)
        known_rank = len(PREFERENCE) if known is None else PREFERENCE[os.path.splitext(known)[1].lower()]
        if rank < known_rank:
            self._by_stem[stem], self._rivals[stem] = path, []
        elif known and rank == known_rank:
            self._by_stem[stem] = min(known, path)
            self._rivals[stem].append(max(known, path))

    def path(self, stem: str, suffix: str = ".wav") -> str:
        """The clip's file; where there is none, the path at which one is expected."""
        return self._by_stem.get(stem) or str(self.folder / f"{stem}{suffix}")

    def rivals(self, stem: str) -> tuple[str, ...]:
        """Files of the same stem and format in other folders, with other content: the clip may be any of them."""
        path = self.path(stem)
        return tuple(other for other in self._rivals.get(stem, ()) if not filecmp.cmp(other, path, shallow=False))

    def __contains__(self, stem: str) -> bool:
        return stem in self._by_stem

    def first_with(self, part: str) -> str | None:
        """A file whose stem holds `part`."""
        return next((path for stem, path in self._by_stem.items() if part in stem), None)

    def report_unlisted(self, listed: Iterable[str], report: Report) -> None:
        """Records the files that no annotation names, once for the folder."""
        if unlisted := self._by_stem.keys() - set(listed):
            detail = f"{plural(len(unlisted), 'clip')} without annotation: {some(unlisted, 3)}"
            report.add(ProblemKind.UNLISTED_AUDIO, detail, file=self.folder)
