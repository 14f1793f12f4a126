"""Serve the page until it is stopped."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

from starlette.middleware import Middleware

from .clips import MAX_UPLOAD_BYTES, Example
from .gate import Gate


def serve(
    recogniser: Any,
    title: str,
    host: str = "127.0.0.1",
    port: int = 7860,
    transcribes: bool = False,
    examples: Sequence[Example] = (),
) -> None:
    """Serves the page for a recogniser until SIGINT or SIGTERM; what clients sent is deleted then at the latest.

    Raises:
        OSError: the port is taken.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    signal.signal(signal.SIGTERM, _stop)
    with TemporaryDirectory(prefix="drkf-app-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # read by Gradio when components are made
        from .page import build_page

        page, looks = build_page(recogniser, title, transcribes, examples)
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            share=False,
            max_file_size=MAX_UPLOAD_BYTES,
            enable_monitoring=False,
            state_session_capacity=100,  # the page keeps nothing in sessions
            run_history=False,
            mcp_server=False,
            ssr_mode=False,
            pwa=False,
            app_kwargs={"middleware": [Middleware(Gate, folder=Path(folder))]},
            quiet=True,
            prevent_thread_lock=True,
            **looks,
        )
        print(f"The page is at {address} (Ctrl-C stops it)", flush=True)
        page.block_thread()


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one must not break off the cleaning up
    sys.exit(128 + number)
