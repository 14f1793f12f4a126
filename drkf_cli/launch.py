"""`drkf app`: the web page around a checkpoint."""

import sys
from importlib.util import find_spec
from pathlib import Path


def run_app(model: str, host: str, port: int, transcriber: str | None, examples: Path | None) -> int:
    """Serves until stopped; returns the exit status."""
    if find_spec("gradio") is None:
        print("error: the web page needs Gradio: pip install 'drkf[app]'", file=sys.stderr)
        return 1
    from .checkpoint import open_pipeline
    from .web.clips import read_examples
    from .web.serving import serve

    try:
        clips = [] if examples is None else read_examples(examples)
        serve(
            open_pipeline(model, transcriber=transcriber), Path(model).name, host, port, transcriber is not None, clips
        )
    except (OSError, ValueError) as error:
        deaf = "Cannot find empty port" in str(error)  # Gradio's words, which name none of our options
        told = f"port {port} of {host} is taken, or that is no address of this machine; see --port and --host"
        print(f"error: {told if deaf else error}", file=sys.stderr)
        return 1
    return 0
