"""Configuration of DRKF: the paper's hyperparameters, and the options that this project adds to them."""

from typing import Any, Literal, cast

from huggingface_hub.dataclasses import strict

from .extended_encoders_drkf import check_layers
from .extended_outputs_drkf import OUTPUT_NAMES
from .paper_configuration_drkf import PaperConfig, require_positive, require_shares


@strict
class DRKFConfig(PaperConfig):
    r"""
    Configuration of a [`DRKFModel`]: the fields of [`PaperConfig`], and options outside the paper, which are off by
    default.

    Args:
        speech_layers (`int`, *optional*):
            So many layers of the speech encoder, from the first, are built, trained and saved; all, if not given.
            Fewer than there are give the states of `hidden_states[speech_layers]`, without the norm behind the last
            layer.
        speech_layer_sum (`bool`, defaults to `False`):
            Reads a learnt weighted sum of what the speech encoder's first layer reads and each layer gives (SUPERB),
            in place of the last layer's states.
        unpadded_speech (`bool`, defaults to `False`):
            Whisper reads clips of their own length, in place of padding them to its window of 30 seconds. The
            processor has the same option.
        adapter_dropout (`float`, defaults to 0.0): dropout of what the adapters read.
        speech_pooling (`int`, defaults to 1):
            So many frames of the speech encoder are averaged to one before the fusion.
        speech_statistics (`bool`, defaults to `False`):
            Puts a token before the frames that holds their mean, standard deviation and maximum over time.
        standardize_states (`bool`, defaults to `False`):
            Standardises the encoders' states over the training part, as the encoders are before training, and speech
            over the speaker's clips where some are given. For encoders that are not trained, and for lower layers of
            pre-norm Transformers, whose states differ more between dimensions than between clips.
        discriminator (`"fused"` or `"halves"`, defaults to `"fused"`):
            What ED reads: the fused vector, as in the paper, or which classes a linear probe finds in each modality.
        classifier (`"fused"`, `"experts"` or `"additive"`, defaults to `"fused"`):
            The answer: what EC finds in the fused vector, as in the paper; or the geometric mean of its
            probabilities and of those of a linear probe of each modality, where each of the three learns by itself;
            or the sum of the logits of all three, which learn as one. EC's last layer then starts at zero, so that
            training begins with late fusion and EC adds what that misses.
        discrimination_pairs (`int`, *optional*):
            Most speech-text pairs a sample takes part in for Eq. 19, as speech and as text; all M if not given.
            An ED that reads the probes takes all.
        consistency_calibration (`list[float]`, *optional*):
            Slope and intercept by which ED's logit becomes that of a probability; training fits them on validation
            pairs. Without them no `consistency` is given.
        consistency_prior (`float`, defaults to 0.5): the share of pairs that agree, for which they are fitted.
        score_temperature (`float`, defaults to 1.0):
            What the answered logits are divided by, to calibrate their probabilities (Guo et al., ICML 2017). No loss
            term reads it.
        label_smoothing (`float`, defaults to 0.0):
            Share of the label that is spread over all classes; single-label only.
        class_weights (`list[float]`, *optional*): a weight for each class in Eq. 20.
        modality_dropout (`float`, defaults to 0.0):
            Probability with which training blanked one modality of a sample. Above 0 the checkpoint is prepared for a
            missing modality.
        empty_text_ids (`list[int]`, *optional*):
            Tokens of a text without words, which is read where a model gets the voice alone. [`DRKFTrainer`] takes
            them from its processor.

    Raises:
        ValueError: a field is out of its range; the message names the field.

    Example:

    ```python
    >>> from modeling_drkf import DRKFConfig, DRKFForEmotionClassification
    >>> config = DRKFConfig(num_labels=4, hidden_size=64, fusion="cross")
    >>> config.audio_config.model_type, config.text_config.model_type
    ('wav2vec2', 'roberta')

    ```
    """

    keys_to_ignore_at_inference = [name for name in OUTPUT_NAMES if name not in ("loss", "logits")]

    speech_layers: int | None = None
    speech_layer_sum: bool = False
    unpadded_speech: bool = False
    adapter_dropout: float | int = 0.0
    speech_pooling: int = 1
    speech_statistics: bool = False
    standardize_states: bool = False
    discriminator: Literal["fused", "halves"] = "fused"
    classifier: Literal["fused", "experts", "additive"] = "fused"
    discrimination_pairs: int | None = None
    consistency_calibration: list[float | int] | None = None
    consistency_prior: float | int = 0.5
    score_temperature: float | int = 1.0
    label_smoothing: float | int = 0.0
    class_weights: list[float | int] | None = None
    modality_dropout: float | int = 0.0
    empty_text_ids: list[int] | None = None

    def __post_init__(self, **kwargs):
        if not __name__.startswith("transformers_modules."):  # the installed package has the pipeline registered
            kwargs.pop("custom_pipelines", None)
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """See [`PreTrainedConfig.from_dict`]; another label set drops the class weights of the saved one."""
        if kwargs.keys() & {"num_labels", "id2label"}:
            config_dict = {name: value for name, value in config_dict.items() if name != "class_weights"}
        loaded = super().from_dict(config_dict, **kwargs)
        config = loaded[0] if isinstance(loaded, tuple) else loaded
        config.check_ranges()
        return loaded

    def check_ranges(self) -> None:
        super().check_ranges()
        require_positive(self, ("speech_pooling", "speech_layers"))
        require_shares(self, ("adapter_dropout", "label_smoothing", "modality_dropout"))
        if self.speech_layers is not None or self.speech_layer_sum:
            check_layers(self.audio_config, self.speech_layers)
        if self.unpadded_speech and cast(Any, self.audio_config).model_type != "whisper":
            raise ValueError(
                "unpadded_speech is for Whisper; other speech encoders read clips of their own length anyway"
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
        if self.class_weights is not None and len(self.class_weights) != len(self.label_names):
            raise ValueError(f"class_weights has {len(self.class_weights)} entries for {len(self.label_names)} labels")
        if self.label_smoothing and self.is_multi_label:
            raise ValueError("label_smoothing applies to single-label classification only")

    @property
    def speech_states(self) -> int:
        """How many states of a frame, side by side, the speech encoder gives: one, or those of all layers."""
        if not self.speech_layer_sum:
            return 1
        return 1 + (self.speech_layers or cast(Any, self.audio_config).num_hidden_layers)

    @property
    def discriminates_by_probes(self) -> bool:
        """Whether ED reads what the probes find."""
        return self.emotion_discrimination and self.discriminator == "halves"

    @property
    def has_probes(self) -> bool:
        """Whether there is a probe of each modality."""
        return self.discriminates_by_probes or self.classifier != "fused"

    @property
    def loss_weights(self) -> dict[str, float]:
        weights = super().loss_weights
        if self.has_probes and self.classifier != "additive":
            weights["halves_loss"] = self.classification_weight
        return weights
