"""Words for the clips of a corpus that come without, written once."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import soundfile
from tqdm.auto import tqdm

from ..quiet import BAR_DELAY_S
from ..transcription_drkf import Transcribers
from .utterance import Utterance


def fill_in_words(
    clips: Iterable[tuple[Utterance, Path]],
    notes: Path,
    transcriber: str,
    language: str | None = None,
    progress: bool = True,
) -> None:
    """Transcribes each clip whose utterance has no text.

    Args:
        clips: utterances and the sound files that hold them.
        notes: a JSON Lines file of what was heard, which a later call goes on from: a line a clip, with its file, time
            of change, model and language.
        transcriber: the folder or Hub id of a speech recognition model.
        language: see [`Transcribers.get`].

    Raises:
        OptionError: the model takes no language.
    """
    silent = [(utterance, path) for utterance, path in clips if not utterance.text]
    heard = dict(_read(notes))
    transcribe = Transcribers().get(transcriber, language) if silent else None
    with notes.open("a", encoding="utf-8") as file:
        for utterance, path in tqdm(silent, desc="transcribing", unit="clip", disable=not progress, delay=BAR_DELAY_S):
            key = (path.name, path.stat().st_mtime_ns, transcriber, language)
            if key not in heard and transcribe is not None:
                heard[key] = transcribe(*soundfile.read(path, dtype="float32"))
                file.write(json.dumps([*key, heard[key]], ensure_ascii=False) + "\n")
                file.flush()
            utterance.text = heard[key]


def _read(notes: Path) -> Iterable[tuple[tuple, str]]:
    for line in notes.read_text(encoding="utf-8").splitlines() if notes.exists() else ():
        try:
            *key, text = json.loads(line)
        except ValueError:  # the line that a kill has cut short
            continue
        yield tuple(key), text
