"""README and site: every snippet runs as it stands, links lead somewhere, and the site is built without a warning."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.corpora import own_cache  # noqa: F401
from helpers.hub_server import TOKEN, Hub
from helpers.reader import PAGES, RATE, ROOT, blocks, commands, copy_for, furnish, perform, run, shortened

PUBLISH = Path("docs/tutorials/publish.md")  # its commands need a Hub, which a process finds by its environment
SLOW = ("iemocap.md", "ablations.md", "serve.md")  # trainings by the dozen, and an export
TO_RUN = [
    page
    for page in PAGES
    if page != PUBLISH and any(kind == "python" or commands(text) for kind, text in blocks(page))
]
WRITTEN = {
    "README.md": ("example.png", "runs/mine/metrics.json", "scores/metrics.json"),
    "quickstart.md": ("answers.parquet", "scores/metrics.json"),
    "long-recordings.md": ("talk.csv", "talk.png", "talk.srt", "talk.json", "lanes.png", "call.csv"),
    "conversations.md": ("interview.srt", "interview.png", "interview.csv"),
    "serve.md": ("my-space/app.py", "exported/model.onnx"),
    "corpora.md": ("report/report.json", "meld16k/manifest.csv", "runs/iemocap-5/metrics.json"),
}
PREAMBLE = {
    "train.md": f"clip = {{'array': [0.01] * 800, 'sampling_rate': {RATE}}}\n"
    "rows = [{'audio': clip, 'text': 'so', 'label': 1}] * 2",
}
"""What a page's Python takes for granted, by the page's name."""


def named(pages: list[Path]) -> list[object]:
    return [pytest.param(page, id=str(page), marks=[pytest.mark.slow] if page.name in SLOW else []) for page in pages]


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return furnish(tmp_path_factory.mktemp("reader"))


@pytest.fixture
def place(furnished: Path, page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's own copy, as the current folder."""
    monkeypatch.chdir(copy_for(page, furnished, tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_the_readme_is_short_and_so_is_every_snippet():
    assert (ROOT / "README.md").stat().st_size <= 9_000
    whole_method = (ROOT / "benchmarks/reference.py").read_text(encoding="utf-8")
    for page in PAGES:
        for _, text in blocks(page):
            assert text == whole_method or len(text.strip().splitlines()) <= 12, f"{page}: {text}"


def test_every_link_between_pages_leads_somewhere_in_the_repository():
    pages = [*PAGES, Path("CONTRIBUTING.md"), *(path.relative_to(ROOT) for path in ROOT.glob("model_cards/*.md"))]
    found = 0
    for page in pages:
        links = re.findall(r"\]\(([^)#\s]+)", (ROOT / page).read_text(encoding="utf-8"))
        local = [link for link in links if "://" not in link]
        assert not [link for link in local if not (ROOT / page.parent / link).exists()], page
        found += len(local)
    assert found > 50


@pytest.mark.parametrize(
    ("page", "source"),
    [
        ("docs/limits.md", "model_cards/templates/limits.md"),
        ("docs/tutorials/adding-a-corpus.md", "processing/corpora/declared/ravdess.yaml"),
    ],
)
def test_pages_show_the_files_that_they_quote(page: str, source: str):
    assert (ROOT / source).read_text(encoding="utf-8").strip() in (ROOT / page).read_text(encoding="utf-8")
    assert not [path for path in PAGES if "--8<--" in (ROOT / path).read_text(encoding="utf-8")]


@pytest.mark.slow  # `make quality` builds it, too
def test_the_site_is_built_without_a_warning(tmp_path: Path):
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    method = (tmp_path / "concepts" / "method.html").read_text(encoding="utf-8")
    assert "../pictures/method.svg" in method
    assert "drkf predict --example" in (tmp_path / "api" / "cli.html").read_text(encoding="utf-8")
    assert 'id="modeling_drkf.losses_drkf.info_nce"' in (tmp_path / "api" / "model.html").read_text(encoding="utf-8")
    assert (tmp_path / "cards" / "iemocap.html").exists()
    assert '<h3 id="msp-podcast">' in (tmp_path / "corpora.html").read_text(encoding="utf-8")
    for built in tmp_path.rglob("*.html"):
        loaded = re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(https?:[^"]+)', built.read_text())
        assert not loaded, f"{built.name} loads {loaded}"


@pytest.mark.parametrize("page", named(TO_RUN))
def test_the_snippets_of_a_page_run_one_after_the_other(page: Path, place: Path):
    names: dict[str, object] = {"__name__": "__main__"}
    exec(PREAMBLE.get(page.name, ""), names)
    for language, text in blocks(page):
        if language == "python":
            exec(compile(text, str(page), "exec"), names)
        else:
            for command in commands(text):
                perform(command)
    for written in WRITTEN.get(page.name, ()):
        assert (place / written).stat().st_size > 0, written


@pytest.mark.slow
@pytest.mark.parametrize("page", [PUBLISH])
def test_publishing_runs_against_a_hub(page: Path, place: Path):
    hub = Hub()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HOME": str(place / "home"), "HF_HUB_OFFLINE": "0"}
    environment |= {"HF_ENDPOINT": hub.address, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
    try:
        for command in (command for _, text in blocks(page) for command in commands(text)):
            words = [word.replace("train_drkf.py", str(ROOT / "train_drkf.py")) for word in shortened(command)]
            run([sys.executable, *words[1:]] if words[0] == "python" else words, place, environment)
    finally:
        hub.close()
    assert hub.repositories.keys() == {"me/drkf-mine"}
