"""DRKF: Decoupled Representations with Knowledge Fusion for Multimodal Emotion Recognition (Jiang et al., MM 2025).

ORL encodes speech and text (ME), augments them progressively (PA) and decouples their representations (DR); KF fuses
both (FE), judges whether they express the same emotion (ED) and classifies it (EC). Each box is a file, and gives the
terms of the objective that train it.

This is the paper's method and nothing else. `modeling_drkf.py` extends it where it says so: at the classes that a
model is built of, and at `build_heads`, `recognize` and `loss_terms`.
"""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, logging
from transformers.utils.generic import can_return_tuple

from .kf_emotion_heads import EmotionClassifier, EmotionDiscriminator
from .kf_fusion_encoder import FUSION_ENCODERS
from .losses_drkf import composite_loss, label_distribution
from .orl_cmie_baseline import ContrastiveMutualInformation
from .orl_decoupled_representations import DecoupledRepresentations
from .orl_modality_encoding import ModalityEncoding
from .orl_progressive_augmentation import ProgressiveAugmentation
from .outputs_drkf import DRKFModelOutput, Modality, PaperClassifierOutput, requested_outputs
from .paper_configuration_drkf import PaperConfig

logger = logging.get_logger(__name__)

NO_LABELS = (
    "DRKF is in training mode and gets no labels, so that no term of its objective (Eq. 21) is computed. A Trainer "
    "with label_smoothing_factor or compute_loss_func takes the labels away: set label_smoothing in the model's "
    "configuration in place of the former, or use DRKFTrainer."
)


class PaperPreTrainedModel(PreTrainedModel):
    config_class = PaperConfig
    config: PaperConfig
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
        elif isinstance(module, DecoupledRepresentations):
            init.constant_(module.temperature_logit, self.config.initial_temperature_logit)
        else:
            super()._init_weights(module)


class PaperModel(PaperPreTrainedModel):
    """ME and FE: speech and text in, one fused vector out."""

    modality_encoding_class: type[ModalityEncoding] = ModalityEncoding

    def __init__(self, config: PaperConfig):
        super().__init__(config)
        self.modality_encoding = self.modality_encoding_class(config)
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
        **kwargs: Unpack[TransformersKwargs],
    ) -> DRKFModelOutput:
        """
        Args:
            input_values: what the speech encoder reads, (batch, samples) or (batch, input frames, bins).
            input_ids: (batch, tokens).
            audio_attention_mask: 1 or true where valid, (batch, samples) or (batch, input frames); all, if not given.
            attention_mask: 1 or true where valid, (batch, tokens), padded on either side; all, if not given.
            output_modality_attention: also return attention and modality shares; the configuration's, if not given.
            kwargs: `output_hidden_states`, `output_attentions` and `return_dict`, as for every model.
        """
        requested = requested_outputs(self.config, output_modality_attention, kwargs)
        speech, text = self.modality_encoding(
            input_values=input_values,
            audio_attention_mask=audio_attention_mask,
            input_ids=input_ids,
            attention_mask=attention_mask,
            requested=requested,
            **kwargs,
        )
        fused = self.fusion_encoder(speech, text, requested)
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
            modality_shares=fused.modality_shares,
            hidden_states=fused.hidden_states,
            attentions=fused.attentions,
            speech_hidden_states=requested.layers(speech.hidden_states),
            speech_attentions=speech.attentions,
            text_hidden_states=requested.layers(text.hidden_states),
            text_attentions=text.attentions,
        )


