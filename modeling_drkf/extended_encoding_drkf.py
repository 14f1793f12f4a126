"""What this project adds to ME, off by default: states in place of inputs, states of all layers, pooled frames,
statistics over time beside those of the speaker's other clips, and frozen encoders.

A small corpus does not teach a fusion encoder to average; and a voice differs more from other voices than from itself
in another mood.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import TransformersKwargs

from .configuration_drkf import DRKFConfig
from .encoders_drkf import EncoderStates, output_width, valid_of
from .extended_encoders_drkf import LayerSum, build_speech_encoder
from .orl_modality_encoding import ModalityEncoding
from .outputs_drkf import VECTOR_ONLY, Modality, Requested, States

STATISTICS = 3  # mean, standard deviation, maximum
SMALLEST_DEVIATION = 1e-5
SHRINKAGE_CLIPS = 2.0  # the training part counts as so many clips of the speaker


class DRKFInputs(TransformersKwargs, total=False):
    """Arguments of the models' `forward` that the paper does not have. All are optional.

    Attributes:
        speech_states, speech_statistics, text_states: `encode_speech` and `encode_text` of `modality_encoding` in
            place of `input_values` and `input_ids`: (batch, frames, width), (batch, 3, width) and
            (batch, tokens, width); with `speech_layer_sum` the width of speech is that of all layers. The masks are
            then theirs. For encoders that are not trained.
        speaker_statistics: mean and deviation of the statistics of each speaker's clips, (batch, 2, 3, width), in
            place of the training part's; for `standardize_states`.
        input_features: what some feature extractors call `input_values`.
        speech_present, text_present: false where modality dropout has blanked a modality, (batch,); such pairs stay
            out of Eq. 19, whose target they do not determine. All are present, if not given.
    """

    speech_states: Tensor | None
    speech_statistics: Tensor | None
    text_states: Tensor | None
    speaker_statistics: Tensor | None
    input_features: Tensor | None
    speech_present: Tensor | None
    text_present: Tensor | None


class SpeechStates(NamedTuple):
    """[`EncoderStates`] whose sequence is averaged over `speech_pooling` frames.

    Attributes:
        statistics: over time, before averaging, (batch, 3, width); None with neither `speech_statistics` nor
            `standardize_states`.
    """

    sequence: Tensor
    mask: Tensor
    hidden_states: States = None
    attentions: States = None
    statistics: Tensor | None = None


class ExtendedModalityEncoding(ModalityEncoding):
    """[`ModalityEncoding`] with the options of [`DRKFConfig`] and the arguments of [`DRKFInputs`]."""

    def __init__(self, config: DRKFConfig):
        super().__init__(config)
        layers, summed, unpadded = config.speech_layers, config.speech_layer_sum, config.unpadded_speech
        if layers is not None or summed or unpadded:
            self.speech_encoder = build_speech_encoder(config.audio_config, layers, summed, unpadded)
        width = output_width(config.audio_config)
        self.widths = config.speech_states * width, output_width(config.text_config)
        self.layer_sum = LayerSum(config.speech_states) if summed else None
        self.pooling = config.speech_pooling
        self.config = config
        self.dropout = nn.Dropout(config.adapter_dropout)
        self.statistics_adapter = self.speech_standardization = self.text_standardization = None
        if config.speech_statistics:
            self.statistics_adapter = nn.Linear(STATISTICS * width, config.hidden_size)
        if config.standardize_states:
            self.speech_standardization = SpeechStandardization(self.widths[0])
            self.text_standardization = Standardization(self.widths[1])

    def forward(
        self,
        input_values: Tensor | None,
        audio_attention_mask: Tensor | None,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        requested: Requested = VECTOR_ONLY,
        **kwargs: Any,
    ) -> tuple[Modality, Modality]:
        """See [`ModalityEncoding.forward`] and, for `kwargs`, [`DRKFInputs`].

        The voice alone is answered as with an empty text, whose tokens are the configuration's `empty_text_ids`; an
        `attention_mask` without `input_ids` is then the audio's, as feature extractors return it.

        Raises:
            TypeError: an argument has an unknown name.
            ValueError: a modality is given neither raw nor as states, or both.
        """
        if unknown := [name for name in kwargs if name not in ACCEPTED and kwargs[name] is not None]:
            raise TypeError(f"DRKF's forward has no argument {', '.join(map(repr, unknown))}")
        speech_states, text_states = kwargs.get("speech_states"), kwargs.get("text_states")
        input_values = kwargs.get("input_features") if input_values is None else input_values
        if input_ids is None and text_states is None:
            audio_attention_mask = attention_mask if audio_attention_mask is None else audio_attention_mask
            input_ids, attention_mask = (
                self.empty_texts(input_values if speech_states is None else speech_states),
                None,
            )
        if (input_values is None) is (speech_states is None) or (input_ids is None) is (text_states is None):
            raise ValueError("give one of input_values and speech_states, and one of input_ids and text_states")
        if input_values is None:
            mask = valid_of(cast(Tensor, speech_states), audio_attention_mask)
            speech = SpeechStates(cast(Tensor, speech_states), mask, statistics=kwargs.get("speech_statistics"))
        else:
            speech = self.encode_speech(input_values, audio_attention_mask, requested)
        if input_ids is None:
            text = EncoderStates(cast(Tensor, text_states), valid_of(cast(Tensor, text_states), attention_mask))
        else:
            text = self.encode_text(input_ids, attention_mask, requested)
        return self.adapt_speech(speech, kwargs.get("speaker_statistics")), self.adapt_text(text)

    def empty_texts(self, speech: Tensor | None) -> Tensor | None:
        """A text without words for each clip, (batch, tokens).

        Raises:
            ValueError: the configuration does not say which tokens that are.
        """
        if speech is None:
            return None
        if self.config.empty_text_ids is None:
            raise ValueError(
                "the words are missing, and the checkpoint's configuration has no empty_text_ids: give the input_ids "
                'of processor(audio=..., text=""), or use pipeline("multimodal-emotion-recognition")'
            )
        return torch.tensor(self.config.empty_text_ids, device=speech.device).expand(len(speech), -1)

    def encode_speech(  # type: ignore[override]
        self, input_values: Tensor, mask: Tensor | None, requested: Requested = VECTOR_ONLY
    ) -> SpeechStates:
        """The speech encoder's frames, pooled, and their statistics; with `speech_layer_sum` those of all layers, side
        by side, (batch, frames, layers * width)."""
        if self.layer_sum is None:
            states = super().encode_speech(input_values, mask, requested)
        else:
            states = super().encode_speech(input_values, mask, requested._replace(output_hidden_states=True))
            layers = cast(tuple[Tensor, ...], states.hidden_states)
            recorded = layers if requested.output_hidden_states else None
            states = states._replace(sequence=torch.cat(layers, dim=-1), hidden_states=recorded)
        wanted = self.statistics_adapter is not None or self.speech_standardization is not None
        statistics = time_statistics(states.sequence, states.mask) if wanted else None
        return SpeechStates(*pooled_in_time(*states[:2], self.pooling), *states[2:], statistics)

    def adapt_speech(  # type: ignore[override]
        self, states: SpeechStates, speaker: Tensor | None = None
    ) -> Modality:
        """S_seq behind a token of its statistics, which S_cls is, where the configuration has it.

        Args:
            speaker: `speaker_statistics` of each sample, (batch, 2, 3, width).
        """
        frames, statistics = states.sequence, states.statistics
        if self.speech_standardization is not None:
            frames = self.speech_standardization.frames(frames, speaker)
            statistics = None if statistics is None else self.speech_standardization(statistics, speaker)
        if self.layer_sum is not None:
            frames = self.layer_sum(frames)
            statistics = None if statistics is None else self.layer_sum(statistics)
        speech = super().adapt_speech(EncoderStates(self.dropout(frames), *states[1:4]))
        if self.statistics_adapter is None:
            return speech
        if statistics is None:
            raise ValueError("speech_states of this model need speech_statistics beside them")
        present = speech.mask.any(1, keepdim=True)
        summary = self.statistics_adapter(self.dropout(statistics.flatten(1))) * present.to(speech.sequence.dtype)
        return speech._replace(
            sequence=torch.cat([summary.unsqueeze(1), speech.sequence], dim=1),
            mask=torch.cat([present, speech.mask], dim=1),
            summary=summary,
        )

    def adapt_text(self, states: EncoderStates) -> Modality:
        tokens = states.sequence if self.text_standardization is None else self.text_standardization(states.sequence)
        return super().adapt_text(states._replace(sequence=self.dropout(tokens)))

    def speaker_statistics(self, clips: Tensor) -> Tensor:
        """Mean and deviation of a speaker, of `statistics` of some clips: (clips, 3, width) to (2, 3, width)."""
        return speaker_moments(clips, cast(Any, self.speech_standardization).usual)

    def shrunk_statistics(self, mean: Tensor, deviation: Tensor, clips: int) -> Tensor:
        """The same, (2, 3, width), of mean and deviation over so many clips, (3, width) each."""
        usual = cast(Any, self.speech_standardization).usual.cpu().to(mean)
        return shrunk(usual, mean, deviation.clamp(min=SMALLEST_DEVIATION), clips)

    @property
    def _encoders(self) -> tuple[PreTrainedModel, PreTrainedModel]:
        return self.speech_encoder, self.text_encoder

    @property
    def _no_split_modules(self) -> set[str]:
        """Layers that no device map may split, which transformers collects from the modules below a model."""
        layers = {type(module).__name__ for module in self.modules() if isinstance(module, GradientCheckpointingLayer)}
        return layers.union(*(encoder._no_split_modules or () for encoder in self._encoders))

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of both encoders; the adapters to the common width count as new modules."""
        for encoder in self._encoders:
            yield from encoder.parameters()

    def train(self, mode: bool = True) -> "ExtendedModalityEncoding":
        """A wholly frozen encoder stays in evaluation mode: without dropout, SpecAugment and new batch statistics."""
        super().train(mode)
        for encoder in self._encoders:
            if not any(parameter.requires_grad for parameter in encoder.parameters()):
                encoder.eval()
        return self

    def freeze_feature_encoder(self) -> None:
        """Freezes the speech encoder's convolutions.

        Raises:
            ValueError: the speech encoder has none.
        """
        extractor: Any = getattr(self.speech_encoder, "feature_extractor", None)
        if extractor is None:
            raise ValueError(f"{type(self.speech_encoder).__name__} has no convolutional feature encoder to freeze")
        extractor._freeze_parameters()


