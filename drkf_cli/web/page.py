"""The page: a tab for a clip, one for a conversation, one for the microphone."""

from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

from .clip_tab import READ_FORMATS, add_clip_tab
from .clips import ENDINGS, Example
from .conversation_tab import add_conversation_tab
from .limits import Limits
from .live_tab import add_live_tab
from .recordings import longest_clip
from .rendering import CSS, LIMITS
from .scripts import page_script
from .turns import Turns

PURPOSE = "Emotion in speech"
FONT = ("system-ui", "sans-serif")


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
    name = f"{PURPOSE}: {title}"
    with gr.Blocks(title=name, analytics_enabled=False, fill_width=False) as page:
        gr.HTML(
            f"<h1>{escape(name)}</h1><p>What does the speaker feel? A guess from the voice and the words together.</p>"
        )
        with gr.Tabs():
            add_clip_tab(recogniser, limits, turns, longest, transcribes, examples)
            add_conversation_tab(recogniser, limits, turns, READ_FORMATS)
            live = add_live_tab(longest, limits)
        gr.Markdown(LIMITS, elem_id="limits")
    page.max_threads = limits.queue_length  # events under way: questions wait in `turns`, not in Gradio's queue
    page.queue(status_update_rate=3600, default_concurrency_limit=None)
    theme = gr.themes.Default(primary_hue="blue", font=FONT, font_mono=("ui-monospace", "monospace")).set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        block_info_text_color="*body_text_color",
        block_label_text_color="*body_text_color",
        block_title_text_color="*body_text_color",
    )
    settings = {
        "endings": {"clip": ENDINGS, "recording": ENDINGS},
        "formats": READ_FORMATS,
        "largest": dict.fromkeys(("clip", "recording"), limits.upload_bytes) | {"transcript": limits.transcript_bytes},
        **live,
    }
    return page, {"theme": theme, "css": CSS, "js": page_script(settings), "footer_links": []}
