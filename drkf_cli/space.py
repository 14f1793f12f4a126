"""`drkf export space`: a folder that runs as a Hugging Face Space, and anywhere else, without this package."""

import csv
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import soundfile
import yaml
from huggingface_hub import ModelCard

import processing
from modeling_drkf.modeling_drkf import ENDPOINT_PACKAGES
from modeling_drkf.release.loading import load_checkpoint
from processing.errors_drkf import FileError
from processing.quiet import quieten

from .checkpoint import model_title
from .errors import require_extra
from .web.clips import Example

PAGE_FOLDER = "drkf_web"
LEFT_OUT = ("__pycache__", "corpora", "evaluation")
REQUIREMENTS = (*ENDPOINT_PACKAGES, "prometheus_client>=0.22")

APP = '''"""The page of a DRKF checkpoint. It runs code that the checkpoint carries: read that if it is not yours."""

import os
from pathlib import Path

from drkf_web.serving import serve
from drkf_web.clips import read_examples
from drkf_web.limits import Limits
from transformers import pipeline

HERE = Path(__file__).resolve().parent
MODEL = {model}

if __name__ == "__main__":
    examples = HERE / "examples" / "examples.csv"
    serve(
        pipeline("multimodal-emotion-recognition", model=MODEL, trust_remote_code=True),
        {title!r},
        host=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"),
        port=int(os.environ.get("GRADIO_SERVER_PORT", "7860")),
        examples=read_examples(examples) if examples.exists() else [],
        limits=Limits.read(),
        allowed_hosts=["*"],  # names are for the proxy of the Space to check
    )
'''

README = """---
{metadata}---

# {title}

Guesses the emotion of a clip from the voice and the words together, with a DRKF model. `/answer` is its API.

To run it elsewhere: `pip install gradio=={gradio} -r requirements.txt && python app.py`.

The page's code is Apache-2.0. The model has the licence of what it was trained from: see its card.
"""


def write_space(model: str, output_dir: Path, examples: Sequence[Example] = ()) -> None:
    """Writes the page and the checkpoint, or the Hub id that it loads, with requirements and card.

    Args:
        model: the folder of a checkpoint, which is copied with the code that it needs, or a Hub id, which the Space
            loads.
        output_dir: must not exist yet.

    Raises:
        FileError: it exists, or cannot be written; or the checkpoint cannot be loaded, and nothing is written.
        DependencyError: Gradio is not installed, so its version is not known.
    """
    require_extra("gradio", "app", "a Space names the version of Gradio that it runs")
    if output_dir.exists():
        raise FileError(f"{output_dir} exists; name a new folder")
    folder = Path(model) if Path(model).is_dir() else None
    quieten()
    gradio, title = version("gradio"), model_title(model)
    parts = load_checkpoint(model) if folder is not None else ()
    output_dir.mkdir(parents=True)
    for part in parts:
        part.save_pretrained(output_dir / "model")
    page = Path(__file__).parent / "web"
    for source, name in ((page, PAGE_FOLDER), (Path(processing.__file__).parent, "processing")):
        shutil.copytree(source, output_dir / name, ignore=shutil.ignore_patterns(*LEFT_OUT))
    location = 'str(HERE / "model")' if folder else repr(model)
    (output_dir / "app.py").write_text(APP.format(model=location, title=title), encoding="utf-8")
    (output_dir / "requirements.txt").write_text("\n".join(REQUIREMENTS) + "\n", encoding="utf-8")
    metadata = _metadata(model, folder, title, gradio)
    text = README.format(metadata=yaml.safe_dump(metadata, sort_keys=False), title=title, gradio=gradio)
    (output_dir / "README.md").write_text(text, encoding="utf-8")
    if examples:
        _write_examples(examples, output_dir / "examples")


def _metadata(model: str, folder: Path | None, title: str, gradio: str) -> dict[str, object]:
    card = folder / "README.md" if folder else None
    licence = ModelCard.load(card, ignore_metadata_errors=True).data.get("license") if card and card.exists() else None
    return {
        "title": title,
        "sdk": "gradio",
        "sdk_version": gradio,
        "python_version": "3.11",
        "app_file": "app.py",
        "license": licence or "other",
        "short_description": "Emotion from the voice and the words together",
        **({} if folder else {"models": [model]}),
    }


def _write_examples(examples: Sequence[Example], folder: Path) -> None:
    folder.mkdir()
    with (folder / "examples.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["audio", "text"])
        for number, example in enumerate(examples, 1):
            rate, samples = example.audio
            soundfile.write(folder / f"{number}.flac", samples, rate)
            writer.writerow([f"{number}.flac", example.text])
