"""DRKFProcessor: recordings and their transcripts -> the tensors of the DRKF model."""

import math
import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from transformers.data.data_collator import pad_without_fast_tokenizer_warning
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessingKwargs, ProcessorMixin
from transformers.tokenization_utils_base import LARGE_INTEGER
from transformers.utils import logging

from .audio_drkf import AudioSource, AudioStream, audio_label
from .batch_drkf import as_batch, names_of, pad
from .errors_drkf import InputError
from .waveform_drkf import AudioError

if TYPE_CHECKING:  # names the pipeline's file, so that a saved processor carries it; transformers copies what is named
    from .pipeline_drkf import MultimodalEmotionRecognitionPipeline  # noqa: F401

logger = logging.get_logger(__name__)

SHORTEST_CLIP = 640  # samples: a window of 400 and a hop of 160 (16 kHz), with room to spare
DEFAULT_TEXT_TOKENS = 512  # for tokenizers that state no maximum
LONGEST_TEXT = 100_000  # characters that are tokenized; megabytes would take minutes and gigabytes


class DRKFAudioKwargs(TypedDict, total=False):
    """Options of the audio half. Length is a matter of the processor's `max_audio_seconds`: there is no `max_length`
    and no `truncation` here, so that none meant for the text can reach the audio."""

    sampling_rate: float | None
    padding: bool | str
    pad_to_multiple_of: int | None
    return_tensors: str | None


