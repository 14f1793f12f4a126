"""What many audio files hold: length, damage, silence and a digest of their sound, remembered between runs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from tqdm.auto import tqdm

from ..audio_drkf import AudioStream, excerpt
from ..errors_drkf import AudioError
from ..quiet import BAR_DELAY_S
from ..waveform_drkf import SILENT_PEAK
from .report import ProblemKind

VIDEO_SUFFIXES = frozenset({".avi", ".m4a", ".mkv", ".mov", ".mp4", ".webm"})
SHORT_SECONDS = 0.1
LONG_SECONDS = 25.0
CLIPPED_SHARE = 0.01  # of the samples, from which a recording counts as clipped
LOUD, TOP, FULL_SCALE, BEYOND = 0.1, 0.95, 0.99, 1.05  # levels, of full scale; TOP of the loudest
DECODED_BYTES = 4 << 30  # files are decoded by default as long as they are no larger together
CHUNK = 64  # files per task: the cost of a task is large beside that of one header

Stamp = tuple[int, int]  # size in bytes, modification time in nanoseconds
Sound = str | tuple[str, int]  # a file, or a file and the channel that is read, from 0


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """What a file holds. `kind` and `detail` name a problem; `duration` is in seconds, None if unknown; `digest`
    identifies its sound, None where only the header was read; `silences`, (start, end) in seconds, are those of
    `SHORT_SECONDS` and more; `clipped` is the share of its samples that are cut off at its loudest level."""

    duration: float | None = None
    kind: ProblemKind | None = None
    detail: str = ""
    digest: str | None = None
    silences: tuple[tuple[float, float], ...] = ()
    clipped: float = 0.0


def cache_folder() -> Path:
    """`$DRKF_CACHE`, or `~/.cache/drkf`."""
    return Path(os.environ.get("DRKF_CACHE") or "~/.cache/drkf").expanduser()


def scan_audio(
    sounds: Iterable[Sound], *, progress: bool = True, cache: Path | None = None, decode: bool | None = None
) -> dict[Sound, AudioFacts]:
    """Facts of every sound, in parallel. A file is opened again only if its size or modification time has changed.

    Args:
        sounds: audio files that the processor reads, or videos (examined with ffprobe), whole or one channel of them.
        progress: show a progress bar.
        cache: the JSON file that remembers; by default `clips.json` in `cache_folder()`.
        decode: read every file to its end, or only headers. By default files are decoded if those that have not been
            so far are no larger than `DECODED_BYTES` together.
    """
    cache = cache or cache_folder() / "clips.json"
    facts: dict[Sound, AudioFacts] = {}
    stamps: dict[Sound, Stamp] = {}
    for sound in dict.fromkeys(sounds):
        stamp = _stamp(path_of(sound))
        if isinstance(stamp, AudioFacts):
            facts[sound] = stamp
        else:
            stamps[sound] = stamp
    known = _load_cache(cache)
    found = {sound: known.get(_cache_key(sound)) for sound in stamps}
    remembered = {sound: entry[1] for sound, entry in found.items() if entry and entry[0] == stamps[sound]}
    undecoded = [sound for sound in stamps if not _final(remembered.get(sound))]
    if decode is None:
        decode = sum(stamps[sound][0] for sound in undecoded) <= DECODED_BYTES
    fresh = _examine_all([sound for sound in undecoded if decode or sound not in remembered], decode, progress)
    kept = {sound: facts for sound, facts in fresh.items() if facts.kind is not ProblemKind.MISSING_TOOL}
    if kept:
        new = {_cache_key(sound): (stamps[sound], facts) for sound, facts in kept.items()}
        _save_cache(cache, known | new)
    return facts | remembered | fresh


def path_of(sound: Sound) -> str:
    """The file in which it is."""
    return sound if isinstance(sound, str) else sound[0]


def _cache_key(sound: Sound) -> str:
    return sound if isinstance(sound, str) else f"{sound[0]} channel {sound[1]}"


def _final(found: AudioFacts | None) -> bool:
    """Whether decoding would tell no more than what is remembered."""
    return found is not None and (found.digest is not None or (found.kind is not None and found.kind.is_error))


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


def _examine_all(sounds: Sequence[Sound], decode: bool, progress: bool) -> dict[Sound, AudioFacts]:
    if not sounds:
        return {}
    chunks = [sounds[start : start + CHUNK] for start in range(0, len(sounds), CHUNK)]
    examine = partial(_examine, decode=decode)
    facts: dict[Sound, AudioFacts] = {}
    with (
        ThreadPoolExecutor(max_workers=min(8, (os.cpu_count() or 1) + 1)) as pool,
        tqdm(total=len(sounds), desc="scanning audio", unit="clip", disable=not progress, delay=BAR_DELAY_S) as bar,
    ):
        for chunk, found in zip(chunks, pool.map(lambda chunk: list(map(examine, chunk)), chunks), strict=True):
            facts.update(zip(chunk, found, strict=True))
            bar.update(len(chunk))
    return facts


def _examine(sound: Sound, decode: bool) -> AudioFacts:
    path, channel = (sound, None) if isinstance(sound, str) else sound
    if os.path.splitext(path)[1].lower() in VIDEO_SUFFIXES:
        return _probe_video(path, decode)
    try:
        with AudioStream(excerpt(path, None, None, channel=channel), None) as stream:
            if not decode and _lacks_last_sample(path):
                raise AudioError("truncated: the file ends before its sound")
            return _decoded(stream) if decode or stream.seconds is None else classify(stream.seconds)
    except AudioError as error:
        is_absent = error.reason.startswith(f"channel {channel}:")
        kind = ProblemKind.OUTSIDE_AUDIO if is_absent else ProblemKind.UNREADABLE_AUDIO
        return AudioFacts(kind=kind, detail=error.reason)


def _decoded(stream: AudioStream) -> AudioFacts:
    """Reads to the end, at the recording's own rate."""
    if stream.seconds == 0:
        return classify(0.0)
    digest, clipping, silences = hashlib.blake2b(digest_size=16), _Clipping(), _Silences(stream.rate)
    for block in stream:
        digest.update(block.data)
        loudness = np.abs(block)
        clipping.add(loudness)
        silences.add(loudness)
    found = classify(stream.seconds_read, digest.hexdigest(), clipping.peak)
    found = replace(found, silences=silences.spans(), clipped=clipping.share())
    if stream.cancels and found.kind not in (ProblemKind.EMPTY_AUDIO, ProblemKind.SILENT_AUDIO):
        return replace(found, kind=ProblemKind.CANCELLING_AUDIO, detail="its channels cancel each other in their mean")
    return found


