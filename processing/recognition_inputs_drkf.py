"""One input of emotion recognition -> the units that the model answers: the clip, or the pieces of a recording."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from .audio_drkf import AudioStream
from .errors_drkf import InputError, OptionError
from .excerpt_drkf import Excerpt, excerpt
from .recognition_options_drkf import RecognitionOptions
from .transcription_drkf import Transcribe
from .waveform_drkf import AudioError, is_silent, rate_and_samples
from .windows_drkf import Piece, cut_segments, cut_windows

AUDIO_KEYS = ("audio", "speech", "wav", "file", "audio_path")
TEXT_KEYS = ("text", "transcript", "sentence")
RECORDING_KEYS = ("array", "raw", "bytes", "path", "sampling_rate")
CORPUS_KEYS = ("label", "labels", "speaker", "utterance_id", "session", "split", "duration")
ADDRESSES = ("http://", "https://")


@dataclass
class Item:
    """One input, and what has been answered of it."""

    is_timeline: bool = False
    audio_seconds: float | None = None
    answers: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None

    def fail(self, error: InputError, name: str, options: RecognitionOptions) -> None:
        """Keep what is wrong with this input, or raise it, under the input's name."""
        if error.name is None:
            error = type(error)(error.reason, name)
        if options.errors == "raise":
            raise error
        self.error = str(error)


@dataclass
class Unit:
    """What the model answers at once; empty where the item has failed.

    Of the pieces of a recording, one that cannot be used has its `answer` at once: the error.

    Attributes:
        place: start and end in seconds where it is a piece of a recording.
        text: None where no words are known.
        is_last: the last unit of its item.
    """

    item: Item
    name: str
    waveform: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    text: str | None = None
    has_audio: bool = True
    place: dict[str, float | None] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    answer: dict[str, Any] | None = None
    is_last: bool = True

    def fail(self, error: InputError, options: RecognitionOptions) -> None:
        """Keep what is wrong with it: of a piece as its answer, beside those of the others."""
        if self.place:
            self.answer = {**self.place, "text": self.text, "error": error.reason}
        else:
            self.item.fail(error, self.name, options)


