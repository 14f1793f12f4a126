"""The `drkf` command: one verb a function; what a verb needs is imported inside it, so that help is instant."""

from pathlib import Path
from typing import Annotated

import typer

DEMO_CHECKPOINT = "runs/demo/both"

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Recognise what a speaker feels, from the voice and the words together.",
)
export = typer.Typer(no_args_is_help=True, help="Put a checkpoint into another form.")
app.add_typer(export, name="export")


@app.command()
def demo(
    output_dir: Annotated[Path, typer.Option(help="Where the corpus, the models and the pictures go.")] = Path(
        "runs/demo"
    ),
    seed: Annotated[
        int, typer.Option(help="Seed of the corpus and of the training; the same one, the same figures.")
    ] = 0,
) -> None:
    """Make a spoken corpus, train DRKF on it, reload it, classify two clips: no download, no GPU, 5 minutes."""
    from .demo import run_demo

    run_demo(output_dir, seed)


@app.command()
def predict(
    audio: Annotated[Path, typer.Argument(help="The clip: wav, flac, ogg or mp3.", metavar="FILE")],
    text: Annotated[str, typer.Option(help="What is said in it.")],
    model: Annotated[str, typer.Option(help="A DRKF checkpoint: a folder or a Hub id.")] = DEMO_CHECKPOINT,
    json: Annotated[bool, typer.Option("--json", help="Print JSON in place of a table.")] = False,
) -> None:
    """Tell the emotion of a clip, whether voice and words agree, and which of the two dominates."""
    from .predict import run_predict

    raise typer.Exit(run_predict(audio, text, model, json))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def train(context: typer.Context) -> None:
    """Train on a corpus: train_drkf.py with the same options (`drkf train --help` lists them)."""
    from train_drkf import main

    raise typer.Exit(main(context.args))


@app.command()
def corpora() -> None:
    """List the corpora that can be read, and how each must lie on disk."""
    from processing.corpora import CORPORA

    for name, spec in sorted(CORPORA.items()):
        typer.echo(f"{name:12} {spec.title}: {spec.layout}")


@app.command()
def doctor(
    data_dir: Annotated[str, typer.Option(help="The corpus' folder, a manifest file, or a Hub id.")],
    corpus: Annotated[str, typer.Option(help="Which reader; `drkf corpora` lists them.")] = "manifest",
    output_dir: Annotated[Path | None, typer.Option(help="Also write report.json and durations.png here.")] = None,
    skip_damaged: Annotated[
        list[str] | None, typer.Option(help="Kinds of damaged rows that training will skip.")
    ] = None,
) -> None:
    """Read a whole corpus and tell everything that is wrong with it. Exit status 0: usable, 1: not."""
    from .corpora import run_doctor

    raise typer.Exit(run_doctor(corpus, data_dir, output_dir, skip_damaged or []))


@app.command()
def prepare(
    data_dir: Annotated[str, typer.Option(help="The corpus' folder, or a manifest file.")],
    output_dir: Annotated[Path, typer.Option(help="Where the FLAC files and the manifest go.")],
    corpus: Annotated[str, typer.Option(help="Which reader; `drkf corpora` lists them.")] = "manifest",
    skip_damaged: Annotated[list[str] | None, typer.Option(help="Kinds of damaged rows to leave out.")] = None,
) -> None:
    """Decode a corpus once (videos with ffmpeg) to 16 kHz FLAC files beside a manifest. Can be resumed."""
    from .corpora import run_prepare

    raise typer.Exit(run_prepare(corpus, data_dir, output_dir, skip_damaged or []))


@export.command("onnx")
def export_onnx(
    model: Annotated[str, typer.Argument(help="A DRKF checkpoint: a folder or a Hub id.")],
    output_dir: Annotated[Path, typer.Argument(help="Where the graph, the processor and the contract go.")],
    int8: Annotated[bool, typer.Option("--int8", help="Quantise linear layers to 8 bits.")] = False,
) -> None:
    """Write one ONNX graph with its processor; it runs without torch, alone or in batches of any lengths."""
    from .export import run_export_onnx

    raise typer.Exit(run_export_onnx(model, output_dir, int8))
