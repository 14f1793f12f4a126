"""The corpora that can be read by name: `read_corpus(name, folder)`."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..errors_drkf import OptionError
from ..suggestions import did_you_mean
from .corpus import Corpus, Survey, survey
from .declaration import load_declaration
from .readers import audiofolder, hub, iemocap, m3ed, manifest, meld
from .utterance import CorpusSpec

DECLARED = Path(str(files("processing.corpora"))) / "declared"
DECLARATIONS = (".yaml", ".yml")

CORPORA: dict[str, CorpusSpec] = {
    reader.CORPUS.name: reader.CORPUS for reader in (audiofolder, hub, iemocap, m3ed, manifest, meld)
}
CORPORA |= {path.stem: load_declaration(path) for path in sorted(DECLARED.glob("*.yaml"))}


def is_declaration(name: str) -> bool:
    """Whether `name` is that of a YAML file, not of a corpus."""
    return name.lower().endswith(DECLARATIONS)


def find_corpus(name: str) -> CorpusSpec:
    """The corpus of that name, or the one that the YAML file `name` declares.

    Raises `OptionError` for a name that is not in `CORPORA`, and for a file that is no such declaration.
    """
    if is_declaration(name):
        return load_declaration(name)
    if name not in CORPORA:
        raise OptionError(
            f"unknown corpus {name!r}{did_you_mean(name, CORPORA)}; known: {', '.join(sorted(CORPORA))}, and YAML "
            "files that declare one"
        )
    return CORPORA[name]


def declaration_of(name: str) -> str:
    """The YAML text that declares a corpus of the package. Raises `OptionError` where none does."""
    path = DECLARED / f"{name}.yaml"
    if find_corpus(name).name == name and path.is_file():
        return path.read_text(encoding="utf-8")
    known = sorted(path.stem for path in DECLARED.glob("*.yaml"))
    raise OptionError(f"{name} has a reader of its own; declared are {', '.join(known)}")


def survey_corpus(name: str, data_dir: str | Path, **options: Any) -> Survey:
    """Reads and checks a corpus without raising for what is wrong with it; options as in `survey`.

    Raises `OptionError` as `find_corpus` does.
    """
    return survey(find_corpus(name), data_dir, **options)


def read_corpus(name: str, data_dir: str | Path, *, skip_damaged: Iterable[str] | str = (), **options: Any) -> Corpus:
    """Reads the corpus `name` from the folder (or file) `data_dir`.

    Args:
        name: one of `CORPORA`, or a YAML file that declares a corpus.
        skip_damaged: kinds of problems whose rows are left out and counted in `Corpus.report`, or "all" for every
            kind of error. Without it a damaged row raises.
        options: `label_map`, `label_names`, `scan`, `progress` (see `survey`), and those of the corpus' reader.

    Raises:
        CorpusError: the corpus is damaged beyond what `skip_damaged` names; every problem is listed.
        OptionError: no corpus has this name, or the YAML file is no such declaration.
        ValueError: an option is invalid.
    """
    return survey_corpus(name, data_dir, **options).corpus(skip_damaged)
