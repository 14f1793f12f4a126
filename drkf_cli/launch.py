"""`drkf app`: the web page around a checkpoint."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def run_app(model: str, host: str, port: int, transcriber: str | None, examples: Path | None) -> int:
    """Serves until stopped; returns the exit status."""
    if find_spec("gradio") is None:
        print("error: the web page needs Gradio: pip install 'drkf[app]'", file=sys.stderr)
        return 1
    from .web.clips import read_examples
    from .web.serving import serve

    try:
        clips = [] if examples is None else read_examples(examples)
        serve(load_recogniser(model, transcriber), Path(model).name, host, port, transcriber is not None, clips)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def load_recogniser(model: str, transcriber: str | None) -> Any:
    """The pipeline of a checkpoint (a folder or a Hub id)."""
    from transformers import pipeline

    import modeling_drkf  # noqa: F401  (registers the task and the Auto classes)

    task: Any = "multimodal-emotion-recognition"
    return pipeline(task, model=model, transcriber=transcriber)
