"""What one input of emotion recognition holds: a recording, words, segments, under the keys that people use."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .audio_drkf import Excerpt, excerpt, is_blank
from .errors_drkf import AudioError, InputError
from .waveform_drkf import raw_samples

AUDIO_KEYS = ("audio", "speech", "wav", "file", "audio_path")
TEXT_KEYS = ("text", "transcript", "sentence")
RECORDING_KEYS = ("array", "raw", "bytes", "path", "sampling_rate")
CORPUS_KEYS = ("label", "labels", "speaker", "utterance_id", "session", "split", "duration")
ADDRESSES = ("http://", "https://")


def parts_of(value: Any) -> tuple[Any, str | None, Any]:
    """Audio, text and segments of one input; what it lacks is None.

    A mapping may name them as transformers, datasets and Whisper do. Columns of a corpus, such as `label`, are
    ignored; every other key is refused, for what it holds would not be read. `start` and `end` (seconds) cut the
    recording; times of an answer then count from `start`. `channel` (from 0) is the only one that is read.

    Raises:
        InputError: an unknown key, two keys for one thing, a tuple, or a text that is no str.
    """
    if isinstance(value, tuple) and raw_samples(value) is None:
        raise InputError('give {"audio": ..., "text": ...} in place of a tuple')
    if not isinstance(value, Mapping):
        return downloaded(value), None, None
    known = {*AUDIO_KEYS, *TEXT_KEYS, *RECORDING_KEYS, *CORPUS_KEYS, "segments", "start", "end", "channel"}
    if unknown := [str(key)[:40] for key in value if key not in known]:
        raise InputError(
            f"unknown key {', '.join(map(repr, unknown[:9]))}; audio is under {', '.join(AUDIO_KEYS)} or "
            f"{', '.join(RECORDING_KEYS)}, words are under {', '.join(TEXT_KEYS)} or segments"
        )
    recording = {key: value[key] for key in RECORDING_KEYS if value.get(key) is not None}
    audios = [_with_rate(value[key], recording) for key in AUDIO_KEYS if value.get(key) is not None]
    audios += [recording] if recording.keys() - {"sampling_rate"} else []
    texts = [value[key] for key in TEXT_KEYS if value.get(key) is not None]
    for found, what in ((audios, "recording"), (texts, "text")):
        if len(found) > 1:
            raise InputError(f"more than one {what}, under {', '.join(key for key in value if key in known)}")
    cut = {key: value.get(key) for key in ("start", "end", "channel")}
    audio = excerpt(downloaded(next(iter(audios), None)), **cut)
    text = next((text for text in texts if not (isinstance(text, float) and math.isnan(text))), None)
    if not isinstance(text, str | None):
        raise InputError(f'"text" must be a str or None, not {type(text).__name__}')
    return audio, None if is_blank(text) else text, value.get("segments")


def _with_rate(audio: Any, recording: Mapping[str, Any]) -> Any:
    """A raw array with the sampling rate that its input names beside it."""
    is_raw = isinstance(audio, list) or hasattr(audio, "__array__")
    return {"array": audio, **recording} if is_raw and recording.keys() == {"sampling_rate"} else audio


def downloaded(audio: Any) -> Any:
    """The bytes at a web address; anything else as it is.

    Raises:
        AudioError: the address cannot be read.
    """
    if isinstance(audio, Excerpt):
        return replace(audio, audio=downloaded(audio.audio))
    if not isinstance(audio, str) or not audio.startswith(ADDRESSES):
        return audio
    from huggingface_hub import get_session

    try:
        response = get_session().get(audio, follow_redirects=True, timeout=60)
        response.raise_for_status()
    except Exception as error:
        raise AudioError(f"{audio} cannot be downloaded ({error})") from error
    return response.content
