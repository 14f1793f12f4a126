"""Verbs that use a checkpoint: predict, evaluate, explain."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from processing.answers import PICTURES, check_output
from processing.corpora.column_options import HELP, parse_columns
from processing.evaluation.rounding import rounded
from processing.printable import printable, printable_json
from processing.segment_keys_drkf import SPEAKER_STATISTICS

from ..checkpoint import (
    EXAMPLE_CLIP,
    EXAMPLE_TEXT,
    STARTER,
    ModelOption,
    open_pipeline,
    require_checkpoint,
    starter_folder,
)
from ..command import CorpusOption, app
from ..errors import parse_label_map, require_extra, require_file, writing


class SpeakerStatistics(StrEnum):
    OTHERS, BEFORE, OFF = SPEAKER_STATISTICS


class Modality(StrEnum):
    BOTH, SPEECH, TEXT = "both", "speech", "text"


@app.command(short_help="Recognise the emotion of clips and long recordings.")
def predict(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Recordings: wav, flac, ogg or mp3.", metavar="FILE")
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help="What is said; once for each FILE, in their order.")] = None,
    text_file: Annotated[list[Path] | None, typer.Option(help="The same, from text files.")] = None,
    segments: Annotated[
        list[Path] | None,
        typer.Option(help="Who says what when: a transcript with times; once for each FILE. Gives a timeline."),
    ] = None,
    speakers: Annotated[
        list[str] | None,
        typer.Option(
            help="Who speaks: by-channel, by-name (Anna: ... in the segments), or for each FILE one that says who "
            "speaks when (RTTM)."
        ),
    ] = None,
    model: ModelOption = STARTER,
    transcriber: Annotated[
        str | None, typer.Option(help="A speech recognition model (folder or Hub id) for words that are not given.")
    ] = None,
    chunk_length_s: Annotated[
        float | None, typer.Option(help="Cut each FILE into windows of so many seconds. Gives a timeline.")
    ] = None,
    step_s: Annotated[float | None, typer.Option(help="Seconds from one window to the next.")] = None,
    pauses: Annotated[
        bool | None,
        typer.Option(
            "--pauses/--windows",
            help="Cut each FILE at its pauses (extra: pauses), into pieces of at most --chunk-length-s, or into "
            "windows. One FILE that is too long for one answer is cut anyhow.",
        ),
    ] = None,
    speaker_clips: Annotated[
        list[Path] | None,
        typer.Option(help="Other clips of the same speaker, by which the voice is judged; once for each clip."),
    ] = None,
    speaker_statistics: Annotated[
        SpeakerStatistics,
        typer.Option(
            help="What each speaker of a conversation is judged beside: their other segments, only those before, or "
            "(off) the training part."
        ),
    ] = SpeakerStatistics.OTHERS,
    top_k: Annotated[int | None, typer.Option(min=1, help="Only the most probable classes.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips or windows at once.")] = 8,
    json: Annotated[bool, typer.Option("--json", help="Print JSON in place of a table.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="Also write .json, .csv, .parquet, or .srt of a timeline.")
    ] = None,
    spreadsheet: Annotated[
        bool,
        typer.Option("--spreadsheet", help="Write a .csv in which no text is run as a formula by a spreadsheet."),
    ] = False,
    picture: Annotated[Path | None, typer.Option(help="Draw the timeline of one FILE: .png, .svg or .pdf.")] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="A table with the columns audio and text, in place of FILEs; needs --output.")
    ] = None,
    columns: Annotated[
        list[str] | None, typer.Option(help="The manifest's own names: audio=path text=transcript.")
    ] = None,
    rows_per_shard: Annotated[int, typer.Option(min=1, help="How much of a manifest a kill can cost.")] = 256,
    example: Annotated[bool, typer.Option("--example", help="Answer the clip that comes with the package.")] = False,
) -> None:
    """Recognise the emotion of clips, whether voice and words agree, and which of the two dominates.

    \b
    drkf predict --example
    drkf predict clip.wav --text "You find me furious."
    drkf predict talk.mp3 --segments talk.srt --output talk.csv --picture talk.png
    drkf predict talk.mp3 --pauses --transcriber openai/whisper-tiny
    drkf predict talk.mp3 --chunk-length-s 10 --step-s 5
    drkf predict call.wav --speakers by-channel --chunk-length-s 10
    drkf predict talk.wav --segments talk.vtt --speakers by-name --speaker-statistics before
    drkf predict --manifest clips.csv --output answers.parquet
    accelerate launch -m drkf_cli predict --manifest clips.csv --output answers.parquet

    Files that cannot be used are reported beside the others and make the exit status 1; Ctrl-C shows and writes what
    is answered by then, of a long recording its pieces. Rows of a manifest have the reason in the column `error`, and
    their number is printed. A manifest's run that was stopped or killed goes on with the same command; several
    processes, on machines that share the output's folder, each take their part.
    """
    from ..predict import run_manifest, run_predict

    options: dict[str, Any] = {"top_k": top_k, "batch_size": batch_size}
    if speaker_clips:
        options["speaker"] = [str(clip) for clip in speaker_clips]
    if manifest is not None:
        if (
            output is None
            or files
            or text
            or text_file
            or segments
            or speakers
            or chunk_length_s
            or step_s
            or pauses is not None
            or picture
            or json
        ):
            raise typer.BadParameter("--manifest takes --output, and no FILE nor an option for one")
        named = parse_columns(columns)
        status = run_manifest(
            manifest, output, model, rows_per_shard, options, transcriber, named, spreadsheet=spreadsheet
        )
        raise typer.Exit(status)
    if example:
        files, text = [starter_folder() / EXAMPLE_CLIP], [EXAMPLE_TEXT]
    if not files:
        raise typer.BadParameter("name a FILE, or a --manifest")
    words: dict[str, Any] = {"texts": text or [], "text_files": text_file or [], "segments": segments or []}
    words["speakers"] = speakers or []
    options |= {"chunk_length_s": chunk_length_s, "step_s": step_s, "pauses": pauses}
    options["speaker_statistics"] = speaker_statistics.value
    raise typer.Exit(run_predict(files, words, model, options, transcriber, output, picture, json, spreadsheet))


@app.command(short_help="Write the vectors of clips, for a classifier of your own.")
def embed(
    manifest: Annotated[Path, typer.Option(help="A table with the columns audio, text or both.")],
    output: Annotated[Path, typer.Option(help="The table with the vectors: .parquet.")],
    model: ModelOption = STARTER,
    columns: Annotated[
        list[str] | None, typer.Option(help="The manifest's own names: audio=path text=transcript.")
    ] = None,
    transcriber: Annotated[
        str | None, typer.Option(help="A speech recognition model (folder or Hub id) for words that are not given.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips at once.")] = 8,
    rows_per_shard: Annotated[int, typer.Option(min=1, help="How much of the manifest a kill can cost.")] = 256,
) -> None:
    """Write the vectors of clips beside the columns of their manifest, for a classifier of your own.

    \b
    drkf embed --manifest clips.csv --output vectors.parquet

    fused_embedding is what the emotion classifier reads; speech_embedding and text_embedding are those of one
    modality, empty where it is missing. A run that was killed goes on with the same command; several processes each
    take their part.
    """
    from ..predict import run_manifest

    options = {"batch_size": batch_size, "return_embeddings": True}
    named = parse_columns(columns)
    raise typer.Exit(run_manifest(manifest, output, model, rows_per_shard, options, transcriber, named, True))


@app.command(short_help="Score a checkpoint on a corpus.")
def evaluate(
    model: ModelOption = STARTER,
    manifest: Annotated[str | None, typer.Option(help="A table with the columns audio, text and label.")] = None,
    corpus: CorpusOption = "manifest",
    data_dir: Annotated[str | None, typer.Option(help="The corpus' folder.")] = None,
    split: Annotated[str | None, typer.Option(help="Which part; test if there is one, else all.")] = None,
    output_dir: Annotated[Path | None, typer.Option(help="Write metrics.json and the predictions here.")] = None,
    modality: Annotated[Modality, typer.Option(help="Withhold words or voice.")] = Modality.BOTH,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Compare the groups of a column: speaker, sex, age, ...; once for each column."),
    ] = None,
    by_speaker: Annotated[
        bool, typer.Option("--by-speaker", help="Also score each clip judged beside the other clips of its speaker.")
    ] = False,
    robustness: Annotated[
        bool,
        typer.Option(
            "--robustness",
            help="Score in noise, babble, a room, over a telephone line, with silence around and at a tenth of the "
            "loudness, too; takes ten times as long.",
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON in place of tables.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips at once.")] = 8,
    columns: Annotated[list[str] | None, typer.Option(help=HELP)] = None,
    label_map: Annotated[
        str | None, typer.Option(help="The corpus' labels as the checkpoint's: '{\"hap\": \"joy\"}'.")
    ] = None,
    audio_root: Annotated[
        Path | None, typer.Option(help="Take clips from this folder, whatever root the listed paths have.")
    ] = None,
    skip_damaged: Annotated[list[str] | None, typer.Option(help="Kinds of damaged rows to leave out.")] = None,
) -> None:
    """Score a checkpoint on a corpus: metrics with formulas and intervals, and every prediction.

    \b
    drkf evaluate --model runs/mine --manifest clips.csv --output-dir scores
    drkf evaluate --model runs/mine --corpus meld --data-dir MELD.Raw --split validation
    drkf evaluate --manifest clips.csv --by speaker --by sex
    drkf evaluate --manifest clips.csv --by-speaker
    drkf evaluate --manifest clips.csv --robustness --output-dir scores

    Where the checkpoint's fold.json was made from the same corpus, its parts are used. A warning says how many of the
    clips and speakers its training_data.json knows. Ctrl-C leaves the conditions that are scored by then.
    """
    source = manifest or data_dir
    if source is None or (manifest and data_dir):
        raise typer.BadParameter("name a --manifest, or a --corpus and its --data-dir")
    if robustness and modality == Modality.TEXT:
        raise typer.BadParameter("--robustness is of the voice, which --modality text withholds")
    require_checkpoint(model)
    from ..evaluate import run_evaluate

    options: dict[str, Any] = {"label_map": parse_label_map(label_map), "audio_root": audio_root}
    options |= {"skip_damaged": skip_damaged or [], "columns": parse_columns(columns), "words": modality != "speech"}
    raise typer.Exit(
        run_evaluate(
            model,
            corpus,
            source,
            split,
            output_dir,
            modality=modality.value,
            batch_size=batch_size,
            by=by or (),
            by_speaker=by_speaker,
            under_conditions=robustness,
            as_json=json,
            **options,
        )
    )


@app.command("explain", short_help="Draw where a checkpoint looked.")
def show_attention(
    audio: Annotated[Path | None, typer.Argument(help="The clip: wav, flac, ogg or mp3.", metavar="FILE")] = None,
    text: Annotated[str | None, typer.Option(help="What is said in it.")] = None,
    model: ModelOption = STARTER,
    output: Annotated[Path | None, typer.Option(help="The picture: .png, .svg or .pdf.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every frame's and word's attention as JSON.")] = False,
    example: Annotated[bool, typer.Option("--example", help="Explain the clip that comes with the package.")] = False,
) -> None:
    """Show where a checkpoint looked: its attention over the waveform and the words.

    \b
    drkf explain --example --output example.png
    drkf explain clip.wav --text "You find me furious." --output clip.png

    Attention shows where the model looked, not why it decided. Checkpoints that fuse by cross-attention have none.
    """
    if example:
        audio, text = starter_folder() / EXAMPLE_CLIP, EXAMPLE_TEXT
    if audio is None:
        raise typer.BadParameter("name a FILE, or --example")
    require_file(audio)
    if output is not None:
        require_extra("matplotlib", "plots", "--output needs matplotlib")
        check_output(output, PICTURES)

    pipe = open_pipeline(model, graph=False)
    from processing.explanation import explain
    from processing.figures.explanation import CAPTION, plot_explanation

    explanation = explain(pipe, str(audio), text)
    best = explanation.answer["scores"][0]
    if output is not None:
        with writing(output):
            plot_explanation(explanation, output, f"{printable(audio.name)}: {best['label']} {best['score']:.2f}")
    if warning := explanation.answer.get("warning"):
        typer.echo(f"note: {printable(warning)}", err=True)
    if as_json:
        typer.echo(printable_json({"audio": str(audio), **explanation.to_dict()}))
    else:
        frames, words, _ = explanation.multiples()
        typer.echo(f"{printable(best['label'])} {rounded(best['score'])}")
        if explanation.said:
            strongest = [
                f"{printable(explanation.said[i].text)} ({words[i]:.1f} times)" for i in words.argsort()[:-4:-1]
            ]
            typer.echo(f"words most attended to: {', '.join(strongest)}")
        typer.echo(f"moment most attended to: {explanation.moment()} ({frames.max():.1f} times)")
        typer.echo(CAPTION)
    if output is not None:
        typer.echo(f"Picture: {output}", err=as_json)