class InputReader:
    """Reads inputs of any kind, see [`EmotionRecognizer.__call__`]."""

    def __init__(self, processor: Any, transcribe: Transcribe | None, options: RecognitionOptions):
        self.processor, self.transcribe, self.options = processor, transcribe, options
        self.rate = processor.feature_extractor.sampling_rate
        limit = processor.max_audio_samples
        if options.chunk_length_s is not None and limit is not None and options.chunk_length_s * self.rate > limit:
            raise OptionError(
                f"chunk_length_s={options.chunk_length_s:g} exceeds the longest clip that this checkpoint takes, "
                f"{limit / self.rate:g} s"
            )

    def read(self, value: Any, name: str) -> Iterator[Unit]:
        """The units of one input, read when they are needed; the last one is marked."""
        item, waiting = Item(), None
        units = self._units(value, name, item)
        while True:
            try:
                unit = next(units, None)
            except InputError as error:
                item.fail(error, name, self.options)
                unit = None
            if waiting is not None:
                waiting.is_last = unit is None
                yield waiting
            if unit is None:
                break
            waiting = unit
        if waiting is None:
            yield Unit(item, name)

    def _units(self, value: Any, name: str, item: Item) -> Iterator[Unit]:
        audio, text, segments = parts_of(value)
        if text is not None and not isinstance(text, str):
            raise InputError(f'"text" must be a str or None, not {type(text).__name__}')
        text = text if text is not None and text.strip() else None
        item.is_timeline = segments is not None or (self.options.chunk_length_s is not None and audio is not None)
        if audio is None:
            if segments is not None:
                raise InputError("segments need the audio that they are segments of")
            if text is None:
                raise InputError('there is nothing to judge: give "audio", "text" or both')
            silence = np.zeros(self.processor.min_audio_samples, dtype=np.float32)
            yield Unit(item, name, silence, text, has_audio=False, warnings=self._text_warnings(text))
        elif item.is_timeline:
            yield from self._pieces(audio, text, segments, name, item)
        else:
            yield self._clip(audio, text, name, item)

    def _clip(self, audio: Any, text: str | None, name: str, item: Item) -> Unit:
        limit = self.processor.max_audio_samples
        limits = [] if self.options.max_recording_s is None else [self.options.max_recording_s]
        if limit is not None and self.processor.long_audio == "error":
            limits.append(limit / self.rate)
        with AudioStream(audio, self.rate, name=name, max_seconds=min(limits, default=None)) as stream:
            waveform = stream.read(None if limit is None else limit + 1)
            unit = self._unit(item, stream.label, waveform, text)
            unit.warnings += _channel_warnings(stream)
        item.audio_seconds = len(unit.waveform) / self.rate
        return unit

    def _pieces(self, audio: Any, text: str | None, segments: Any, name: str, item: Item) -> Iterator[Unit]:
        options = self.options
        if segments is None and text is not None and self.transcribe is None:
            raise InputError(
                "the text does not say which words belong to which window: give segments with their words, or a "
                "transcriber, or leave the text out"
            )
        with AudioStream(audio, self.rate, name=name, max_seconds=options.max_recording_s) as stream:
            if segments is not None:
                pieces = cut_segments(stream, segments)
            else:
                length = cast(float, options.chunk_length_s)
                pieces = cut_windows(stream, length, options.step_s or length)
            for piece in pieces:
                unit = self._piece(piece, stream.label, item)
                unit.warnings += _channel_warnings(stream)
                yield unit
            known = 0.0 if segments is None or stream.seconds is None else stream.seconds  # what follows is not read
            item.audio_seconds = max(known, stream.seconds_read)

    def _piece(self, piece: Piece, name: str, item: Item) -> Unit:
        place = {"start": piece.start, "end": piece.end}
        try:
            if piece.error is not None:
                raise InputError(piece.error)
            return self._unit(item, f"{name} at {piece.start:.2f} s", piece.waveform, piece.text, place)
        except InputError as error:
            unit = Unit(item, name, text=piece.text, place=place)
            unit.fail(error, self.options)
            return unit

    def _unit(
        self,
        item: Item,
        name: str,
        waveform: np.ndarray,
        text: str | None,
        place: dict[str, float | None] | None = None,
    ) -> Unit:
        warnings, limit = [], self.processor.max_audio_samples
        if limit is not None and len(waveform) > limit:
            if self.processor.long_audio == "error":
                raise AudioError(
                    f"longer than the limit of {limit / self.rate:g} s; split it or raise the limit", name
                )
            warnings.append(
                f"only the first {limit / self.rate:g} s were heard; chunk_length_s covers a long recording"
            )
            waveform = waveform[:limit]
        if is_silent(waveform):
            warnings.append("silence: the recording says nothing, and the answer rests on no voice")
        if (text is None or not text.strip()) and self.transcribe is not None:
            heard = np.pad(waveform, (0, max(0, self.processor.min_audio_samples - len(waveform))))
            text = self.transcribe(heard, self.rate)
        text = text if text and text.strip() else None
        return Unit(item, name, waveform, text, True, place or {}, warnings + self._text_warnings(text))

    def _text_warnings(self, text: str | None) -> list[str]:
        warning = None if text is None else self.processor.text_warning(text)
        return [] if warning is None else [f"{warning}; segments with their words cover a long recording"]


def _channel_warnings(stream: AudioStream) -> list[str]:
    return ["the channels cancel each other: the loudest alone was heard"] if stream.cancels else []


def parts_of(value: Any) -> tuple[Any, Any, Any]:
    """Audio, text and segments of one input; what it lacks is None.

    A mapping may name them as transformers, datasets and Whisper do. Columns of a corpus, such as `label`, are
    ignored; every other key is refused, for what it holds would not be heard. `start` and `end` (seconds) cut the
    recording; times of an answer then count from `start`.

    Raises:
        InputError: an unknown key, two keys for one thing, or a tuple.
    """
    if isinstance(value, tuple) and rate_and_samples(value) is None:
        raise InputError('give {"audio": ..., "text": ...} in place of a tuple')
    if not isinstance(value, Mapping):
        return downloaded(value), None, None
    known = {*AUDIO_KEYS, *TEXT_KEYS, *RECORDING_KEYS, *CORPUS_KEYS, "segments", "start", "end"}
    if unknown := [str(key) for key in value if key not in known]:
        raise InputError(
            f"unknown key {', '.join(map(repr, unknown))}; audio is under {', '.join(AUDIO_KEYS)} or "
            f"{', '.join(RECORDING_KEYS)}, words are under {', '.join(TEXT_KEYS)} or segments"
        )
    recording = {key: value[key] for key in RECORDING_KEYS if value.get(key) is not None}
    audios = [_with_rate(value[key], recording) for key in AUDIO_KEYS if value.get(key) is not None]
    audios += [recording] if recording.keys() - {"sampling_rate"} else []
    texts = [value[key] for key in TEXT_KEYS if value.get(key) is not None]
    for found, what in ((audios, "recording"), (texts, "text")):
        if len(found) > 1:
            raise InputError(f"more than one {what}, under {', '.join(key for key in value if key in known)}")
    audio = excerpt(downloaded(next(iter(audios), None)), value.get("start"), value.get("end"))
    return audio, next(iter(texts), None), value.get("segments")


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
