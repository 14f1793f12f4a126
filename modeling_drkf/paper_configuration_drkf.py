"""The paper's hyperparameters, and the switches of its Table 4."""

from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .encoders_drkf import without_layer_drop

POSITIVE_FIELDS = (
    *("hidden_size", "projection_size", "num_augmentation_blocks", "num_fusion_layers", "num_fusion_heads"),
    *("fusion_intermediate_size", "max_fusion_positions"),
)
SHARE_FIELDS = ("augmentation_dropout", "fusion_dropout", "classifier_dropout")
WEIGHT_FIELDS = ("reconstruction_weight", "contrastive_weight", "classification_weight", "discrimination_weight")


@strict
class PaperConfig(PreTrainedConfig):
    r"""
    Configuration of DRKF as the paper describes it. Defaults are the paper's (sec. 4.2); where it is silent, the
    documentation's page on deviations says what they are.

    Args:
        audio_config (`dict` or `PreTrainedConfig`, defaults to a `Wav2Vec2Config`):
            Any audio encoder that `AutoModel` builds, without layer drop.
        text_config (`dict` or `PreTrainedConfig`, defaults to a `RobertaConfig`):
            Any text encoder that `AutoModel` builds.
        hidden_size (`int`, defaults to 1024): width d to which both encoders are adapted.
        projection_size (`int`, defaults to 1024): width of g's output (Eq. 13).
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
        problem_type (`"single_label_classification"` or `"multi_label_classification"`, defaults to the former):
            one class a sample (IEMOCAP, MELD), or any number of them (M3ED).
        reconstruction_weight, contrastive_weight, classification_weight, discrimination_weight (`float`):
            alpha, beta, gamma and delta of Eq. 12 and 21; default to 0.2, 0.2, 1.0 and 0.2.
        initializer_range (`float`, defaults to 0.02): standard deviation of new embeddings.
        output_modality_attention (`bool`, defaults to `False`):
            whether the model returns attention and modality shares by default.

    Raises:
        ValueError: a field is out of its range; the message names the field.
    """

    model_type = "drkf"
    sub_configs_defaults = {
        "audio_config": SubConfigSpec(config_class=AutoConfig, model_type="wav2vec2"),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="roberta"),
    }

    audio_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    hidden_size: int = 1024
    projection_size: int = 1024
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
    problem_type: Literal["single_label_classification", "multi_label_classification"] | None = (
        "single_label_classification"
    )
    reconstruction_weight: float | int = 0.2
    contrastive_weight: float | int = 0.2
    classification_weight: float | int = 1.0
    discrimination_weight: float | int = 0.2
    initializer_range: float = 0.02
    output_modality_attention: bool = False

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        self.problem_type = self.problem_type or "single_label_classification"
        self.augmentation_sizes = list(self.augmentation_sizes)
        self.audio_config = without_layer_drop(self.audio_config)
        self.text_config = without_layer_drop(self.text_config)
        self.check_ranges()

    def check_ranges(self) -> None:
        """Raises ValueError where a field is out of its range."""
        require_positive(self, POSITIVE_FIELDS)
        require_shares(self, SHARE_FIELDS)
        if not self.augmentation_sizes or min(self.augmentation_sizes) < 1:
            raise ValueError(f"augmentation_sizes must hold positive widths, got {self.augmentation_sizes}")
        for name in WEIGHT_FIELDS:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if len(self.label_names) < 2:
            raise ValueError(f"num_labels must be at least 2, got {len(self.label_names)}")
        if self.hidden_size % self.num_fusion_heads:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be a multiple of num_fusion_heads ({self.num_fusion_heads})"
            )

    @property
    def label_names(self) -> list[str]:
        """The classes in the order of the logits."""
        return [str(name) for _, name in sorted((self.id2label or {}).items())]

    @property
    def is_multi_label(self) -> bool:
        return self.problem_type == "multi_label_classification"

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
        return weights


def require_positive(config: PreTrainedConfig, names: tuple[str, ...]) -> None:
    """Raises ValueError where one of these fields is below 1."""
    for name in names:
        if (value := getattr(config, name)) is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def require_shares(config: PreTrainedConfig, names: tuple[str, ...]) -> None:
    """Raises ValueError where one of these fields is not in [0, 1)."""
    for name in names:
        if not 0.0 <= getattr(config, name) < 1.0:
            raise ValueError(f"{name} must be in [0, 1), got {getattr(config, name)}")
