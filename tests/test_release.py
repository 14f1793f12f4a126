"""What a release is made of holds together: versions, changelog, metadata, templates, hooks."""

import configparser
import re
from datetime import date
from pathlib import Path

import yaml
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]


def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def test_every_version_has_its_section_in_the_changelog():
    sections = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sections[0] == "[Unreleased]"
    released = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", section) for section in sections[1:]]
    assert None not in released, sections
    versions = [Version(match[1]) for match in released if match]
    assert versions == sorted(set(versions), reverse=True)
    assert all(date.fromisoformat(match[2]) for match in released if match)
    current = Version(setup()["metadata"]["version"])
    assert current.is_devrelease or versions[:1] == [current]


def test_the_citation_names_this_version_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == setup()["metadata"]["version"]
    paper = citation["preferred-citation"]
    assert f"doi       = {{{paper['doi']}}}" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(paper["authors"]) == 7
    assert citation["license"] == setup()["metadata"]["license"]


def test_the_hooks_run_what_make_quality_runs():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = {hook["entry"] for hook in config["repos"][0]["hooks"]}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^quality: docs.*\n((?:\t.+\n)+)", makefile, re.MULTILINE)
    assert recipe
    commands = re.findall(r"\$\(BIN\)/(.+)", recipe[1] + makefile[makefile.index("\ndocs:") :].split("\n\n")[0])
    assert hooks == {command.removesuffix(" --strict") for command in commands}
    assert yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["strict"] is True


def test_the_forms_for_issues_are_valid():
    for form in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        content = yaml.safe_load(form.read_text(encoding="utf-8"))
        if form.name != "config.yml":
            assert {"name", "description", "body"} <= content.keys()
            assert all(entry["type"] == "textarea" and entry["attributes"]["label"] for entry in content["body"])


def extras() -> dict[str, set[str]]:
    """The packages of each extra, with those of the extras that it holds."""
    listed = {name: value.split("\n") for name, value in setup()["options.extras_require"].items()}
    return {name: {re.split(r"[<>=\[]", line)[0] for line in lines if line} for name, lines in listed.items()}


def test_the_demo_and_the_tests_install_nothing_heavy_and_dev_installs_everything():
    heavy = {"deepspeed", "mkdocs-material", "playwright", "tensorboard", "trackio", "wandb"}
    found = extras()
    assert found["demo"] == {"matplotlib", "espeakng-loader"}
    assert found["test"] & heavy == set()
    assert heavy < found["dev"]
    assert set().union(*found.values()) == found["dev"]


def test_make_installs_the_extra_that_a_target_needs():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert dict(re.findall(r"^(demo|test|install): \$\(VENV\)/\.(\w+)", makefile, re.MULTILINE)) == {
        "demo": "demo",
        "test": "test",
        "install": "dev",
    }
    assert '--editable ".[$*]"' in makefile
