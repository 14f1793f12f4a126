"""A corpus as a YAML file: where its clips lie, what their names and tables say, and what its authors count.

`processing/corpora/declared` holds those that come with the package; `--corpus my.yaml` takes one of your own. `KEYS`
explains every key. `FIELDS` are what an utterance has, from a group or column of that name, or from a key with a
template such as `{speaker}_{sentence}`. All is read as text: `01` stays `01`, and `no` stays `no`. A declaration may
come from anybody: its size is limited, and so is the time that its patterns take.
"""

from __future__ import annotations

import string
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path

import yaml

from ..errors_drkf import OptionError
from ..safe_yaml import read_yaml
from ..suggestions import did_you_mean
from .checks import AXES
from .patterns import Pattern
from .readers.declared import Declaration, read_utterances
from .readers.sources import Source
from .utterance import CorpusSpec

LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
MOST_PATTERNS = 200
MOST_ERRORS = 20
LONGEST_TEMPLATE = 1_000  # characters

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
    "sex": "of the speaker",
    "age": "of the speaker",
    "language": "of the speech, as the Hub spells it; for all utterances a key such as language: en",
}
PROTOCOLS = ("auto", "official", "speaker_disjoint", "leave_one_speaker_out", "leave_one_session_out")
KEYS = {
    "title": "the name to print",
    "licence": "in words",
    "license": "as the Hub spells it",
    "download": "what to download, and where",
    "citation": "the publication to cite",
    "speakers": "who speaks, in a sentence",
    "traps": "what a user should know, a list",
    "protocol": f"what `--protocol auto` stands for: {', '.join(PROTOCOLS)}",
    "clips": "a regular expression for the end of a clip's path, its ending aside; its named groups are fields",
    "folder": "a regular expression for the end of the clips' folder, where others have files of the same names",
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
    "by": "the field by which rows are joined to utterances, id by default",
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
        found = read_yaml(path, LOADER)
    except (OSError, ValueError) as error:
        raise OptionError(f"corpus {path} cannot be read: {error}") from error
    check = _Check(found)
    declaration, labels, left_out = check.declaration(), *check.labels()
    published, source = check.published()
    spec = CorpusSpec(
        name=name or path.stem,
        title=check.text("title"),
        read=partial(read_utterances, declaration),
        layout=check.text("download") or f"what {path.name} declares",
        labels=labels,
        label_map=check.texts(check.found.get("merge", {}), "merge"),
        left_out=left_out,
        published=published,
        published_source=source,
        protocol=check.protocol(),
        facts=check.facts(),
    )
    if errors := list(dict.fromkeys(check.errors)):
        more = f"; and {len(errors) - MOST_ERRORS:,} more" if len(errors) > MOST_ERRORS else ""
        raise OptionError(f"corpus {path}: {'; '.join(errors[:MOST_ERRORS])}{more}")
    return spec


class _Check:
    """Reads the keys of a declaration one after the other and collects what is wrong with them."""

    def __init__(self, found: object):
        self.errors: list[str] = []
        self.patterns = 0
        if not isinstance(found, dict):
            self.errors.append("a mapping of keys is expected")
        self.found: dict[str, object] = found if isinstance(found, dict) else {}
        self._require_known("", self.found, KNOWN)
        if not self.found.get("title"):
            self.errors.append("title is missing")

    def text(self, key: str) -> str:
        """A key whose value is text; empty where it is absent."""
        return self._text(self.found.get(key, ""), key)

    def protocol(self) -> str:
        protocol = self.text("protocol") or "auto"
        if protocol not in PROTOCOLS:
            self.errors.append(f"protocol is {protocol[:60]!r}; it must be one of {', '.join(PROTOCOLS)}")
        return protocol

    def facts(self) -> dict[str, str | list[str]]:
        """What the model card of a training says about the corpus; `source` is what to cite."""
        facts: dict[str, str | list[str]] = {}
        for key in (key for key in FACTS if key in self.found):
            value = self._list(self.found[key], key) if key == "traps" else self.text(key)
            facts["source" if key == "citation" else key] = value
        if "{" in facts.get("language", ""):  # each utterance has its own
            del facts["language"]
        return facts

    def declaration(self) -> Declaration:
        found = self.found
        clips = self._pattern(found["clips"], "clips") if "clips" in found else None
        folder = self._pattern(found["folder"], "folder") if "folder" in found else None
        entries = found.get("tables", [])
        if not isinstance(entries, list):
            self.errors.append("tables must be a list")
            entries = []
        tables = tuple(self._source(entry, f"tables, entry {number}") for number, entry in enumerate(entries, 1))
        written = set(clips.groups if clips else ()).union(*(source.fields for source in tables))
        templates = {name: self._template(name, written) for name in FIELDS if name in found}
        if "label" not in written | templates.keys():
            self.errors.append("nothing gives a label: name a group or a column so")
        sections: dict[str, dict[str, dict[str, str]]] = {
            key: {name: self.texts(value, f"{key}, {name[:60]}") for name, value in self._mapping(found, key).items()}
            for key in ("codes", "left_out")
        }
        unknown = self.texts(found.get("unknown", {}), "unknown")
        for key, names in (*((key, list(section)) for key, section in sections.items()), ("unknown", list(unknown))):
            self._require_fields(key, names, written)
        left_out = {name: {self._pattern(value, f"left_out, {name}"): why for value, why in values.items()}
                    for name, values in sections["left_out"].items()}  # fmt: skip
        patterns = {name: self._pattern(value, f"unknown, {name}") for name, value in unknown.items()}
        return Declaration(clips, folder, tables, sections["codes"], left_out, patterns, templates)

    def labels(self) -> tuple[tuple[str, ...] | None, frozenset[str]]:
        """The classes in order, and the labels that are left out; None where whatever occurs is a class."""
        codes = self.found.get("codes", {})
        codes = codes.get("label", {}) if isinstance(codes, dict) else {}
        known = list(dict.fromkeys(self.texts(codes, "codes, label").values()))
        classes = self._list(self.found["classes"], "classes") if "classes" in self.found else known
        if len(set(classes)) != len(classes):
            self.errors.append("classes must be a list without repetitions")
        merge = self.texts(self.found.get("merge", {}), "merge")
        for source, target in merge.items():
            if target not in set(classes):
                self.errors.append(f"merge: {source[:60]!r} becomes {target[:60]!r}, which is not among the classes")
        if known and (unknown := set(classes) - set(known)):
            name = min(unknown)[:60]
            self.errors.append(f"classes: {name!r} is the meaning of no code{self._suggestion(name, known)}")
        return tuple(classes) or None, frozenset(known) - {*classes, *merge}

    def published(self) -> tuple[dict[str, dict[str, int]], str]:
        """The numbers along each axis, and where they stand."""
        published = dict(self._mapping(self.found, "published"))
        source = self._text(published.pop("source", ""), "published, source")
        counts = {}
        for axis, values in published.items():
            if axis not in AXES:
                self.errors.append(f"published: {axis[:60]!r} is none of source, {', '.join(AXES)}")
                continue
            numbers = self.texts({"all": values} if axis == "total" else values, f"published, {axis}")
            if all(number.isdecimal() and len(number) < 12 for number in numbers.values()):
                counts[axis] = {value: int(number) for value, number in numbers.items()}
            else:
                self.errors.append(f"published, {axis}: whole numbers are expected")
        return counts, source

    def texts(self, value: object, where: str) -> dict[str, str]:
        """A mapping of text to text."""
        if not isinstance(value, dict):
            self.errors.append(f"{where} must be a mapping")
            return {}
        return {key: self._text(item, f"{where}, {key[:60]}") for key, item in value.items()}

    def _text(self, value: object, where: str) -> str:
        if not isinstance(value, str):
            hint = ", in quotes if it holds a colon" if isinstance(value, dict) else ""
            self.errors.append(f"{where} must be text{hint}")
            return ""
        return value

    def _list(self, value: object, where: str) -> list[str]:
        if not isinstance(value, list):
            self.errors.append(f"{where} must be a list")
            return []
        return [self._text(item, where) for item in value]

    def _mapping(self, found: Mapping[str, object], key: str) -> dict[str, object]:
        value = found.get(key, {})
        if not isinstance(value, dict):
            self.errors.append(f"{key} must be a mapping")
            return {}
        return value

    def _source(self, entry: object, where: str) -> Source:
        if not isinstance(entry, dict):
            self.errors.append(f"{where} must be a mapping")
            entry = {}
        self._require_known(f"{where}: ", entry, TABLE_KEYS)
        kinds = [key for key in ("columns", "lines", "content") if key in entry]
        if "files" not in entry or len(kinds) != 1:
            self.errors.append(f"{where}: files and one of columns, lines, content are needed")
        source = Source(
            self._pattern(entry.get("files", ""), f"{where}, files"),
            self._columns(entry.get("columns", {}), f"{where}, columns"),
            self._pattern(entry["lines"], f"{where}, lines", ignore_case=False) if "lines" in entry else None,
            self._text(entry["content"], f"{where}, content") if "content" in entry else None,
            self.texts(entry.get("intensities", {}), f"{where}, intensities"),
            self._text(entry["nothing"], f"{where}, nothing") if "nothing" in entry else None,
            self._text(entry.get("by", "id"), f"{where}, by"),
        )
        if "by" in entry:
            self._require_fields(f"{where}, by", [source.by], source.fields)
        return source

    def _columns(self, value: object, where: str) -> dict[str, tuple[str, ...]]:
        if not isinstance(value, dict):
            self.errors.append(f"{where} must be a mapping")
            return {}
        columns = {}
        for name, column in value.items():
            names = [column] if isinstance(column, str) else self._list(column, f"{where}, {name[:60]}")
            columns[name] = tuple(names) or ("",)
        return columns

    def _pattern(self, value: object, where: str, *, ignore_case: bool = True) -> Pattern:
        self.patterns += 1
        try:
            if self.patterns > MOST_PATTERNS:
                raise ValueError(f"a declaration has at most {MOST_PATTERNS} regular expressions")
            return Pattern(self._text(value, where), where, ignore_case=ignore_case)
        except ValueError as error:
            self.errors.append(f"{where}: {error}")
            return Pattern("", where)

    def _template(self, name: str, known: set[str]) -> str:
        """A key of `FIELDS`: text in which `{field}` stands for a field, and nothing else in braces."""
        template = self.text(name)
        try:
            parts = list(string.Formatter().parse(template))
        except ValueError as error:
            self.errors.append(f"{name}: {template[:60]!r} is no template ({error})")
            return ""
        for _, field, form, conversion in parts:
            if field is not None and (form or conversion or not field.isidentifier()):
                self.errors.append(f"{name}: {template[:60]!r} may have fields such as {{speaker}}, and nothing more")
                return ""
        if len(template) > LONGEST_TEMPLATE:
            self.errors.append(f"{name}: a template has at most {LONGEST_TEMPLATE:,} characters")
        self._require_fields(name, [field for _, field, _, _ in parts if field is not None], known)
        return template

    def _require_fields(self, key: str, names: Iterable[str], known: set[str]) -> None:
        for name in names:
            if name not in known:
                suggestion = self._suggestion(name, known)
                self.errors.append(f"{key}: no group or column gives {name[:60]!r}{suggestion}")

    def _require_known(self, where: str, keys: Iterable[str], known: Collection[str]) -> None:
        for key in keys:
            if key not in known:
                self.errors.append(f"{where}unknown key {key[:60]!r}{self._suggestion(key, known)}")

    def _suggestion(self, name: str, known: Collection[str]) -> str:
        """A name that may be meant, as long as the search costs nothing."""
        return did_you_mean(name, known) if len(self.errors) < MOST_ERRORS and len(known) < MOST_PATTERNS else ""
