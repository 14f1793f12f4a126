"""Words for recordings that come without: any speech recogniser as a function from a waveform to a text."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from .audio_drkf import load_audio
from .errors_drkf import InputError, OptionError

Transcribe: TypeAlias = Callable[[np.ndarray, float], str]


class Transcribers:
    """Speech recognisers by what names them; a model named by folder or Hub id is loaded once."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def get(self, transcriber: Any, language: str | None = None) -> Transcribe | None:
        """A function from a mono waveform (samples,) and its rate in Hz to a text.

        Args:
            language: what is spoken, for Whisper, which otherwise guesses it for each recording.

        Raises:
            OptionError: the model takes no language.
        """
        if transcriber is None:
            return None
        if isinstance(transcriber, str):
            if transcriber not in self._loaded:
                from transformers import pipeline

                self._loaded[transcriber] = pipeline("automatic-speech-recognition", model=transcriber)
            transcriber = self._loaded[transcriber]
        if language is not None and getattr(transcriber, "type", None) != "seq2seq_whisper":
            raise OptionError(f"language={language!r}: only Whisper takes a language, and this model is none")
        return lambda waveform, rate: transcribe(transcriber, waveform, rate, language)


def transcribe(transcriber: Callable[..., Any], waveform: np.ndarray, rate: float, language: str | None = None) -> str:
    """What a recogniser hears; one that states its own sampling rate gets the audio at that.

    Raises:
        InputError: it gives neither a str nor a `{"text": str}`.
    """
    own_rate = getattr(getattr(transcriber, "feature_extractor", None), "sampling_rate", rate)
    if own_rate != rate:
        waveform = load_audio(waveform, own_rate, rate)
    # Whisper takes more than its window only where it may write time stamps, too.
    longer = getattr(transcriber, "type", None) == "seq2seq_whisper" and (
        len(waveform) > transcriber.feature_extractor.n_samples  # type: ignore[attr-defined]
    )
    options: dict[str, Any] = {"return_timestamps": True} if longer else {}
    if language is not None:
        options["generate_kwargs"] = {"language": language, "task": "transcribe"}
    heard = transcriber({"array": waveform, "sampling_rate": own_rate}, **options)
    text = heard.get("text") if isinstance(heard, Mapping) else heard
    if not isinstance(text, str):
        raise InputError(f'the transcriber gave {type(heard).__name__}; expected a str or {{"text": str}}')
    return text.strip()
