"""`drkf prepare`: a corpus as 16 kHz mono FLAC files and one manifest, whatever it came as."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import soundfile
from tqdm.auto import tqdm

from ..atomic import replacing
from ..audio_drkf import excerpt, load_audio
from ..errors_drkf import AudioError, OptionError
from ..quiet import BAR_DELAY_S
from ..recognition_options_drkf import Transcribers
from .checks import add_problem
from .readers.columns import SOFT_LABEL_COLUMN
from .registry import survey_corpus
from .report import ProblemKind
from .scan import VIDEO_SUFFIXES
from .utterance import LABEL_SEPARATOR, Utterance

SAMPLING_RATE = 16_000
COLUMNS = ("audio", "text", "label", "speaker", "split", "session", "utterance_id", "duration")


def prepare(
    name: str,
    data_dir: str | Path,
    out_dir: str | Path,
    *,
    skip_damaged: Iterable[str] | str = (),
    progress: bool = True,
    transcriber: str | None = None,
    language: str | None = None,
    words: bool = True,
    **options: Any,
) -> Path:
    """Converts every usable clip to `out_dir/audio/*.flac` (16 kHz, mono, 16 bit) and writes `out_dir/manifest.csv`.

    Videos go through ffmpeg, the rest through soundfile. A clip is written in one step, with its source's time of
    change, and kept by a later run while that is the same. Returns the manifest's path; its classes are those after
    `label_map`.

    Args:
        transcriber: the folder or Hub id of a speech recognition model for rows without words. language: for Whisper.
        words: whether there should be words.
        options: as for `read_corpus`.

    Raises:
        OptionError: the transcriber takes no language.
        CorpusError: rows are damaged or clips cannot be converted, and `skip_damaged` does not name their kind.
    """
    out = Path(out_dir).expanduser().absolute()
    (out / "audio").mkdir(parents=True, exist_ok=True)
    if language is not None and transcriber is None:
        raise OptionError("language is an option of the transcriber: name one, too")
    options |= {"videos": True, "progress": progress, "words": words and transcriber is None}
    survey = survey_corpus(name, data_dir, **options)
    utterances = survey.usable(skip_damaged)
    targets = [out / "audio" / f"{_file_name(utterance)}.flac" for utterance in utterances]
    for utterance, failure in zip(utterances, _convert_all(utterances, targets, progress), strict=True):
        if failure:
            add_problem(survey.report, utterance, *failure)
    converted = {id(utterance) for utterance in survey.usable(skip_damaged)}
    rows = [pair for pair in zip(utterances, targets, strict=True) if id(pair[0]) in converted]
    if transcriber is not None:
        _fill_in_words(rows, out / "transcripts.jsonl", transcriber, language, progress)
    return _write_manifest(out / "manifest.csv", rows)


Failure = tuple[ProblemKind, str]


def _convert_all(utterances: Sequence[Utterance], targets: Sequence[Path], progress: bool) -> list[Failure | None]:
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        results = pool.map(_convert, utterances, targets)
        bar = tqdm(results, "converting audio", len(targets), unit="clip", disable=not progress, delay=BAR_DELAY_S)
        return list(bar)


def _convert(utterance: Utterance, target: Path) -> Failure | None:
    """Writes the target, with the time of the source, unless it is there and has it; returns what went wrong."""
    source = Path(utterance.audio)
    changed = source.stat().st_mtime_ns
    if target.exists() and target.stat().st_mtime_ns // 1000 == changed // 1000:  # as exact as file systems are
        return None
    partial = target.with_name(f"{target.stem}.{os.getpid()}.partial.flac")
    convert = _convert_video if source.suffix.lower() in VIDEO_SUFFIXES else _convert_sound
    failure = convert(utterance, partial)
    if failure:
        partial.unlink(missing_ok=True)
    else:
        os.utime(partial, ns=(changed, changed))
        partial.replace(target)
    return failure


def _convert_sound(utterance: Utterance, partial: Path) -> Failure | None:
    try:
        waveform = load_audio(
            excerpt(utterance.audio, utterance.start, utterance.end, channel=utterance.channel), SAMPLING_RATE
        )
    except AudioError as error:
        return ProblemKind.UNREADABLE_AUDIO, f"{os.path.basename(utterance.audio)}: {error.reason}"
    soundfile.write(partial, waveform, SAMPLING_RATE, subtype="PCM_16")
    return None


def _convert_video(utterance: Utterance, partial: Path) -> Failure | None:
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        return ProblemKind.MISSING_TOOL, f"ffmpeg is needed to read {os.path.basename(utterance.audio)}"
    channel = ["-ac", "1"] if utterance.channel is None else ["-af", f"pan=mono|c0=c{utterance.channel}"]
    arguments = ["-vn", *channel, "-ar", str(SAMPLING_RATE), "-sample_fmt", "s16", "-y", str(partial)]
    bounds = {"-ss": utterance.start, "-to": utterance.end}
    cut = [part for option, at in bounds.items() if at is not None for part in (option, str(at))]
    command = [ffmpeg, "-v", "error", "-nostdin", "-xerror", *cut, "-i", utterance.audio, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or [f"exit status {result.returncode}"])[-1]
        return ProblemKind.UNREADABLE_AUDIO, f"ffmpeg: {reason}"
    return None


def _fill_in_words(
    clips: Iterable[tuple[Utterance, Path]],
    notes: Path,
    transcriber: str,
    language: str | None = None,
    progress: bool = True,
) -> None:
    """Transcribes each clip whose utterance has no text.

    Args:
        clips: utterances and the sound files that hold them.
        notes: a JSON Lines file of transcripts, which a later call continues: a line for each clip, with its file,
            time of change, model and language.
        transcriber: the folder or Hub id of a speech recognition model.
        language: see [`Transcribers.get`].

    Raises:
        OptionError: the model takes no language.
    """
    silent = [(utterance, path) for utterance, path in clips if not utterance.text]
    known = dict(_noted(notes))
    transcribe = Transcribers().get(transcriber, language) if silent else None
    with notes.open("a", encoding="utf-8") as file:
        for utterance, path in tqdm(silent, desc="transcribing", unit="clip", disable=not progress, delay=BAR_DELAY_S):
            key = (path.name, path.stat().st_mtime_ns, transcriber, language)
            if key not in known and transcribe is not None:
                known[key] = transcribe(*soundfile.read(path, dtype="float32"))
                file.write(json.dumps([*key, known[key]], ensure_ascii=False) + "\n")
                file.flush()
            utterance.text = known[key]


def _noted(notes: Path) -> Iterable[tuple[tuple, str]]:
    for line in notes.read_text(encoding="utf-8").splitlines() if notes.exists() else ():
        try:
            *key, text = json.loads(line)
        except ValueError:  # the line that a kill has cut short
            continue
        yield tuple(key), text


def _file_name(utterance: Utterance) -> str:
    """The id where it can name a file; otherwise, and for a part of a recording, its harmless part and a digest."""
    name = utterance.utterance_id
    harmless = re.sub(r"[^\w.-]+", "_", name).lstrip(".")[:100]
    channel = "" if utterance.channel is None else f" channel {utterance.channel}"
    if harmless == name and utterance.start is None and utterance.end is None and not channel:
        return harmless
    identity = name if harmless != name else f"{name} {utterance.start} {utterance.end}{channel}"
    return f"{harmless}-{hashlib.sha256(identity.encode()).hexdigest()[:10]}"


def _write_manifest(path: Path, rows: Sequence[tuple[Utterance, Path]]) -> Path:
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        soft = any(utterance.weights for utterance, _ in rows)
        writer.writerow(SOFT_LABEL_COLUMN if soft and name == "label" else name for name in COLUMNS)
        for utterance, target in rows:
            duration = round(soundfile.info(target).duration, 3)
            labels = json.dumps(utterance.weights) if soft else LABEL_SEPARATOR.join(utterance.labels)
            origin = (utterance.speaker, utterance.split, utterance.session, utterance.utterance_id)
            writer.writerow([target.relative_to(path.parent), utterance.text, labels, *origin, duration])
    return path
