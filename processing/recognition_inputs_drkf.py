"""One input of emotion recognition -> the units that the model answers: the clip, or the pieces of a recording."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from .audio_drkf import AudioStream, is_blank, repeatable
from .channels_drkf import cut_channels, name_channels, name_speakers, open_channels
from .errors_drkf import DependencyError, InputError, OptionError, require_characters
from .input_parts_drkf import parts_of
from .recognition_options_drkf import Processor, RecognitionOptions, Transcribe
from .segment_keys_drkf import BY_CHANNEL
from .silence_drkf import sounding_stretches
from .speaker_sums_drkf import SpeakerSums
from .windows_drkf import LITTLE_S, Piece, cut_segments, cut_windows

NO_WORDS = frozenset({"nan", "none", "null", "n/a", "<na>"})
"""What tables hold where there is no text, in lower case, once it has been made a string."""

SILENCE = "silence: nothing sounds"
NOTHING = "there is neither voice nor words: no emotion is told"
LONGEST_PIECE_S = 30.0  # between pauses, for checkpoints without a limit
DIFFERENT_CHANNELS = (
    'the two channels hold different voices and were averaged; "channel" reads one of them, speakers="by-channel" each'
)


@dataclass
class Item:
    """One input, what has been answered of it, and how its speakers sound, where the model can tell."""

    is_timeline: bool = False
    audio_seconds: float | None = None
    answers: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None
    voices: SpeakerSums | None = None

    def fail(self, error: InputError, name: str, options: RecognitionOptions) -> None:
        """Keep what is wrong with this input, or raise it, under the input's name."""
        if error.name is None:
            error = type(error)(error.reason, name)
        if options.errors == "raise":
            raise error
        self.error = str(error)

    def whole_answer(self) -> dict[str, Any]:
        """The answer or the timeline once every unit has been answered, or the error."""
        if self.error is not None:
            return {"error": self.error}
        if self.is_timeline:
            return {"audio_seconds": self.audio_seconds, "timeline": self.answers}
        return self.answers[0]


@dataclass
class Unit:
    """What the model answers at once; empty where the item has failed.

    Of the pieces of a recording, one that cannot be used has its `answer` at once: the error.

    Attributes:
        waveform: (samples,), float32, at the model's rate.
        text: what is said; None where nothing is known.
        words: the part of it that the model reads; None where there is none.
        has_audio: whether there is a voice: audio was given, and something sounds in it.
        place: start and end in seconds, and who speaks, where it is a piece of a recording.
        speaker: who speaks, where it is known.
        voice: how they sound, (2, 3, width), if enough of them is known, once it `is_heard`; see [`SpeakerSums`].
        is_last: the last unit of its item.
    """

    item: Item
    name: str
    waveform: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    text: str | None = None
    words: str | None = None
    has_audio: bool = True
    place: dict[str, Any] = field(default_factory=dict)
    speaker: str | None = None
    voice: np.ndarray | None = None
    is_heard: bool = False
    warnings: list[str] = field(default_factory=list)
    answer: dict[str, Any] | None = None
    is_last: bool = True

    @property
    def is_waiting(self) -> bool:
        """Whether the model is to answer it."""
        return self.answer is None and self.item.error is None

    def answer_nothing(self, embeddings: bool) -> None:
        """Answer that there is no emotion, for there is nothing to judge."""
        self.answer = {**self.place, "text": self.text}
        if not self.item.is_timeline:
            self.answer["audio_seconds"] = self.item.audio_seconds
        self.answer |= {"scores": [], "consistency": None, "dominant_modality": None, "modality_shares": None}
        self.answer["warning"] = "; ".join([*self.warnings, NOTHING])
        if embeddings:
            self.answer["embeddings"] = dict.fromkeys(("fused", "speech", "text"))

    def fail(self, error: InputError, options: RecognitionOptions) -> None:
        """Keep what is wrong with it: of a piece as its answer, beside those of the others."""
        if self.place:
            self.answer = {**self.place, "text": self.text, "error": error.reason}
        else:
            self.item.fail(error, self.name, options)


