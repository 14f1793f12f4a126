"""What to train: encoders, what is frozen or adapted, and the model's own fields."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from transformers import CONFIG_MAPPING

from model_cards import packaged
from processing.errors_drkf import OptionError
from processing.suggestions import did_you_mean

from ..configuration_drkf import DRKFConfig
from ..paper_configuration_drkf import PaperConfig
from .option_values import require_fields, require_sizes, spelt, structure_or_name

MADE_ENCODERS = ("encoders/speech", "encoders/text", "encoders/whisper")


@dataclass
class ModelArguments:
    """What to train."""

    model_name_or_path: str | None = field(
        default=None,
        metadata={"help": "A DRKF checkpoint (folder, Hub id or `starter`) to go on from, in place of two encoders."},
    )
    audio_encoder: dict | str | None = field(
        default=None,
        metadata={
            "help": "Pretrained speech encoder (folder or Hub id), or a mapping with the configuration of one to "
            'train from scratch, such as {"model_type": "wav2vec2-bert", ...}.'
        },
    )
    text_encoder: dict | str | None = field(
        default=None,
        metadata={
            "help": "Pretrained text encoder, or a configuration; its tokenizer then learns the training texts."
        },
    )
    feature_extractor: dict | str | None = field(
        default=None,
        metadata={"help": "For a speech encoder from scratch: the fields of its feature extractor's configuration."},
    )
    drkf: dict | str | None = field(
        default=None,
        metadata={
            "help": 'Fields of DRKFConfig, such as {"fusion": "cross", "label_smoothing": 0.1}. The weights of the '
            "loss terms, smoothing and every size are among them."
        },
    )
    freeze_feature_encoder: bool = field(
        default=False,
        metadata={"help": "Freeze the speech encoder's convolutions (of wav2vec2, HuBERT, WavLM and the like)."},
    )
    freeze_speech_encoder: bool = field(
        default=False,
        metadata={
            "help": "Train nothing of the speech encoder. It then runs as at inference: no dropout, no SpecAugment."
        },
    )
    freeze_text_encoder: bool = field(
        default=False, metadata={"help": "Train nothing of the text encoder. It then runs without dropout."}
    )
    lora: dict | str | None = field(
        default=None,
        metadata={
            "help": "Train low-rank adapters in place of the encoders that are not frozen: fields of peft's "
            'LoraConfig, such as {"r": 16, "target_modules": ["query", "value"]}. {} takes r 8, lora_alpha 16 and the '
            "projections to queries and values. The final checkpoint has them merged into its weights; checkpoints "
            "in between are for --resume-from-checkpoint, with the same --lora."
        },
    )
    class_weights: list | str | None = field(
        default=None,
        metadata={
            "help": "Weights of the classes in the classification loss: balanced (inverse to their share of the "
            "training part, mean 1) or a list in the order of the classes, such as [1, 2.5, 1, 1]."
        },
    )
    modality_dropout: float | None = field(
        default=None,
        metadata={
            "help": "Probability of blanking one modality of a training sample: prepares the checkpoint for clips "
            "without words, and words without a clip. None: DRKFConfig's, which is 0."
        },
    )
    dropped_text_share: float = field(
        default=0.5,
        metadata={
            "help": "Of the modalities that --modality-dropout blanks, the share that is the text: above 0.5 where "
            "the words of a small corpus would be learnt by heart."
        },
    )
    speaker_statistics: float = field(
        default=0.0,
        metadata={
            "help": "Share of the training clips standardised over their speaker's other clips, not the training "
            "part; scores are then given without and with them. Needs standardize_states and "
            "speech_statistics in --drkf."
        },
    )
    max_audio_seconds: float | None = field(
        default=25.0,
        metadata={"help": "Clips are cut at this length, with a warning; null (in a recipe) keeps them whole."},
    )
    skip_silence: bool = field(
        default=False,
        metadata={
            "help": "Leave silence before, after and within a clip out before the speech encoder reads it. The "
            "checkpoint then does so, too; one to go on from that does keeps doing so."
        },
    )
    modality: Literal["both", "speech", "text"] = field(
        default="both",
        metadata={
            "help": "Baselines: blank the other modality (an empty text, or silence), without the terms "
            "that relate the two."
        },
    )

    def __post_init__(self) -> None:
        for name in ("audio_encoder", "text_encoder", "feature_extractor", "drkf", "lora", "class_weights"):
            setattr(self, name, structure_or_name(getattr(self, name), name))
        if self.model_name_or_path:
            self.model_name_or_path = packaged(self.model_name_or_path)
        require_fields("drkf", self.drkf, [*PaperConfig.__annotations__, *DRKFConfig.__annotations__])
        for name in ("audio_encoder", "text_encoder"):
            if isinstance(encoder := getattr(self, name), dict):
                require_fields(name, encoder, _encoder_fields(name, encoder))
                if "/" in str(encoder.get("attn_implementation")):
                    raise OptionError(f"{spelt(name)}: attn_implementation names code of the Hub, which is not run")
        if self.feature_extractor is not None:
            if not isinstance(self.feature_extractor, dict):
                raise OptionError(f"--feature-extractor takes a mapping of fields, not {self.feature_extractor!r}")
            require_sizes("feature_extractor", self.feature_extractor)
        if self.lora is not None and not isinstance(self.lora, dict):
            raise OptionError(f'--lora takes fields of LoraConfig, such as {{"r": 8}}, not {self.lora!r}')
        if self.lora is not None and self.freeze_speech_encoder and self.freeze_text_encoder:
            raise OptionError("--lora adapts the encoders that are not frozen, and both are: leave one of them free")
        if isinstance(self.class_weights, str) and self.class_weights != "balanced":
            raise OptionError(
                f"--class-weights takes balanced or a list such as [1, 2.5, 1, 1], not {self.class_weights}"
            )
        for name in ("speaker_statistics", "dropped_text_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise OptionError(f"{spelt(name)} is a share in [0, 1], not {getattr(self, name)}")
        if self.modality_dropout and self.modality != "both":
            raise OptionError(f"--modality-dropout has nothing to do where --modality is {self.modality}")
        if self.model_name_or_path is None and not (self.audio_encoder and self.text_encoder):
            raise OptionError(
                "name what to train: --audio-encoder and --text-encoder (folders, Hub ids or configurations), or "
                "--model-name-or-path, or a recipe that does"
            )

    def require_encoders(self) -> None:
        """Raises OptionError where the folder of an encoder that `make encoders` writes is not there: its name looks
        like a Hub id, which nobody means."""
        for encoder in (self.audio_encoder, self.text_encoder):
            if encoder in MADE_ENCODERS and not Path(str(encoder)).is_dir():
                raise OptionError(
                    f"there is no folder {encoder} here. `make encoders`, in a clone of the repository, writes both "
                    "encoders of starter.yaml into a folder `encoders`: run the training there, or copy that folder "
                    "here. Or go on from the starter checkpoint, whose encoders they are: --model-name-or-path starter"
                )

    @property
    def freezes_both(self) -> bool:
        """Whether neither encoder is trained."""
        return self.freeze_speech_encoder and self.freeze_text_encoder

    @property
    def encoder_names(self) -> dict[str, str]:
        """What the speech and the text encoder were made from, under `audio` and `text`."""
        if self.model_name_or_path:
            return dict.fromkeys(("audio", "text"), f"of {self.model_name_or_path}")
        encoders: dict[str, Any] = {"audio": self.audio_encoder, "text": self.text_encoder}
        return {
            name: encoder if isinstance(encoder, str) else f"{encoder['model_type']} (trained from scratch)"
            for name, encoder in encoders.items()
        }


def _encoder_fields(option: str, encoder: Mapping[str, Any]) -> list[str]:
    """What the configuration of an encoder from scratch may hold."""
    model_type = str(encoder.get("model_type"))
    if model_type not in CONFIG_MAPPING:
        raise OptionError(
            f"{spelt(option)} needs the model_type of an encoder that transformers has, such as wav2vec2 or bert, not "
            f"{model_type!r}{did_you_mean(model_type, CONFIG_MAPPING)}"
        )
    config = CONFIG_MAPPING[model_type]
    return ["model_type", "attn_implementation", *(entry.name for entry in fields(config)), *config.attribute_map]
