"""Verbs that put a checkpoint before others: push, app, export."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from processing.errors_drkf import FileError, OptionError
from processing.hub_ids import HUB_ID

from ..checkpoint import (
    EXAMPLE_CLIP,
    EXAMPLE_TEXT,
    STARTER,
    ModelOption,
    model_title,
    open_pipeline,
    packaged,
    require_checkpoint,
    starter_folder,
)
from ..command import app, export
from ..errors import require_extra


@app.command(short_help="Publish a checkpoint on the Hub.")
def push(
    folder: Annotated[Path, typer.Argument(help="A run's folder: model, processor and card.", metavar="FOLDER")],
    repo: Annotated[str, typer.Argument(help="The Hub repository: owner/name.", metavar="REPO")],
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public, not private.")] = False,
    predictions: Annotated[
        bool, typer.Option("--predictions", help="Also upload predictions and folds; they name utterances.")
    ] = False,
    revision: Annotated[str | None, typer.Option(help="The branch to commit to; made if it does not exist.")] = None,
) -> None:
    """Publish a checkpoint with its code, card and metrics on the Hub, in one commit."""
    if not HUB_ID.fullmatch(repo):
        raise OptionError(f"{repo} is not the id of a Hub repository (owner/name)")
    from modeling_drkf.release.hub import publish

    commit = publish(folder, repo, private=not public, predictions=predictions, revision=revision)
    typer.echo(f"Published: {commit.commit_url}")


@app.command(name="app", short_help="Serve a web page around a checkpoint.")
def web_app(
    model: ModelOption = STARTER,
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 7860,
    transcriber: Annotated[
        str | None, typer.Option(help="A speech recognition model (folder or Hub id) for clips without words.")
    ] = None,
    examples: Annotated[
        Path | None, typer.Option(help="A CSV file with the columns audio and text: clips to choose from.")
    ] = None,
    auth: Annotated[
        list[str] | None,
        typer.Option(
            help="USER:PASSWORD of somebody who may see the page; better in the environment.",
            envvar="DRKF_AUTH",
            metavar="USER:PASSWORD",
        ),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(help="A name under which the page may be addressed, or `*`; without any, what --host names."),
    ] = None,
    allowed_origin: Annotated[
        list[str] | None, typer.Option(help="Another page that may use this one, such as https://example.org.")
    ] = None,
    limits_file: Annotated[Path | None, typer.Option("--limits", help="A TOML file of limits.")] = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="One limit, such as clip_seconds=30.", metavar="NAME=VALUE")
    ] = None,
) -> None:
    """Serve a web page that records or takes a clip and shows the answer, with an API at /answer.

    Limits are read from --limits, then from variables such as DRKF_APP_CLIP_SECONDS, then from --limit; a wrong name
    lists them. For operators: /healthz, /readyz, /metrics (Prometheus), one line of JSON a request on stderr; SIGTERM
    waits for answers that are under way.
    """
    require_extra("gradio", "app", "the web page needs Gradio")
    from ..web.limits import LimitError, Limits

    try:
        limits = Limits.read(limits_file, flags=limit or [])
    except LimitError as error:
        raise OptionError(str(error)) from error
    people = [(name, password) for name, _, password in (person.partition(":") for person in auth or [])]
    if not all(name and password for name, password in people):
        raise OptionError("--auth takes USER:PASSWORD")
    clips = _read_examples(examples, model)
    pipe = open_pipeline(model, transcriber=transcriber)
    from ..web.serving import serve

    try:
        names = (allowed_host or (), allowed_origin or ())
        serve(pipe, model_title(model), host, port, transcriber is not None, clips, limits, people, *names)
    except OSError as error:
        raise OptionError(
            f"port {port} of {host} is taken, or {host} is no address of this machine; see --port and --host"
        ) from error


@export.command("space")
def export_space(
    model: Annotated[
        str,
        typer.Argument(
            help="A DRKF checkpoint: a folder, which is copied, a Hub id, or `starter`.", callback=packaged
        ),
    ],
    output_dir: Annotated[Path, typer.Argument(help="Where the Space goes; must not exist yet.")],
    examples: Annotated[
        Path | None, typer.Option(help="A CSV file with the columns audio and text: clips to choose from.")
    ] = None,
) -> None:
    """Write a folder that runs as a Hugging Face Space: the page of `drkf app` around this checkpoint."""
    require_checkpoint(model, graph=False)
    from ..space import write_space

    write_space(model, output_dir, _read_examples(examples, model))
    typer.echo(f"{output_dir} holds the Space. Try it: python {output_dir / 'app.py'}")


@export.command("onnx")
def export_onnx(
    model: Annotated[
        str, typer.Argument(help="A DRKF checkpoint: a folder, a Hub id, or `starter`.", callback=packaged)
    ],
    output_dir: Annotated[Path, typer.Argument(help="Where the graph, the processor and the contract go.")],
    int8: Annotated[bool, typer.Option("--int8", help="8-bit linear layers: smaller, and faster with VNNI.")] = False,
) -> None:
    """Write one ONNX graph with its processor; it runs without torch, alone or in batches of any lengths."""
    for module in ("onnx", "onnxruntime", "onnxscript"):
        require_extra(module, "onnx", f"the export needs {module}")
    require_checkpoint(model, graph=False)
    from rich.console import Console

    from modeling_drkf.release.onnx_export import export_onnx
    from processing.quiet import quieten

    quieten()
    console, start = Console(stderr=True), time.monotonic()

    def show(step: str) -> None:
        status.update(step)
        console.print(f"{time.monotonic() - start:4.0f} s  {step}")

    with console.status("") as status:
        path = export_onnx(model, output_dir, int8, show)
    typer.echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB); its contract: {path.with_name('README.md')}")


def _read_examples(manifest: Path | None, model: str) -> list[Any]:
    """Examples for the page: those of a table, or the clip that comes with the starter checkpoint."""
    from ..web.clips import ClipError, read_example, read_examples

    try:
        if manifest is not None:
            return read_examples(manifest)
        return [read_example(starter_folder() / EXAMPLE_CLIP, EXAMPLE_TEXT)] if model == packaged(STARTER) else []
    except (ClipError, OSError) as error:
        raise FileError(f"--examples: {error}") from error
