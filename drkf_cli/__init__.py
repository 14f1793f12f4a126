"""The `drkf` command: one verb a function; what a verb needs is imported inside it, so that help is instant."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

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


class Modality(StrEnum):
    BOTH, SPEECH, TEXT = "both", "speech", "text"


@app.command(short_help="Make a spoken corpus and train on it: no download.")
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

    raise typer.Exit(run_demo(output_dir, seed))


@app.command(short_help="Tell the emotion of clips and long recordings.")
def predict(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Recordings: wav, flac, ogg or mp3.", metavar="FILE")
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help="What is said; once for each FILE, in their order.")] = None,
    text_file: Annotated[list[Path] | None, typer.Option(help="The same, from text files.")] = None,
    segments: Annotated[
        list[Path] | None,
        typer.Option(help="Who says what when: SRT, WebVTT or Whisper's JSON; once for each FILE. Gives a timeline."),
    ] = None,
    model: Annotated[str, typer.Option(help="A DRKF checkpoint: a folder or a Hub id.")] = DEMO_CHECKPOINT,
    transcriber: Annotated[
        str | None, typer.Option(help="A speech recognition model (folder or Hub id) for words that are not given.")
    ] = None,
    chunk_length_s: Annotated[
        float | None, typer.Option(help="Cut each FILE into windows of so many seconds. Gives a timeline.")
    ] = None,
    stride_s: Annotated[float | None, typer.Option(help="Seconds from one window to the next.")] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Only the most probable classes.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips or windows at once.")] = 8,
    json: Annotated[bool, typer.Option("--json", help="Print JSON in place of a table.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="Also write .json, .csv, .parquet, or .srt of a timeline.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the timeline of one FILE: .png, .svg or .pdf.")] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="A table with the columns audio and text, in place of FILEs; needs --output.")
    ] = None,
    rows_per_shard: Annotated[int, typer.Option(min=1, help="How much of a manifest a kill can cost.")] = 256,
) -> None:
    """Tell the emotion of clips, whether voice and words agree, and which of the two dominates.

    \b
    drkf predict clip.wav --text "You find me furious."
    drkf predict talk.mp3 --segments talk.srt --output talk.csv --picture talk.png
    drkf predict talk.mp3 --chunk-length-s 10 --stride-s 5 --transcriber openai/whisper-tiny
    drkf predict --manifest clips.csv --output answers.parquet
    accelerate launch -m drkf_cli predict --manifest clips.csv --output answers.parquet

    Files that cannot be used are reported beside the others and make the exit status 1. Rows of a manifest say it in
    the column `error`, and their number is printed. A manifest's run that was killed goes on with the same command;
    several processes, on machines that share the output's folder, each take their part.
    """
    from .predict import run_manifest, run_predict

    options: dict[str, Any] = {"top_k": top_k, "batch_size": batch_size}
    if manifest is not None:
        if output is None or files or text or text_file or segments or chunk_length_s or stride_s or picture or json:
            raise typer.BadParameter("--manifest takes --output, and no FILE nor an option for one")
        raise typer.Exit(run_manifest(manifest, output, model, rows_per_shard, options, transcriber))
    if not files:
        raise typer.BadParameter("name a FILE, or a --manifest")
    words: dict[str, Any] = {"texts": text or [], "text_files": text_file or [], "segments": segments or []}
    options |= {"chunk_length_s": chunk_length_s, "stride_s": stride_s}
    raise typer.Exit(run_predict(files, words, model, options, transcriber, output, picture, json))


@app.command(short_help="Score a checkpoint on a corpus.")
def evaluate(
    model: Annotated[str, typer.Option(help="A DRKF checkpoint: a folder or a Hub id.")] = DEMO_CHECKPOINT,
    manifest: Annotated[str | None, typer.Option(help="A table with the columns audio, text and label.")] = None,
    corpus: Annotated[str, typer.Option(help="Which reader; `drkf corpora` lists them.")] = "manifest",
    data_dir: Annotated[str | None, typer.Option(help="The corpus' folder.")] = None,
    split: Annotated[str | None, typer.Option(help="Which part; test if there is one, else all.")] = None,
    output_dir: Annotated[Path | None, typer.Option(help="Write metrics.json and the predictions here.")] = None,
    modality: Annotated[Modality, typer.Option(help="Withhold words or voice.")] = Modality.BOTH,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips at once.")] = 8,
    label_map: Annotated[
        str | None, typer.Option(help="The corpus' labels as the checkpoint's: '{\"hap\": \"joy\"}'.")
    ] = None,
    skip_damaged: Annotated[list[str] | None, typer.Option(help="Kinds of damaged rows to leave out.")] = None,
) -> None:
    """Score a checkpoint on a corpus: metrics with formulas and intervals, and every prediction.

    \b
    drkf evaluate --model runs/mine --manifest clips.csv --output-dir scores
    drkf evaluate --model runs/mine --corpus meld --data-dir MELD.Raw --split validation

    Where the checkpoint's fold.json was made from the same corpus, its parts are meant. A warning tells whether
    utterances or speakers were in the training.
    """
    from .evaluate import run_evaluate

    source = manifest or data_dir
    if source is None or (manifest and data_dir):
        raise typer.BadParameter("name a --manifest, or a --corpus and its --data-dir")
    raise typer.Exit(
        run_evaluate(
            model, corpus, source, split, output_dir, modality.value, batch_size, label_map, skip_damaged or []
        )
    )


@app.command(short_help="Draw where a checkpoint looked.")
def explain(
    audio: Annotated[Path, typer.Argument(help="The clip: wav, flac, ogg or mp3.", metavar="FILE")],
    text: Annotated[str | None, typer.Option(help="What is said in it.")] = None,
    model: Annotated[str, typer.Option(help="A DRKF checkpoint: a folder or a Hub id.")] = DEMO_CHECKPOINT,
    output: Annotated[Path | None, typer.Option(help="The picture: .png, .svg or .pdf.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print every frame's and word's attention as JSON.")] = False,
) -> None:
    """Show where a checkpoint looked: its attention over the waveform and the words.

    \b
    drkf explain clip.wav --text "You find me furious." --output clip.png

    Attention tells where the model looked, not why it decided. Checkpoints that fuse by cross-attention have none.
    """
    from .explain import run_explain

    raise typer.Exit(run_explain(audio, text, model, output, json))


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    short_help="Train on a corpus.",
)
def train(context: typer.Context) -> None:
    """Train on a corpus: train_drkf.py with the same options (`drkf train --help` lists them)."""
    from train_drkf import main

    raise typer.Exit(main(context.args))


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    short_help="Train the six rows of the paper's Table 4.",
)
def ablate(context: typer.Context) -> None:
    """Train the six rows of the paper's Table 4 on a recipe: drkf ablate RECIPE.yaml [options of train_drkf.py].

    Each row goes into a folder of its own in --output_dir; with --folds all, each row is cross-validated. With
    --resume_from_checkpoint true the same command goes on where it was stopped.
    """
    from .ablate import run_ablation

    raise typer.Exit(run_ablation(context.args))


@app.command(short_help="Merge runs of several folds and seeds.")
def results(
    folders: Annotated[list[Path], typer.Argument(help="Run folders, or folders that hold some.", metavar="DIR...")],
    output_dir: Annotated[
        Path | None, typer.Option(help="Also write results.json, results.csv, pictures and a card here.")
    ] = None,
) -> None:
    """Merge runs of several folds and seeds, wherever they were made: mean, standard deviation, interval."""
    from .results import run_results

    raise typer.Exit(run_results(folders, output_dir))


@app.command(short_help="Draw the pictures of a run anew.")
def plot(
    folder: Annotated[Path, typer.Argument(help="What training wrote: a run, or a cross-validation.")],
    split: Annotated[str | None, typer.Option(help="validation or test; both, or a cross-validation's test.")] = None,
    format: Annotated[str, typer.Option(help="png, svg or pdf.")] = "png",
) -> None:
    """Draw the pictures of a run anew from its records, or those of a cross-validation's runs pooled."""
    from .plot import run_plot

    raise typer.Exit(run_plot(folder, split, format))


