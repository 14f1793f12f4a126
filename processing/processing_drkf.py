"""DRKFProcessor: recordings and their transcripts -> the tensors of the DRKF model."""

import math
import numbers
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers.data.data_collator import pad_without_fast_tokenizer_warning
from transformers.dynamic_module_utils import custom_object_save
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import AudioKwargs, ProcessingKwargs, ProcessorMixin
from transformers.tokenization_utils_base import LARGE_INTEGER
from transformers.utils import logging

from .audio_drkf import AudioSource, AudioStream
from .errors_drkf import AudioError, InputError, is_count, is_number, require_characters
from .silence_drkf import sounding_stretches

logger = logging.get_logger(__name__)

SHORTEST_CLIP = 640  # samples: a window of 400 and a hop of 160 (16 kHz), with room to spare
DEFAULT_TEXT_TOKENS = 512  # for tokenizers that state no maximum
LONGEST_TEXT = 100_000  # characters that are tokenized; megabytes would take minutes and gigabytes
MOST_UNKNOWN = 0.5  # of the tokens of a text; above it the text counts as missing
LENGTH_OPTIONS = ("padding", "truncation", "max_length", "pad_to_multiple_of")  # of audio, for the extractor


class DRKFProcessorKwargs(ProcessingKwargs, total=False):
    """Options of a call, those of other processors: `text_kwargs`, `audio_kwargs`, or any of these flat."""