class DRKFProcessorKwargs(ProcessingKwargs, total=False):
    audio_kwargs: DRKFAudioKwargs  # type: ignore[misc]


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
            takes the tokenizer's `model_max_length`, or 512 where it states none. Of a text of more than 100,000
            characters no more are looked at.

    Raises:
        ValueError: an argument is out of range, or the two halves cannot be used for DRKF.
    """

    valid_processor_kwargs = DRKFProcessorKwargs  # type: ignore[assignment]
    text_kwargs = {"padding": True, "truncation": True}
    audio_kwargs = {"padding": True}

    def __init__(
        self,
        feature_extractor,
        tokenizer,
        max_audio_seconds: float | None = None,
        long_audio: str = "cut",
        min_audio_samples: int | None = None,
        max_text_tokens: int | None = None,
    ):
        super().__init__(feature_extractor, tokenizer)
        self.max_audio_seconds = max_audio_seconds
        self.long_audio = long_audio
        if min_audio_samples is None:
            min_audio_samples = SHORTEST_CLIP * getattr(feature_extractor, "stride", 1)
        self.min_audio_samples = min_audio_samples
        self.max_text_tokens = max_text_tokens
        self._validate()

    def _validate(self) -> None:
        seconds = self.max_audio_seconds
        if seconds is not None and not (_is_number(seconds) and 0 < seconds < math.inf):
            raise ValueError(f"max_audio_seconds must be a positive number of seconds or None, not {seconds!r}")
        if self.long_audio not in ("cut", "error"):
            raise ValueError(f'long_audio must be "cut" or "error", not {self.long_audio!r}')
        if not _is_count(self.min_audio_samples):
            raise ValueError(f"min_audio_samples must be a positive integer, not {self.min_audio_samples!r}")
        limit = self.max_audio_samples
        if limit is not None and self.min_audio_samples > limit:
            raise ValueError(f"min_audio_samples={self.min_audio_samples} exceeds the limit ({limit} samples)")
        special_tokens = self.tokenizer.num_special_tokens_to_add()
        if not (_is_count(self._max_text_tokens) and self._max_text_tokens > special_tokens):
            raise ValueError(
                f"max_text_tokens must be an integer above the {special_tokens} special tokens of the tokenizer, "
                f"not {self._max_text_tokens!r}"
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
                `text_kwargs`.

        Returns:
            `BatchFeature` with, where audio was given,
            - input_values (batch, samples) or (batch, frames, bins), float32;
            - audio_attention_mask (batch, samples) or (batch, frames), int64, 1 where valid;
            and, where text was given,
            - input_ids and attention_mask (batch, tokens), int64.

        Raises:
            AudioError: a clip is unusable, or too long under `long_audio="error"`.
            InputError: a text is not a str, or holds lone surrogates.
            ValueError: nothing to process, lists of unequal length, or an audio option that does not exist.
        """
        options = self._merge_kwargs(DRKFProcessorKwargs, **kwargs)  # type: ignore[arg-type]
        audio_options, text_options = options["audio_kwargs"], options["text_kwargs"]
        tensor_types = [half.pop("return_tensors", None) for half in (audio_options, text_options)]
        clips = None if audio is None else as_batch(audio, "audio")
        texts = None if text is None else as_batch(text, "text")
        names = names_of(clips, texts, sample_names)
        inputs: dict[str, Any] = {}
        if clips is not None:
            inputs |= self._speech_inputs(clips, names, audio_options)
        if texts is not None:
            inputs |= self._text_inputs(texts, names, text_options)
        return BatchFeature(inputs, tensor_type=tensor_types[0] or tensor_types[1])

    def _speech_inputs(self, clips: list[AudioSource], names: list[str], options: dict[str, Any]) -> dict[str, Any]:
        if unknown := sorted(options.keys() - DRKFAudioKwargs.__annotations__.keys()):
            raise ValueError(f"unknown audio options {unknown}; the length of clips is set by max_audio_seconds")
        if options["padding"] not in (True, False, "longest", "do_not_pad"):
            raise ValueError(
                f"padding={options['padding']!r} is not for audio, which is padded to the longest clip (True) or "
                "not at all (False); options of the text alone go into text_kwargs"
            )
        own_rate, rate = options.pop("sampling_rate", None), self.feature_extractor.sampling_rate
        labels = [audio_label(clip, name) for clip, name in zip(clips, names, strict=True)]
        waveforms = [self.load_waveform(clip, own_rate, name) for clip, name in zip(clips, names, strict=True)]
        if self._fixed_window:
            options["padding"] = "max_length"
        encoded = [  # one by one: an extractor that joins frames joins a clip's last ones with its neighbours' padding
            self.feature_extractor([waveform], sampling_rate=rate, return_attention_mask=True, **options)
            for waveform in waveforms
        ]
        extractor = type(self.feature_extractor).__name__
        if "attention_mask" not in encoded[0]:
            raise ValueError(f"{extractor} returns no mask of valid frames; DRKF needs one")
        values = self.feature_extractor.model_input_names[0]
        speech = [np.asarray(one[values][0], dtype=np.float32) for one in encoded]
        masks = [np.asarray(one["attention_mask"][0], dtype=np.int64) for one in encoded]
        for row, mask, label in zip(speech, masks, labels, strict=True):
            if not mask.any() or not np.isfinite(row).all():
                raise AudioError(
                    f"{extractor} finds no frame, or none with finite features; "
                    f"raise min_audio_samples={self.min_audio_samples}",
                    label,
                )
        if options["padding"] in (True, "longest"):
            speech, masks = pad(speech, self.feature_extractor.padding_value), pad(masks, 0)
        return {"input_values": speech, "audio_attention_mask": masks}

    def load_waveform(
        self, audio: AudioSource, sampling_rate: float | None = None, name: str = "sample 1"
    ) -> np.ndarray:
        """A recording as the model hears it: at its rate, cut and padded; (samples,), float32.

        Of a recording that is cut, no more is decoded than is used.

        Args:
            audio, sampling_rate, name: see [`AudioStream`].

        Raises:
            AudioError: the recording is unusable, or too long under `long_audio="error"`.
        """
        limit, rate = self.max_audio_samples, self.feature_extractor.sampling_rate
        with AudioStream(audio, rate, sampling_rate, name) as stream:
            waveform = stream.read(None if limit is None else limit + 1)
        if limit is not None and len(waveform) > limit:
            seconds = max(stream.seconds or 0.0, len(waveform) / rate)
            lengths = f"{seconds:.2f} s of audio, longer than the limit of {limit / rate:.2f} s"
            if self.long_audio == "error":
                reason = f"{lengths}; split it, raise max_audio_seconds or set long_audio='cut'"
                raise AudioError(reason, stream.label)
            logger.warning(f"{stream.label}: {lengths}; the end is cut off")
            waveform = waveform[:limit]
        return np.pad(waveform, (0, max(0, self.min_audio_samples - len(waveform))))

    def _text_inputs(self, texts: list[str], names: list[str], options: dict[str, Any]) -> dict[str, Any]:
        for text, name in zip(texts, names, strict=True):
            if not isinstance(text, str):
                raise InputError(f'the text must be a str, not {type(text).__name__}; "" stands for no words', name)
            if (halves := text.encode(errors="replace").decode()) != text:
                raise InputError(f"the text holds halves of characters (lone surrogates): {halves[:80]!r}", name)
            if len(text) > LONGEST_TEXT:
                logger.warning(f"{name}: a text of {len(text)} characters is cut to {LONGEST_TEXT}")
        texts = [text[:LONGEST_TEXT] for text in texts]
        padding = {key: options.pop(key, None) for key in ("padding", "pad_to_multiple_of", "padding_side")}
        limit = options.pop("max_length", None) or self._max_text_tokens
        if padding["padding"] == "max_length":
            padding["max_length"] = limit
        truncation = options.pop("truncation")
        token_ids = self.tokenizer(texts, verbose=False, **options)["input_ids"]
        if truncation not in (False, None, "do_not_truncate") and max(map(len, token_ids)) > limit:
            for ids, name in zip(token_ids, names, strict=True):
                if len(ids) > limit:
                    logger.warning(f"{name}: a text of {len(ids)} tokens is truncated to {limit}")
            token_ids = self.tokenizer(texts, truncation=truncation, max_length=limit, **options)["input_ids"]
        # A text without any token, not even a special one, becomes one padding token that counts as valid.
        token_ids = [ids or [self.tokenizer.pad_token_id] for ids in token_ids]
        rows = {"input_ids": token_ids, "attention_mask": [[1] * len(ids) for ids in token_ids]}
        return dict(pad_without_fast_tokenizer_warning(self.tokenizer, rows, **padding))

    def text_warning(self, text: str) -> str | None:
        """What is to be said of a text that is not read to its end; None of one that is."""
        read = text[:LONGEST_TEXT].encode(errors="replace").decode()
        limit = self._max_text_tokens
        if len(self.tokenizer(read, verbose=False)["input_ids"]) > limit:
            return f"only the first {limit} tokens of the text were read"
        return f"only the first {LONGEST_TEXT} characters of the text were read" if len(text) > LONGEST_TEXT else None

    @property
    def _fixed_window(self) -> int | None:
        """Samples in the window of extractors that know no other length (Whisper)."""
        return getattr(self.feature_extractor, "n_samples", None)

    @property
    def max_audio_samples(self) -> int | None:
        """Longest clip in samples, of `max_audio_seconds` and a fixed window the shorter one; None keeps all."""
        seconds, window = self.max_audio_seconds, self._fixed_window
        limits = [] if window is None else [window]
        if seconds is not None:
            limits.append(round(seconds * self.feature_extractor.sampling_rate))
        return min(limits, default=None)

    @property
    def _max_text_tokens(self) -> int:
        if self.max_text_tokens is not None:
            return self.max_text_tokens
        stated = self.tokenizer.model_max_length
        return stated if stated < LARGE_INTEGER else DEFAULT_TEXT_TOKENS


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
