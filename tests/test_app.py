"""`drkf app` and `drkf export space` as their users meet them: real processes, a real browser, real requests."""

import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import soundfile
from helpers.page import DRKF, FILE_DATA, WORDS, call, free_port, result, serving, uploaded, write_checkpoint
from helpers.recognisers import write_ctc_recogniser
from helpers.remote import REMOTE
from transformers import pipeline
from typer.testing import CliRunner

import modeling_drkf  # noqa: F401  (registers the pipeline)
from drkf_cli import app
from drkf_cli.checkpoint import model_title, packaged
from drkf_cli.web.attention import _colour, _slices
from drkf_cli.web.clips import ClipError, read_examples
from drkf_cli.web.limits import Limits
from drkf_cli.web.recordings import recognise_pieces
from drkf_cli.web.rendering import render_answer
from processing.figures.explanation import COLOURS

pytest.importorskip("gradio", reason="the web page needs the extra `app`")

BAD_CLIPS = {
    "words.wav": "cannot be decoded",
    "empty.wav": "The file is empty",
    "cut.wav": "truncated",
    "long.flac": "longer than 600 seconds",
}
ANSWER = "#answer[role=status]"
EXTENT = """() => {
    const scrolls = element => ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
    const inside = element => !element.matches("main") && (scrolls(element) || inside(element.parentElement));
    const shown = [...document.querySelectorAll("main *")].filter(element => !inside(element.parentElement));
    const boxes = shown.map(element => element.getBoundingClientRect()).filter(box => box.width && box.height);
    return [boxes.length, Math.min(...boxes.map(box => box.left)), Math.max(...boxes.map(box => box.right))];
}"""
"""How many elements are on the page, without those in boxes that scroll, and their left and right end in pixels."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny-drkf")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a good clip, a manifest of it, and files that are not good."""
    folder = tmp_path_factory.mktemp("clips")
    noise = np.random.default_rng(0).normal(size=6400) * 0.1
    soundfile.write(folder / "good.wav", noise, 16_000)
    (folder / "examples.csv").write_text(f"audio,text\ngood.wav,{WORDS}\n")
    (folder / "words.wav").write_text("this is text, no sound")
    (folder / "empty.wav").write_bytes(b"")
    (folder / "cut.wav").write_bytes((folder / "good.wav").read_bytes()[:5000])
    soundfile.write(folder / "long.flac", np.zeros(601 * 8000), 8000)
    soundfile.write(folder / "talk.wav", np.random.default_rng(1).normal(size=24_000) * 0.1, 16_000)
    (folder / "voice.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    return folder


@pytest.fixture(scope="module")
def expected(checkpoint: Path, clips: Path) -> dict[str, Any]:
    return pipeline("multimodal-emotion-recognition", model=str(checkpoint))(
        {"audio": str(clips / "good.wav"), "text": WORDS}
    )


@pytest.fixture(scope="module")
def address(checkpoint: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    options = ["app", "--model", checkpoint, "--port", port, "--examples", clips / "examples.csv"]
    with serving(DRKF + list(map(str, options)), port, tmp_path_factory.mktemp("served")) as url:
        yield url


@pytest.fixture(scope="module")
def browser(clips: Path) -> Iterator[Any]:
    """Its microphone hears the good clip, over and over."""
    sync_api = pytest.importorskip("playwright.sync_api")
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


def upload(page: Any, clip: Path) -> None:
    with page.expect_response(lambda response: "/upload?" in response.url):
        page.locator("#clip input[type=file]").set_input_files(clip)
    page.get_by_role("button", name="Clear").wait_for()


def scores_shown(page: Any) -> dict[str, str]:
    page.get_by_text("Probability of every emotion").wait_for()
    rows = page.locator(ANSWER).get_by_role("row")
    return {row.get_by_role("rowheader").inner_text(): row.get_by_role("cell").inner_text() for row in rows.all()}


def test_a_clip_and_its_words_give_what_the_pipeline_gives(page, clips, expected, address):
    upload(page, clips / "good.wav")
    page.get_by_label("Words that are said in it").fill(WORDS)
    page.get_by_role("button", name="Recognise").click()
    assert scores_shown(page) == {item["label"]: f"{100 * item['score']:.1f} %" for item in expected["scores"]}
    shown = page.locator(ANSWER).inner_text()
    assert shown.startswith(f"{expected['scores'][0]['label']}, ")
    assert f"the same emotion is {100 * expected['consistency']:.1f} %" in shown
    assert f"{100 * expected['modality_shares']['speech']:.1f} % of the model's attention lies on the voice" in shown
    picture = page.locator("#attention")
    assert picture.locator(".words span").all_inner_texts() == WORDS.split()
    assert picture.locator(".sound rect").count() > 100
    elsewhere = [url for url in page.requested if not url.startswith((address, "data:", "blob:"))]
    assert elsewhere == [], "the page must load nothing from other servers"


def test_a_clip_can_be_recorded(page):
    page.get_by_role("button", name="Record audio").click()
    page.get_by_role("button", name="Record", exact=True).click()
    page.locator("#clip time").last.get_by_text("0:01").wait_for()
    with page.expect_response(lambda response: "/upload" in response.url):
        page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("button", name="Play", exact=True).wait_for()
    assert '- group "Clip"' in page.locator("body").aria_snapshot()
    page.get_by_role("button", name="Recognise").click()
    page.get_by_text("The recording over time").wait_for()  # longer than what the checkpoint takes
    assert "no words were given" in page.locator(ANSWER).inner_text()


def test_an_example_fills_in_clip_and_words(page, expected):
    page.get_by_text("Or try an example:").wait_for()
    page.get_by_role("button", name=WORDS).click()
    page.get_by_role("button", name="Clear").wait_for()
    assert page.get_by_label("Words that are said in it").input_value() == WORDS
    page.get_by_role("button", name="Recognise").click()
    assert scores_shown(page) == {item["label"]: f"{100 * item['score']:.1f} %" for item in expected["scores"]}


def test_an_example_is_waited_for(page, expected):
    held = []
    page.route("**/queue/join*", lambda route: held.append(route))
    with page.expect_request("**/queue/join*"):
        page.get_by_role("button", name=WORDS).click()
    recognise = page.get_by_role("button", name="Recognise")
    assert recognise.is_disabled()
    held[0].continue_()
    page.unroute("**/queue/join*")
    recognise.click()  # as soon as it can be
    assert scores_shown(page) == {item["label"]: f"{100 * item['score']:.1f} %" for item in expected["scores"]}


def test_bad_clips_are_told_and_the_next_one_answered(page, clips):
    for file, message in BAD_CLIPS.items():
        upload(page, clips / file)
        page.get_by_role("button", name="Recognise").click()
        page.locator(ANSWER).get_by_text(message).wait_for()
        page.get_by_role("button", name="Clear").click()
    upload(page, clips / "good.wav")
    page.get_by_role("button", name="Recognise").click()
    assert len(scores_shown(page)) == 3
    assert "no words were given" in page.locator(ANSWER).inner_text()


def test_files_of_other_formats_are_refused_in_plain_words(page, clips):
    page.locator("#clip input[type=file]").set_input_files(clips / "voice.m4a")
    page.get_by_role("alert").get_by_text(
        "voice.m4a is not read here. Save the recording as WAV, FLAC, OGG or MP3."
    ).wait_for()
    upload(page, clips / "good.wav")
    assert page.get_by_role("alert").inner_text() == ""
    assert "audio/" not in page.locator("body").inner_text()


def test_a_long_recording_becomes_a_timeline(page, address, clips, checkpoint):
    upload(page, clips / "talk.wav")
    page.get_by_label("Words that are said in it").fill(WORDS)
    page.get_by_role("button", name="Recognise").click()
    page.get_by_text("0:02 minutes of voice").wait_for()
    quarters = [{"start": 0.375 * number, "end": 0.375 * (number + 1)} for number in range(4)]
    pipe = pipeline("multimodal-emotion-recognition", model=str(checkpoint))
    expected = pipe({"audio": str(clips / "talk.wav"), "segments": quarters})
    best = [piece["scores"][0] for piece in expected["timeline"]]
    rows = page.get_by_role("region", name="The parts of the recording").get_by_role("row").all()
    assert [row.get_by_role("cell").all_inner_texts()[:2] for row in rows] == [
        [piece["label"], f"{100 * piece['score']:.1f} %"] for piece in best
    ]
    assert [row.get_by_role("rowheader").inner_text() for row in rows] == [
        "0:00 to 0:00",
        "0:00 to 0:01",
        "0:01 to 0:01",
        "0:01 to 0:02",
    ]
    assert "the words were left out" in page.locator(ANSWER).inner_text()
    assert page.locator("#attention .bands rect").count() == 12
    event, (answer,) = result(address, call(address, uploaded(address, clips / "talk.wav"), None))
    assert (event, answer) == ("complete", close(expected))


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_a_phone_or_a_desktop(page, clips, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.reload()
    page.get_by_role("button", name="Recognise").wait_for()
    for clip, shown in (("good.wav", "Probability of every emotion"), ("talk.wav", "The recording over time")):
        upload(page, clips / clip)
        page.get_by_role("button", name="Recognise").click()
        page.get_by_text(shown).wait_for()
        page.get_by_text("The answer as JSON").click()
        count, left, right = page.evaluate(EXTENT)
        assert count > 100
        assert (left >= 0, right <= width) == (True, True), (left, right)
        page.get_by_role("button", name="Clear").click()


def test_the_page_is_called_after_the_model(page):
    assert page.title() == "Three feelings"
    assert page.get_by_role("heading", level=1).inner_text() == "Three feelings"


def test_a_checkpoint_without_a_card_is_called_after_its_folder(tmp_path):
    assert model_title(str(tmp_path)) == tmp_path.name
    assert model_title("someone/drkf-mine") == "drkf-mine"
    assert model_title(packaged("starter")) == "Starter checkpoint"


def test_a_visitor_is_told_what_was_read_and_not_which_options_there_are(checkpoint):
    answer = pipeline("multimodal-emotion-recognition", model=str(checkpoint))({"text": "so " * 200})
    assert "tokens of the text were read; segments with their words cover" in answer["warning"]
    shown = render_answer(answer)
    assert "tokens of the text were read;" in shown
    assert "segments with" not in shown


def test_a_recording_that_nobody_waits_for_is_given_up(checkpoint, clips):
    pipe = pipeline("multimodal-emotion-recognition", model=str(checkpoint))
    heard = pipe.read_audio(str(clips / "talk.wav"))
    with pytest.raises(ClipError, match="takes too long"):
        recognise_pieces(pipe, heard, 0.5, None, ends=time.monotonic() - 1)


def test_the_keyboard_is_enough(page):
    def go_to(selector: str) -> None:
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.evaluate("selector => !!document.activeElement.closest(selector)", selector):
                return
        pytest.fail(f"no Tab leads to {selector}")

    go_to("#clip button")
    go_to("#words textarea")
    page.keyboard.type(WORDS)
    go_to("#recognise")
    page.keyboard.press("Enter")
    assert len(scores_shown(page)) == 3
    assert "no audio was given" in page.locator(ANSWER).inner_text()


def test_every_control_has_a_name_and_the_limits_are_told(page, clips):
    upload(page, clips / "good.wav")
    tree = page.locator("body").aria_snapshot()
    controls = re.findall(r"- (?:button|textbox|combobox|slider|checkbox|radio|link)\b.*", tree)
    assert len(controls) > 5
    assert [control for control in controls if not re.match(r'- \w+ "[^"]+"', control)] == []
    assert '- group "Clip"' in tree
    assert "What it must not be used for." in page.locator("#limits").inner_text()


@pytest.mark.slow
def test_words_that_are_left_out_are_written_down(browser, checkpoint, clips, tmp_path):
    recogniser, served = write_ctc_recogniser(tmp_path / "recogniser"), tmp_path / "served"
    served.mkdir()
    port = free_port()
    options = ["app", "--model", checkpoint, "--port", port, "--transcriber", recogniser]
    with serving(DRKF + list(map(str, options)), port, served) as url:
        page = browser.new_page()
        page.goto(url)
        page.get_by_text("Left empty, they are written down for you.").wait_for()
        upload(page, clips / "good.wav")
        page.get_by_role("button", name="Recognise").click()
        scores = scores_shown(page)
        shown = page.locator(ANSWER).inner_text()
        page.close()
    pipe = pipeline("multimodal-emotion-recognition", model=str(checkpoint))
    expected = pipe({"audio": str(clips / "good.wav")}, transcriber=str(recogniser))
    assert expected["text"]
    assert f"seconds of voice, with the words “{expected['text']}”" in shown
    assert scores == {item["label"]: f"{100 * item['score']:.1f} %" for item in expected["scores"]}


def close(value: Any) -> Any:
    """An answer whose numbers may differ by what another number of threads makes of a sum."""
    if isinstance(value, dict):
        return {name: close(item) for name, item in value.items()}
    if isinstance(value, list):
        return [close(item) for item in value]
    return pytest.approx(value, abs=1e-5) if isinstance(value, float) else value


def test_the_api_answers(address, clips, expected):
    event, data = result(address, call(address, uploaded(address, clips / "good.wav")))
    assert (event, data) == ("complete", [close(expected)])


@pytest.mark.parametrize(
    ("gains", "warning"),
    [
        ((1, -1), "the channels cancel each other: the loudest alone was heard"),
        ((0, 0), "silence: the recording says nothing, and the answer rests on no voice"),
    ],
)
def test_the_page_says_where_there_is_little_to_hear(address, clips, tmp_path, gains, warning):
    noise, rate = soundfile.read(clips / "good.wav")
    soundfile.write(tmp_path / "clip.wav", noise[:, None] * gains, rate)
    event, (answer,) = result(address, call(address, uploaded(address, tmp_path / "clip.wav")))
    assert (event, answer["warning"]) == ("complete", warning)
    assert f'<p class="warning">Note: {warning}</p>' in render_answer(answer)


@pytest.mark.parametrize(
    "named",
    [
        "/etc/passwd",
        "https://example.com/clip.wav",
        "clip.wav",
        "{upload}/../../../../etc/passwd",
        "file:///etc/passwd",
    ],
)
def test_paths_and_urls_of_clients_are_refused(address, clips, named):
    own = uploaded(address, clips / "good.wav")["path"]
    called = call(address, {"path": named.format(upload=Path(own).parent), **FILE_DATA})
    assert (called.status_code, called.json()["detail"]) == (400, "Upload the clip: paths and URLs are not read.")


def test_files_of_the_server_are_not_given_out(address, checkpoint, clips):
    own = uploaded(address, clips / "good.wav")["path"]
    assert requests.get(f"{address}/gradio_api/file={own}", timeout=30).content == (clips / "good.wav").read_bytes()
    for other in (checkpoint / "config.json", "/etc/passwd", "https://example.com/", f"{Path(own).parent}/../../x"):
        for route in ("file=", "file/", "proxy="):
            assert requests.get(f"{address}/gradio_api/{route}{other}", timeout=30).status_code in (403, 404), other


def test_what_is_sent_is_bounded(address, clips):
    assert call(address, None, "x" * 2**20).status_code == 413
    assert result(address, call(address, None, "x" * 2000))[0] == "error"
    assert result(address, call(address, None, " "))[0] == "error"
    too_large = {"files": ("big.wav", b"\0" * (Limits().upload_bytes + 2**15))}
    assert requests.post(f"{address}/gradio_api/upload", files=too_large, timeout=60).status_code == 413
    broken = requests.post(f"{address}/gradio_api/call/answer", data=b"{", timeout=30)
    assert broken.status_code == 400
    deep = requests.post(f"{address}/gradio_api/call/answer", data=b"[" * 10_000, timeout=30)
    assert deep.status_code == 400
    assert result(address, call(address, uploaded(address, clips / "good.wav")))[0] == "complete"


def test_services_that_the_page_does_not_use_are_closed(address):
    for route in ("process_recording", "vibe-edit", "run/answer", "stream/x", "login"):
        assert requests.post(f"{address}/gradio_api/{route}", json={}, timeout=30).status_code == 404, route


@pytest.mark.slow
def test_clips_are_deleted_while_the_server_runs(checkpoint, clips, tmp_path):
    port = free_port()
    hasty = ["--limit", "kept_seconds=2", "--limit", "swept_seconds=2"]
    with serving([*DRKF, "app", "--model", str(checkpoint), "--port", str(port), *hasty], port, tmp_path) as url:
        own = uploaded(url, clips / "good.wav")
        assert result(url, call(url, own))[0] == "complete"
        deadline = time.monotonic() + 60
        while list(tmp_path.rglob("*.wav")):
            assert time.monotonic() < deadline, "the clip is still there"
            time.sleep(0.2)
        assert result(url, call(url, own))[0] == "error"


def test_browsers_are_told_to_load_nothing_from_elsewhere(address):
    headers = requests.get(address, timeout=30).headers
    assert "default-src 'self';" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_a_header_that_hides_the_length_lets_no_long_clip_pass(address, clips, tmp_path):
    encoded = bytearray((clips / "long.flac").read_bytes())
    encoded[21] &= 0xF0  # STREAMINFO's 36 bits of total samples: 0 stands for unknown
    encoded[22:26] = bytes(4)
    (tmp_path / "unknown.flac").write_bytes(encoded)
    own = uploaded(address, tmp_path / "unknown.flac")
    event, data = result(address, call(address, own))
    assert event == "error", data
    assert "limit of 600 s" in data["error"] or "cannot be decoded" in data["error"]
    assert str(Path(own["path"]).parent) not in data["error"]


def test_examples_need_their_columns(tmp_path):
    (tmp_path / "other.csv").write_text("file,words\na.wav,b\n")
    with pytest.raises(ValueError, match="columns audio and text"):
        read_examples(tmp_path / "other.csv")


def test_examples_may_come_from_a_spreadsheet_and_bad_ones_are_named(clips, tmp_path):
    listed = clips / "saved.csv"
    listed.write_text(f"audio,text\ngood.wav,{WORDS}\ngood.wav\ngood.wav,{'say ' * 30}\n", encoding="utf-8-sig")
    assert [(example.title, example.text) for example in read_examples(listed)] == [
        (WORDS, WORDS),
        ("good.wav", ""),
        (f"{'say ' * 15} ...", "say " * 30),
    ]
    for name in ("words.wav", "nowhere.wav", ""):
        listed.write_text(f"text,audio\n{WORDS},good.wav\n{WORDS},{name}\n")
        with pytest.raises(ValueError, match=f"example 2 .*{name}"):
            read_examples(listed)


@pytest.mark.parametrize("frames", [1, 7, 120, 3001])
def test_attention_on_frames_keeps_its_mean_and_place(frames):
    weights = np.zeros(frames)
    weights[-1] = 0.25
    slices = _slices(weights)
    assert slices.mean() == pytest.approx(0.25 / frames)
    assert slices[-1] == pytest.approx(slices.max())
    assert slices[0] == pytest.approx(0.25 if frames == 1 else 0)


def test_the_page_has_the_colours_of_the_picture():
    scale = pytest.importorskip("matplotlib").colormaps[COLOURS]
    for share in (0.0, 0.3, 0.77, 1.0):
        red, green, blue = (round(255 * part) for part in scale(share)[:3])
        found = [int(part) for part in re.findall(r"\d+", _colour(share))]
        assert found == pytest.approx([red, green, blue], abs=2)


@pytest.mark.slow
def test_a_taken_port_is_told(checkpoint):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        shown = subprocess.run([*DRKF, "app", "--model", str(checkpoint), "--port", port], capture_output=True,
                              text=True, check=False)  # fmt: skip
    assert shown.returncode == 1
    assert shown.stderr.splitlines()[-1].startswith(f"error: port {port} of 127.0.0.1 is taken")


def test_without_gradio_the_extra_is_named(checkpoint):
    blocked = f"import sys; sys.modules['gradio'] = None; {DRKF[2]}"
    finished = subprocess.run(
        [sys.executable, "-c", blocked, "app", "--model", str(checkpoint)], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 1
    assert finished.stderr.strip() == "error: the web page needs Gradio: pip install 'drkf[app]'"


def export_space(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["export", "space", *map(str, arguments)])


@pytest.mark.slow
def test_a_space_answers_without_the_package(checkpoint, clips, expected, tmp_path):
    space, served = tmp_path / "space", tmp_path / "served"
    served.mkdir()
    assert export_space(checkpoint, space, "--examples", clips / "examples.csv").exit_code == 0
    metadata = (space / "README.md").read_text().split("---\n")[1]
    assert "sdk: gradio\n" in metadata
    assert "app_file: app.py\n" in metadata
    names = {line.split(">=")[0] for line in (space / "requirements.txt").read_text().splitlines()}
    assert names == {"torch", "transformers", "soundfile", "soxr", "prometheus_client"}
    files = [file for file in space.rglob("*") if file.is_file()]
    assert not [file for file in files if str(checkpoint).encode() in file.read_bytes()]

    port = free_port()
    script = f"{REMOTE}\nimport runpy\nsys.path.insert(0, {str(space)!r})\n"
    script += f"runpy.run_path({str(space / 'app.py')!r}, run_name='__main__')"
    modules = str(tmp_path / "modules")
    with serving([sys.executable, "-c", script], port, served, PYTHONPATH="", GRADIO_SERVER_PORT=str(port),
                 HF_MODULES_CACHE=modules) as url:  # fmt: skip
        assert result(url, call(url, uploaded(url, clips / "good.wav"))) == ("complete", [close(expected)])


def test_what_is_no_checkpoint_leaves_no_space(clips, tmp_path):
    shown = export_space(clips, tmp_path / "space")
    assert (shown.exit_code, "error: " in shown.stderr) == (1, True)
    assert not (tmp_path / "space").exists()


def test_a_space_may_refer_to_the_hub(tmp_path):
    assert export_space("someone/drkf", tmp_path / "space").exit_code == 0
    assert "models:\n- someone/drkf\n" in (tmp_path / "space" / "README.md").read_text()
    assert "MODEL = 'someone/drkf'\n" in (tmp_path / "space" / "app.py").read_text()
    again = export_space("someone/drkf", tmp_path / "space")
    assert (again.exit_code, "exists" in again.stderr) == (1, True)
    neither = export_space("no-such-folder", tmp_path / "other")
    assert (neither.exit_code, "neither" in neither.stderr) == (1, True)
