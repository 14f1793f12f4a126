"""The options of `train_drkf.py`: from the command line, from a YAML recipe, or from both."""

import difflib
import json
import sys
from argparse import ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from transformers import HfArgumentParser

from processing.metrics_drkf import FORMULAS

from .trainer_drkf import DRKFTrainingArguments

RECIPE_SUFFIXES = (".yaml", ".yml")

TRAINING_DEFAULTS = {
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "save_total_limit": 2,
    "load_best_model_at_end": True,
    "metric_for_best_model": "unweighted_accuracy",
    "logging_steps": 10,
    "output_dir": "runs/drkf",
}
"""Where the script departs from `TrainingArguments`: each epoch is validated, the best one is kept."""


@dataclass
class ModelArguments:
    """What to train."""

    model_name_or_path: str | None = field(
        default=None,
        metadata={"help": "A DRKF checkpoint (folder or Hub id) to go on from, in place of two encoders."},
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
        default=False, metadata={"help": "Freeze the speech encoder's convolutions (wav2vec2 and its kin)."}
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
            "in between are for --resume_from_checkpoint, with the same --lora."
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
            "help": "Probability of blanking one modality of a training sample, speech or text at even odds: prepares "
            "the checkpoint for clips without words, and words without a clip. None: DRKFConfig's, which is 0."
        },
    )
    max_audio_seconds: float | None = field(
        default=25.0, metadata={"help": "Clips are cut at this length, with a warning; null keeps them whole."}
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
            setattr(self, name, _structure_or_name(getattr(self, name), name))
        if self.lora is not None and not isinstance(self.lora, dict):
            raise ValueError(f'--lora takes fields of LoraConfig, such as {{"r": 8}}, not {self.lora!r}')
        if self.lora is not None and self.freeze_speech_encoder and self.freeze_text_encoder:
            raise ValueError("--lora adapts the encoders that are not frozen, and both are: leave one of them free")
        if isinstance(self.class_weights, str) and self.class_weights != "balanced":
            raise ValueError(
                f"--class_weights takes balanced or a list such as [1, 2.5, 1, 1], not {self.class_weights}"
            )
        if self.modality_dropout and self.modality != "both":
            raise ValueError(f"--modality_dropout has nothing to do where --modality is {self.modality}")
        if self.model_name_or_path is None and not (self.audio_encoder and self.text_encoder):
            raise ValueError(
                "name what to train: --audio_encoder and --text_encoder (folders, Hub ids or configurations), or "
                "--model_name_or_path, or a recipe that does"
            )


@dataclass
class DataArguments:
    """What to train on."""

    manifest: str | None = field(
        default=None,
        metadata={
            "help": "A CSV, TSV, JSON Lines or Parquet file with the columns audio, text, label and, if known, "
            "speaker and split. Short for --corpus manifest --data_dir FILE."
        },
    )
    corpus: str = field(default="manifest", metadata={"help": "Which reader reads data_dir; see `drkf corpora`."})
    data_dir: str | None = field(default=None, metadata={"help": "The corpus' folder (or file, or Hub id)."})
    label_map: dict | str | None = field(
        default=None, metadata={"help": 'Renames or merges labels: {"excited": "happy"}.'}
    )
    skip_damaged: list[str] | None = field(
        default=None,
        metadata={
            "help": "Kinds of damaged rows to leave out, by the report's names, or `all`. Otherwise they stop it."
        },
    )
    cache_features: bool = field(
        default=False,
        metadata={"help": "Keep extracted features in memory after the first epoch: for small corpora and encoders."},
    )
    protocol: Literal["auto", "official", "speaker_disjoint", "leave_one_speaker_out", "leave_one_session_out"] = (
        field(
            default="auto",
            metadata={
                "help": "How utterances are divided; auto: the corpus' own splits if it has any, else "
                "speaker_disjoint. A missing validation part is taken from training speakers."
            },
        )
    )
    fold: str | None = field(
        default=None, metadata={"help": "Test speaker or session of a leave-one-out protocol; the first if not given."}
    )
    fold_file: str | None = field(
        default=None,
        metadata={"help": "Folds of an earlier run (its fold.json) to use again, in place of a protocol."},
    )
    validation_share: float = field(default=0.1, metadata={"help": "Share of utterances that validate."})
    test_share: float = field(default=0.1, metadata={"help": "Share that tests, for the protocol speaker_disjoint."})
    split_seed: int = field(default=0, metadata={"help": "Seed of the random division."})

    def __post_init__(self) -> None:
        self.label_map = _structure_or_name(self.label_map, "label_map")
        if self.manifest:
            self.corpus, self.data_dir = "manifest", self.manifest
        if not self.data_dir:
            raise ValueError("name the data: --manifest FILE, or --corpus NAME --data_dir FOLDER")


class HelpFormatter(ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter):
    """Defaults are shown, and the lines of description and epilog stay as they are."""


def parse_arguments(
    arguments: Sequence[str] | None = None, usage: str | None = None
) -> tuple[ModelArguments, DataArguments, DRKFTrainingArguments]:
    """Reads `[RECIPE.yaml] [--option value ...]`; an option given on the command line overrides the recipe.

    A recipe is looked for as a path, then among the recipes of `model_cards/recipes`.

    Raises:
        SystemExit: unknown option (the message suggests the closest known one) or a value that cannot be meant.
    """
    remaining = list(sys.argv[1:] if arguments is None else arguments)
    parser = HfArgumentParser(
        (ModelArguments, DataArguments, DRKFTrainingArguments),  # type: ignore[arg-type]
        usage="%(prog)s [RECIPE.yaml] [--option value ...]",
        description=usage,
        epilog="metrics:\n" + "\n".join(f"  {name}: {metric.formula}" for name, metric in FORMULAS.items()),
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(**TRAINING_DEFAULTS)
    try:
        if remaining and remaining[0].endswith(RECIPE_SUFFIXES):
            parser.set_defaults(**read_recipe(remaining.pop(0), parser))
        return parser.parse_args_into_dataclasses(remaining, look_for_args_file=False)  # type: ignore[return-value]
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")


def read_recipe(name: str, parser: HfArgumentParser) -> dict[str, Any]:
    """The options of a recipe by name.

    Raises:
        ValueError: the recipe is not found, is no mapping, or has an unknown key.
    """
    path = Path(name).expanduser()
    packaged = files("model_cards") / "recipes"
    if not path.is_file() and not (packaged / name).is_file():
        known = sorted(entry.name for entry in packaged.iterdir() if entry.name.endswith(RECIPE_SUFFIXES))
        raise ValueError(f"recipe {name} is neither a file nor one of {', '.join(known)}")
    text = path.read_text() if path.is_file() else (packaged / name).read_text()
    recipe = yaml.safe_load(text) or {}
    if not isinstance(recipe, dict):
        raise ValueError(f"recipe {name} is not a mapping of options")
    options = [action.dest for action in parser._actions]
    for key in recipe:
        if key not in options:
            close = difflib.get_close_matches(key, options, 1)
            raise ValueError(
                f"recipe {name}: unknown option {key!r}{f', did you mean {close[0]!r}?' if close else ''}"
            )
    return recipe


def _structure_or_name(value: Any, name: str) -> Any:
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise ValueError(f"--{name} is not valid JSON ({error}): {value}") from error
