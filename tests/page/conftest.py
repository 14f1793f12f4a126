"""A served page: a tiny checkpoint, clips, what is answered, and where; and a browser that looks at it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.page import DRKF, WORDS, free_port, serving, write_checkpoint, write_clips
from transformers import pipeline

import modeling_drkf  # noqa: F401  (registers the pipeline)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny-drkf")


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def expected(checkpoint: Path, clips: Path) -> dict[str, Any]:
    return pipeline("multimodal-emotion-recognition", model=str(checkpoint))(
        {"audio": str(clips / "good.wav"), "text": WORDS}
    )


@pytest.fixture(scope="session")
def address(checkpoint: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    options = ["app", "--model", checkpoint, "--port", port, "--examples", clips / "examples.csv"]
    with serving(DRKF + list(map(str, options)), port, tmp_path_factory.mktemp("served")) as url:
        yield url


@pytest.fixture(scope="module")  # as long as it runs, so does an event loop of playwright's
def browser(clips: Path) -> Iterator[Any]:
    """Its microphone hears the good clip, over and over."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="the browser is driven by playwright, of the extra `dev`"
    )
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no `chromium` on this machine")
    with sync_api.sync_playwright() as playwright:
        microphone = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
        microphone += [f"--use-file-for-fake-audio-capture={clips / 'good.wav'}"]
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", *microphone])
        yield running
        running.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    page = browser.new_page()
    page.set_default_timeout(120_000)
    page.requested = []
    page.on("request", lambda request: page.requested.append(request.url))
    page.goto(address)
    page.get_by_role("button", name="Recognise").wait_for()
    yield page
    page.close()