ACCEPTED = DRKFInputs.__annotations__.keys()  # with those of TransformersKwargs


class Standardization(nn.Module):
    """Subtracts the mean of the training part and divides by its deviation.

    Both are measured once, on the training part; until then they are 0 and 1.
    """

    def __init__(self, *shape: int):
        super().__init__()
        self.register_buffer("usual", torch.stack([torch.zeros(shape), torch.ones(shape)]))

    def forward(self, values: Tensor, moments: Tensor | None = None) -> Tensor:
        """
        Args:
            values: (batch, ..., width).
            moments: mean and deviation for each sample, (batch, 2, ..., width); the training part's, if not given.
        """
        mean, deviation = cast(Tensor, self.usual) if moments is None else moments.unbind(1)
        return (values - mean.to(values.dtype)) / deviation.to(values.dtype)


class SpeechStandardization(Standardization):
    """[`Standardization`] of time statistics, and of frames by the same numbers: by the mean of the means over time
    and the mean of the deviations over time."""

    def __init__(self, width: int):
        super().__init__(STATISTICS, width)
        cast(Tensor, self.usual)[0, 1] = 1.0

    def frames(self, frames: Tensor, moments: Tensor | None = None) -> Tensor:
        """(batch, length, width); `moments` as in `forward`, (batch, 2, 3, width)."""
        means = cast(Tensor, self.usual)[None, 0] if moments is None else moments[:, 0]
        mean, deviation = means[:, 0, None].to(frames.dtype), means[:, 1, None].to(frames.dtype)
        return (frames - mean) / deviation.clamp(min=SMALLEST_DEVIATION)


