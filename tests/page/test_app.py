"""The page of `drkf app` as its visitors meet it: a real process, a real browser."""

import re
from typing import Any

import pytest
from helpers.page import DRKF, WORDS, call, close, free_port, result, serving, upload, uploaded
from helpers.recognisers import write_ctc_recogniser
from transformers import pipeline

import modeling_drkf  # noqa: F401  (registers the pipeline)

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
    assert page.title() == "Emotion in speech: Three feelings"
    assert page.get_by_role("heading", level=1).inner_text() == "Emotion in speech: Three feelings"


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
