"""The page: its controls, its answers, and the API endpoint `/answer`."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from typing import Any

import gradio as gr

from .attention import render_attention
from .clips import ClipError, Example, check_clip, read_text
from .limits import Limits
from .rendering import CSS, LIMITS, WAITING, render_answer, render_error

TITLE = "What does the speaker feel?"

API_USE = """From a program:

```python
from gradio_client import Client, handle_file

page = Client("THE ADDRESS OF THIS PAGE")
answer = page.predict(handle_file("clip.wav"), "the words", api_name="/answer")
```
"""
FONT = ("system-ui", "sans-serif")
ANNOUNCE = """() => {
    const answer = document.getElementById("answer");
    answer.setAttribute("role", "status");
    answer.setAttribute("aria-live", "polite");
    const clip = document.getElementById("clip-group");
    clip.setAttribute("role", "group");
    clip.setAttribute("aria-label", "Clip");
}"""


def build_page(
    recogniser: Any, title: str, limits: Limits, transcribes: bool = False, examples: Sequence[Example] = ()
) -> tuple[gr.Blocks, dict[str, Any]]:
    """The page around a recogniser.

    Args:
        recogniser: gives Answers; where it explains them, too (a pipeline does, an exported graph does not), the
            page draws the attention.
        title: the checkpoint's name.
        transcribes: whether the recogniser writes down what is said where no words are typed.

    Returns: the page, and the options of its `launch` that concern its looks.
    """

    worker = ThreadPoolExecutor(1, thread_name_prefix="model")

    def recognise(audio: str | None, text: str | None, explains: bool) -> tuple[dict[str, Any], str]:
        given: dict[str, Any] = {"text": text}
        if audio is not None:  # decoded once, whatever follows
            try:
                given["audio"] = recogniser.read_audio(audio, max_seconds=limits.clip_seconds)
            except ValueError as error:
                raise ClipError(str(error).replace(f" ({audio})", "")) from error
        found = recogniser(given)
        if not explains or found["modality_shares"] is None or not hasattr(recogniser, "explain"):
            return found, ""
        return found, render_attention(recogniser.explain(given["audio"], found["text"], found))

    def within_time(audio: str | None, text: str, explains: bool) -> tuple[dict[str, Any], str]:
        words = read_text(text, limits)
        if audio is not None:
            check_clip(audio, limits)
        elif words is None:
            raise ClipError("Nothing to go by: record or upload a clip, type its words, or do both.")
        future = worker.submit(recognise, audio, words, explains)
        try:
            return future.result(limits.answer_seconds)
        except TimeoutError:
            future.cancel()
            raise ClipError(f"No answer within {limits.answer_seconds:g} seconds. Try a shorter clip.") from None

    def answer(audio: str | None, text: str) -> dict[str, Any]:
        """The Answer for a clip, its words, or both; see the documentation of the pipeline."""
        try:
            return within_time(audio, text, explains=False)[0]
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error

    def show(audio: str | None, text: str) -> tuple[str, str, dict[str, Any] | None]:
        try:
            found, picture = within_time(audio, text, explains=True)
        except ValueError as error:
            return render_error(str(error)), "", None
        return render_answer(found), picture, found

    with gr.Blocks(
        title=TITLE,
        analytics_enabled=False,
        fill_width=False,
    ) as page:
        gr.Markdown(f"# {TITLE}\nA guess from the voice and the words together, by the model *{title}*.")
        with gr.Row():
            with gr.Column():
                with gr.Column(elem_id="clip-group"):  # Gradio takes names off the element of gr.Audio
                    audio = gr.Audio(
                        label="Clip",
                        sources=["upload", "microphone"],
                        type="filepath",
                        buttons=[],
                        elem_id="clip",
                    )
                    gr.Markdown(
                        f"WAV, FLAC, OGG or MP3, at most {limits.clip_seconds:g} seconds. Clips are deleted from this "
                        f"server after about {ceil(limits.kept_seconds / 60)} minutes."
                    )
                text = gr.Textbox(
                    label="Words that are said in it",
                    info="Left empty, they are written down for you." if transcribes else "Leave empty if unknown.",
                    lines=2,
                    max_length=limits.text_characters,
                    elem_id="words",
                )
                if examples:
                    _add_examples(examples, audio, text)
                button = gr.Button("Recognise", variant="primary", elem_id="recognise")
            with gr.Column():
                result = gr.HTML(WAITING, elem_id="answer")
                picture = gr.HTML(elem_id="attention")
                with gr.Accordion("The answer as JSON", open=False):
                    details = gr.JSON(label="Answer", elem_id="json")
                    gr.Markdown(API_USE)
        gr.Markdown(LIMITS, elem_id="limits")
        endpoint = gr.JSON(visible=False)
        shared: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
        gr.on(
            [button.click, text.submit],
            show,
            [audio, text],
            [result, picture, details],
            api_visibility="private",
            show_progress_on=[result],
            **shared,
        )
        gr.Button(visible=False).click(answer, [audio, text], endpoint, api_name="answer", **shared)
    page.queue(max_size=limits.queue_length)
    theme = gr.themes.Default(primary_hue="blue", font=FONT, font_mono=("ui-monospace", "monospace")).set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        block_info_text_color="*body_text_color",
        block_label_text_color="*body_text_color",
        block_title_text_color="*body_text_color",
    )
    return page, {"theme": theme, "css": CSS, "js": ANNOUNCE, "footer_links": []}


def _add_examples(examples: Sequence[Example], audio: gr.Audio, text: gr.Textbox) -> None:
    by_title = {example.title: example for example in examples}

    def choose(title: str) -> tuple[tuple[int, Any], str]:
        return by_title[title].audio, by_title[title].text

    chooser = gr.Dropdown(list(by_title), value=None, label="Or an example clip", elem_id="examples")
    chooser.input(choose, chooser, [audio, text], api_visibility="private")
