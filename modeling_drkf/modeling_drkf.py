"""The models: the paper's, from `paper_modeling_drkf.py`, with what this project adds to them.

Every option of [`DRKFConfig`] that the paper does not have comes in here, at one of five places: the modality
encoding, the heads (`build_heads`), what they answer (`recognize`), what they learn from (`loss_terms` and its
parts), and the samples that a batch is compared with (`of_all_samples`). Without those options the models compute
what the paper's compute.
"""

import math
import os
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedConfig
from transformers import initialization as init

from .configuration_drkf import DRKFConfig
from .encoders_drkf import check_reads_both_ways, load_pretrained_encoder
from .extended_encoders_drkf import LayerSum
from .extended_encoding_drkf import ExtendedModalityEncoding
from .extended_objective_drkf import (
    ModalityProbes,
    ProbeDiscriminator,
    pair_weights,
    present_weights,
    sampled_shifts,
    smoothed,
    weighted_classification_loss,
    weighted_discrimination_loss,
)
from .extended_outputs_drkf import DRKFClassifierOutput
from .gathering_drkf import gather_rows, is_distributed
from .kf_emodality_shuffling import shuffle_emodalities
from .kf_emotion_heads import EmotionClassifier, EmotionDiscriminator
from .losses_drkf import classification_loss
from .outputs_drkf import DRKFModelOutput, Modality
from .paper_modeling_drkf import PaperForEmotionClassification, PaperModel, PaperPreTrainedModel

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


class DRKFPreTrainedModel(PaperPreTrainedModel):
    config_class = DRKFConfig
    config: DRKFConfig

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, ProbeDiscriminator):  # log odds of p q / (prior of the class), all classes alike
            num_labels = len(module.agreement)
            init.copy_(module.agreement, num_labels * torch.eye(num_labels))
            init.constant_(module.bias, -1.0 - math.log(num_labels - 1))
        elif isinstance(module, nn.Linear) and module is self._added_to_late_fusion:
            init.zeros_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, LayerSum):
            init.zeros_(module.weights)
        else:
            super()._init_weights(module)

    @property
    def _added_to_late_fusion(self) -> nn.Module | None:
        """EC's last layer, where training begins with late fusion."""
        heads = getattr(self, "emotion_classifier", None)
        return None if heads is None or self.config.classifier != "additive" else heads.output

    @property
    def _encoding(self) -> ExtendedModalityEncoding:
        return cast(DRKFModel, self.base_model).modality_encoding

    def get_input_embeddings(self) -> nn.Module:
        """The text encoder's."""
        return self._encoding.text_encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the text encoder's."""
        self._encoding.text_encoder.set_input_embeddings(value)

    def freeze_feature_encoder(self) -> None:
        """Freezes the speech encoder's convolutions; ValueError where it has none."""
        self._encoding.freeze_feature_encoder()

    def freeze_speech_encoder(self) -> None:
        """Freezes the whole speech encoder, which then runs without dropout and SpecAugment, in training, too."""
        self._encoding.speech_encoder.requires_grad_(False).eval()

    def freeze_text_encoder(self) -> None:
        """Freezes the whole text encoder, which then runs without dropout, in training, too."""
        self._encoding.text_encoder.requires_grad_(False).eval()

    def save_pretrained(  # type: ignore[override]
        self, save_directory: str | os.PathLike, is_main_process: bool = True, *args: Any, **kwargs: Any
    ) -> None:
        """See [`PreTrainedModel.save_pretrained`]; a folder that carries its code serves every Auto class, the
        pipeline and Inference Endpoints."""
        if self._auto_class is not None:
            self.config.auto_map = dict(AUTO_MAP)
            self.config.custom_pipelines = deepcopy(CUSTOM_PIPELINES)
        super().save_pretrained(save_directory, is_main_process, *args, **kwargs)
        if self._auto_class is not None and is_main_process:
            requirements = "".join(f"{package}\n" for package in ENDPOINT_PACKAGES)
            Path(save_directory, "requirements.txt").write_text(requirements)


class DRKFModel(DRKFPreTrainedModel, PaperModel):
    """ME and FE: speech and text in, one fused vector out.

    `forward` is [`PaperModel.forward`], and takes the arguments of [`DRKFInputs`] as well.
    """

    modality_encoding_class = ExtendedModalityEncoding
    modality_encoding: ExtendedModalityEncoding


