"""The tab for one clip: its controls, its answers, and the API endpoint `/answer`."""

from collections.abc import Callable, Sequence
from functools import partial
from math import ceil
from typing import Any

import gradio as gr
import numpy as np
from starlette.concurrency import run_in_threadpool

from .attention import render_attention
from .clips import ClipError, Example, check_clip, read_text
from .limits import Limits
from .recordings import recognise_pieces, render_timeline
from .rendering import WAITING, render_answer, render_error
from .turns import Steps, Turns, asked_by

READ_FORMATS = "WAV, FLAC, OGG or MP3"
API_USE = """From a program:

```python
from gradio_client import Client, handle_file

page = Client("THE ADDRESS OF THIS PAGE")
answer = page.predict(handle_file("clip.wav"), "the words", api_name="/answer")
answer = page.predict(handle_file("clip.wav"), api_name="/answer")  # the words are unknown
```
"""
HOLD = "() => { document.getElementById('recognise').disabled = true; return []; }"
RELEASE = HOLD.replace("true", "false")


def add_clip_tab(
    recogniser: Any, limits: Limits, turns: Turns, longest: float, transcribes: bool, examples: Sequence[Example]
) -> None:
    """Adds the tab to the page that is under construction.

    Args:
        longest: seconds up to which a clip has one answer. transcribes: see `build_page`.
    """

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
        client, session = asked_by(request)
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

    with gr.Tab("A clip"), gr.Row():
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
                    f'<p class="refused" role="alert"></p><p>{READ_FORMATS}, at most '
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
