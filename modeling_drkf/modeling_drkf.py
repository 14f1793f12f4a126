"""DRKF: Decoupled Representations with Knowledge Fusion for Multimodal Emotion Recognition (Jiang et al., MM 2025).

ORL encodes speech and text (ME), augments them progressively (PA) and decouples their representations (DR); KF fuses
both (FE), judges whether they bear the same emotion (ED) and classifies it (EC).
"""

import math
import os
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple

from .configuration_drkf import DRKFConfig
from .kf_emotion_heads import EmotionHead, HalfClassifiers, HalvesDiscriminator
from .kf_fusion_encoder import FUSION_ENCODERS
from .losses_drkf import composite_loss
from .objective_drkf import loss_terms
from .orl_cmie_baseline import ContrastiveMutualInformation
from .orl_decoupled_representations import DecoupledRepresentations
from .orl_encoders import check_reads_both_ways, load_pretrained_encoder
from .orl_modality_encoding import ModalityEncoding, SpeechStates, TextStates, valid_of
from .orl_progressive_augmentation import ProgressiveAugmentation
from .outputs_drkf import DRKFClassifierOutput, DRKFModelOutput, modality_shares, requested_outputs

if TYPE_CHECKING:  # a saved model carries the files that its code names
    from .handler import EndpointHandler  # noqa: F401

AUTO_MAP = {
    "AutoConfig": "configuration_drkf.DRKFConfig",
    "AutoModel": "modeling_drkf.DRKFModel",
    "AutoModelForAudioClassification": "modeling_drkf.DRKFForEmotionClassification",
}
ENDPOINT_PACKAGES = ("torch", "transformers>=5.23", "soundfile>=0.13", "soxr>=0.5")
CUSTOM_PIPELINES = {  # the file comes with the processor
    "multimodal-emotion-recognition": {
        "impl": "pipeline_drkf.MultimodalEmotionRecognitionPipeline",
        "pt": ["AutoModelForAudioClassification"],
        "type": "multimodal",
    }
}


class DRKFPreTrainedModel(PreTrainedModel):
    config_class = DRKFConfig
    base_model_prefix = "drkf"
    main_input_name = "input_values"
    input_modalities = ["audio", "text"]
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _no_split_modules = ["FusionLayer", "AutoencoderBlock"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, HalvesDiscriminator):  # log odds of p q / (prior of the class), all classes alike
            num_labels = len(module.agreement)
            init.copy_(module.agreement, num_labels * torch.eye(num_labels))
            init.constant_(module.bias, -1.0 - math.log(num_labels - 1))
        elif isinstance(module, DecoupledRepresentations):
            init.constant_(module.temperature_logit, self.config.initial_temperature_logit)
        else:
            super()._init_weights(module)

    def get_input_embeddings(self) -> nn.Module:
        """The text encoder's."""
        return cast(Any, self.base_model).modality_encoding.text_encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the text encoder's."""
        cast(Any, self.base_model).modality_encoding.text_encoder.set_input_embeddings(value)

    def freeze_feature_encoder(self) -> None:
        """Freezes the speech encoder's convolutions; ValueError where it has none."""
        cast(Any, self.base_model).modality_encoding.freeze_feature_encoder()

    def freeze_speech_encoder(self) -> None:
        """Freezes the whole speech encoder, which then runs without dropout and SpecAugment, in training, too."""
        cast(Any, self.base_model).modality_encoding.speech_encoder.requires_grad_(False).eval()

    def freeze_text_encoder(self) -> None:
        """Freezes the whole text encoder, which then runs without dropout, in training, too."""
        cast(Any, self.base_model).modality_encoding.text_encoder.requires_grad_(False).eval()

    def save_pretrained(  # type: ignore[override]
        self, save_directory: str | os.PathLike, is_main_process: bool = True, *args: Any, **kwargs: Any
    ) -> None:
        """As usual; a folder that carries its code serves every Auto class, the pipeline and Inference Endpoints."""
        if self._auto_class is not None:
            self.config.auto_map = dict(AUTO_MAP)
            self.config.custom_pipelines = deepcopy(CUSTOM_PIPELINES)
        super().save_pretrained(save_directory, is_main_process, *args, **kwargs)
        if self._auto_class is not None and is_main_process:
            requirements = "".join(f"{package}\n" for package in ENDPOINT_PACKAGES)
            Path(save_directory, "requirements.txt").write_text(requirements)


