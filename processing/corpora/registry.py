"""The corpora that can be read by name: `read_corpus(name, folder)`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors_drkf import OptionError
from ..suggestions import did_you_mean
from .corpus import Corpus, Survey, survey
from .readers import audiofolder, hub, iemocap, m3ed, manifest, meld, nemo
from .utterance import CorpusSpec

CORPORA: dict[str, CorpusSpec] = {
    reader.CORPUS.name: reader.CORPUS for reader in (audiofolder, hub, iemocap, m3ed, manifest, meld, nemo)
}


def survey_corpus(name: str, data_dir: str | Path, **options: Any) -> Survey:
    """Reads and checks a corpus without raising for what is wrong with it; options as in `survey`.

    Raises `OptionError` for a name that is not in `CORPORA`.
    """
    if name not in CORPORA:
        raise OptionError(f"unknown corpus {name!r}{did_you_mean(name, CORPORA)}; known: {', '.join(sorted(CORPORA))}")
    return survey(CORPORA[name], data_dir, **options)


def read_corpus(name: str, data_dir: str | Path, *, skip_damaged: Iterable[str] | str = (), **options: Any) -> Corpus:
    """Reads the corpus `name` from the folder (or file) `data_dir`.

    Args:
        skip_damaged: kinds of problems whose rows are left out and counted in `Corpus.report`, or "all" for every
            kind of error. Without it a damaged row raises.
        options: `label_map`, `label_names`, `scan`, `progress` (see `survey`), and those of the corpus' reader.

    Raises:
        CorpusError: the corpus is damaged beyond what `skip_damaged` names; every problem is listed.
        OptionError: no corpus has this name. ValueError: an option is invalid.
    """
    return survey_corpus(name, data_dir, **options).corpus(skip_damaged)
