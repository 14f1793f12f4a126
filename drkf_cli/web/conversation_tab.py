"""The tab for conversations: a recording, its transcript, and who says what with which emotion."""

from typing import Any

import gradio as gr

from processing.figures.timeline import envelope

from .conversations import AS_WRITTEN, SPEAKERS, recognise_conversation
from .lanes import render_conversation
from .limits import Limits
from .rendering import render_error
from .turns import Steps, Turns, asked_by

WAITING = "<p>No answer yet. Add a recording and its transcript, then choose <em>Recognise conversation</em>.</p>"
FORMATS = "Subtitles, or what a speech recogniser wrote: SRT, VTT, whisperX and other JSON, RTTM, TextGrid, ELAN ..."
RUNNING = "() => { document.getElementById('stop').disabled = false; return []; }"
FINISHED = "() => { document.getElementById('stop').disabled = true; window.keepRecording(); return []; }"


def add_conversation_tab(recogniser: Any, limits: Limits, turns: Turns, formats: str) -> None:
    """Adds the tab to the page that is under construction.

    Args:
        formats: of recordings, in words.
    """

    def render(audio: str | None, transcript: str | None, speakers: str | None) -> Steps:
        found = yield from recognise_conversation(recogniser, audio, transcript, speakers, limits)
        _, sound = envelope(audio or "", found["audio_seconds"])
        sound /= max(float(sound.max()), 1e-9)
        return render_conversation(found, audio or "", sound, recogniser.label_names, recogniser.is_multi_label)

    async def show(audio: str | None, transcript: str | None, speakers: str | None, request: gr.Request) -> str:
        client, session = asked_by(request)
        try:
            with turns.place(client):
                return await turns.ask(client, session, render(audio, transcript, speakers))
        except ValueError as error:
            return render_error(str(error))

    async def stop(request: gr.Request) -> None:
        turns.stop(asked_by(request)[1])

    with gr.Tab("A conversation", render_children=True):
        with gr.Row():
            with gr.Column(elem_id="recording-group"):
                audio = gr.Audio(
                    label="Recording", sources=["upload"], type="filepath", buttons=[], elem_id="recording"
                )
                gr.HTML(
                    f'<p class="refused" role="alert"></p><p>{formats}, at most {limits.recording_seconds / 60:g} '
                    "minutes. Only what all who speak in it have agreed to.</p>"
                )
            with gr.Column(elem_id="transcript-group"):
                transcript = gr.File(label="Transcript", height=140, elem_id="transcript")
                gr.HTML(f'<p class="refused" role="alert"></p><p>{FORMATS}</p>')
                speakers = gr.Radio(
                    SPEAKERS, value=AS_WRITTEN, label="How are the speakers known?", elem_id="speakers"
                )
        with gr.Row():
            button = gr.Button("Recognise conversation", variant="primary", elem_id="recognise-conversation")
            stopping = gr.Button("Stop, and keep what is answered", interactive=True, elem_id="stop")
        answer = gr.HTML(WAITING, elem_id="conversation")
    inputs = [audio, transcript, speakers]
    button.click(None, js=RUNNING, api_visibility="private")
    shown = button.click(show, inputs, answer, api_visibility="private", show_progress_on=[answer])
    shown.then(None, js=FINISHED, api_visibility="private")
    stopping.click(stop, api_visibility="private", show_progress="hidden")