class DRKFModel(DRKFPreTrainedModel):
    """ME and FE: speech and text in, one fused vector out."""

    def __init__(self, config: DRKFConfig):
        super().__init__(config)
        self.modality_encoding = ModalityEncoding(config)
        self.fusion_encoder = FUSION_ENCODERS[config.fusion](config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_values: Tensor | None = None,
        input_ids: Tensor | None = None,
        audio_attention_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        output_modality_attention: bool | None = None,
        speech_states: Tensor | None = None,
        speech_statistics: Tensor | None = None,
        text_states: Tensor | None = None,
        speaker_statistics: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> DRKFModelOutput:
        """
        Args:
            input_values: what the speech encoder reads, (batch, samples) or (batch, input frames, bins).
            input_ids: (batch, tokens).
            audio_attention_mask: 1 or true where valid, (batch, samples) or (batch, input frames); all, if not given.
            attention_mask: 1 or true where valid, (batch, tokens), padded on either side; all, if not given.
            output_modality_attention: also return attention and modality shares; the configuration's, if not given.
            speech_states, speech_statistics, text_states: `encode_speech` and `encode_text` of `modality_encoding` in
                place of `input_values` and `input_ids`: (batch, frames, width), (batch, 3, width) and
                (batch, tokens, width). The masks are then theirs. For encoders that are not trained.
            speaker_statistics: center and spread of the statistics of each speaker's clips, (batch, 2, 3, width), in
                place of the training part's; for `standardize_states`.
            kwargs: `output_hidden_states`, `output_attentions`, `return_dict`, as for every model.

        Raises:
            TypeError: another keyword argument is not None.
            ValueError: a modality is given neither raw nor as states.
        """
        flags = requested_outputs(cast(DRKFConfig, self.config), output_modality_attention, kwargs)
        recorded = {name: getattr(flags, name) for name in ("output_hidden_states", "output_attentions")}
        encoding = self.modality_encoding
        if (input_values is None) is (speech_states is None) or (input_ids is None) is (text_states is None):
            raise ValueError("give one of input_values and speech_states, and one of input_ids and text_states")
        speech, text = encoding(
            encoding.encode_speech(cast(Tensor, input_values), audio_attention_mask, **recorded)
            if speech_states is None
            else SpeechStates(speech_states, valid_of(speech_states, audio_attention_mask), speech_statistics),
            encoding.encode_text(cast(Tensor, input_ids), attention_mask, **recorded)
            if text_states is None
            else TextStates(text_states, valid_of(text_states, attention_mask)),
            speaker_statistics,
        )
        fused = self.fusion_encoder(speech, text, flags)
        return DRKFModelOutput(
            pooler_output=fused.vector,
            speech_hidden_state=speech.sequence,
            speech_mask=speech.mask,
            text_hidden_state=text.sequence,
            text_mask=text.mask,
            speech_summary=speech.summary,
            text_summary=text.summary,
            speech_attention=fused.speech_attention,
            text_attention=fused.text_attention,
            modality_shares=modality_shares(fused),
            hidden_states=fused.hidden_states,
            attentions=fused.attentions,
            speech_hidden_states=speech.hidden_states,
            speech_attentions=speech.attentions,
            text_hidden_states=text.hidden_states,
            text_attentions=text.attentions,
        )


class DRKFForEmotionClassification(DRKFPreTrainedModel):
    """DRKF with its training objective, Eq. 21.

    Set `gather_across_processes` to compute the contrastive and the discrimination term over the batches of all
    processes; the loss is then that of one process on the whole batch.

    Attributes:
        missing_weights: names of those that the checkpoint lacks and that are still as drawn at random; none once the
            model has been in training mode.
    """

    def __init__(self, config: DRKFConfig):
        super().__init__(config)
        self.gather_across_processes = False
        self.missing_weights: list[str] = []
        self.drkf = DRKFModel(config)
        if config.representation == "pcmi":
            self.augmentation = ProgressiveAugmentation(config)
            self.representations = DecoupledRepresentations(config)
        elif config.representation == "cmie":
            self.mutual_information = ContrastiveMutualInformation(config)
        self.emotion_classifier = EmotionHead(config, len(config.label_names))
        self.half_classifiers = HalfClassifiers(config) if config.classifies_halves else None
        self.emotion_discriminator: EmotionHead | HalvesDiscriminator | None = None
        if config.emotion_discrimination:
            reads_halves = config.discriminates_halves
            self.emotion_discriminator = HalvesDiscriminator(config) if reads_halves else EmotionHead(config, 1)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_values: Tensor | None = None,
        input_ids: Tensor | None = None,
        audio_attention_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        speech_present: Tensor | None = None,
        text_present: Tensor | None = None,
        output_modality_attention: bool | None = None,
        speech_states: Tensor | None = None,
        speech_statistics: Tensor | None = None,
        text_states: Tensor | None = None,
        speaker_statistics: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> DRKFClassifierOutput:
        """
        Args:
            input_values, input_ids: see [`DRKFModel.forward`], like all arguments that are not named here.
            labels: class ids (batch,), or soft labels or multi-hot vectors (batch, classes). With labels, the loss is
                computed; PA and Emodality shuffling run only then.
            speech_present, text_present: false where modality dropout has blanked a half, (batch,); such halves stay
                out of Eq. 19, whose target they do not determine. All are present, if not given.

        Raises:
            ValueError: a label is none of the classes.
        """
        encoded = self.drkf(
            input_values,
            input_ids,
            audio_attention_mask,
            attention_mask,
            output_modality_attention,
            speech_states,
            speech_statistics,
            text_states,
            speaker_statistics,
            **{**kwargs, "return_dict": True},
        )
        of_fused = self.emotion_classifier(encoded.pooler_output)
        halves = None if self.half_classifiers is None else self.half_classifiers(*encoded.modalities())
        consistency_logits = self._discriminate(encoded.pooler_output, halves)
        terms = None
        if labels is not None:
            present = speech_present, text_present
            terms = loss_terms(self, encoded, of_fused, consistency_logits, halves, labels, present)
        return DRKFClassifierOutput(
            loss=None if terms is None else composite_loss(terms, self.config.loss_weights),
            logits=self._answer(of_fused, halves),
            consistency_logits=consistency_logits,
            consistency=self._calibrated(consistency_logits),
            speech_logits=None if halves is None else halves[0],
            text_logits=None if halves is None else halves[1],
            loss_terms=None if terms is None else {name: term.detach() for name, term in terms.items()},
            **{name: value for name, value in encoded.items() if name in DRKFClassifierOutput.__dataclass_fields__},
        )

    def _answer(self, of_fused: Tensor, halves: tuple[Tensor, Tensor] | None) -> Tensor:
        answer = of_fused
        if halves is not None and self.config.classifier == "experts":
            answer = (of_fused + halves[0] + halves[1]) / 3
        return answer / self.config.score_temperature

    def _discriminate(self, fused: Tensor, halves: tuple[Tensor, Tensor] | None) -> Tensor | None:
        if self.emotion_discriminator is None:
            return None
        if isinstance(self.emotion_discriminator, HalvesDiscriminator):
            return self.emotion_discriminator(*cast(tuple[Tensor, Tensor], halves))
        return self.emotion_discriminator(fused).squeeze(-1)

    def _calibrated(self, consistency_logits: Tensor | None) -> Tensor | None:
        if consistency_logits is None or self.config.consistency_calibration is None:
            return None
        slope, intercept = self.config.consistency_calibration
        return torch.sigmoid(slope * consistency_logits + intercept)

    def train(self, mode: bool = True) -> "DRKFForEmotionClassification":
        if mode:
            self.missing_weights = []
        return super().train(mode)

    @classmethod
    def from_pretrained(cls, *args: Any, output_loading_info: bool = False, **kwargs: Any) -> Any:
        """See [`PreTrainedModel.from_pretrained`]; pipelines refuse a model with `missing_weights`."""
        loaded: Any = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        model, report = loaded
        model.missing_weights = sorted(report["missing_keys"])
        return (model, report) if output_loading_info else model

    @classmethod
    def from_encoders(
        cls, audio: str | dict | PreTrainedConfig, text: str | dict | PreTrainedConfig, **config: Any
    ) -> "DRKFForEmotionClassification":
        """Builds the model from two pretrained encoders; everything else is new.

        Args:
            audio, text: folders or Hub ids of checkpoints that `AutoModel` loads (their heads are left out), or the
                configuration of an encoder to train from scratch.
            config: fields of [`DRKFConfig`].

        Raises:
            ValueError: a checkpoint lacks weights of its encoder, or the text encoder reads from left to right only.

        Example:

        ```python
        model = DRKFForEmotionClassification.from_encoders(
            "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim", "FacebookAI/roberta-large", num_labels=4
        )
        ```
        """
        audio_config, text_config = (
            AutoConfig.from_pretrained(encoder).to_dict() if isinstance(encoder, str) else encoder
            for encoder in (audio, text)
        )
        drkf_config = DRKFConfig(audio_config=audio_config, text_config=text_config, **config)
        check_reads_both_ways(cast(PreTrainedConfig, drkf_config.text_config))
        model = cls(drkf_config)
        encoding = model.drkf.modality_encoding
        for name, encoder in ((audio, encoding.speech_encoder), (text, encoding.text_encoder)):
            if isinstance(name, str):
                load_pretrained_encoder(encoder, name)
        return model
