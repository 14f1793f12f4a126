"""Recordings and words in, answers out: what every way of running DRKF shares. Needs numpy, but no torch.

A backend (the torch pipeline, an ONNX session) supplies one function: from the processor's features to `logits`,
`consistency` and `modality_shares`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from typing import Any, TypeAlias

import numpy as np

from .audio_drkf import AudioSource, AudioStream
from .errors_drkf import FileError, InputError, OptionError
from .recognition_inputs_drkf import InputReader, Unit
from .recognition_options_drkf import Processor, RecognitionOptions, Transcribers
from .recognition_speakers_drkf import BUCKETED_BATCHES, Listener, batches_of
from .speaker_sums_drkf import SpeakerSums, Voices
from .waveform_drkf import is_decoded

Answer: TypeAlias = dict[str, Any]
Outputs: TypeAlias = Mapping[str, np.ndarray | None]


class EmotionRecognizer:
    """Answers for clips, texts and long recordings.

    Args:
        processor: a `DRKFProcessor`.
        infer: a batch of the processor's features, numpy arrays, to `{"logits": (batch, classes),
            "consistency": (batch,) or None, "modality_shares": (batch, 2) or None}`, numpy arrays; also `"fused"`,
            `"speech"` and `"text"`, (batch, width), where it knows them.
        label_names: the classes in the order of the logits.
        is_multi_label: scores are sigmoids in place of a softmax.
        modality_dropout: with which share of blanked modalities the checkpoint was trained; above 0 it is prepared
            for a missing one.
        checkpoint: what messages call the model.
        voices: how speakers sound; None where the model does not standardise by speaker.
        options: defaults of the options that a call may set, see [`RecognitionOptions`].
    """

    def __init__(
        self,
        processor: Processor,
        infer: Callable[[dict[str, np.ndarray]], Outputs],
        label_names: Sequence[str],
        is_multi_label: bool = False,
        modality_dropout: float = 0.0,
        checkpoint: str = "the checkpoint",
        voices: Voices | None = None,
        **options: Any,
    ):
        self.listener = None if voices is None else Listener(voices, self.features)
        self.processor, self.infer, self.checkpoint = processor, infer, checkpoint
        self.label_names, self.is_multi_label = list(label_names), is_multi_label
        self.modality_dropout = modality_dropout
        self.options = RecognitionOptions.checked(options)
        self._transcribers = Transcribers()

    def __call__(self, inputs: Any, names: Sequence[str] | None = None, **options: Any) -> Any:
        """
        Args:
            inputs: `{"audio": ..., "text": ...}` (one may be missing or None; `input_parts_drkf` lists other
                keys), or bare audio: a path, a web address, bytes, or whatever else `AudioStream` reads. A list gives
                a list of answers; a generator or a dataset gives an iterator that reads ahead no more than a few
                batches.
                `"segments"`, a list of `{"start", "end", "text"}` and perhaps `"speaker"` and `"channel"`, gives a
                timeline of them; `"channel"` reads one channel of the recording, from 0.
            names: what messages call the inputs; "input 1", "input 2", ... by default.
            options: see [`RecognitionOptions`].

        Returns:
            An answer, `{"text", "audio_seconds", "scores": [{"label", "score"}, ...], "consistency",
            "dominant_modality", "modality_shares"}`, with a `"warning"` where something is to be known; or a timeline,
            `{"audio_seconds", "timeline": [{"start", "end", "text", "scores", ...}, ...]}`, in seconds, with a
            `"speaker"` where one is known, in which a piece that cannot be answered has an `"error"`; or `{"error"}`
            with `errors="return"`. Where there is neither voice nor words, as in silence, `"scores"` are `[]`, and the
            warning says why.
            In a conversation that says who speaks, pieces have `"standardised_by"`, see `speaker_statistics` of the
            options, where the checkpoint standardises by speaker.
            Words of which the tokenizer knows less than half count as missing, and the warning says so.

        Raises:
            InputError: an input cannot be used; the message names it.
            OptionError: an option does not exist, or its value is invalid.
            FileError: the model gives no numbers.
        """
        many = is_collection(inputs)
        numbered: Iterable[str] = (f"input {number}" for number in count(1)) if many else ["the input"]
        units = self.answered(inputs if many else [inputs], numbered if names is None else names, **options)
        answers = (unit.item.whole_answer() for unit in units if unit.is_last)
        if not many:
            return next(answers)
        return list(answers) if isinstance(inputs, list) else answers

    def answered(self, inputs: Iterable[Any], names: Iterable[str], **options: Any) -> Iterator[Unit]:
        """Clips and pieces in their order, as soon as they have their answer or, on their item, an error.

        An item gathers the answers of its pieces: what is answered of a long recording is there before its end.
        Arguments and errors are those of a call.
        """
        chosen = self._with_speaker(RecognitionOptions.checked(options, self.options))
        reader = self._reader(chosen, None if self.listener is None else self.listener.listening(chosen))
        rows: Any = inputs
        values = rows if hasattr(rows, "__iter__") else (rows[number] for number in range(len(rows)))
        units: Iterator[Unit] = (
            unit
            for value, name in zip(values, names)  # noqa: B905  (names may go on for ever)
            for unit in reader.read(value, name)
        )
        return map(_gathered, self._answered(units, chosen))

    def _with_speaker(self, options: RecognitionOptions) -> RecognitionOptions:
        """The options, in which `speaker` is an array or None."""
        if options.speaker is None:
            return options
        if isinstance(options.speaker, np.ndarray):
            if options.speaker.ndim != 3 or options.speaker.shape[:2] != (2, 3):
                raise OptionError(
                    f"speaker has the shape {options.speaker.shape}; pipe.speaker(clips) gives (2, 3, width)"
                )
            return options
        if self.listener is None:
            raise OptionError(f"{self.checkpoint} does not standardise by speaker: leave speaker out")
        return RecognitionOptions.checked({"speaker": self.listener.voices.of_clips(options.speaker)}, options)

    def answered_by_speaker(
        self, inputs: Sequence[Any], speakers: Sequence[str | None], **options: Any
    ) -> Iterator[Unit]:
        """Clips as in `answered`, each judged beside the other clips of its speaker.

        Args:
            speakers: of the clips; one of None, or without other clips, is judged beside the training part.

        Raises:
            OptionError: the checkpoint does not standardise by speaker.
        """
        if self.listener is None:
            raise OptionError(f"{self.checkpoint} does not standardise by speaker")
        chosen = RecognitionOptions.checked({**options, "speaker": None, "speaker_statistics": "others"}, self.options)
        reader, sums = self._reader(chosen), SpeakerSums(self.listener.voices.moments, least=1)

        def units() -> Iterator[Unit]:
            for number, (value, speaker) in enumerate(zip(inputs, speakers, strict=True), 1):
                for unit in reader.read(value, f"input {number}"):
                    unit.speaker, unit.item.voices = speaker, sums
                    yield unit

        self.listener.hear(units(), sums, chosen.batch_size)
        return map(_gathered, self._answered(units(), chosen))

    def read_audio(self, audio: AudioSource, max_seconds: float | None = None) -> dict[str, Any]:
        """One recording decoded once, as `"audio"` of an input: `{"array", "sampling_rate", "cancels", "differs"}`,
        mono, at the model's rate.

        Raises:
            AudioError: it cannot be used, or is longer than `max_seconds`.
        """
        rate = self.processor.sampling_rate
        with AudioStream(audio, rate, name="the clip", max_seconds=max_seconds) as stream:
            array = stream.read()
            return {"array": array, "sampling_rate": rate, "cancels": stream.cancels, "differs": stream.differs}

    def units(self, value: Any, **options: Any) -> list[Unit]:
        """What the model answers of one input: a clip, or the pieces of a recording."""
        return list(self._reader(RecognitionOptions.checked(options, self.options)).read(value, "the input"))

    def _reader(self, options: RecognitionOptions, listen: Any = None) -> InputReader:
        return InputReader(self.processor, self._transcribers.get(options.transcriber), options, listen)

    def _answered(self, units: Iterator[Unit], options: RecognitionOptions) -> Iterator[Unit]:
        ahead = 1 if options.batch_size == 1 else options.batch_size * BUCKETED_BATCHES
        for window in _windows(units, ahead, options.num_workers > 0):
            in_order = options.speaker_statistics == "before"
            for batch in batches_of([unit for unit in window if unit.is_waiting], options.batch_size, in_order):
                self._answer_batch(batch, options)
                while window and not window[0].is_waiting:
                    yield window.pop(0)
            yield from window

    def _answer_batch(self, units: list[Unit], options: RecognitionOptions) -> None:
        try:
            features = self.features(units)
            if options.speaker is not None:
                features["speaker_statistics"] = np.repeat(options.speaker[None], len(units), axis=0)
            elif self.listener is not None and any(unit.item.voices is not None for unit in units):
                features = self.listener.by_speaker(features, units, options.speaker_statistics == "before")
            outputs = self.infer(features)
        except InputError as error:
            if len(units) > 1:  # find the one
                for unit in units:
                    self._answer_batch([unit], options)
            else:
                units[0].fail(error, options)
            return
        self.answer(units, outputs, options.top_k, options.return_embeddings)

    def features(self, units: Sequence[Unit]) -> dict[str, np.ndarray]:
        """One padded batch of the processor's features."""
        waveforms = [unit.waveform if unit.has_audio else unit.waveform[:0] for unit in units]
        return self.processor.features(waveforms, [unit.words or "" for unit in units], [unit.name for unit in units])

    def answer(
        self, units: Sequence[Unit], outputs: Outputs, top_k: int | None = None, embeddings: bool = False
    ) -> None:
        """Gives each unit its answer, from what the model says of the batch.

        Raises:
            FileError: the model gives no numbers.
            OptionError: the model gives no embeddings.
        """
        if embeddings and outputs.get("fused") is None:
            raise OptionError(f"{self.checkpoint} gives no embeddings: take the checkpoint that it was exported from")
        if not all(np.isfinite(values).all() for values in outputs.values() if values is not None):
            raise FileError(f"{self.checkpoint} gives scores that are no numbers: its weights are damaged")
        for number, unit in enumerate(units):
            row = {name: None if values is None else values[number] for name, values in outputs.items()}
            unit.answer = self._answer(unit, row, top_k)
            if embeddings:
                has = {"fused": True, "speech": unit.has_audio, "text": unit.words is not None}
                unit.answer["embeddings"] = {name: row[name] if there else None for name, there in has.items()}

    def _answer(self, unit: Unit, row: Mapping[str, Any], top_k: int | None) -> Answer:
        logits = np.asarray(row["logits"], dtype=np.float64)
        probabilities = _sigmoid(logits) if self.is_multi_label else _softmax(logits)
        order = np.argsort(-probabilities, kind="stable")[:top_k]
        is_whole = unit.words is not None and unit.has_audio
        agreement, shares = (row.get(name) if is_whole else None for name in ("consistency", "modality_shares"))
        named = None if shares is None else {"speech": float(shares[0]), "text": float(shares[1])}
        answer: Answer = {**unit.place, "text": unit.text}
        if not unit.item.is_timeline:
            answer["audio_seconds"] = unit.item.audio_seconds
        if unit.item.voices is not None and unit.speaker is not None:
            answer["standardised_by"] = "training" if unit.voice is None else "speaker"
        answer["scores"] = [{"label": self.label_names[i], "score": float(probabilities[i])} for i in order]
        answer["consistency"] = None if agreement is None else float(agreement)
        answer["dominant_modality"] = None if named is None else max(named, key=named.__getitem__)
        answer["modality_shares"] = named
        if warnings := [*unit.warnings, *self._missing_modality(unit)]:
            answer["warning"] = "; ".join(warnings)
        return answer

    def _missing_modality(self, unit: Unit) -> list[str]:
        is_silent, is_prepared = not unit.has_audio and len(unit.waveform) > 0, self.modality_dropout > 0
        if is_silent and is_prepared:
            return ["the answer rests on the words alone"]
        if is_prepared or (unit.has_audio and unit.words is not None):
            return []
        if is_silent:
            return ["the answer rests on the words alone, for which this checkpoint was not trained"]
        no_words = "no words were given" if unit.text is None else "no words were read"
        missing, used = (no_words, "the voice") if unit.has_audio else ("no audio was given", "the words")
        return [f"{missing}: the answer rests on {used} alone, for which this checkpoint was not trained"]


def is_collection(inputs: Any) -> bool:
    """Whether `inputs` is many inputs (a generator, a dataset, a list) rather than one (a dict, bytes, an array)."""
    if isinstance(inputs, (str, bytes, bytearray, memoryview, Mapping, tuple)) or is_decoded(inputs):
        return False
    if hasattr(inputs, "read") or hasattr(inputs, "dtype") or hasattr(inputs, "__fspath__"):
        return False
    return hasattr(inputs, "__iter__") or (hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__"))


def _gathered(unit: Unit) -> Unit:
    if unit.answer is not None:
        unit.item.answers.append(unit.answer)
    return unit


def _windows(units: Iterator[Unit], size: int, in_thread: bool) -> Iterator[list[Unit]]:
    """Units, `size` at a time; with `in_thread`, the next ones are read in a thread while these are used."""
    if not in_thread:
        yield from iter(lambda: list(islice(units, size)), [])
        return
    thread = ThreadPoolExecutor(1, thread_name_prefix="reader")
    try:
        coming = thread.submit(list, islice(units, size))
        while window := coming.result():
            coming = thread.submit(list, islice(units, size))
            yield window
    finally:
        thread.shutdown(wait=False, cancel_futures=True)


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * logits))
