"""Configuration of DRKF."""

from copy import deepcopy
from typing import Any, Literal, cast

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .orl_speech_lstm import SpeechLSTMConfig  # noqa: F401  registers itself, so that audio_config can be one

LAYER_DROP_FIELDS = ("layerdrop", "encoder_layerdrop")
POSITIVE_FIELDS = (
    "hidden_size",
    "projection_size",
    "num_augmentation_blocks",
    "num_fusion_layers",
    "num_fusion_heads",
    "fusion_intermediate_size",
    "max_fusion_positions",
    "speech_pooling",
)
SHARE_FIELDS = (
    *("adapter_dropout", "augmentation_dropout", "fusion_dropout", "classifier_dropout"),
    *("label_smoothing", "modality_dropout"),
)
WEIGHT_FIELDS = ("reconstruction_weight", "contrastive_weight", "classification_weight", "discrimination_weight")


@strict
class DRKFConfig(PreTrainedConfig):
    r"""
    Configuration of a [`DRKFModel`]. Defaults are the paper's (sec. 4.2); where it is silent, the
    documentation's page on deviations says what they are.

    Args:
        audio_config (`dict` or `PreTrainedConfig`, defaults to a `Wav2Vec2Config`):
            Any audio encoder that `AutoModel` builds. Layer drop is switched off: a dropped layer leaves parameters
            without a gradient.
        text_config (`dict` or `PreTrainedConfig`, defaults to a `RobertaConfig`):
            Any text encoder that `AutoModel` builds.
        hidden_size (`int`, defaults to 1024): width d to which both encoders are adapted.
        projection_size (`int`, defaults to 1024): width of g's output (Eq. 13).
        adapter_dropout (`float`, defaults to 0.0): dropout of what the adapters read.
        speech_pooling (`int`, defaults to 1):
            So many frames of the speech encoder are averaged to one before the fusion.
        speech_statistics (`bool`, defaults to `False`):
            Puts a token before the frames that holds their mean, standard deviation and maximum over time.
        standardize_states (`bool`, defaults to `False`):
            Standardises the encoders' states over the training part, and speech over the speaker's clips where some
            are given. For encoders that are not trained.
        num_augmentation_blocks (`int`, defaults to 5): blocks of a residual autoencoder (sec. 3.2).
        augmentation_sizes (`list[int]`, defaults to [256, 128, 64]):
            widths inside a block, from the outside to the bottleneck.
        augmentation_dropout (`float`, defaults to 0.0): dropout inside a block.
        num_fusion_layers (`int`, defaults to 6), num_fusion_heads (`int`, defaults to 8):
            depth and attention heads of the fusion encoder.
        fusion_intermediate_size (`int`, *optional*): width of its feed-forward layers; 4 d if not given.
        fusion_dropout (`float`, defaults to 0.1): its dropout.
        max_fusion_positions (`int`, defaults to 2800): longest fused sequence: speech frames + text tokens + 3.
        classifier_dropout (`float`, defaults to 0.1): dropout of EC and ED.
        initial_temperature_logit (`float`, defaults to 1.0): theta at the start; the temperature is sigmoid(theta).
        representation (`"pcmi"`, `"cmie"` or `"none"`, defaults to `"pcmi"`):
            how representations are decoupled (Table 4).
        fusion (`"self"` or `"cross"`, defaults to `"self"`): FE_s or FE_c (Table 4).
        emotion_discrimination (`bool`, defaults to `True`): with or without ED (Table 4).
        discriminator (`"fused"` or `"halves"`, defaults to `"fused"`):
            What ED reads: the fused vector, as in the paper, or which classes a linear probe finds in each half.
        classifier (`"fused"` or `"experts"`, defaults to `"fused"`):
            What is answered: what EC finds in the fused vector, as in the paper, or the geometric mean of its
            probabilities and of those of a linear probe of each half. Each of the three learns by itself.
        discrimination_pairs (`int`, *optional*):
            Most speech-text pairs a sample takes part in for Eq. 19, as speech and as text; all M if not given.
            An ED that reads the halves takes all.
        consistency_calibration (`list[float]`, *optional*):
            Slope and intercept by which ED's logit becomes that of a probability; training fits them on validation
            pairs. Without them no `consistency` is given.
        consistency_prior (`float`, defaults to 0.5): the share of pairs that agree, for which they are fitted.
        score_temperature (`float`, defaults to 1.0):
            What the answered logits are divided by, to calibrate their probabilities (Guo et al., ICML 2017). No loss
            term reads it.
        problem_type (`"single_label_classification"` or `"multi_label_classification"`, defaults to the former):
            one class a sample, or any number of them.
        label_smoothing (`float`, defaults to 0.0):
            share of the label that is spread over all classes; single-label only.
        class_weights (`list[float]`, *optional*): a weight per class for Eq. 20.
        reconstruction_weight, contrastive_weight, classification_weight, discrimination_weight (`float`):
            alpha, beta, gamma and delta of Eq. 12 and 21; default to 0.2, 0.2, 1.0 and 0.2.
        modality_dropout (`float`, defaults to 0.0):
            Probability with which training blanked one modality of a sample. Above 0 the checkpoint is prepared for a
            missing modality.
        initializer_range (`float`, defaults to 0.02): standard deviation of new embeddings.
        output_modality_attention (`bool`, defaults to `False`):
            whether the model returns attention and modality shares by default.

    Raises:
        ValueError: where a field is out of its range; the message names the field.

    Example:

    ```python
    >>> from modeling_drkf import DRKFConfig, DRKFForEmotionClassification
    >>> config = DRKFConfig(num_labels=4, hidden_size=64, fusion="cross")
    >>> config.audio_config.model_type, config.text_config.model_type
    ('wav2vec2', 'roberta')

    ```
    """

    model_type = "drkf"
    keys_to_ignore_at_inference = [
        *("loss_terms", "consistency", "pooler_output"),
        *("speech_summary", "text_summary", "speech_logits", "text_logits"),
        *("speech_attention", "text_attention", "modality_shares", "hidden_states", "attentions"),
        *("speech_hidden_states", "speech_attentions", "text_hidden_states", "text_attentions"),
    ]
    sub_configs_defaults = {
        "audio_config": SubConfigSpec(config_class=AutoConfig, model_type="wav2vec2"),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="roberta"),
    }

    audio_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    hidden_size: int = 1024
    projection_size: int = 1024
    adapter_dropout: float | int = 0.0
    speech_pooling: int = 1
    speech_statistics: bool = False
    standardize_states: bool = False
    num_augmentation_blocks: int = 5
    augmentation_sizes: list[int] | tuple[int, ...] = (256, 128, 64)
    augmentation_dropout: float | int = 0.0
    num_fusion_layers: int = 6
    num_fusion_heads: int = 8
    fusion_intermediate_size: int | None = None
    fusion_dropout: float | int = 0.1
    max_fusion_positions: int = 2800
    classifier_dropout: float | int = 0.1
    initial_temperature_logit: float | int = 1.0
    representation: Literal["pcmi", "cmie", "none"] = "pcmi"
    fusion: Literal["self", "cross"] = "self"
    emotion_discrimination: bool = True
    discriminator: Literal["fused", "halves"] = "fused"
    classifier: Literal["fused", "experts"] = "fused"
    discrimination_pairs: int | None = None
    consistency_calibration: list[float | int] | None = None
    consistency_prior: float | int = 0.5
    score_temperature: float | int = 1.0
    problem_type: Literal["single_label_classification", "multi_label_classification"] | None = (
        "single_label_classification"
    )
    label_smoothing: float | int = 0.0
    class_weights: list[float | int] | None = None
    reconstruction_weight: float | int = 0.2
    contrastive_weight: float | int = 0.2
    classification_weight: float | int = 1.0
    discrimination_weight: float | int = 0.2
    modality_dropout: float | int = 0.0
    initializer_range: float = 0.02
    output_modality_attention: bool = False

    def __post_init__(self, **kwargs):
        if not __name__.startswith("transformers_modules."):  # the installed package has the pipeline registered
            kwargs.pop("custom_pipelines", None)
        super().__post_init__(**kwargs)
        self.problem_type = self.problem_type or "single_label_classification"
        self.augmentation_sizes = list(self.augmentation_sizes)
        self.audio_config, self.text_config = deepcopy(self.audio_config), deepcopy(self.text_config)
        for encoder_config in (self.audio_config, self.text_config):
            encoder_config = cast(PreTrainedConfig, encoder_config)
            encoder_config._name_or_path = ""
            for field in LAYER_DROP_FIELDS:
                if hasattr(encoder_config, field):
                    setattr(encoder_config, field, 0.0)
        self._validate_ranges()

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As usual; another label set drops the class weights of the old one."""
        if kwargs.keys() & {"num_labels", "id2label"} and "class_weights" not in kwargs:
            config_dict = {name: value for name, value in config_dict.items() if name != "class_weights"}
        return super().from_dict(config_dict, **kwargs)

    def _validate_ranges(self) -> None:
        for name in POSITIVE_FIELDS:
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not self.augmentation_sizes or min(self.augmentation_sizes) < 1:
            raise ValueError(f"augmentation_sizes must hold positive widths, got {self.augmentation_sizes}")
        for name in SHARE_FIELDS:
            if (value := getattr(self, name)) is not None and not 0.0 <= value < 1.0:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        for name in WEIGHT_FIELDS:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        num_labels = len(self.label_names)
        if num_labels < 2:
            raise ValueError(f"num_labels must be at least 2, got {num_labels}")
        if self.hidden_size % self.num_fusion_heads:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be a multiple of num_fusion_heads ({self.num_fusion_heads})"
            )
        if self.discrimination_pairs is not None and self.discrimination_pairs < 2:
            raise ValueError(
                f"discrimination_pairs must be at least 2 (the matched pair and a shuffled one) or None for all "
                f"pairs, got {self.discrimination_pairs}"
            )
        if self.score_temperature <= 0:
            raise ValueError(f"score_temperature must be positive, got {self.score_temperature}")
        if not 0.0 < self.consistency_prior < 1.0:
            raise ValueError(f"consistency_prior must be in (0, 1), got {self.consistency_prior}")
        if self.consistency_calibration is not None and len(self.consistency_calibration) != 2:
            raise ValueError(
                f"consistency_calibration holds a slope and an intercept, got {self.consistency_calibration}"
            )
        if self.class_weights is not None and len(self.class_weights) != num_labels:
            raise ValueError(f"class_weights has {len(self.class_weights)} entries for {num_labels} labels")
        if self.label_smoothing and self.is_multi_label:
            raise ValueError("label_smoothing applies to single-label classification only")

    @property
    def label_names(self) -> list[str]:
        """The classes in the order of the logits."""
        return [str(name) for _, name in sorted((self.id2label or {}).items())]

    @property
    def is_multi_label(self) -> bool:
        return self.problem_type == "multi_label_classification"

    @property
    def discriminates_halves(self) -> bool:
        return self.emotion_discrimination and self.discriminator == "halves"

    @property
    def classifies_halves(self) -> bool:
        return self.discriminates_halves or self.classifier == "experts"

    @property
    def loss_weights(self) -> dict[str, float]:
        """The weight in Eq. 21 of each loss term that this configuration has, by the term's name."""
        weights = {"classification_loss": self.classification_weight}
        if self.representation == "pcmi":
            weights["reconstruction_loss"] = self.reconstruction_weight
            weights["label_divergence_loss"] = 1.0
        if self.representation != "none":
            weights["contrastive_loss"] = self.contrastive_weight
        if self.representation == "cmie":
            weights["critic_loss"] = self.contrastive_weight
        if self.emotion_discrimination:
            weights["discrimination_loss"] = self.discrimination_weight
        if self.classifies_halves:
            weights["halves_loss"] = self.classification_weight
        return weights