class DRKFProcessor(ProcessorMixin):
    """Feature extractor and tokenizer of a DRKF checkpoint as one object.

    Args:
        feature_extractor: of the speech encoder: raw waveforms (`Wav2Vec2FeatureExtractor`), log-mel frames
            (`SeamlessM4TFeatureExtractor` of Wav2Vec2-BERT) or a fixed window (`WhisperFeatureExtractor`).
        tokenizer: of the text encoder; needs a padding token.
        max_audio_seconds: longest clip, seconds; None keeps all. A fixed window is a limit of its own.
        long_audio: "cut" drops the end of a longer clip and logs a warning, "error" raises `AudioError`.
        min_audio_samples: shorter clips are padded with zeros to this many samples, which count as valid. None takes
            what one frame of the extractor needs.
        max_text_tokens: longest text in tokens, special tokens included; a longer one is truncated and logged. None
            takes the tokenizer's saved `max_length`, its `model_max_length`, or 512 where it states neither. Of a text
            of more than 100,000 characters no more are looked at.
        unpadded_speech: leaves clips at their own length where the extractor has a fixed window (Whisper), for a model
            whose configuration has `unpadded_speech`. The window stays a limit.
        skip_silence: leaves out what is silent before the feature extractor reads a clip: silence before and after,
            and pauses beyond 0.3 s; see [`sounding_stretches`]. A clip in which nothing sounds is as a missing voice.

    Raises:
        ValueError: an argument is out of range, or feature extractor or tokenizer cannot be used for DRKF.
    """

    valid_processor_kwargs = DRKFProcessorKwargs
    audio_kwargs = {"padding": True}

    def __init__(
        self,
        feature_extractor,
        tokenizer,
        max_audio_seconds: float | None = None,
        long_audio: str = "cut",
        min_audio_samples: int | None = None,
        max_text_tokens: int | None = None,
        unpadded_speech: bool = False,
        skip_silence: bool = False,
    ):
        super().__init__(feature_extractor, tokenizer)
        self.max_audio_seconds = max_audio_seconds
        self.long_audio = long_audio
        if min_audio_samples is None:
            min_audio_samples = SHORTEST_CLIP * getattr(feature_extractor, "stride", 1)
        self.min_audio_samples = min_audio_samples
        self.max_text_tokens = max_text_tokens
        self.unpadded_speech = unpadded_speech
        self.skip_silence = skip_silence
        self._validate()

    def _validate(self) -> None:
        seconds = self.max_audio_seconds
        if seconds is not None and not (is_number(seconds) and 0 < seconds < math.inf):
            raise ValueError(f"max_audio_seconds must be a positive number of seconds or None, not {seconds!r}")
        if self.long_audio not in ("cut", "error"):
            raise ValueError(f'long_audio must be "cut" or "error", not {self.long_audio!r}')
        if not is_count(self.min_audio_samples):
            raise ValueError(f"min_audio_samples must be a positive integer, not {self.min_audio_samples!r}")
        limit = self.max_audio_samples
        if limit is not None and self.min_audio_samples > limit:
            raise ValueError(f"min_audio_samples={self.min_audio_samples} exceeds the limit ({limit} samples)")
        special_tokens = self.tokenizer.num_special_tokens_to_add()
        if not (is_count(self._longest_text) and self._longest_text > special_tokens):
            raise ValueError(
                f"max_text_tokens must be an integer above the {special_tokens} special tokens of the tokenizer, "
                f"not {self._longest_text!r}"
            )
        if self.tokenizer.pad_token is None:
            raise ValueError(
                "the tokenizer has no padding token; set one, for example tokenizer.pad_token = tokenizer.eos_token"
            )
        if self.feature_extractor.padding_side != "right":
            raise ValueError('DRKF needs audio padded on the right; set feature_extractor.padding_side = "right"')

    @property
    def model_input_names(self) -> list[str]:
        return ["input_values", "audio_attention_mask", "input_ids", "attention_mask"]

    @property
    def text_kwargs(self) -> dict[str, Any]:  # type: ignore[override]
        """Defaults of the tokenizer's options; those that were saved with it come first."""
        defaults = {"padding": True, "truncation": True}
        return defaults | {key: value for key, value in self.tokenizer.init_kwargs.items() if key in defaults}

    @property
    def sampling_rate(self) -> int:
        """Of the waveforms that the model takes, Hz."""
        return self.feature_extractor.sampling_rate

    @property
    def max_audio_samples(self) -> int | None:
        """Longest clip in samples, of `max_audio_seconds` and a fixed window the shorter one; None keeps all."""
        limits = [] if self._fixed_window is None else [self._fixed_window]
        if self.max_audio_seconds is not None:
            limits.append(round(self.max_audio_seconds * self.sampling_rate))
        return min(limits, default=None)

    @property
    def _fixed_window(self) -> int | None:
        """Samples in the window of extractors that know no other length (Whisper)."""
        return getattr(self.feature_extractor, "n_samples", None)

    @property
    def _longest_text(self) -> int:
        if self.max_text_tokens is not None:
            return self.max_text_tokens
        stated = self.tokenizer.init_kwargs.get("max_length") or self.tokenizer.model_max_length
        return stated if stated < LARGE_INTEGER else DEFAULT_TEXT_TOKENS

    def __call__(  # type: ignore[override]
        self,
        audio: AudioSource | Sequence[AudioSource] | None = None,
        text: str | Sequence[str] | None = None,
        sample_names: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Turn one sample or a batch into model inputs; the result always has a batch dimension.

        A list of anything but numbers is a batch; an array or tensor is one clip, its shorter axis the channels.

        Args:
            audio: one clip or a list of clips, each as `load_audio` takes it.
            text: one text or a list of texts, as many as clips. An empty text is legal.
            sample_names: what messages call the samples; "sample 1", "sample 2", ... by default.
            kwargs: `sampling_rate` (of raw arrays, Hz), `padding` (True, the default, pads to the longest sample;
                False gives ragged lists), `return_tensors` ("pt", "np" or None); or nested in `audio_kwargs`,
                `text_kwargs`. `padding="max_length"`, `max_length` and `truncation` count tokens, of the text alone;
                nested in `audio_kwargs` they are the feature extractor's.

        Returns:
            `BatchFeature` with, where audio was given,
            - input_values (batch, samples), (batch, frames, bins) or, of Whisper, (batch, bins, frames), float32;
            - audio_attention_mask (batch, samples) or (batch, frames), int64, 1 where valid;
            and, where text was given,
            - input_ids and attention_mask (batch, tokens), int64.

        Raises:
            AudioError: a clip is unusable, or too long under `long_audio="error"`.
            InputError: a text is not a str, or holds lone surrogates.
            ValueError: nothing to process, or lists of unequal length.
        """
        options = self._merge_kwargs(**kwargs)
        audio_options, text_options = options["audio_kwargs"], options["text_kwargs"]
        if audio_options.get("padding") == "max_length" == kwargs.get("padding"):
            audio_options["padding"] = True
        for key in kwargs.keys() & {"max_length", "truncation"}:
            del audio_options[key]
        tensor_types = [modality.pop("return_tensors", None) for modality in (audio_options, text_options)]
        clips = None if audio is None else _as_batch(audio, "audio")
        texts = None if text is None else _as_batch(text, "text")
        names = _names_of(clips, texts, sample_names)
        inputs: dict[str, Any] = {}
        if clips is not None:
            rate = audio_options.get("sampling_rate")
            waveforms = [self._loaded(clip, rate, name) for clip, name in zip(clips, names, strict=True)]
            inputs |= self._speech_inputs(waveforms, names, audio_options)
        if texts is not None:
            inputs |= self._text_inputs(texts, names, text_options)
        return BatchFeature(inputs, tensor_type=tensor_types[0] or tensor_types[1])

    def features(self, waveforms: Sequence[np.ndarray], texts: list[str], names: list[str]) -> dict[str, np.ndarray]:
        """Model inputs of a batch, padded, as a call gives them.

        Args:
            waveforms: (samples,) each, float32, at `sampling_rate`, neither padded nor without their silence.
            texts, names: as many; "" stands for no words.

        Raises:
            AudioError, InputError: as a call.
        """
        speech = self._speech_inputs(waveforms, names, dict(self.audio_kwargs))
        return dict(BatchFeature(speech | self._text_inputs(texts, names, self.text_kwargs), tensor_type="np"))

    def load_waveform(
        self, audio: AudioSource, sampling_rate: float | None = None, name: str = "sample 1"
    ) -> np.ndarray:
        """A recording as the model takes it: at its rate, cut and padded; (samples,), float32.

        Of a recording that is cut, no more is decoded than is used.

        Args:
            audio, sampling_rate, name: see [`AudioStream`].

        Raises:
            AudioError: the recording is unusable, or too long under `long_audio="error"`.
        """
        return self.padded(self._loaded(audio, sampling_rate, name))

    def _loaded(self, audio: AudioSource, sampling_rate: float | None, name: str) -> np.ndarray:
        with AudioStream(audio, self.sampling_rate, sampling_rate, name) as stream:
            waveform, rest = self.fitted(stream.read(self.enough_samples), stream.label, stream.seconds)
        if rest is not None:
            logger.warning(f"{stream.label}: {rest}; the end is cut off")
        return waveform

    @property
    def enough_samples(self) -> int | None:
        """How much of a recording to read: a sample more than is used, which tells that there is more; None: all."""
        return None if self.max_audio_samples is None else self.max_audio_samples + 1

    def fitted(self, waveform: np.ndarray, name: str, seconds: float | None = None) -> tuple[np.ndarray, str | None]:
        """A waveform cut to the limit, and how much longer it is; None where it is not.

        Args:
            seconds: length of the whole recording, if that is known.

        Raises:
            AudioError: it is longer, under `long_audio="error"`.
        """
        limit = self.max_audio_samples
        if limit is None or len(waveform) <= limit:
            return waveform, None
        seconds = len(waveform) / self.sampling_rate if seconds is None else seconds
        rest = f"{seconds:.2f} s of audio, longer than the limit of {limit / self.sampling_rate:.2f} s"
        if self.long_audio == "error":
            raise AudioError(f"{rest}; split it, raise max_audio_seconds or set long_audio='cut'", name)
        return waveform[:limit], rest

    def padded(self, waveform: np.ndarray) -> np.ndarray:
        """A waveform with zeros behind it, up to `min_audio_samples`."""
        return np.pad(waveform, (0, max(0, self.min_audio_samples - len(waveform))))

    def _sounding(self, waveform: np.ndarray) -> np.ndarray:
        """What of a waveform the feature extractor reads, padded."""
        if self.skip_silence:
            stretches = sounding_stretches(waveform, self.sampling_rate)
            waveform = np.concatenate([waveform[:0], *(waveform[start:end] for start, end in stretches)])
        return self.padded(waveform)

    def _speech_inputs(
        self, waveforms: Sequence[np.ndarray], names: list[str], options: dict[str, Any]
    ) -> dict[str, Any]:
        if unknown := sorted(options.keys() - AudioKwargs.__annotations__.keys()):
            raise ValueError(f"unknown audio options {unknown}; there are {', '.join(LENGTH_OPTIONS)}, sampling_rate")
        options = {key: options[key] for key in LENGTH_OPTIONS if key in options}
        if self._fixed_window and not self.unpadded_speech:
            options["padding"] = "max_length"
        encoded = [  # one by one: an extractor that joins frames joins a clip's last ones with its neighbours' padding
            self.feature_extractor([waveform], sampling_rate=self.sampling_rate, return_attention_mask=True, **options)
            for waveform in map(self._sounding, waveforms)
        ]
        extractor = type(self.feature_extractor).__name__
        if "attention_mask" not in encoded[0]:
            raise ValueError(f"{extractor} returns no mask of valid frames; DRKF needs one")
        values = self.feature_extractor.model_input_names[0]
        speech = [np.asarray(one[values][0], dtype=np.float32) for one in encoded]
        masks = [np.asarray(one["attention_mask"][0], dtype=np.int64) for one in encoded]
        for row, mask, name in zip(speech, masks, names, strict=True):
            if not mask.any() or not np.isfinite(row).all():
                raise AudioError(
                    f"{extractor} finds no frame, or none with finite features; "
                    f"raise min_audio_samples={self.min_audio_samples}",
                    name,
                )
        if options["padding"] not in (False, "do_not_pad"):
            time = 0 if self._fixed_window is None else -1  # Whisper's frames are (bins, frames)
            speech, masks = _pad(speech, self.feature_extractor.padding_value, time), _pad(masks, 0)
        return {"input_values": speech, "audio_attention_mask": masks}

    def _text_inputs(self, texts: list[str], names: list[str], options: dict[str, Any]) -> dict[str, Any]:
        for text, name in zip(texts, names, strict=True):
            if not isinstance(text, str):
                raise InputError(f'the text must be a str, not {type(text).__name__}; "" stands for no words', name)
            require_characters(text, name)
            if len(text) > LONGEST_TEXT:
                logger.warning(f"{name}: a text of {len(text)} characters is cut to {LONGEST_TEXT}")
        texts = [text[:LONGEST_TEXT] for text in texts]
        padding = {key: options.pop(key, None) for key in ("padding", "pad_to_multiple_of", "padding_side")}
        limit = options.pop("max_length", None) or self._longest_text
        if padding["padding"] == "max_length":
            padding["max_length"] = limit
        truncation = options.pop("truncation")
        token_ids = self._token_ids(texts, verbose=False, **options)
        if truncation not in (False, None, "do_not_truncate") and max(map(len, token_ids)) > limit:
            for ids, name in zip(token_ids, names, strict=True):
                if len(ids) > limit:
                    logger.warning(f"{name}: a text of {len(ids)} tokens is truncated to {limit}")
            token_ids = self._token_ids(texts, truncation=truncation, max_length=limit, **options)
        # A text without any token, not even a special one, becomes one padding token that counts as valid.
        token_ids = [ids or [self.tokenizer.pad_token_id] for ids in token_ids]
        rows = {"input_ids": token_ids, "attention_mask": [[1] * len(ids) for ids in token_ids]}
        return dict(pad_without_fast_tokenizer_warning(self.tokenizer, rows, **padding))

    def _token_ids(self, texts: str | list[str], **options: Any) -> Any:
        """The tokenizer's; a panic of its library, which is no `Exception`, is an error of the input."""
        try:
            return self.tokenizer(texts, **options)["input_ids"]
        except BaseException as error:
            if type(error).__name__ != "PanicException":
                raise
            raise InputError(f"the tokenizer of this checkpoint cannot read the text ({str(error)[:200]})") from None

    def readable(self, text: str) -> tuple[str | None, str | None]:
        """The text, or None where the tokenizer knows less than half of it; and a warning about what is not read."""
        token_ids = self._token_ids(text[:LONGEST_TEXT].encode(errors="replace").decode(), verbose=False)
        unknown = token_ids.count(self.tokenizer.unk_token_id)
        known = len(token_ids) - self.tokenizer.num_special_tokens_to_add() - unknown
        if unknown > known:
            how_many = f"only {known} of {known + unknown} tokens" if known else "none"
            return None, f"{how_many} of the words are known to this checkpoint: the words are not read"
        rest, remedy = None, "segments with their words cover a long recording"
        if len(token_ids) > self._longest_text:
            rest = f"only the first {self._longest_text} tokens of the text were read; {remedy}"
        elif len(text) > LONGEST_TEXT:
            rest = f"only the first {LONGEST_TEXT} characters of the text were read; {remedy}"
        return text, rest

    def save_pretrained(self, save_directory: str | os.PathLike, *args: Any, **kwargs: Any) -> list[str]:  # type: ignore[override]
        """Also saves, where the processor's code is saved, that of the pipeline and of the endpoint, which need it."""
        if self._auto_class is not None:
            from .handler import EndpointHandler
            from .pipeline_drkf import MultimodalEmotionRecognitionPipeline

            os.makedirs(save_directory, exist_ok=True)
            for code in (EndpointHandler, MultimodalEmotionRecognitionPipeline):
                custom_object_save(code, save_directory)
        self.tokenizer("")  # without truncation: the last one's length would be saved
        return super().save_pretrained(save_directory, *args, **kwargs)


def _as_batch(samples: Any, modality: str) -> list[Any]:
    """A list of samples; a lone sample becomes a list of one."""
    if not isinstance(samples, Sequence) or isinstance(samples, (str, bytes, bytearray, memoryview)):
        return [samples]
    if not len(samples):
        raise ValueError(f"{modality}=[] holds no samples")
    return [samples] if isinstance(samples[0], (numbers.Number, np.number)) else list(samples)


def _names_of(clips: list[Any] | None, texts: list[Any] | None, names: Sequence[str] | None) -> list[str]:
    """What messages call the samples, of which there must be as many texts as clips."""
    given = {"audio": clips, "text": texts, "sample_names": names}
    lengths = {key: len(samples) for key, samples in given.items() if samples is not None}
    if clips is None and texts is None:
        raise ValueError("there is nothing to process: pass audio, text or both")
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"the numbers of samples differ: {lengths}. A 2-D array is one clip of several channels and a list of "
            "numbers is one clip; a batch is a list of clips"
        )
    count = next(iter(lengths.values()))
    return [f"sample {number}" for number in range(1, count + 1)] if names is None else list(names)


def _pad(rows: list[np.ndarray], value: float, time: int = 0) -> list[np.ndarray]:
    """Rows of the longest one's length; `time` is the axis that counts."""
    longest = max(row.shape[time] for row in rows)
    padded = []
    for row in rows:
        behind = np.zeros((row.ndim, 2), int)
        behind[time, 1] = longest - row.shape[time]
        padded.append(np.pad(row, behind, constant_values=value))
    return padded