@app.command(short_help="List the corpora that can be read.")
def corpora() -> None:
    """List the corpora that can be read, and how each must lie on disk."""
    from processing.corpora.registry import CORPORA

    for name, spec in sorted(CORPORA.items()):
        typer.echo(f"{name:12} {spec.title}: {spec.layout}")


@app.command(short_help="Tell everything that is wrong with a corpus.")
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


@app.command(short_help="Decode a corpus once, beside a manifest.")
def prepare(
    data_dir: Annotated[str, typer.Option(help="The corpus' folder, or a manifest file.")],
    output_dir: Annotated[Path, typer.Option(help="Where the FLAC files and the manifest go.")],
    corpus: Annotated[str, typer.Option(help="Which reader; `drkf corpora` lists them.")] = "manifest",
    skip_damaged: Annotated[list[str] | None, typer.Option(help="Kinds of damaged rows to leave out.")] = None,
) -> None:
    """Decode a corpus once (videos with ffmpeg) to 16 kHz FLAC files beside a manifest. Can be resumed."""
    from .corpora import run_prepare

    raise typer.Exit(run_prepare(corpus, data_dir, output_dir, skip_damaged or []))


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
    from .push import run_push

    raise typer.Exit(run_push(folder, repo, public, predictions, revision))


@app.command(name="app", short_help="Serve a web page around a checkpoint.")
def web_app(
    model: Annotated[str, typer.Option(help="A DRKF checkpoint: a folder or a Hub id.")] = DEMO_CHECKPOINT,
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 7860,
    transcriber: Annotated[
        str | None, typer.Option(help="A speech recognition model (folder or Hub id) for clips without words.")
    ] = None,
    examples: Annotated[
        Path | None, typer.Option(help="A CSV file with the columns audio and text: clips to choose from.")
    ] = None,
) -> None:
    """Serve a web page that records or takes a clip and shows the answer, with an API at /answer."""
    from .launch import run_app

    raise typer.Exit(run_app(model, host, port, transcriber, examples))


@export.command("space")
def export_space(
    model: Annotated[str, typer.Argument(help="A DRKF checkpoint: a folder, which is copied, or a Hub id.")],
    output_dir: Annotated[Path, typer.Argument(help="Where the Space goes; must not exist yet.")],
    examples: Annotated[
        Path | None, typer.Option(help="A CSV file with the columns audio and text: clips to choose from.")
    ] = None,
) -> None:
    """Write a folder that runs as a Hugging Face Space: the page of `drkf app` around this checkpoint."""
    from .space import run_export_space

    raise typer.Exit(run_export_space(model, output_dir, examples))


@export.command("onnx")
def export_onnx(
    model: Annotated[str, typer.Argument(help="A DRKF checkpoint: a folder or a Hub id.")],
    output_dir: Annotated[Path, typer.Argument(help="Where the graph, the processor and the contract go.")],
    int8: Annotated[bool, typer.Option("--int8", help="Quantise linear layers to 8 bits.")] = False,
) -> None:
    """Write one ONNX graph with its processor; it runs without torch, alone or in batches of any lengths."""
    from .export import run_export_onnx

    raise typer.Exit(run_export_onnx(model, output_dir, int8))
