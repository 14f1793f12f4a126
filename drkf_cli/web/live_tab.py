"""The tab for the microphone, answered while somebody speaks; scripts/listening.js does what it does."""

import gradio as gr

from .limits import Limits

STEP_SECONDS = 2.0
WINDOW_SECONDS = 4.0

PARTS = """<div class="drkf">
<p id="live-state" role="status">Not listening yet.</p>
<p class="lead"><strong id="live-now" role="status" aria-label="Emotion"></strong><span id="live-share"></span></p>
<div id="live-picture" hidden>
<div class="bands" aria-hidden="true"><div id="live-bands"></div>
<span></span><div class="scale"><span>0:00</span><span id="live-end"></span></div></div>
<p class="note">Height: probability. Full colour: the emotion that is recognised.</p>
<div class="pieces" role="region" aria-label="What was recognised" tabindex="0">
<table><caption>What was recognised, the latest first</caption>
<thead><tr><th scope="col">Until</th><th scope="col">Emotion</th><th scope="col">Probability</th>
<th scope="col">Words</th></tr></thead><tbody id="live-rows"></tbody></table></div>
</div></div>"""


def add_live_tab(longest: float, limits: Limits) -> dict[str, float]:
    """Adds the tab to the page that is under construction.

    Args:
        longest: seconds up to which a clip has one answer.

    Returns: the settings of its script.
    """
    window = min(WINDOW_SECONDS, longest)
    with gr.Tab("Live", render_children=True):
        gr.HTML(
            f"<p>An answer every {STEP_SECONDS:g} s, from the last {window:g} s that your microphone hears, "
            f"for at most {limits.recording_seconds / 60:g} minutes. Everybody in the room must agree to it.</p>"
        )
        gr.Button("Start listening", variant="primary", elem_id="listen")
        gr.HTML(PARTS)
    return {"window_seconds": window, "step_seconds": STEP_SECONDS, "most_seconds": limits.recording_seconds}