class InputReader:
    """Reads inputs of any kind, see [`EmotionRecognizer.__call__`].

    Args:
        listen: from a function that reads the pieces of a conversation to what is normal for its speakers.

    Raises:
        OptionError: the windows are longer than what the checkpoint takes.
    """

    def __init__(
        self,
        processor: Processor,
        transcribe: Transcribe | None,
        options: RecognitionOptions,
        listen: Callable[[Callable[[], Iterator[Unit]]], SpeakerSums] | None = None,
    ):
        self.processor, self.transcribe, self.options, self.listen = processor, transcribe, options, listen
        self.rate = processor.sampling_rate
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
            if unit is not None and unit.is_waiting and not unit.has_audio and unit.words is None:
                unit.answer_nothing(self.options.return_embeddings)
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
        is_cut = self.options.chunk_length_s is not None or self.options.pauses
        item.is_timeline = segments is not None or (is_cut and audio is not None)
        if audio is None:
            if segments is not None:
                raise InputError("segments need the audio that they are segments of")
            if text is None:
                raise InputError('there is nothing to judge: give "audio", "text" or both')
            words, warnings = self._words(text, name)
            yield Unit(item, name, text=text, words=words, has_audio=False, warnings=warnings)
            return
        if self.options.pauses and segments is None:
            self._refuse_loose_words(text)
            audio = repeatable(audio)
            segments, seconds = self._spoken(audio, name)
            if not segments:
                item.audio_seconds, place = seconds, {"start": 0.0, "end": seconds}
                yield Unit(item, name, has_audio=False, place=place, warnings=["nobody speaks in the recording"])
                return
        by_channel = self.options.speakers == BY_CHANNEL or name_channels(segments)
        item.is_timeline = item.is_timeline or by_channel
        if self.listen is not None and (by_channel or name_speakers(segments)):
            audio = repeatable(audio)
            item.voices = self.listen(lambda: self._voices(audio, segments, name))
        yield from self._recording(audio, text, segments, name, item)

    def _spoken(self, audio: Any, name: str) -> tuple[list[dict[str, Any]], float]:
        """What is spoken between the pauses of a recording as segments, and its length in seconds."""
        try:
            pauses = import_module("processing.pauses")
        except ImportError as error:
            raise DependencyError("cutting at pauses needs the package drkf: pip install 'drkf[pauses]'") from error
        limit = self.processor.max_audio_samples
        longest = self.options.chunk_length_s or (LONGEST_PIECE_S if limit is None else limit / self.rate)
        stretches, seconds = pauses.find_speech(audio, longest, name, self.options.max_recording_s)
        return [{"start": start, "end": end} for start, end in stretches], seconds

    def _voices(self, audio: Any, segments: Any, name: str) -> Iterator[Unit]:
        """The pieces of a conversation without words that have to be recognised."""
        reader = InputReader(self.processor, None, replace(self.options, can_read=None))
        return reader._recording(audio, None, segments, name, Item(is_timeline=True))

    def _recording(self, audio: Any, text: str | None, segments: Any, name: str, item: Item) -> Iterator[Unit]:
        if self.options.speakers == BY_CHANNEL or name_channels(segments):
            yield from self._channels(audio, text, segments, name, item)
            return
        with AudioStream(audio, self.rate, name=name, max_seconds=self.options.max_recording_s) as stream:
            units = self._pieces(stream, text, segments, item) if item.is_timeline else self._clip(stream, text, item)
            for unit in units:
                if stream.cancels:
                    unit.warnings.append("the channels cancel each other: the loudest alone was read")
                if stream.differs:
                    unit.warnings.append(DIFFERENT_CHANNELS)
                yield unit

    def _clip(self, stream: AudioStream, text: str | None, item: Item) -> Iterator[Unit]:
        waveform = stream.read(self.processor.enough_samples)
        unit = self._unit(item, stream.label, waveform, text, stream.seconds)
        item.audio_seconds = len(unit.waveform) / self.rate
        yield unit

    def _pieces(self, stream: AudioStream, text: str | None, segments: Any, item: Item) -> Iterator[Unit]:
        for piece in self._cutter(text, segments)(stream):
            yield self._piece(piece, stream.label, item)
        item.audio_seconds = _length(stream, segments)

    def _channels(self, audio: Any, text: str | None, segments: Any, name: str, item: Item) -> Iterator[Unit]:
        cut = self._cutter(text, segments)
        with ExitStack() as opened:
            limit = self.options.max_recording_s
            streams = open_channels(opened, audio, target_rate=self.rate, name=name, max_seconds=limit)
            if len(streams) == 1 and self.options.speakers == BY_CHANNEL:
                raise InputError(f'speakers="{BY_CHANNEL}": the recording has one channel; leave the option out')
            for piece in cut_channels(streams, cut):
                yield self._piece(piece, streams[0].label, item)
            item.audio_seconds = _length(streams[0], segments)

    def _cutter(self, text: str | None, segments: Any) -> Callable[[AudioStream], Iterator[Piece]]:
        """From a recording to its pieces: its segments, windows, or all of it.

        Raises:
            InputError: there is a text, and nothing says which words belong to which piece.
        """
        if segments is not None:
            return partial(cut_segments, segments=segments)
        self._refuse_loose_words(text)
        length = self.options.chunk_length_s
        if length is None:
            return self._whole
        return partial(cut_windows, length_s=length, step_s=self.options.step_s or length)

    def _refuse_loose_words(self, text: str | None) -> None:
        if not is_no_text(text) and self.transcribe is None:
            raise InputError(
                "the text does not say which words belong to which window: give segments with their words, or a "
                "transcriber, or leave the text out"
            )

    def _whole(self, stream: AudioStream) -> Iterator[Piece]:
        waveform = stream.read(self.processor.enough_samples)
        yield Piece(0.0, len(waveform) / self.rate, waveform)

    def _piece(self, piece: Piece, name: str, item: Item) -> Unit:
        place: dict[str, Any] = {"start": piece.start, "end": piece.end}
        place |= {} if piece.speaker is None else {"speaker": piece.speaker}
        try:
            if piece.error is not None:
                raise InputError(piece.error)
            unit = self._unit(item, f"{name} at {piece.start:.2f} s", piece.waveform, piece.text)
            unit.place, unit.speaker = place, piece.speaker
            if self.options.pauses and len(piece.waveform) < LITTLE_S * self.rate:
                unit.warnings.append(f"less than {LITTLE_S:g} s is little to judge by")
        except InputError as error:
            unit = Unit(item, name, text=piece.text, place=place)
            unit.fail(error, self.options)
        return unit

    def _unit(
        self, item: Item, name: str, waveform: np.ndarray, text: str | None, seconds: float | None = None
    ) -> Unit:
        fitted, rest = self.processor.fitted(waveform, name, seconds)
        limit = len(fitted) / self.rate
        cut = f"only the first {limit:g} s were read; chunk_length_s or pauses cover a long recording"
        warnings = [cut] if rest else []
        sounds = len(sounding_stretches(fitted, self.rate)) > 0
        if not sounds:
            warnings.append(SILENCE)
        if sounds and is_no_text(text) and self.transcribe is not None:
            text = self.transcribe(self.processor.padded(fitted), self.rate)
        text = None if is_blank(text) else text
        words, said = self._words(text, name)
        return Unit(item, name, fitted, text, words, sounds, warnings=warnings + said)

    def _words(self, text: str | None, name: str) -> tuple[str | None, list[str]]:
        """What the model reads of a text, and what is to be said about the rest.

        Raises:
            InputError: the text holds lone surrogates.
        """
        if text is None:
            return None, []
        require_characters(text, name)
        if is_no_text(text):
            return None, [f"the text {text.strip()!r} is what tables write where there are no words: it is not read"]
        if self.options.can_read is not None and not self.options.can_read(text):
            return None, ["this checkpoint cannot read the words, says can_read: they are not read"]
        words, warning = self.processor.readable(text)
        return words, [] if warning is None else [warning]


def is_no_text(text: str | None) -> bool:
    """Whether it is missing, blank, or what tables write where there is none."""
    return text is None or not text.strip() or text.strip().casefold() in NO_WORDS


def _length(stream: AudioStream, segments: Any) -> float:
    """Seconds of a recording whose pieces have been read; what follows the last segment has not."""
    known = 0.0 if segments is None or stream.seconds is None else stream.seconds
    return max(known, stream.seconds_read)