def time_statistics(frames: Tensor, mask: Tensor) -> Tensor:
    """Mean, standard deviation and maximum over valid frames.

    Args:
        frames: (batch, length, width). mask: (batch, length).

    Returns: (batch, 3, width); zeros where no frame is valid.
    """
    weights = mask.unsqueeze(-1).to(frames.dtype)
    count = weights.sum(1).clamp(min=1)
    mean = (frames * weights).sum(1) / count
    variance = ((frames - mean.unsqueeze(1)).square() * weights).sum(1) / count
    lowest = torch.finfo(frames.dtype).min
    maximum = frames.masked_fill(~mask.unsqueeze(-1), lowest).amax(1) * mask.any(1, keepdim=True)
    return torch.stack([mean, variance.clamp(min=SMALLEST_DEVIATION**2).sqrt(), maximum], dim=1)


def pooled_in_time(frames: Tensor, mask: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Means over windows of valid frames, which padding on the right does not move.

    Args:
        frames: (batch, length, width). mask: (batch, length), valid frames first. size: frames a window.

    Returns: (batch, windows, width), zero where no frame is valid, and the windows' mask, (batch, windows).
    """
    if size == 1:
        return frames, mask
    windows = (frames.shape[1] + size - 1) // size
    missing = windows * size - frames.shape[1]
    weights = nn.functional.pad(mask.to(frames.dtype), (0, missing)).unflatten(1, (windows, size))
    sums = nn.functional.pad(frames * mask.unsqueeze(-1).to(frames.dtype), (0, 0, 0, missing))
    counts = weights.sum(2)
    return sums.unflatten(1, (windows, size)).sum(2) / counts.clamp(min=1).unsqueeze(-1), counts > 0


def moments_of(clips: Tensor) -> Tensor:
    """Mean and deviation of some clips' statistics, (clips, ..., width) to (2, ..., width)."""
    return torch.stack([clips.mean(0), clips.std(0, correction=0).clamp(min=SMALLEST_DEVIATION)])


def speaker_moments(clips: Tensor, training: Tensor) -> Tensor:
    """Mean and deviation of a speaker's clips, shrunk towards the training part: the more so the fewer the clips.

    Args:
        clips: `time_statistics` of the speaker's clips, (clips, 3, width). training: `moments_of` all, (2, 3, width).

    Returns: (2, 3, width).
    """
    mean, deviation = moments_of(clips)
    return shrunk(training, mean, deviation, len(clips))


def moments_of_the_others(clips: Tensor, training: Tensor) -> Tensor:
    """[`speaker_moments`] without each of at least two clips: (clips, 3, width) to (clips, 2, 3, width).

    In one pass: the sums over all clips, less the clip's own part.
    """
    wide = clips.double()
    mean, others = wide.mean(0), len(clips) - 1
    deviations = wide - mean
    shift = -deviations / others
    variance = (deviations.square().sum(0) - deviations.square()) / others - shift.square()
    deviation = variance.clamp(min=SMALLEST_DEVIATION**2).sqrt()
    return shrunk(training.double(), mean + shift, deviation, others).to(clips.dtype).transpose(0, 1)


def shrunk(training: Tensor, mean: Tensor, deviation: Tensor, clips: int) -> Tensor:
    """Mean and deviation of so many clips, (..., 3, width), nearer to the training part's: (2, ..., 3, width)."""
    share = clips / (clips + SHRINKAGE_CLIPS)
    variance = share * deviation.square() + (1 - share) * training[1].square()
    return torch.stack([share * mean + (1 - share) * training[0], variance.sqrt()])
