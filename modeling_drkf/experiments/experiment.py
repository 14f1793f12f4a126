"""One experiment from options to report: which folds are run, and with which seeds."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from processing.corpora.column_options import parse_columns
from processing.corpora.folds import Fold, ProtocolError
from processing.corpora.protocols import find_fold, folds_of
from processing.corpora.registry import read_corpus
from processing.errors_drkf import FileError
from processing.locks import locked
from processing.printable import printable

from ..training.arguments import DRKFTrainingArguments
from ..training.processes import require_joined
from .cross_validation import cross_validate, require_unfinished
from .data_options import DataArguments
from .model_options import ModelArguments
from .options import experiment_options
from .run import Run

LOCK_FILE = "_training.lock"  # transformers uploads no file whose name begins so


def run_experiment(
    model: ModelArguments, data: DataArguments, training: DRKFTrainingArguments
) -> Run | dict[str, Any]:
    """Trains, evaluates and saves model, processor, metrics, predictions, pictures and card into `output_dir`; with
    `folds` or `seeds`, one folder a run and what they have in common.

    Returns: the run; of several, what [`merge_runs`] returns.

    Raises:
        CorpusError: the corpus is damaged. ProtocolError: it has no such division.
        CheckpointError: a checkpoint cannot be written, or not be resumed from. NonFiniteError: a loss is not finite.
        FileError: another process trains in the folder.
        OptionError: an option is invalid, or the folder holds a finished run and nothing says to resume.
        PublishError: everything is saved, but could not be published.
        Terminated: Ctrl-C or SIGTERM ended the training; a checkpoint was saved.
    """
    require_joined(training.world_size)
    model.require_encoders()
    require_unfinished(Path(str(training.output_dir)), training)
    with training.main_process_first(desc="reading the corpus"):
        corpus = read_corpus(
            data.corpus,
            str(data.data_dir),
            skip_damaged=data.skip_damaged or (),
            label_map=data.label_map,
            audio_root=data.audio_root,
            columns=parse_columns(data.columns),
            words=model.modality != "speech" and not model.modality_dropout,
        )
    if corpus.report.problems and training.process_index == 0:
        print(printable(corpus.report.table()))
    shares = data.validation_share, data.test_share, data.split_seed
    folds = folds_of(corpus, data.protocol, *shares, data.fold_file)

    def run_fold(fold: Fold, arguments: DRKFTrainingArguments) -> Run:
        run = Run(corpus, fold, [each.name for each in folds], model, data, arguments)
        with only_training_in(run.folder, training.process_index == 0):
            run.execute()
        return run

    if not data.cross_validates:
        return run_fold(find_fold(folds, data.fold), training)
    names: Sequence[str | None] = data.folds or [data.fold]
    chosen = folds if names == ["all"] else [find_fold(folds, name) for name in names]
    if untested := [fold.name for fold in chosen if not fold.test]:
        raise ProtocolError(
            f"--folds and --seeds compare test parts, and fold {untested[0]} has none: add one to the corpus, or "
            "train with one --seed after the other"
        )
    options = experiment_options(model, data, training)
    return cross_validate(run_fold, chosen, data.seeds or [training.seed], training, options)


@contextmanager
def only_training_in(folder: Path, locks: bool = True) -> Iterator[None]:
    """Keeps other trainings out of `folder` until this ends; a new folder that stays empty is removed.

    Args:
        locks: whether this process takes the lock; of several that train together, one does.

    Raises:
        FileError: another process trains there; the message names it.
    """
    if not locks:
        yield
        return
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{folder} cannot be made ({error.strerror}): name another --output-dir") from error
    refusal = f"{folder}: {{owner}} is training in this folder; wait for it, or name another --output-dir"
    try:
        with locked(folder / LOCK_FILE, refusal):
            yield
    finally:
        if is_new:
            with suppress(OSError):  # not empty: the training has begun
                folder.rmdir()