class DRKFForEmotionClassification(DRKFPreTrainedModel, PaperForEmotionClassification):
    """DRKF with its training objective, Eq. 21.

    `forward` is [`PaperForEmotionClassification.forward`], and takes the arguments of [`DRKFInputs`] as well.

    Set `gather_across_processes` to compute the contrastive and the discrimination term over the batches of all
    processes; the loss is then that of one process on the whole batch.

    Attributes:
        missing_weights: names of those that are not the checkpoint's but as drawn at random, because it lacks them or
            has them in another shape; none once the model has been in training mode.
    """

    model_class = DRKFModel
    output_class = DRKFClassifierOutput
    drkf: DRKFModel

    def __init__(self, config: DRKFConfig):
        super().__init__(config)
        self.gather_across_processes = False
        self.missing_weights: list[str] = []

    def build_heads(self, config: DRKFConfig) -> None:  # type: ignore[override]
        """EC, the probes, and ED over the fused vector or over the probes."""
        self.emotion_classifier = EmotionClassifier(config)
        self.half_classifiers = ModalityProbes(config) if config.has_probes else None
        self.emotion_discriminator = None
        if config.emotion_discrimination:
            reads_probes = config.discriminates_by_probes
            self.emotion_discriminator = ProbeDiscriminator(config) if reads_probes else EmotionDiscriminator(config)

    def recognize(self, encoded: DRKFModelOutput) -> dict[str, Any]:
        """The outputs of [`DRKFClassifierOutput`] that the heads give."""
        probed = {} if self.half_classifiers is None else self.half_classifiers(*encoded.modalities())
        fused_logits = self.added(self.emotion_classifier(encoded.pooler_output), probed)
        logits, consistency_logits, consistency = fused_logits, None, None
        if self.config.classifier == "experts":
            logits = (fused_logits + probed["speech_logits"] + probed["text_logits"]) / 3
        if self.config.emotion_discrimination:
            inputs = probed.values() if self.config.discriminates_by_probes else [encoded.pooler_output]
            consistency_logits = self.emotion_discriminator(*inputs)
            if self.config.consistency_calibration is not None:
                slope, intercept = self.config.consistency_calibration
                consistency = torch.sigmoid(slope * consistency_logits + intercept)
        return {
            "logits": logits / self.config.score_temperature,
            "fused_logits": fused_logits,
            "consistency_logits": consistency_logits,
            "consistency": consistency,
            **probed,
        }

    def classify(self, fused: Tensor, speech: Modality, text: Modality) -> Tensor:
        logits = super().classify(fused, speech, text)
        if self.config.classifier != "additive":
            return logits
        return self.added(logits, cast(ModalityProbes, self.half_classifiers)(speech, text))

    def added(self, fused_logits: Tensor, probed: Mapping[str, Tensor]) -> Tensor:
        """EC's logits, which `classifier="additive"` adds to those of both probes; (batch, classes) each."""
        return fused_logits + sum(probed.values()) if self.config.classifier == "additive" else fused_logits

    def loss_terms(
        self, encoded: DRKFModelOutput, answer: Mapping[str, Any], labels: Tensor, **kwargs: Any
    ) -> dict[str, Tensor]:
        answer = {**answer, "logits": answer["fused_logits"]}
        terms = super().loss_terms(encoded, answer, labels, **kwargs)
        config, target = self.config, self.target(labels)

        def classification(logits: Tensor) -> Tensor:
            if config.class_weights is None:
                return classification_loss(logits.float(), target, config.is_multi_label)
            weights = target.new_tensor(config.class_weights)
            return weighted_classification_loss(logits.float(), target, weights, config.is_multi_label)

        if config.class_weights is not None:
            terms["classification_loss"] = classification(answer["logits"])
        if "halves_loss" in config.loss_weights:
            probed = classification(answer["speech_logits"]), classification(answer["text_logits"])
            terms["halves_loss"] = torch.stack(probed).mean()
        return terms

    def target(self, labels: Tensor) -> Tensor:
        return smoothed(super().target(labels), self.config.label_smoothing)

    def discrimination_terms(
        self,
        answer: Mapping[str, Any],
        speech: Modality,
        text: Modality,
        target: Tensor,
        speech_present: Tensor | None = None,
        text_present: Tensor | None = None,
        **kwargs: Any,
    ) -> dict[str, Tensor]:
        """L_b, Eq. 19; of ED that reads the probes, of some of the pairs, and of those without a blanked modality."""
        config = self.config
        given = speech_present is not None or text_present is not None
        if not (config.discriminates_by_probes or config.discrimination_pairs or given):
            return super().discrimination_terms(answer, speech, text, target, **kwargs)
        voices, words = (
            target.new_ones(len(target)) if present is None else present.to(target.dtype)
            for present in (speech_present, text_present)
        )
        text_labels, all_words = self.of_all_samples(target, words)
        if config.discriminates_by_probes:
            (text_logits,) = self.of_all_samples(answer["text_logits"])
            present = voices.unsqueeze(1) * all_words
            discriminator = cast(ProbeDiscriminator, self.emotion_discriminator)
            return discriminator.terms(answer["speech_logits"], target, text_logits, text_labels, present)
        sequence, mask = self.of_all_samples(text.sequence, text.mask)
        text_index = sampled_shifts(
            shuffle_emodalities(len(target), len(text_labels), target.device),
            config.discrimination_pairs,
            self.training,
        )
        matched = answer["consistency_logits"]
        logits, same = self.emotion_discriminator.shuffled(
            fusion_encoder=self.drkf.fusion_encoder,
            speech=speech,
            labels=target,
            texts=Modality(sequence, mask, sequence[:, 0]),
            text_labels=text_labels,
            text_index=text_index,
        )
        weights = pair_weights(text_index, len(text_labels))
        if given:
            shuffled = voices.repeat_interleave(text_index.shape[1]) * all_words[text_index.flatten()]
            weights = present_weights(weights, torch.cat([voices * words, shuffled]))
        logits, same = torch.cat([matched, logits]), torch.cat([torch.ones_like(matched), same])
        return {"discrimination_loss": weighted_discrimination_loss(logits.float(), same, weights)}

    def of_all_samples(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """These rows of the batches of all processes, where they are gathered: this process' own first."""
        gathers = self.gather_across_processes and is_distributed()
        return tuple(gather_rows(tensor) for tensor in tensors) if gathers else tensors

    def train(self, mode: bool = True) -> "DRKFForEmotionClassification":
        if mode:
            self.missing_weights = []
        return super().train(mode)

    @classmethod
    def from_pretrained(cls, *args: Any, output_loading_info: bool = False, **kwargs: Any) -> Any:
        """See [`PreTrainedModel.from_pretrained`]; pipelines refuse a model with `missing_weights`."""
        loaded: Any = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        model, report = loaded
        model.missing_weights = sorted({*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])})
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
