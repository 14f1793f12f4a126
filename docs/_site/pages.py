"""What the site takes from elsewhere in the repository: the cards of `model_cards`, each under "Corpora and results",
the changelog, the help of the verbs, and the list of the corpora."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ADDRESS = re.compile(r"https?://[^\s,;()]*[^\s,;().]")
LANGUAGES = {"de": "German", "en": "English", "pl": "Polish", "zh": "Chinese"}
ROOT = Path(__file__).resolve().parents[2]
CARD_LINK = re.compile(r"\]\((?:\.\./)+model_cards/(?:(\w+)\.md|(\w+)/README\.md)")
CARDS = {f"cards/{path.stem}.md": path for path in sorted((ROOT / "model_cards").glob("*.md"))}
CARDS["cards/starter.md"] = ROOT / "model_cards" / "starter" / "README.md"
PICTURES = {f"cards/study/{path.name}": path for path in (ROOT / "model_cards" / "study").glob("*.png")}


def on_config(config: Any) -> None:
    section = next(entry for entry in config.nav if "Corpora and results" in entry)
    section["Corpora and results"] += list(CARDS)


def on_files(files: Files, config: Any) -> None:
    for name, source in {**CARDS, **PICTURES, "changelog.md": ROOT / "CHANGELOG.md"}.items():
        files.append(File.generated(config, name, abs_src_path=str(source)))


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """Turns links to the cards of the repository into those of the site, and appends each verb's help to the page on
    the command line, and the corpora to theirs."""
    up = "../" * page.file.src_uri.count("/")
    markdown = CARD_LINK.sub(lambda found: f"]({up}cards/{found[1] or found[2]}.md", markdown)
    if page.file.src_uri == "corpora.md":
        return markdown + _corpora()
    if page.file.src_uri != "api/cli.md":
        return markdown
    from typer.main import get_command
    from typer.testing import CliRunner

    from drkf_cli import app

    sections = [markdown]
    for verb in _verbs(get_command(app)):
        shown = CliRunner().invoke(app, [*verb, "--help"], prog_name="drkf", env={"COLUMNS": "100"}).output
        sections.append(f"## drkf {' '.join(verb)}\n\n```text\n{shown.strip()}\n```\n")
    return "\n".join(sections)


def _corpora() -> str:
    from processing.corpora.facts import describe_corpora

    names = {"download": "in its folder", "protocol": "protocol", "licence": "licence", "source": "source"}
    sections = []
    for row in describe_corpora():
        language = f", {LANGUAGES[row['language']]}" if row["language"] else ""
        lines = [f"- {name}: {_linked(row[key])}" for key, name in names.items() if row[key]]
        sections += [f"### {row['title']}", f"`--corpus {row['id']}`{language}", "\n".join(lines)]
    return "\n\n".join(["", *sections, ""])


def _linked(text: str) -> str:
    return ADDRESS.sub(r"<\g<0>>", text.replace("*", r"\*"))


def _verbs(command: Any) -> Iterator[list[str]]:
    for name, inner in command.commands.items():
        if hasattr(inner, "commands"):
            yield from ([name, *rest] for rest in _verbs(inner))
        elif name != "train":  # train_drkf.py's help has its own block
            yield [name]