class PaperForEmotionClassification(PaperPreTrainedModel):
    """DRKF with its training objective, Eq. 21."""

    model_class: type[PaperModel] = PaperModel
    output_class: type[PaperClassifierOutput] = PaperClassifierOutput

    def __init__(self, config: PaperConfig):
        super().__init__(config)
        self.drkf = self.model_class(config)
        if config.representation == "pcmi":
            self.augmentation = ProgressiveAugmentation(config)
            self.representations = DecoupledRepresentations(config)
        elif config.representation == "cmie":
            self.mutual_information = ContrastiveMutualInformation(config)
        self.build_heads(config)
        self.post_init()

    def build_heads(self, config: PaperConfig) -> None:
        """EC and, where Table 4 has it, ED."""
        self.emotion_classifier = EmotionClassifier(config)
        self.emotion_discriminator: Any = EmotionDiscriminator(config) if config.emotion_discrimination else None

    @can_return_tuple
    def forward(
        self,
        input_values: Tensor | None = None,
        input_ids: Tensor | None = None,
        audio_attention_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        output_modality_attention: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> PaperClassifierOutput:
        """
        Args:
            input_values, input_ids: see [`PaperModel.forward`], like all arguments that are not named here.
            labels: class ids (batch,), or soft labels or multi-hot vectors (batch, classes). With labels, the loss is
                computed; PA and Emodality shuffling run only then. A model in training mode that gets none warns once.

        Raises:
            ValueError: a label is none of the classes.
        """
        encoded = self.drkf(
            input_values=input_values,
            input_ids=input_ids,
            audio_attention_mask=audio_attention_mask,
            attention_mask=attention_mask,
            output_modality_attention=output_modality_attention,
            return_dict=True,
            **kwargs,
        )
        answer = self.recognize(encoded)
        terms = None if labels is None else self.loss_terms(encoded, answer, labels, **kwargs)
        if terms is None and self.training:
            logger.warning_once(NO_LABELS)
        return self.output_class(
            loss=None if terms is None else composite_loss(terms, self.config.loss_weights),
            loss_terms=None if terms is None else {name: term.detach() for name, term in terms.items()},
            **answer,
            **encoded.shared(),
        )

    def recognize(self, encoded: DRKFModelOutput) -> dict[str, Any]:
        """EC's `logits`, (batch, classes), and ED's `consistency_logits`, (batch,), of the matched pairs."""
        answer = {"logits": self.classify(cast(Tensor, encoded.pooler_output), *encoded.modalities())}
        if self.emotion_discriminator is not None:
            answer["consistency_logits"] = self.emotion_discriminator(encoded.pooler_output)
        return answer

    def classify(self, fused: Tensor, speech: Modality, text: Modality) -> Tensor:
        """EC's logits of a pair, of its fused vector; (batch, classes)."""
        return self.emotion_classifier(fused)

    def loss_terms(
        self, encoded: DRKFModelOutput, answer: Mapping[str, Any], labels: Tensor, **kwargs: Any
    ) -> dict[str, Tensor]:
        """What Eq. 21 adds up, by name, unweighted.

        Args:
            encoded, answer: of the matched pairs; the latter of `recognize`.
            labels: see `forward`. ValueError: a label is none of the classes.
        """
        speech, text = encoded.modalities()
        target = self.target(labels)  # y, (batch, classes)
        terms = self.emotion_classifier.terms(answer["logits"], target)
        if self.config.representation == "pcmi":
            augmented_speech, augmented_text = self.augmentation(speech, text)
            fused = self.drkf.fusion_encoder(augmented_speech, augmented_text).vector
            augmented_logits = self.classify(fused, augmented_speech, augmented_text)
            terms |= self.augmentation.terms(
                (speech, text), (augmented_speech, augmented_text), augmented_logits, target
            )
            projected = self.representations(speech, augmented_speech, text, augmented_text)
            terms |= self.representations.terms(*self.of_all_samples(*projected))
        elif self.config.representation == "cmie":
            projected = self.mutual_information(speech, text)
            terms |= self.mutual_information.terms(*self.of_all_samples(*projected, target))
        if self.emotion_discriminator is not None:
            terms |= self.discrimination_terms(answer, speech, text, target, **kwargs)
        return terms

    def target(self, labels: Tensor) -> Tensor:
        """y of Eq. 11 and 20, (batch, classes)."""
        return label_distribution(labels, len(self.config.label_names)).float()

    def discrimination_terms(
        self, answer: Mapping[str, Any], speech: Modality, text: Modality, target: Tensor, **kwargs: Any
    ) -> dict[str, Tensor]:
        """L_b, Eq. 19, by Emodality shuffling."""
        sequence, mask, text_labels = self.of_all_samples(text.sequence, text.mask, target)
        return self.emotion_discriminator.terms(
            fusion_encoder=self.drkf.fusion_encoder,
            matched_logits=answer["consistency_logits"],
            speech=speech,
            labels=target,
            texts=Modality(sequence, mask, sequence[:, 0]),
            text_labels=text_labels,
        )

    def of_all_samples(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """These rows of all samples that Eq. 14-16 and 19 compare, which are those of the batch."""
        return tensors
