"""The options of `train_drkf.py`: from the command line, from a YAML recipe, or from both."""

import json
import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from transformers import CONFIG_MAPPING, HfArgumentParser
from transformers.trainer_pt_utils import AcceleratorConfig

from processing.corpora.column_options import HELP as COLUMNS_HELP
from processing.corpora.column_options import parse_columns
from processing.errors_drkf import OptionError
from processing.evaluation.metrics import FORMULAS
from processing.suggestions import did_you_mean

from ..configuration_drkf import DRKFConfig
from ..training.arguments import DRKFTrainingArguments
from .recipes import RECIPE_SUFFIXES, checked_recipe, merge_recipes, read_recipe

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

WHERE_AND_HOW = (
    *("manifest", "data_dir", "audio_root", "fold", "folds", "fold_file", "seed", "seeds", "output_dir"),
    *("resume_from_checkpoint", "report_to", "run_name", "disable_tqdm", "pictures", "push_to_hub"),
    *("save_total_limit", "use_cpu", "skip_damaged"),
)
WHERE_AND_HOW_PREFIXES = ("hub_", "log", "dataloader_", "trackio_")
"""Options in which the runs of one experiment may differ."""
FILLED_IN = ("do_eval", "greater_is_better")
"""Options that follow from others where nobody names them."""


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
            "help": "Probability of blanking one modality of a training sample: prepares the checkpoint for clips "
            "without words, and words without a clip. None: DRKFConfig's, which is 0."
        },
    )
    dropped_text_share: float = field(
        default=0.5,
        metadata={
            "help": "Of the modalities that --modality_dropout blanks, the share that is the text: above 0.5 where "
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
        _require_fields("drkf", self.drkf, DRKFConfig.__annotations__)
        for name in ("audio_encoder", "text_encoder"):
            if isinstance(encoder := getattr(self, name), dict):
                _require_fields(name, encoder, _encoder_fields(name, encoder))
        if self.lora is not None and not isinstance(self.lora, dict):
            raise OptionError(f'--lora takes fields of LoraConfig, such as {{"r": 8}}, not {self.lora!r}')
        if self.lora is not None and self.freeze_speech_encoder and self.freeze_text_encoder:
            raise OptionError("--lora adapts the encoders that are not frozen, and both are: leave one of them free")
        if isinstance(self.class_weights, str) and self.class_weights != "balanced":
            raise OptionError(
                f"--class_weights takes balanced or a list such as [1, 2.5, 1, 1], not {self.class_weights}"
            )
        for name in ("speaker_statistics", "dropped_text_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise OptionError(f"--{name} is a share in [0, 1], not {getattr(self, name)}")
        if self.modality_dropout and self.modality != "both":
            raise OptionError(f"--modality_dropout has nothing to do where --modality is {self.modality}")
        if self.model_name_or_path is None and not (self.audio_encoder and self.text_encoder):
            raise OptionError(
                "name what to train: --audio_encoder and --text_encoder (folders, Hub ids or configurations), or "
                "--model_name_or_path, or a recipe that does"
            )

    @property
    def freezes_both(self) -> bool:
        """Whether neither encoder is trained."""
        return self.freeze_speech_encoder and self.freeze_text_encoder


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
    corpus: str = field(
        default="manifest",
        metadata={"help": "What data_dir holds: one of `drkf corpora`, or a YAML file that declares it."},
    )
    data_dir: str | None = field(default=None, metadata={"help": "The corpus' folder (or file, or Hub id)."})
    audio_root: str | None = field(
        default=None,
        metadata={"help": "Take clips from this folder, whatever root and separators the listed paths have."},
    )
    columns: list[str] | None = field(default=None, metadata={"help": COLUMNS_HELP})
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
        metadata={
            "help": "Extract features once: kept in memory, for small corpora and encoders. Where both encoders are "
            "frozen their states are kept, on disk, for all runs."
        },
    )
    redraw_texts: bool = field(
        default=False,
        metadata={
            "help": "Give each training clip, anew in each epoch, the text of a training clip with the same label: "
            "for corpora whose pairs of voice and words are constructed."
        },
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
        default=None,
        metadata={"help": "One fold of a leave-one-out protocol: its test speaker or session, or its number from 1."},
    )
    folds: list[str] | None = field(
        default=None,
        metadata={
            "help": "Cross-validation: `all`, or several folds by name or number. Each fold starts from the same "
            "initial weights and goes into a folder of its own; the table is written when all are done."
        },
    )
    seeds: list[int] | None = field(
        default=None, metadata={"help": "Repeat every fold with each of these seeds, in place of --seed."}
    )
    selection: Literal["validation", "test"] = field(
        default="validation",
        metadata={
            "help": "Where the epoch is chosen. `test` only reproduces papers that chose it there (and then trains on "
            "the validation part, too): its figures are too good, and every output says so."
        },
    )
    fold_file: str | None = field(
        default=None,
        metadata={"help": "Folds of an earlier run (its fold.json) to use again, in place of a protocol."},
    )
    validation_share: float = field(default=0.1, metadata={"help": "Share of utterances that validate."})
    test_share: float = field(default=0.1, metadata={"help": "Share that tests, for the protocol speaker_disjoint."})
    split_seed: int = field(default=0, metadata={"help": "Seed of the random division."})

    def __post_init__(self) -> None:
        parse_columns(self.columns)
        self.label_map = _structure_or_name(self.label_map, "label_map")
        if isinstance(self.label_map, dict):  # YAML and JSON read the labels 0 and 1 as numbers
            self.label_map = {str(source): str(target) for source, target in self.label_map.items()}
        elif self.label_map is not None:
            raise OptionError(f'--label_map takes a mapping, such as {{"excited": "happy"}}, not {self.label_map!r}')
        if self.manifest and self.data_dir not in (None, self.manifest):
            raise OptionError(
                f"--manifest {self.manifest} and --data_dir {self.data_dir} both name the data: give one"
            )
        if self.manifest:
            self.corpus, self.data_dir = "manifest", self.manifest
        if not self.data_dir:
            raise OptionError("name the data: --manifest FILE, or --corpus NAME --data_dir FOLDER")
        if self.fold is not None and self.folds is not None:
            raise OptionError("--fold trains one fold and --folds several: give one of the two")

    @property
    def cross_validates(self) -> bool:
        return self.folds is not None or self.seeds is not None


def chosen_options(*arguments: Any) -> dict[str, Any]:
    """What defines an experiment: the options that are not at their default, but for those of `WHERE_AND_HOW` and
    `FILLED_IN`.

    Args:
        arguments: the dataclasses of `parse_arguments`.
    """
    chosen = {}
    for group in arguments:
        for option in fields(group):
            default = option.default_factory() if option.default_factory is not MISSING else option.default
            value = getattr(group, option.name, default)
            default = TRAINING_DEFAULTS.get(option.name, default)
            left_out = option.name in (*WHERE_AND_HOW, *FILLED_IN) or option.name.startswith(WHERE_AND_HOW_PREFIXES)
            filled_in = value == AcceleratorConfig() or ((value is False or value == []) and default in (None, ""))
            if option.init and value != default and not left_out and not filled_in:
                chosen[option.name] = _portable(value)
    return json.loads(json.dumps(chosen, default=str))


def _portable(value: Any) -> Any:
    """A folder goes by its name alone: where it lies differs from machine to machine, and is nobody's business."""
    if isinstance(value, str) and Path(value).is_dir():
        return Path(value).name
    return value.value if isinstance(value, Enum) else value


class HelpFormatter(ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter):
    """Defaults are shown, and the lines of description and epilog stay as they are."""


def parse_arguments(
    arguments: Sequence[str] | None = None, usage: str | None = None
) -> tuple[ModelArguments, DataArguments, DRKFTrainingArguments]:
    """Reads `[RECIPE.yaml ...] [--option value ...]`.

    Of several recipes the later ones override the earlier ones, and options on the command line override recipes; the
    fields of `drkf` are merged. A recipe is looked for as a path, then among those of `model_cards/recipes`.

    Raises:
        SystemExit: unknown option (the message suggests the closest known one) or an invalid value.
    """
    remaining = list(sys.argv[1:] if arguments is None else arguments)
    parser = HfArgumentParser(
        (ModelArguments, DataArguments, DRKFTrainingArguments),  # type: ignore[arg-type]
        usage="%(prog)s [RECIPE.yaml ...] [--option value ...]",
        description=usage,
        epilog="metrics:\n" + "\n".join(f"  {name}: {metric.formula}" for name, metric in FORMULAS.items()),
        formatter_class=HelpFormatter,
    )
    parser._option_string_actions["--report_to"].nargs = "+"  # a list, which transformers takes in Python only
    options = [action.dest for action in parser._actions]
    recipe: dict[str, Any] = {}
    try:
        while remaining and remaining[0].endswith(RECIPE_SUFFIXES):
            recipe = merge_recipes(recipe, read_recipe(remaining.pop(0), options))
        parser.set_defaults(**TRAINING_DEFAULTS)
        parser.set_defaults(**checked_recipe(recipe, parser))
        _require_known_options(parser, remaining)
        model, data, training = parser.parse_args_into_dataclasses(remaining, look_for_args_file=False)
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")
    if model.drkf:
        model.drkf = (recipe.get("drkf") or {}) | model.drkf
    return model, data, training  # type: ignore[return-value]


def _require_known_options(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    for unknown in parser.parse_known_args(arguments)[1]:
        if unknown.endswith(RECIPE_SUFFIXES):
            raise OptionError(f"{unknown}: recipes stand before all options")
        suggestion = did_you_mean(unknown.partition("=")[0], parser._option_string_actions)
        raise OptionError(f"unknown option {unknown}{suggestion}; --help lists all")


def _require_fields(option: str, given: Any, known: Iterable[str]) -> None:
    if given is not None and not isinstance(given, dict):
        raise OptionError(f"--{option} takes a mapping of fields, not {given!r}")
    known = list(known)
    for name in given or ():
        if name not in known:
            raise OptionError(f"--{option}: unknown field {name!r}{did_you_mean(str(name), known)}")


def _encoder_fields(option: str, encoder: Mapping[str, Any]) -> list[str]:
    """What the configuration of an encoder from scratch may hold."""
    model_type = str(encoder.get("model_type"))
    if model_type not in CONFIG_MAPPING:
        raise OptionError(
            f"--{option} needs the model_type of an encoder that transformers has, such as wav2vec2 or bert, not "
            f"{model_type!r}{did_you_mean(model_type, CONFIG_MAPPING)}"
        )
    config = CONFIG_MAPPING[model_type]
    return ["model_type", "attn_implementation", *(entry.name for entry in fields(config)), *config.attribute_map]


def _structure_or_name(value: Any, name: str) -> Any:
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise OptionError(f"--{name} is not valid JSON ({error}): {value}") from error
