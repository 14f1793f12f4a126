"""Durations and readability of many audio files, from their headers, remembered between runs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import soundfile
from tqdm.auto import tqdm

from .report import ProblemKind

VIDEO_SUFFIXES = frozenset({".avi", ".m4a", ".mkv", ".mov", ".mp4", ".webm"})
SHORT_SECONDS = 0.1
LONG_SECONDS = 25.0
CHUNK = 64  # files per task: the cost of a task is large beside that of one header

Stamp = tuple[int, int]  # size in bytes, modification time in nanoseconds


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """What a file's header says. `kind` and `detail` name a problem; `duration` is in seconds, None if unknown."""

    duration: float | None = None
    kind: ProblemKind | None = None
    detail: str = ""


def cache_folder() -> Path:
    """`$DRKF_CACHE`, or `~/.cache/drkf`."""
    return Path(os.environ.get("DRKF_CACHE") or "~/.cache/drkf").expanduser()


def scan_audio(paths: Iterable[str], *, progress: bool = True, cache: Path | None = None) -> dict[str, AudioFacts]:
    """Facts of every path, in parallel. A file is opened again only if its size or modification time has changed.

    Args:
        paths: audio files (anything soundfile reads), or videos (examined with ffprobe).
        progress: show a progress bar.
        cache: the JSON file that remembers; by default `durations.json` in `cache_folder()`.
    """
    cache = cache or cache_folder() / "durations.json"
    known = _load_cache(cache)
    facts: dict[str, AudioFacts] = {}
    stamps: dict[str, Stamp] = {}
    for path in dict.fromkeys(paths):
        stamp = _stamp(path)
        if isinstance(stamp, AudioFacts):
            facts[path] = stamp
        elif (entry := known.get(path)) and (entry[0], entry[1]) == stamp:
            facts[path] = _classify(entry[2])
        else:
            stamps[path] = stamp
    if stamps:
        fresh = _examine_all(list(stamps), progress)
        facts.update(fresh)
        known.update(
            {path: [*stamps[path], found.duration] for path, found in fresh.items() if found.duration is not None}
        )
        _save_cache(cache, known)
    return facts


def _stamp(path: str) -> Stamp | AudioFacts:
    try:
        stat = os.stat(path)
    except FileNotFoundError:
        return AudioFacts(kind=ProblemKind.MISSING_AUDIO, detail=f"no such file: {path}")
    except (OSError, ValueError) as error:
        return AudioFacts(kind=ProblemKind.MISSING_AUDIO, detail=f"{path!r} cannot be opened ({error})")
    if os.path.isdir(path):
        return AudioFacts(kind=ProblemKind.MISSING_AUDIO, detail=f"a folder, not a file: {path}")
    return stat.st_size, stat.st_mtime_ns


def _examine_all(paths: Sequence[str], progress: bool) -> dict[str, AudioFacts]:
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    facts: dict[str, AudioFacts] = {}
    with (
        ThreadPoolExecutor(max_workers=min(8, (os.cpu_count() or 1) + 1)) as pool,
        tqdm(total=len(paths), desc="scanning audio", unit="clip", disable=not progress) as bar,
    ):
        for chunk, found in zip(
            chunks, pool.map(lambda chunk: [_examine(path) for path in chunk], chunks), strict=True
        ):
            facts.update(zip(chunk, found, strict=True))
            bar.update(len(chunk))
    return facts


def _examine(path: str) -> AudioFacts:
    if os.path.splitext(path)[1].lower() in VIDEO_SUFFIXES:
        return _probe_video(path)
    try:
        with soundfile.SoundFile(path) as audio:
            duration = audio.frames / audio.samplerate
            if audio.frames and _is_truncated(audio, path):
                return AudioFacts(
                    kind=ProblemKind.UNREADABLE_AUDIO, detail="truncated: the file ends before its sound"
                )
    except (soundfile.SoundFileError, OSError) as error:
        return AudioFacts(kind=ProblemKind.UNREADABLE_AUDIO, detail=f"not readable as audio: {error}")
    return _classify(duration)


def _is_truncated(audio: soundfile.SoundFile, path: str) -> bool:
    """Whether a FLAC lacks its last sample, or a WAV is shorter than its RIFF header says."""
    if audio.format == "FLAC":
        try:
            audio.seek(audio.frames - 1)
            return len(audio.read(1)) == 0
        except soundfile.SoundFileError:
            return True
    if audio.format in ("WAV", "WAVEX"):
        with open(path, "rb") as file:
            declared = int.from_bytes(file.read(8)[4:], "little")
        streamed = declared in (0, 0xFFFFFFFF)  # written to a pipe: the length was never filled in
        return not streamed and declared + 8 > os.path.getsize(path) + 1  # a pad byte may be missing
    return False


def _probe_video(path: str) -> AudioFacts:
    ffprobe = shutil.which("ffprobe")
    if ffprobe is None:
        return AudioFacts(kind=ProblemKind.MISSING_TOOL, detail=f"ffprobe is needed to read {os.path.basename(path)}")
    command = [ffprobe, "-v", "error", "-select_streams", "a:0", "-show_entries", "stream=duration:format=duration"]
    result = subprocess.run([*command, "-of", "json", path], capture_output=True, text=True, check=False)
    try:
        answer = json.loads(result.stdout or "{}")
        stream = answer["streams"][0]
        duration = float(stream.get("duration") or answer["format"]["duration"])
    except (ValueError, LookupError):
        reason = (result.stderr.strip().splitlines() or ["it holds no sound track"])[-1]
        return AudioFacts(kind=ProblemKind.UNREADABLE_AUDIO, detail=f"not readable as audio: {reason}")
    return _classify(duration)


def _classify(duration: float) -> AudioFacts:
    if duration <= 0:
        return AudioFacts(duration, ProblemKind.EMPTY_AUDIO, "the clip holds no samples")
    if duration < SHORT_SECONDS:
        return AudioFacts(duration, ProblemKind.SHORT_AUDIO, f"{duration:.3f} s, under {SHORT_SECONDS} s")
    if duration > LONG_SECONDS:
        return AudioFacts(duration, ProblemKind.LONG_AUDIO, f"{duration:.1f} s, over {LONG_SECONDS:.0f} s")
    return AudioFacts(duration)


def _load_cache(cache: Path) -> dict[str, list]:
    try:
        known = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    entries = known.items() if isinstance(known, dict) else ()
    return {path: entry for path, entry in entries if isinstance(entry, list) and len(entry) == 3}


def _save_cache(cache: Path, known: dict[str, list]) -> None:
    """Replaces the file in one step; an unwritable cache folder costs time, never the scan."""
    partial = cache.with_name(f"{cache.name}.{os.getpid()}.partial")
    with contextlib.suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(known), encoding="utf-8")
        partial.replace(cache)
