"""The page: its controls, its answers, and the API endpoint `/answer`."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from math import ceil
from typing import Any

import gradio as gr
import numpy as np
from starlette.concurrency import run_in_threadpool

from .addresses import client_of
from .attention import render_attention
from .clips import ENDINGS, ClipError, Example, check_clip, read_text
from .limits import Limits
from .recordings import longest_clip, recognise_pieces, render_timeline
from .rendering import CSS, LIMITS, WAITING, render_answer, render_error
from .turns import Steps, Turns

PURPOSE = "Emotion in speech"
READ_FORMATS = "WAV, FLAC, OGG or MP3"

API_USE = """From a program:

```python
from gradio_client import Client, handle_file

page = Client("THE ADDRESS OF THIS PAGE")
answer = page.predict(handle_file("clip.wav"), "the words", api_name="/answer")
answer = page.predict(handle_file("clip.wav"), api_name="/answer")  # the words are unknown
```
"""
FONT = ("system-ui", "sans-serif")
HOLD = "() => { document.getElementById('recognise').disabled = true; return []; }"
RELEASE = HOLD.replace("true", "false")
ON_LOAD = """() => {
    const endings = ENDINGS, largest = LARGEST;
    const answer = document.getElementById("answer");
    answer.setAttribute("role", "status");
    answer.setAttribute("aria-live", "polite");
    const clip = document.getElementById("clip-group");
    clip.setAttribute("role", "group");
    clip.setAttribute("aria-label", "Clip");
    const refused = document.getElementById("refused");
    const problem = file => {
        if (!endings.some(ending => file.name.toLowerCase().endsWith(ending)))
            return `${file.name} is not read here. Save the recording as FORMATS.`;
        if (file.size > largest)
            return `${file.name} has more than ${Math.floor(largest / 2 ** 20)} MB. Shorten or compress it.`;
        return "";
    };
    const check = event => {
        const files = [...((event.dataTransfer ?? event.target).files ?? [])];
        if (!event.target.closest("#clip") || !files.length) return;
        refused.textContent = files.map(problem).find(Boolean) ?? "";
        if (refused.textContent) {
            event.preventDefault();
            event.stopImmediatePropagation();
            if (event.type === "change") event.target.value = "";
        }
    };
    document.addEventListener("change", check, true);
    document.addEventListener("drop", check, true);
    document.addEventListener("click", event => {
        if (event.target.matches("#clip input[type=file]")) event.target.accept = endings.join(",");
    }, true);
}"""
"""Names what Gradio leaves without a name, and refuses files in plainer words than Gradio does."""


def build_page(
    recogniser: Any,
    title: str,
    limits: Limits,
    turns: Turns,
    transcribes: bool = False,
    examples: Sequence[Example] = (),
) -> tuple[gr.Blocks, dict[str, Any]]:
    """The page around a recogniser.

    Args:
        recogniser: gives Answers; where it explains them, too (a pipeline does, an exported graph does not), the
            page draws the attention.
        title: the checkpoint's.
        turns: where questions wait for the recogniser.
        transcribes: whether the recogniser writes down what is said where no words are typed.

    Returns: the page, and the options of its `launch` that concern its looks.
    """
    longest = longest_clip(recogniser, limits)

    def read(audio: str) -> dict[str, Any]:
        try:
            return recogniser.read_audio(audio, max_seconds=limits.recording_seconds)
        except ValueError as error:
            what = getattr(error, "reason", str(error)).partition(";")[0]  # what follows is for the command line
            raise ClipError(f"The clip cannot be used: {what}. Record or save it again, as {READ_FORMATS}.") from error

    def recognise(audio: str | None, words: str | None) -> Steps:
        """The Answer or the timeline, and the recording, decoded once whatever follows."""
        if audio is None:
            return recogniser({"text": words}), None
        recording = read(audio)
        if len(recording["array"]) > longest * recording["sampling_rate"]:
            return (yield from recognise_pieces(recogniser, recording, longest, words)), recording
        return recogniser({"audio": recording, "text": words}), recording

    def render(audio: str | None, words: str | None) -> Steps:
        found, recording = yield from recognise(audio, words)
        if recording is not None and "timeline" in found:
            return *render_timeline(found, recording["array"]), found
        explains = found["modality_shares"] is not None and hasattr(recogniser, "explain")
        picture = render_attention(recogniser.explain(recording, found["text"], found)) if explains else ""
        return render_answer(found), picture, found

    async def ask(work: Callable[..., Steps], audio: str | None, text: str | None, request: gr.Request | None) -> Any:
        client = client_of(request.client.host) if request is not None and request.client else "unknown"
        session = request.session_hash or "" if request is not None else ""
        with turns.place(client):
            words, seconds = read_text(text, limits), 0.0
            if audio is not None:
                seconds = await run_in_threadpool(check_clip, audio, limits)
            elif words is None:
                raise ClipError("Nothing to go by: record or upload a clip, type its words, or do both.")
            return await turns.ask(client, session, work(audio, words), seconds > longest)

    async def answer(audio: str | None, text: str | None = None, request: gr.Request | None = None) -> dict[str, Any]:
        """The Answer for a clip, its words, or both, or the timeline of a long recording; see the documentation of
        the pipeline."""
        try:
            return (await ask(recognise, audio, text, request))[0]
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error

    async def show(audio: str | None, text: str, request: gr.Request) -> tuple[str, str, dict[str, Any] | None]:
        try:
            return await ask(render, audio, text, request)
        except ValueError as error:
            return render_error(str(error)), "", None

    name = f"{PURPOSE}: {title}"
    with gr.Blocks(title=name, analytics_enabled=False, fill_width=False) as page:
        gr.HTML(
            f"<h1>{escape(name)}</h1><p>What does the speaker feel? A guess from the voice and the words together.</p>"
        )
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
                    gr.HTML(
                        f'<p id="refused" role="alert"></p><p>{READ_FORMATS}, at most '
                        f"{limits.recording_seconds / 60:g} minutes; over {longest:g} seconds, you get a timeline. "
                        f"Clips are deleted from this server after about {ceil(limits.kept_seconds / 60)} minutes.</p>"
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
        gr.on(
            [button.click, text.submit],
            show,
            [audio, text],
            [result, picture, details],
            api_visibility="private",
            show_progress_on=[result],
        )
        gr.Button(visible=False).click(answer, [audio, text], endpoint, api_name="answer")
    page.max_threads = limits.queue_length  # events under way: questions wait in `turns`, not in Gradio's queue
    page.queue(status_update_rate=3600, default_concurrency_limit=None)
    theme = gr.themes.Default(primary_hue="blue", font=FONT, font_mono=("ui-monospace", "monospace")).set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        block_info_text_color="*body_text_color",
        block_label_text_color="*body_text_color",
        block_title_text_color="*body_text_color",
    )
    script = ON_LOAD.replace("ENDINGS", json.dumps(ENDINGS)).replace("LARGEST", str(limits.upload_bytes))
    script = script.replace("FORMATS", READ_FORMATS)
    return page, {"theme": theme, "css": CSS, "js": script, "footer_links": []}


def _add_examples(examples: Sequence[Example], audio: gr.Audio, text: gr.Textbox) -> None:
    """A button an example, which fills in its clip and its words; until they are there, nothing can be recognised."""

    async def fill_in(example: Example) -> tuple[tuple[int, np.ndarray], str]:
        return example.audio, example.text

    gr.HTML("<p>Or try an example:</p>")
    with gr.Row(elem_id="examples"):
        for example in examples:
            button = gr.Button(example.title, size="sm")
            filled = button.click(partial(fill_in, example), None, [audio, text], js=HOLD, api_visibility="private")
            filled.then(None, js=RELEASE, api_visibility="private")
