"""Verbs for corpora: corpora, doctor, prepare."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from processing.corpora.column_options import HELP, parse_columns

from ..command import CorpusOption, app
from ..errors import parse_label_map, writing
from .answers import Modality

AudioRoot = Annotated[
    Path | None, typer.Option(help="Take clips from this folder, whatever root and separators the listed paths have.")
]
Columns = Annotated[list[str] | None, typer.Option(help=HELP)]
ModalityOption = Annotated[Modality, typer.Option(help="speech: a corpus of voices alone, which needs no words.")]
LabelMap = Annotated[str | None, typer.Option(help='Other names for labels: \'{"excited": "happy"}\'.')]


@app.command(short_help="List the corpora that can be read.")
def corpora(
    name: Annotated[str | None, typer.Argument(help="Show how this one is declared.", metavar="NAME")] = None,
    keys: Annotated[bool, typer.Option("--keys", help="Explain the keys of a declaration.")] = False,
) -> None:
    """List the corpora that can be read: licence, what to download, and what `--protocol auto` stands for.

    \b
    drkf corpora
    drkf corpora ravdess > my.yaml
    drkf doctor --corpus my.yaml --data-dir clips

    Others are read by a YAML file that declares them, or as a manifest.
    """
    from rich.console import Console
    from rich.table import Table

    from processing.corpora.declaration import FIELDS, KEYS, TABLE_KEYS
    from processing.corpora.facts import describe_corpora
    from processing.corpora.registry import declaration_of

    if name is not None:
        return typer.echo(declaration_of(name), nl=False)
    if keys:
        fields = "\nfields (a group, a column, or a key with a template such as '{speaker}_{sentence}'):"
        for title, explained in (("keys:", KEYS), (fields, FIELDS), ("\nkeys of an entry of tables:", TABLE_KEYS)):
            typer.echo("\n".join([title, *(f"  {key:12} {meaning}" for key, meaning in explained.items())]))
        return None
    table = Table()
    for title in ("id", "corpus", "licence", "what must lie in --data-dir", "protocol"):
        table.add_column(title, overflow="fold")
    for row in describe_corpora():
        table.add_row(*(row[name] for name in ("id", "title", "licence", "download", "protocol")))
    Console().print(table)
    return None


@app.command(short_help="List everything that is wrong with a corpus.")
def doctor(
    data_dir: Annotated[str, typer.Option(help="The corpus' folder, a manifest file, or a Hub id.")],
    corpus: CorpusOption = "manifest",
    output_dir: Annotated[Path | None, typer.Option(help="Also write report.json and durations.png here.")] = None,
    skip_damaged: Annotated[
        list[str] | None, typer.Option(help="Kinds of damaged rows that training will skip.")
    ] = None,
    columns: Columns = None,
    label_map: LabelMap = None,
    audio_root: AudioRoot = None,
    modality: ModalityOption = Modality.BOTH,
    decode: Annotated[
        bool | None,
        typer.Option(help="Decode every clip, or read headers only; by default up to 4 GiB of clips are decoded."),
    ] = None,
) -> None:
    """Read a whole corpus and list everything that is wrong with it. Exit status 0: usable, 1: not.

    \b
    drkf doctor --corpus meld --data-dir MELD.Raw --output-dir report
    drkf doctor --data-dir clips.csv --columns audio=path label=emotion speaker=actor
    drkf doctor --data-dir voices.csv --modality speech
    """
    from rich.console import Console

    from processing.corpora.doctor import examine

    options: dict[str, Any] = {"label_map": parse_label_map(label_map), "audio_root": audio_root, "decode": decode}
    options |= {"columns": parse_columns(columns), "words": modality != Modality.SPEECH}
    found = examine(corpus, data_dir, skip_damaged=skip_damaged or [], **options)
    Console().print(found)
    if output_dir is not None:
        with writing(output_dir):
            output_dir.mkdir(parents=True, exist_ok=True)
            (output_dir / "report.json").write_text(found.to_json() + "\n", encoding="utf-8")
            if len(found.durations) and find_spec("matplotlib"):
                from processing.figures.durations import plot_durations

                plot_durations(found.durations, output_dir / "durations.png", found.title)
        typer.echo(f"Written to {output_dir}")
    raise typer.Exit(found.exit_status)


@app.command("prepare", short_help="Decode a corpus once, beside a manifest.")
def prepare_corpus(
    data_dir: Annotated[str, typer.Option(help="The corpus' folder, or a manifest file.")],
    output_dir: Annotated[Path, typer.Option(help="Where the FLAC files and the manifest go.")],
    corpus: CorpusOption = "manifest",
    skip_damaged: Annotated[list[str] | None, typer.Option(help="Kinds of damaged rows to leave out.")] = None,
    transcriber: Annotated[
        str | None, typer.Option(help="A speech recognition model (folder or Hub id) for words that are not given.")
    ] = None,
    language: Annotated[str | None, typer.Option(help="Of the speech, for Whisper: english, pl, ...")] = None,
    columns: Columns = None,
    label_map: LabelMap = None,
    audio_root: AudioRoot = None,
    modality: ModalityOption = Modality.BOTH,
) -> None:
    """Decode a corpus once (videos with ffmpeg) to 16 kHz FLAC files beside a manifest. Can be resumed."""
    from processing.corpora.prepare import prepare

    options: dict[str, Any] = {"label_map": parse_label_map(label_map), "audio_root": audio_root}
    options |= {"columns": parse_columns(columns), "words": modality != Modality.SPEECH}
    options |= {"transcriber": transcriber, "language": language}
    typer.echo(f"Manifest: {prepare(corpus, data_dir, output_dir, skip_damaged=skip_damaged or [], **options)}")
