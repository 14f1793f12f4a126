"""Readers for emotion corpora: `read_corpus(name, folder)` for the known ones, `read_manifest(file)` for one's own.

Every module of this folder that declares a `CORPUS` is in the registry `CORPORA`; adding a corpus is adding a file.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from .corpus import Corpus, Survey, survey
from .manifest import read_manifest
from .report import CorpusError, Problem, ProblemKind, Report, did_you_mean
from .utterance import CorpusSpec, Utterance

__all__ = [
    "CORPORA",
    "Corpus",
    "CorpusError",
    "CorpusSpec",
    "Problem",
    "ProblemKind",
    "Report",
    "Survey",
    "Utterance",
    "read_corpus",
    "read_manifest",
    "survey_corpus",
]


def survey_corpus(name: str, data_dir: str | Path, **options: Any) -> Survey:
    """Reads and checks a corpus without raising for what is wrong with it; options as in `survey`.

    Raises `ValueError` for a name that is not in `CORPORA`.
    """
    if name not in CORPORA:
        raise ValueError(f"unknown corpus {name!r}{did_you_mean(name, CORPORA)}; known: {', '.join(sorted(CORPORA))}")
    return survey(CORPORA[name], data_dir, **options)


def read_corpus(name: str, data_dir: str | Path, *, skip_damaged: Iterable[str] | str = (), **options: Any) -> Corpus:
    """Reads the corpus `name` from the folder (or file) `data_dir`.

    Args:
        skip_damaged: kinds of problems whose rows are left out and counted in `Corpus.report`, or "all" for every
            kind of error. Without it a damaged row raises.
        options: `label_map`, `label_names`, `scan`, `progress` (see `survey`), and those of the corpus' reader.

    Raises:
        CorpusError: the corpus is damaged beyond what `skip_damaged` names; every problem is listed.
        ValueError: the name is unknown, or an option cannot be meant.
    """
    return survey_corpus(name, data_dir, **options).corpus(skip_damaged)


def _registry() -> dict[str, CorpusSpec]:
    modules = (import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
    specs = (getattr(module, "CORPUS", None) for module in modules)
    return {spec.name: spec for spec in specs if isinstance(spec, CorpusSpec)}


CORPORA = _registry()  # last: the modules that it imports use the functions above
