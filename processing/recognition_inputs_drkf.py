"""One input of emotion recognition -> the units that the model answers: the clip, or the pieces of a recording."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from .audio_drkf import AudioStream
from .recognition_options_drkf import RecognitionOptions
from .transcription_drkf import Transcribe
from .waveform_drkf import AudioError
from .windows_drkf import cut_segments, cut_windows

INPUT_ERRORS = (ValueError, TypeError, OSError)
INPUT_KEYS = ("audio", "text", "segments")
AUDIO_KEYS = ("array", "bytes", "path")  # of a recording as a dict


@dataclass
class Item:
    """One input, and what has been answered of it."""

    is_timeline: bool = False
    audio_seconds: float | None = None
    answers: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None

    def fail(self, error: Exception, name: str, options: RecognitionOptions) -> None:
        """Keep what is wrong with this input, or raise it, under the input's name."""
        message = str(error) if str(error).startswith(name) else f"{name}: {error}"
        if options.errors == "return":
            self.error = message
        elif isinstance(error, AudioError) or message == str(error):
            raise error
        else:
            raise (TypeError if isinstance(error, TypeError) else ValueError)(message) from error


@dataclass
class Unit:
    """What the model answers at once; empty where the item has failed.

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
    place: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    answer: dict[str, Any] | None = None
    is_last: bool = True


class InputReader:
    """Reads inputs of any kind, see [`EmotionRecognizer.__call__`]."""

    def __init__(self, processor: Any, transcribe: Transcribe | None, options: RecognitionOptions):
        self.processor, self.transcribe, self.options = processor, transcribe, options
        self.rate = processor.feature_extractor.sampling_rate
        limit = processor.max_audio_samples
        if options.chunk_length_s is not None and limit is not None and options.chunk_length_s * self.rate > limit:
            raise ValueError(
                f"chunk_length_s={options.chunk_length_s:g} exceeds the longest clip that this checkpoint takes, "
                f"{limit / self.rate:g} s"
            )

    def read(self, value: Any, name: str) -> Iterator[Unit]:
        """The units of one input, read as they are asked for; the last one is marked."""
        item, waiting = Item(), None
        units = self._units(value, name, item)
        while True:
            try:
                unit = next(units, None)
            except INPUT_ERRORS as error:
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
        fields = self._fields(value)
        audio, segments = fields["audio"], fields["segments"]
        text = fields["text"]
        if text is not None and not isinstance(text, str):
            raise TypeError(f'"text" must be a str or None, not {type(text).__name__}')
        text = text if text is not None and text.strip() else None
        item.is_timeline = segments is not None or (self.options.chunk_length_s is not None and audio is not None)
        if audio is None:
            if segments is not None:
                raise ValueError("segments need the audio that they are segments of")
            if text is None:
                raise ValueError('there is nothing to judge: give "audio", "text" or both')
            silence = np.zeros(self.processor.min_audio_samples, dtype=np.float32)
            yield Unit(item, name, silence, text, has_audio=False)
        elif item.is_timeline:
            yield from self._pieces(audio, text, segments, name, item)
        else:
            yield self._clip(audio, text, name, item)

    @staticmethod
    def _fields(value: Any) -> dict[str, Any]:
        if isinstance(value, Mapping) and any(key in value for key in INPUT_KEYS):
            if "audio" not in value and (stray := [key for key in AUDIO_KEYS if key in value]):
                raise TypeError(f'{", ".join(stray)} beside the words would not be heard: put audio under "audio"')
            return {key: value.get(key) for key in INPUT_KEYS}
        if isinstance(value, tuple):
            raise TypeError('give {"audio": ..., "text": ...} in place of a tuple')
        return {"audio": value, "text": None, "segments": None}

    def _clip(self, audio: Any, text: str | None, name: str, item: Item) -> Unit:
        limit = self.processor.max_audio_samples
        limits = [] if self.options.max_recording_s is None else [self.options.max_recording_s]
        if limit is not None and self.processor.long_audio == "error":
            limits.append(limit / self.rate)
        with AudioStream(audio, self.rate, name=name, max_seconds=min(limits, default=None)) as stream:
            waveform = stream.read(None if limit is None else limit + 1)
            unit = self._unit(item, stream.label, waveform, text)
        item.audio_seconds = len(unit.waveform) / self.rate
        return unit

    def _pieces(self, audio: Any, text: str | None, segments: Any, name: str, item: Item) -> Iterator[Unit]:
        options = self.options
        if segments is None and text is not None and self.transcribe is None:
            raise ValueError(
                "the text does not say which words belong to which window: give segments with their words, or a "
                "transcriber, or leave the text out"
            )
        with AudioStream(audio, self.rate, name=name, max_seconds=options.max_recording_s) as stream:
            if segments is not None:
                pieces = cut_segments(stream, segments)
            else:
                length = cast(float, options.chunk_length_s)
                pieces = cut_windows(stream, length, options.stride_s or length)
            for piece in pieces:
                place = {"start": piece.start, "end": piece.end}
                label = f"{stream.label} at {piece.start:.2f} s"
                yield self._unit(item, label, piece.waveform, piece.text, place)
            known = 0.0 if segments is None or stream.seconds is None else stream.seconds  # what follows is not read
            item.audio_seconds = max(known, stream.seconds_read)

    def _unit(
        self, item: Item, name: str, waveform: np.ndarray, text: str | None, place: dict[str, float] | None = None
    ) -> Unit:
        warnings, limit = [], self.processor.max_audio_samples
        if limit is not None and len(waveform) > limit:
            if self.processor.long_audio == "error":
                raise AudioError(
                    f"{name}: longer than the limit of {limit / self.rate:g} s; split it or raise the limit"
                )
            warnings.append(
                f"only the first {limit / self.rate:g} s were heard; chunk_length_s covers a long recording"
            )
            waveform = waveform[:limit]
        if (text is None or not text.strip()) and self.transcribe is not None:
            heard = np.pad(waveform, (0, max(0, self.processor.min_audio_samples - len(waveform))))
            text = self.transcribe(heard, self.rate)
        return Unit(item, name, waveform, text if text and text.strip() else None, True, place or {}, warnings)
