"""A corpus as a YAML file: where its clips lie, what their names and tables say, and what its authors count.

`processing/corpora/declared` holds those that come with the package; `--corpus my.yaml` takes one of your own. `KEYS`
explains every key. `FIELDS` are what an utterance has, from a group or column of that name, or from a key with a
template such as `{speaker}_{sentence}`. All is read as text: `01` stays `01`, and `no` stays `no`.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from ..errors_drkf import OptionError
from ..suggestions import did_you_mean
from .checks import AXES
from .readers.declared import Declaration, read_utterances
from .readers.sources import Source
from .utterance import CorpusSpec

LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)

FIELDS = {
    "id": "what the utterance is called, by default as its clip",
    "clip": "the name of its clip, by default its id",
    "label": "its emotion",
    "text": "its words",
    "speaker": "who speaks",
    "session": "the recording session",
    "split": "train, validation or test",
    "start": "seconds, where it is a part of its clip",
    "end": "seconds",
}
PROTOCOLS = ("auto", "official", "speaker_disjoint", "leave_one_speaker_out", "leave_one_session_out")
KEYS = {
    "title": "the name to print",
    "language": "of the speech, as the Hub spells it",
    "licence": "in words",
    "license": "as the Hub spells it",
    "download": "what to download, and where",
    "citation": "whom to cite",
    "speakers": "who speaks, in a sentence",
    "traps": "what a user should know, a list",
    "protocol": f"what `--protocol auto` stands for: {', '.join(PROTOCOLS)}",
    "clips": "a regular expression for the end of a clip's path, its ending aside; its named groups are fields",
    "tables": "a list of files that say more",
    "codes": "field -> written value -> meaning",
    "classes": "the labels in order, all of `codes: label` by default; the others are left out",
    "merge": "label -> class",
    "left_out": "field -> regular expression of its written value -> why such utterances are not used",
    "unknown": "field -> regular expression of its written value that states nothing",
    "published": "class, split, session, speaker or total -> number of utterances, and their source",
}
FACTS = ("title", "language", "licence", "license", "download", "citation", "speakers", "traps")
KNOWN = (*KEYS, *FIELDS)
TABLE_KEYS = {
    "files": "a regular expression for the end of the files' paths; its named groups are fields",
    "columns": "field -> column, or several of which the first that is there counts (CSV, TSV, JSON, Parquet)",
    "lines": "a regular expression for a line of text; its named groups are fields, other lines are passed over",
    "content": "the field that is the whole text of a file",
    "intensities": "label -> column: labels whose numbers, summed over the rows of an utterance, are above 0",
    "nothing": "the label of an utterance without any such number",
}


def load_declaration(path: str | Path, name: str | None = None) -> CorpusSpec:
    """The corpus that a YAML file declares.

    Args:
        name: its key in the registry; the file's name by default.

    Raises:
        OptionError: the file cannot be read, or is no such declaration; everything that is wrong is listed.
    """
    path = Path(path).expanduser()
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), LOADER)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise OptionError(f"corpus {path} cannot be read: {error}") from error
    check = _Check(found if isinstance(found, dict) else {})
    declaration, labels, left_out = check.declaration(), *check.labels()
    published, source = check.published()
    facts = check.facts()
    if not isinstance(found, dict):
        check.errors.insert(0, "a mapping of keys is expected")
    if check.errors:
        raise OptionError(f"corpus {path}: {'; '.join(check.errors)}")
    return CorpusSpec(
        name=name or path.stem,
        title=found["title"],
        read=partial(read_utterances, declaration),
        layout=found.get("download") or f"what {path.name} declares",
        labels=labels,
        label_map=found.get("merge", {}),
        left_out=left_out,
        published=published,
        published_source=source,
        protocol=found.get("protocol", "auto"),
        facts=facts,
    )


class _Check:
    """Reads the keys of a declaration one after the other and collects what is wrong with them."""

    def __init__(self, found: Mapping[str, Any]):
        self.found = found
        self.errors = [f"unknown key {key!r}{did_you_mean(key, KNOWN)}" for key in found if key not in KNOWN]
        if not found.get("title"):
            self.errors.append("title is missing")
        if found.get("protocol", "auto") not in PROTOCOLS:
            self.errors.append(f"protocol is {found['protocol']!r}; it must be one of {', '.join(PROTOCOLS)}")

    def facts(self) -> dict[str, Any]:
        """What the model card of a training tells of the corpus; `source` is whom to cite."""
        known = {key: self.found[key] for key in FACTS if key in self.found}
        for key, value in known.items():
            if not isinstance(value, list if key == "traps" else str):
                self.errors.append(f"{key} must be {'a list' if key == 'traps' else 'text'}")
        return {"source" if key == "citation" else key: value for key, value in known.items()}

    def declaration(self) -> Declaration:
        found = self.found
        clips = self._pattern(found["clips"], "clips") if "clips" in found else None
        entries = found.get("tables", [])
        if not isinstance(entries, list):
            self.errors.append("tables must be a list")
            entries = []
        tables = tuple(self._source(entry, f"tables, entry {number}") for number, entry in enumerate(entries, 1))
        written = set(clips.groupindex if clips else ()).union(*(source.fields for source in tables))
        templates = {name: found[name] for name in FIELDS if name in found}
        for name, template in templates.items():
            self._require_fields(name, _names(template), written)
        if "label" not in written | templates.keys():
            self.errors.append("nothing gives a label: name a group or a column so")
        sections = {}
        for key in ("codes", "left_out"):
            sections[key] = {name: self._mapping(value, f"{key}, {name}")
                             for name, value in self._mapping(found.get(key, {}), key).items()}  # fmt: skip
        unknown = self._mapping(found.get("unknown", {}), "unknown")
        for key, section in {**sections, "unknown": unknown}.items():
            self._require_fields(key, section, written)
        left_out = {name: {self._pattern(value, "left_out"): why for value, why in values.items()}
                    for name, values in sections["left_out"].items()}  # fmt: skip
        patterns = {name: self._pattern(value, "unknown") for name, value in unknown.items()}
        return Declaration(clips, tables, sections["codes"], left_out, patterns, templates)

    def labels(self) -> tuple[tuple[str, ...] | None, frozenset[str]]:
        """The classes in order, and the labels that are left out; None where whatever occurs is a class."""
        codes = self.found.get("codes", {})
        codes = codes.get("label", {}) if isinstance(codes, dict) else {}
        known = list(dict.fromkeys(codes.values())) if isinstance(codes, dict) else []
        classes = self.found.get("classes", known)
        if not isinstance(classes, list) or len(set(classes)) != len(classes):
            self.errors.append("classes must be a list without repetitions")
            return None, frozenset()
        merge = self._mapping(self.found.get("merge", {}), "merge")
        for source, target in merge.items():
            if target not in classes:
                self.errors.append(f"merge: {source!r} becomes {target!r}, which is not among the classes")
        if known and (strange := [name for name in classes if name not in known]):
            self.errors.append(f"classes: {strange[0]!r} is the meaning of no code{did_you_mean(strange[0], known)}")
        return tuple(classes) or None, frozenset(known) - {*classes, *merge}

    def published(self) -> tuple[dict[str, dict[str, int]], str]:
        published = dict(self._mapping(self.found.get("published", {}), "published"))
        source = published.pop("source", "")
        counts = {}
        for axis, values in published.items():
            if axis not in AXES:
                self.errors.append(f"published: {axis!r} is none of source, {', '.join(AXES)}")
                continue
            values = {"all": values} if axis == "total" else self._mapping(values, f"published, {axis}")
            try:
                counts[axis] = {value: int(number) for value, number in values.items()}
            except (TypeError, ValueError):
                self.errors.append(f"published, {axis}: whole numbers are expected")
        return counts, str(source)

    def _source(self, entry: Any, where: str) -> Source:
        entry = self._mapping(entry, where)
        self.errors += [
            f"{where}: unknown key {key!r}{did_you_mean(key, TABLE_KEYS)}" for key in entry if key not in TABLE_KEYS
        ]
        kinds = [key for key in ("columns", "lines", "content") if key in entry]
        if "files" not in entry or len(kinds) != 1:
            self.errors.append(f"{where}: files and one of columns, lines, content are needed")
        columns = self._mapping(entry.get("columns", {}), f"{where}, columns")
        lines = self._pattern(entry["lines"], f"{where}, lines", 0) if "lines" in entry else None
        return Source(
            self._pattern(entry.get("files", ""), f"{where}, files"),
            {name: tuple([column] if isinstance(column, str) else column) for name, column in columns.items()},
            lines,
            entry.get("content"),
            self._mapping(entry.get("intensities", {}), f"{where}, intensities"),
            entry.get("nothing"),
        )

    def _mapping(self, value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            self.errors.append(f"{where} must be a mapping")
            return {}
        return value

    def _pattern(self, value: Any, where: str, flags: int = re.IGNORECASE) -> re.Pattern[str]:
        try:
            return re.compile(str(value), flags)
        except re.error as error:
            self.errors.append(f"{where}: {value!r} is no regular expression ({error})")
            return re.compile("")

    def _require_fields(self, key: str, names: Any, known: set[str]) -> None:
        for name in names:
            if name not in known:
                self.errors.append(f"{key}: no group or column gives {name!r}{did_you_mean(name, known)}")


def _names(template: Any) -> list[str]:
    try:
        return [name for _, name, _, _ in string.Formatter().parse(str(template)) if name]
    except ValueError as error:
        return [f"a name ({error})"]
