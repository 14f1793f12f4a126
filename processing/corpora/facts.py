"""What is known about a corpus, out of its card in `model_cards/`, and what to call one that has none."""

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from .tables import NAMED_SUFFIXES

CARDS = files("model_cards")
FRONT_MATTER = re.compile(r"---\n(.*?)\n---\n", re.DOTALL)
OWN_CORPUS_READERS = ("manifest", "audiofolder", "hub")
GENERIC_NAMES = ("manifest", "metadata", "corpus", "data", "dataset", "train")


def corpus_facts(corpus: str) -> dict[str, Any]:
    """What the corpus' declaration says, or the front matter of `model_cards/<corpus>.md`: `title`, `language`,
    `license` (as the Hub spells it), `licence` (in words), `source`, `speakers`, `traps`, and where the paper has
    figures, `paper` {metric: percent} and `paper_protocol`. Empty for an unknown corpus."""
    card = CARDS / f"{corpus}.md"
    if not corpus.isidentifier() or not card.is_file():
        return _declared_facts(corpus)
    front_matter = FRONT_MATTER.match(card.read_text(encoding="utf-8"))
    facts = yaml.safe_load(front_matter[1]) if front_matter else None
    return facts if isinstance(facts, dict) else {}


def _declared_facts(corpus: str) -> dict[str, Any]:
    from .registry import CORPORA  # reads every declaration

    return dict(CORPORA[corpus].facts) if corpus in CORPORA else {}


def recorded_facts(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the record of a run, or of several, holds on a corpus that a file of the user's own declares; else
    `corpus_facts`."""
    return record.get("corpus_facts") or corpus_facts(record["corpus"])


def describe_corpora() -> list[dict[str, str]]:
    """A row for each corpus that can be read: `id`, `title`, `language`, `licence`, `download` (what must lie in its
    folder), `protocol` (what `auto` stands for) and `source`."""
    from .registry import CORPORA

    rows = []
    for name, spec in sorted(CORPORA.items()):
        facts = corpus_facts(name)
        row = {
            "id": name,
            "title": spec.title,
            "download": facts.get("download", spec.layout),
            "protocol": spec.protocol,
        }
        rows.append(row | {key: facts.get(key, "") for key in ("language", "licence", "source")})
    return rows


def corpus_name(reader: str, data_dir: str | Path) -> str:
    """What to call a corpus: its reader's name; if that reads anybody's data, the first telling name on its path."""
    path = Path(data_dir)
    if reader not in OWN_CORPUS_READERS:
        return reader
    if (path.parent / "spoken_demo.json").is_file():
        return "spoken_demo"
    names = [
        path.stem if path.suffix.lower() in NAMED_SUFFIXES else path.name,
        *(parent.name for parent in path.absolute().parents),
    ]
    return next((name for name in names if name and name.lower() not in GENERIC_NAMES), reader)
