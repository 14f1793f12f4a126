"""Recordings and words in, answers out: what every way of running DRKF shares. Needs numpy, but no torch.

A backend (the torch pipeline, an ONNX session) supplies one function: from the processor's features to `logits`,
`consistency` and `modality_shares`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count, islice
from typing import Any

import numpy as np

from .audio_drkf import AudioStream
from .errors_drkf import FileError, InputError, OptionError
from .many_inputs_drkf import is_collection, iterated, read_ahead
from .recognition_inputs_drkf import InputReader, Item, Unit
from .recognition_options_drkf import RecognitionOptions
from .transcription_drkf import Transcribers

BUCKETED_BATCHES = 16  # how many batches of clips are read ahead, so that clips of like length share one


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
        speaker: what the model finds usual in some recordings of a speaker, an array; None where it cannot tell.
        options: defaults of the options that a call may set, see [`RecognitionOptions`].
    """

    def __init__(
        self,
        processor: Any,
        infer: Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray | None]],
        label_names: Sequence[str],
        is_multi_label: bool = False,
        modality_dropout: float = 0.0,
        checkpoint: str = "the checkpoint",
        speaker: Callable[[Sequence[Any]], np.ndarray] | None = None,
        **options: Any,
    ):
        self.speaker = speaker
        self.processor, self.infer, self.checkpoint = processor, infer, checkpoint
        self.label_names, self.is_multi_label = list(label_names), is_multi_label
        self.modality_dropout = modality_dropout
        self.options = RecognitionOptions.checked(options)
        self._transcribers = Transcribers()

    def __call__(self, inputs: Any, names: Sequence[str] | None = None, **options: Any) -> Any:
        """
        Args:
            inputs: `{"audio": ..., "text": ...}` (one may be missing or None; `recognition_inputs_drkf` lists other
                keys), or bare audio: a path, a web address, bytes, or whatever else `AudioStream` reads. A list gives
                a list of answers; a generator or a dataset gives an iterator that reads ahead no more than a few
                batches.
                `"segments"`, a list of `{"start", "end", "text"}`, asks for a timeline of them.
            names: what messages call the inputs; "input 1", "input 2", ... by default.
            options: see [`RecognitionOptions`].

        Returns:
            An answer, `{"text", "audio_seconds", "scores": [{"label", "score"}, ...], "consistency",
            "dominant_modality", "modality_shares"}`, with a `"warning"` where something is to be known; or a timeline,
            `{"audio_seconds", "timeline": [{"start", "end", "text", "scores", ...}, ...]}`, in seconds, in which a
            piece that cannot be answered has an `"error"`; or `{"error"}` with `errors="return"`.

        Raises:
            InputError: an input cannot be used; the message names it.
            OptionError: an option does not exist, or its value is invalid.
            FileError: the model gives no numbers.
        """
        many = is_collection(inputs)
        usual: Iterable[str] = (f"input {number}" for number in count(1)) if many else ["the input"]
        units = self.answered(inputs if many else [inputs], usual if names is None else names, **options)
        answers = (whole_answer(unit.item) for unit in units if unit.is_last)
        if not many:
            return next(answers)
        return list(answers) if isinstance(inputs, list) else answers

    def answered(self, inputs: Iterable[Any], names: Iterable[str], **options: Any) -> Iterator[Unit]:
        """Clips and pieces in their order, as soon as they have their answer or, on their item, an error.

        An item gathers the answers of its pieces: what is answered of a long recording is there before its end.
        Arguments and errors are those of a call.
        """
        chosen = self._known_speaker(RecognitionOptions.checked(options, self.options))
        reader = self._reader(chosen)
        units: Iterator[Unit] = (
            unit
            for value, name in zip(iterated(inputs), names)  # noqa: B905  (names may go on for ever)
            for unit in reader.read(value, name)
        )
        if chosen.num_workers:
            units = read_ahead(units, BUCKETED_BATCHES * chosen.batch_size)
        return map(_gathered, self._answered(units, chosen))

    def _known_speaker(self, options: RecognitionOptions) -> RecognitionOptions:
        if options.speaker is None:
            return options
        if isinstance(options.speaker, np.ndarray):
            if options.speaker.ndim != 3 or options.speaker.shape[:2] != (2, 3):
                raise OptionError(
                    f"speaker has the shape {options.speaker.shape}; pipe.speaker(clips) gives (2, 3, width)"
                )
            return options
        if self.speaker is None:
            raise OptionError(f"{self.checkpoint} does not standardise by speaker: leave speaker out")
        return RecognitionOptions.checked({"speaker": self.speaker(options.speaker)}, options)

    def read_audio(self, audio: Any, max_seconds: float | None = None) -> dict[str, Any]:
        """One recording decoded once, as `"audio"` of an input: `{"array", "sampling_rate", "cancels"}`, mono, at the
        model's rate.

        Raises:
            AudioError: it cannot be used, or is longer than `max_seconds`.
        """
        rate = self.processor.feature_extractor.sampling_rate
        with AudioStream(audio, rate, name="the clip", max_seconds=max_seconds) as stream:
            return {"array": stream.read(), "sampling_rate": rate, "cancels": stream.cancels}

    def units(self, value: Any, **options: Any) -> list[Unit]:
        """What the model answers of one input: a clip, or the pieces of a recording."""
        chosen = RecognitionOptions.checked(options, self.options)
        return list(self._reader(chosen).read(value, "the input"))

    def _reader(self, options: RecognitionOptions) -> InputReader:
        return InputReader(self.processor, self._transcribers.get(options.transcriber), options)

    def _answered(self, units: Iterator[Unit], options: RecognitionOptions) -> Iterator[Unit]:
        ahead = 1 if options.batch_size == 1 else options.batch_size * BUCKETED_BATCHES
        while window := list(islice(units, ahead)):
            usable = [unit for unit in window if unit.item.error is None and unit.answer is None]
            usable.sort(key=lambda unit: (len(unit.waveform), len(unit.text or "")))
            for start in range(0, len(usable), options.batch_size):
                self._answer_batch(usable[start : start + options.batch_size], options)
                while window and (window[0].answer is not None or window[0].item.error is not None):
                    yield window.pop(0)
            yield from window

    def _answer_batch(self, units: list[Unit], options: RecognitionOptions) -> None:
        try:
            features = self.features(units)
            if options.speaker is not None:
                features["speaker_statistics"] = np.repeat(options.speaker[None], len(units), axis=0)
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
        rate = self.processor.feature_extractor.sampling_rate
        return dict(
            self.processor(
                audio=[{"array": unit.waveform, "sampling_rate": rate} for unit in units],
                text=[unit.text or "" for unit in units],
                sample_names=[unit.name for unit in units],
                return_tensors="np",
            )
        )

    def answer(
        self,
        units: Sequence[Unit],
        outputs: Mapping[str, np.ndarray | None],
        top_k: int | None = None,
        embeddings: bool = False,
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
        rows = {
            name: [None] * len(units) if values is None else np.asarray(values, dtype=np.float64)
            for name, values in outputs.items()
        }
        names = ("logits", "consistency", "modality_shares")
        for unit, logits, agreement, shares in zip(units, *(rows[name] for name in names), strict=True):
            unit.answer = self._answer(unit, logits, agreement, shares, top_k)
        if embeddings:
            for number, unit in enumerate(units):
                given = {"fused": True, "speech": unit.has_audio, "text": unit.text is not None}
                vectors = {name: outputs[name][number] if there else None for name, there in given.items()}  # type: ignore[index]
                unit.answer = {**(unit.answer or {}), "embeddings": vectors}

    def _answer(
        self, unit: Unit, logits: np.ndarray, agreement: Any, shares: Any, top_k: int | None
    ) -> dict[str, Any]:
        probabilities = _sigmoid(logits) if self.is_multi_label else _softmax(logits)
        order = np.argsort(-probabilities, kind="stable")[:top_k]
        whole = unit.text is not None and unit.has_audio
        known = whole and shares is not None
        answer: dict[str, Any] = dict(unit.place)
        answer["text"] = unit.text
        if not unit.item.is_timeline:
            answer["audio_seconds"] = unit.item.audio_seconds
        answer["scores"] = [{"label": self.label_names[i], "score": float(probabilities[i])} for i in order]
        answer["consistency"] = float(agreement) if whole and agreement is not None else None
        answer["dominant_modality"] = ("speech" if shares[0] >= shares[1] else "text") if known else None
        answer["modality_shares"] = {"speech": float(shares[0]), "text": float(shares[1])} if known else None
        if warnings := [*unit.warnings, *self._missing_modality(unit)]:
            answer["warning"] = "; ".join(warnings)
        return answer

    def _missing_modality(self, unit: Unit) -> list[str]:
        if self.modality_dropout > 0 or (unit.has_audio and unit.text is not None):
            return []
        missing, used = ("no words were given", "the voice") if unit.has_audio else ("no audio was given", "the words")
        return [f"{missing}: the answer rests on {used} alone, for which this checkpoint was not trained"]


def _gathered(unit: Unit) -> Unit:
    if unit.answer is not None:
        unit.item.answers.append(unit.answer)
    return unit


def whole_answer(item: Item) -> dict[str, Any]:
    if item.error is not None:
        return {"error": item.error}
    return {"audio_seconds": item.audio_seconds, "timeline": item.answers} if item.is_timeline else item.answers[0]


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def _sigmoid(logits: Any) -> Any:
    return 0.5 * (1.0 + np.tanh(0.5 * logits))
