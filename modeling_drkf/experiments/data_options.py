"""What to train on: a corpus, how it is read and how it is divided."""

from dataclasses import dataclass, field
from typing import Literal

from processing.conditions import Condition
from processing.corpora.column_options import HELP as COLUMNS_HELP
from processing.corpora.column_options import parse_columns
from processing.errors_drkf import OptionError

from ..training.arguments import SEEDS
from .option_values import structure_or_name


@dataclass
class DataArguments:
    """What to train on."""

    manifest: str | None = field(
        default=None,
        metadata={
            "help": "A CSV, TSV, JSON Lines or Parquet file with the columns audio, text, label and, if known, "
            "speaker and split. Short for --corpus manifest --data-dir FILE."
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
            "help": "Give each training clip, in each epoch, the text of some training clip with the same label: "
            "for corpora whose pairs of voice and words are constructed."
        },
    )
    more_texts: str | None = field(
        default=None,
        metadata={
            "help": "A table with the columns text and label, whose lines redraw_texts draws from, too. Lines of "
            "other labels are left out, and those that validation or test has."
        },
    )
    speeds: list[float] | None = field(
        default=None,
        metadata={
            "help": "Train on each clip at these speeds, too, as a clip of another speaker: `0.9 1.1`, for corpora of "
            "few speakers."
        },
    )
    augment: list[str] | None = field(
        default=None,
        metadata={
            "help": "Train on each clip under these conditions, too, one copy each: `noise babble reverb telephone "
            "silence gain`. Levels are drawn for each clip, or given: `noise:0:20` (signal-to-noise ratio in dB), "
            "`reverb:0.35` (reverberation time in seconds). Babble is of training clips of other speakers."
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
        self.label_map = structure_or_name(self.label_map, "label_map")
        if isinstance(self.label_map, dict):  # YAML and JSON read the labels 0 and 1 as numbers
            self.label_map = {str(source): str(target) for source, target in self.label_map.items()}
        elif self.label_map is not None:
            raise OptionError(f'--label-map takes a mapping, such as {{"excited": "happy"}}, not {self.label_map!r}')
        if self.manifest and self.data_dir not in (None, self.manifest):
            raise OptionError(
                f"--manifest {self.manifest} and --data-dir {self.data_dir} both name the data: give one"
            )
        if self.manifest:
            self.corpus, self.data_dir = "manifest", self.manifest
        if not self.data_dir:
            raise OptionError("name the data: --manifest FILE, or --corpus NAME --data-dir FOLDER")
        if self.more_texts and not self.redraw_texts:
            raise OptionError("--more-texts needs --redraw-texts true: its lines are drawn with those of the corpus")
        if wrong := [speed for speed in self.speeds or () if not 0.5 <= speed <= 2 or speed == 1]:
            raise OptionError(f"--speeds takes numbers from 0.5 to 2 (1 is trained on anyway), not {wrong[0]:g}")
        if len(set(self.conditions)) < len(self.augment or ()):
            raise OptionError("--augment names a condition twice: a clip has one copy under each")
        if wrong := [seed for seed in (self.split_seed, *(self.seeds or ())) if not 0 <= seed < SEEDS]:
            raise OptionError(f"--seeds and --split-seed take numbers in [0, 2**32), not {wrong[0]}")
        if self.fold is not None and self.folds is not None:
            raise OptionError("--fold trains one fold and --folds several: give one of the two")

    @property
    def conditions(self) -> list[Condition]:
        """Those under which training clips are copied."""
        return [Condition.parse(text) for text in self.augment or ()]

    @property
    def cross_validates(self) -> bool:
        return self.folds is not None or self.seeds is not None
