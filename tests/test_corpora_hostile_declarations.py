"""Declarations that somebody wrote to break the reader, or by mistake: an explained error, and soon."""

import re
import subprocess
import sys

import pytest
import yaml
from helpers.corpora import own_cache, write_tone  # noqa: F401
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from drkf_cli import app
from processing.corpora.declaration import KEYS, TABLE_KEYS, load_declaration
from processing.corpora.patterns import Pattern
from processing.corpora.readers.sources import files_below
from processing.errors_drkf import OptionError

CLIPS = "title: x\nclips: '(?P<label>[a-z]+)'\n"
LAUGHS = "a: &a [ha, ha]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CLIPS + "classes: [[a]]\n", "classes must be text"),
        (CLIPS + "classes: {a: b}\n", "classes must be a list"),
        (CLIPS + "protocol: {a: [b]}\n", "protocol must be text"),
        (CLIPS + "title: [x]\n", "title must be text"),
        (CLIPS + "merge: {a: [b]}\n", "merge, a must be text"),
        (CLIPS + "codes: {label: {a: {b: c}}}\n", "codes, label, a must be text"),
        (CLIPS + "traps: [a trap: with a colon]\n", "traps must be text, in quotes if it holds a colon"),
        (CLIPS + "published: {total: [1]}\n", "published, total, all must be text"),
        (CLIPS + "published: {total: -1}\n", "published, total: whole numbers are expected"),
        (CLIPS + "tables: [a]\n", "tables, entry 1 must be a mapping"),
        (CLIPS + "tables: [{files: [a], columns: {id: {}}}]\n", "tables, entry 1, files must be text"),
        (CLIPS + "tables: [{files: a, content: [text]}]\n", "tables, entry 1, content must be text"),
        (CLIPS + "tables: [{files: a, content: text, by: word}]\n", "tables, entry 1, by: no group or column gives"),
        (CLIPS + "left_out: {label: {'(a': why}}\n", "left_out, label: '(a' is no regular expression"),
        (CLIPS + "id: '{label:>2000000000}'\n", "may have fields such as {speaker}, and nothing more"),
        (CLIPS + "id: '{label.__class__}'\n", "may have fields such as {speaker}, and nothing more"),
        (CLIPS + "id: '{label!r}'\n", "may have fields such as {speaker}, and nothing more"),
        (CLIPS + "id: '{'\n", "is no template"),
        (CLIPS + "id: '{}'\n", "may have fields such as {speaker}, and nothing more"),
        (CLIPS + f"id: '{'{label}' * 1000}'\n", "a template has at most 1,000 characters"),
        ("title: x\nclips: '(?P<label>a{4294967295})'\n", "repeats its parts more than 10,000 times"),
        ("title: x\nclips: '(?P<label>((a{999}){999}){999})'\n", "repeats its parts more than 10,000 times"),
        (f"title: x\nclips: '{'(' * 900}{')' * 900}'\n", "is nested too deeply"),
        (f"title: x\nclips: '{'a' * 3000}'\n", "of more than 2,000 characters"),
        (CLIPS + f"left_out: {{label: {{{', '.join(f'f{n}: a' for n in range(300))}}}}}\n", "at most 200 regular"),
        (LAUGHS + CLIPS, "line 2: the alias *a; write out what it stands for"),
        (CLIPS + f"traps: {'[' * 50}{']' * 50}\n", "line 3: nested more than 12 levels deep"),
        (CLIPS + f"traps: {'[' * 99_999}\n", "cannot be read"),
        (CLIPS + "traps: ['" + "x" * 300_000 + "']\n", "it has more than 262,144 bytes"),
        (CLIPS + "".join(f"k{n}: a\n" for n in range(20_000)), "and 19,980 more"),
        ("? [a]\n: b\n", "cannot be read"),
        ("a: b\n---\nc: d\n", "cannot be read"),
        ("just text", "a mapping of keys is expected"),
        ("title: \x07", "cannot be read"),
    ],
)
def test_a_declaration_that_is_none_is_explained(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(OptionError) as caught:
        load_declaration(path)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 6_000


values = st.recursive(
    st.sampled_from(["", "a", "(?P<label>a)", "{label}", "[", "id", "label", "1", "~"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*TABLE_KEYS, "label", "class", "a"]), inner, max_size=4)
    ),
    max_leaves=10,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from([*KEYS, "id", "label", "clip", "end"]), values, max_size=6))
def test_any_mapping_is_a_declaration_or_an_explained_error(tmp_path, found):
    path = tmp_path / "any.yaml"
    path.write_text(yaml.safe_dump(found))
    try:
        said = load_declaration(path).name
    except OptionError as error:
        said = str(error)
    assert said == "any" or str(path) in said


def test_a_declaration_is_a_file(tmp_path):
    for path, message in ((tmp_path, "a folder, not a file"), ("/dev/zero", "no such file")):
        with pytest.raises(OptionError, match=message):
            load_declaration(path)


@pytest.mark.parametrize("pattern", ["(?P<label>(a|aa)+)$", "(?P<label>(a|a)*)[^x]"])
def test_a_pattern_that_backtracks_gives_up(pattern):
    found = Pattern(pattern, "clips")
    names = ["a" * length + "x" for length in range(20, 60)]
    with pytest.raises(OptionError, match=r"clips: .* takes too long on 'aaa"):
        list(map(found.fullmatch, names))  # slow ones add up


def test_a_corpus_with_such_a_pattern_ends_with_one_line(tmp_path):
    (tmp_path / "mine.yaml").write_text("title: x\nclips: '(?P<label>(a|aa)+)$'\n")
    write_tone(tmp_path / "clips" / f"{'a' * 40}!.wav")
    done = CliRunner().invoke(
        app, ["doctor", "--corpus", str(tmp_path / "mine.yaml"), "--data-dir", str(tmp_path / "clips")]
    )
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "error: clips: '(?P<label>(a|aa)+)$' takes too long on 'aaaa" in done.stderr


def test_large_patterns_take_little_memory():
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
        "from processing.corpora.patterns import Pattern\n"
        "for written in ('(((a{9999}){9999}){9999}){9999}', '(?:a{0000000099999}){2,}', '(a{100}){100}'):\n"
        "    try: print(sorted(Pattern(written, 'clips').groups))\n"
        "    except ValueError as error: print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[:3] == ["refused", "refused", "[]"], done.stderr


def test_a_pattern_says_what_re_would_say():
    for written, text in ((r"(?P<a>\d\d)-(?P<b>x)?", "07-"), ("(?P<a>[A-Z]+)", "abc"), ("a", "b")):
        match = re.fullmatch(written, text, re.IGNORECASE)
        expected = {name: value for name, value in match.groupdict().items() if value} if match else None
        assert Pattern(written, "clips").fullmatch(text) == expected


def test_a_folder_that_links_to_itself_is_read_once(tmp_path):
    write_tone(tmp_path / "a" / "x.wav")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert list(files_below(tmp_path)) == ["a/x.wav"]