class _Clipping:
    """How much of a recording, given block by block, is cut off at its loudest level."""

    def __init__(self) -> None:
        self.peak, self.samples, self.full = 0.0, 0, 0
        self.flat: Counter[float] = Counter()  # loudest level so far -> samples there that repeat the one before

    def add(self, loudness: np.ndarray) -> None:
        self.peak = max(self.peak, float(loudness.max()))
        self.samples += len(loudness)
        self.full += int(np.count_nonzero(loudness >= FULL_SCALE))
        self.flat[self.peak] += int(
            np.count_nonzero((loudness[1:] == loudness[:-1]) & (loudness[1:] >= TOP * self.peak))
        )

    def share(self) -> float:
        """Of its samples. Codecs blur the edges of clipped waves, which then reach beyond full scale."""
        if self.peak < LOUD:
            return 0.0
        flat = sum(count for peak, count in self.flat.items() if peak >= TOP * self.peak)
        return max(flat, self.full if self.peak > BEYOND else 0) / self.samples


class _Silences:
    """Where a recording, given block by block, is silent for `SHORT_SECONDS` and more."""

    def __init__(self, rate: float):
        self.rate, self.samples, self.last_sound = rate, 0, -1
        self.found: list[tuple[int, int]] = []

    def add(self, loudness: np.ndarray) -> None:
        sounds = np.concatenate([[self.last_sound], self.samples + np.flatnonzero(loudness >= SILENT_PEAK)])
        gaps = np.flatnonzero(np.diff(sounds) > SHORT_SECONDS * self.rate)
        self.found += [(int(sounds[gap]) + 1, int(sounds[gap + 1])) for gap in gaps]
        self.samples, self.last_sound = self.samples + len(loudness), int(sounds[-1])

    def spans(self) -> tuple[tuple[float, float], ...]:
        """(start, end) of each, in seconds."""
        is_last = self.samples - self.last_sound > SHORT_SECONDS * self.rate
        found = [*self.found, *([(self.last_sound + 1, self.samples)] if is_last else [])]
        return tuple((start / self.rate, end / self.rate) for start, end in found)


def _lacks_last_sample(path: str) -> bool:
    """Whether a FLAC ends before the last sample that its header counts."""
    with soundfile.SoundFile(path) as audio:
        if audio.format != "FLAC" or not audio.frames:
            return False
        try:
            audio.seek(audio.frames - 1)
            return len(audio.read(1)) == 0
        except soundfile.SoundFileError:
            return True


def _probe_video(path: str, decode: bool) -> AudioFacts:
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
    digest = None
    if decode:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:32]
    return classify(duration, digest)


def classify(duration: float, digest: str | None = None, peak: float = 1.0) -> AudioFacts:
    """What is to be said of a clip by its length in seconds and its loudest sample."""
    kind, detail = None, ""
    if duration <= 0:
        kind, detail = ProblemKind.EMPTY_AUDIO, "the clip holds no samples"
    elif peak < SILENT_PEAK:
        kind, detail = ProblemKind.SILENT_AUDIO, f"no sample is louder than {peak:.1g} of full scale"
    elif duration < SHORT_SECONDS:
        kind, detail = ProblemKind.SHORT_AUDIO, f"{duration:.3f} s, under {SHORT_SECONDS} s"
    elif duration > LONG_SECONDS:
        kind, detail = ProblemKind.LONG_AUDIO, f"{duration:.1f} s, over {LONG_SECONDS:.0f} s"
    return AudioFacts(duration, kind, detail, digest)


def _load_cache(cache: Path) -> dict[str, tuple[Stamp, AudioFacts]]:
    """What is remembered; an entry that is not understood is forgotten."""
    try:
        entries = json.loads(cache.read_text(encoding="utf-8")).items()
    except (OSError, ValueError, AttributeError):
        return {}
    known = {}
    for path, entry in entries:
        with contextlib.suppress(ValueError, TypeError):
            (size, changed), (duration, kind, detail, digest, silences, clipped) = entry
            spans = tuple((float(start), float(end)) for start, end in silences)
            facts = AudioFacts(duration, kind and ProblemKind(kind), detail, digest, spans, float(clipped))
            known[path] = (size, changed), facts
    return known


def _save_cache(cache: Path, known: Mapping[str, tuple[Stamp, AudioFacts]]) -> None:
    """Replaces the file in one step; an unwritable cache folder costs time, never the scan."""
    partial_file = cache.with_name(f"{cache.name}.{os.getpid()}.partial")
    entries = {path: (stamp, astuple(found)) for path, (stamp, found) in known.items()}
    with contextlib.suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial_file.write_text(json.dumps(entries), encoding="utf-8")
        partial_file.replace(cache)
