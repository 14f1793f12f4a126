"""`drkf predict`: what is felt in some clips or long recordings."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from processing.answers import OUTPUTS, PICTURES, Result, check_output, write_results
from processing.errors_drkf import FileError, OptionError
from processing.printable import printable, printable_json
from processing.segment_keys_drkf import BY_CHANNEL
from processing.speakers import summarise_speakers
from processing.transcripts.segments import SegmentError, read_segments

from .answer_tables import show_answers
from .checkpoint import open_pipeline, require_checkpoint
from .command import INTERRUPTED
from .cutting import chosen_cut, cut_if_too_long
from .errors import require_extra, require_file, writing
from .progress import answering, count_pieces

if TYPE_CHECKING:
    from processing.recognition_inputs_drkf import Item

BY_NAME = "by-name"
HOW = (BY_CHANNEL, BY_NAME)
TABLE_OUTPUTS = (".parquet", ".csv", ".jsonl")
EMBEDDING_OUTPUTS = (".parquet",)


@dataclass(frozen=True)
class Request:
    """One file and what is known about its words: a text, segments, or neither.

    Attributes:
        turns: a file that says who speaks when; the segments are its turns where there are no others.
        names: whether names before the words of the segments say who speaks.
    """

    audio: Path
    text: str | None = None
    segments: Path | None = None
    turns: Path | None = None
    names: bool = False

    def to_input(self) -> dict[str, Any]:
        """What the pipeline takes. SegmentError: the segments cannot be read."""
        recording = self.audio.stem
        if self.segments is not None:
            found = read_segments(self.segments, recording, self.names, self.turns)
            return {"audio": str(self.audio), "segments": found}
        if self.turns is not None:
            return {"audio": str(self.audio), "segments": read_segments(self.turns, recording)}
        return {"audio": str(self.audio), "text": self.text}


def requests_of(
    files: Sequence[Path],
    texts: Sequence[str],
    text_files: Sequence[Path],
    segments: Sequence[Path],
    speakers: Sequence[str] = (),
) -> list[Request]:
    """Files with their words; each of the three may be empty, or hold one for every file.

    Args:
        speakers: "by-channel", "by-name", or for every file one that says who speaks when.

    Raises:
        OptionError: their number differs from that of the files, more than one of them is given, a text file cannot
            be read or is not UTF-8, or none of the files exists, or the only one is a folder.
    """
    given = {"--text": texts, "--text-file": text_files, "--segments": segments}
    given = {name: values for name, values in given.items() if values}
    if len(given) > 1:
        raise OptionError(f"{' and '.join(given)}: give the words in one way")
    how = [value for value in speakers if value in HOW]
    turns = [] if how else [Path(value) for value in speakers]
    if how and len(speakers) > 1:
        raise OptionError(f"--speakers {how[0]} is for all files: give it once, and no file beside it")
    if how == [BY_NAME] and not segments:
        raise OptionError(f"--speakers {BY_NAME} reads the names before the words of --segments")
    if turns and (texts or text_files):
        raise OptionError("--speakers FILE says who speaks when: give words with times, by --segments")
    given |= {"--speakers": turns} if turns else {}
    for name, values in given.items():
        if len(values) != len(files):
            raise OptionError(
                f"{name} is given {len(values)} times for {len(files)} files; give one for each, in order"
            )
    if missing := [str(path) for path in [*text_files, *segments, *turns] if not path.exists()]:
        raise FileError(f"no such file: {', '.join(missing)}")
    if not any(file.exists() for file in files):
        raise FileError(f"no such file: {', '.join(map(str, files))}")
    if len(files) == 1 and files[0].is_dir():
        raise FileError(f"{files[0]} is a folder: name the recordings in it ({files[0] / '*.wav'})")
    if text_files:
        texts = [_read_words(path) for path in text_files]
    return [
        Request(
            file,
            texts[index] if texts else None,
            segments[index] if segments else None,
            turns[index] if turns else None,
            how == [BY_NAME],
        )
        for index, file in enumerate(files)
    ]


def _read_words(path: Path) -> str:
    try:
        return " ".join(path.read_text(encoding="utf-8-sig").split())
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: not UTF-8; save the file as UTF-8") from error
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})") from error


def answer_requests(pipe: Any, requests: Sequence[Request], **options: Any) -> list[Result]:
    """A result a request, in order; what is wrong with one is its `error` and does not touch the others.

    Ctrl-C leaves the results that are there by then, and the pieces of a long recording, which is `stopped`.
    """
    results: dict[int, Result] = {}
    inputs: dict[int, dict[str, Any]] = {}
    for number in sorted(range(len(requests)), key=lambda number: _size(requests[number].audio)):
        try:
            inputs[number] = requests[number].to_input()
        except SegmentError as error:
            results[number] = {"error": str(error)}
    names = [str(requests[number].audio) for number in inputs]
    total = count_pieces(list(inputs.values()), options.get("chunk_length_s"), options.get("step_s"))
    if options.get("speakers") or options.get("pauses"):  # how many there are is seen when the recording is read
        total = None
    recognizer, numbers, begun = getattr(pipe, "recognizer", pipe), iter(inputs), None
    try:
        with answering(total, "clip") as bar:
            for unit in recognizer.answered(inputs.values(), names, errors="return", **options):
                bar.update()
                begun = unit.item
                if unit.is_last:
                    results[next(numbers)], begun = begun.whole_answer(), None
    except KeyboardInterrupt:
        if begun is not None:
            results[next(numbers)] = _beginning(begun)
    return [{"audio": str(requests[number].audio), **results[number]} for number in sorted(results)]


def _beginning(item: Item) -> Result:
    ends = [piece["end"] for piece in item.answers if "error" not in piece]
    return {"audio_seconds": max(ends, default=0.0), "timeline": item.answers, "stopped": True}


def _size(file: Path) -> int:
    """Short clips come first, and those of like length together."""
    return file.stat().st_size if file.exists() else 0


def run_predict(
    files: Sequence[Path],
    words: Mapping[str, Sequence[Any]],
    model: str,
    options: Mapping[str, Any],
    transcriber: str | None = None,
    output: Path | None = None,
    picture: Path | None = None,
    as_json: bool = False,
    spreadsheet: bool = False,
) -> int:
    """Answers, prints and writes; returns the exit status: 1 if a file could not be answered, 130 after Ctrl-C, which
    leaves what is answered by then.

    Args:
        words: of `requests_of`. options: of the pipeline's call.
    """
    requests = requests_of(files, **words)
    if BY_CHANNEL in words.get("speakers", ()):
        options = {**options, "speakers": BY_CHANNEL}
    options = chosen_cut(options, any(request.segments or request.turns for request in requests))
    is_cut = options.get("chunk_length_s") is not None or options["pauses"] or "speakers" in options
    _check_destinations(requests, is_cut, output, picture)
    pipe = open_pipeline(model, transcriber=transcriber)
    if not is_cut and requests == [Request(requests[0].audio)]:
        options = cut_if_too_long(requests[0].audio, options, pipe)
    results = [_with_speakers(result, pipe) for result in answer_requests(pipe, requests, **options)]
    good = [result for result in results if "error" not in result]
    if as_json:
        print(printable_json(results[0] if len(requests) == len(results) == 1 else results))
    else:
        for result in results:
            if "error" in result:
                print(f"error: {printable(_placed(result))}", file=sys.stderr)
        show_answers(good, pipe)
    warnings = [result.get("warning") for result in good] + [answer.get("warning") for answer in _answers(good)]
    for warning in dict.fromkeys(filter(None, warnings)):
        print(f"note: {printable(warning)}", file=sys.stderr)
    # Last: an answer that took long is shown, whatever becomes of the files.
    is_written = output is not None and bool(good if output.suffix.lower() == ".srt" else results)
    if output is not None and is_written:
        with writing(output):
            write_results(results, output, pipe.label_names, pipe.is_multi_label, spreadsheet)
    if picture is not None and good:
        from processing.figures.timeline import plot_timeline

        name = printable(Path(good[0]["audio"]).name)
        with writing(picture):
            plot_timeline(good[0], pipe.label_names, picture, name, pipe.is_multi_label, good[0]["audio"])
    whole = [result for result in results if "stopped" not in result]
    if len(whole) < len(requests):
        beginnings = [f", {result['audio']} up to {_end(result)}" for result in results if "stopped" in result]
        stopped = f"Stopped. {len(whole)} of {len(requests)} files are answered{''.join(beginnings)}"
        print(printable(stopped + (f": {output}." if is_written else ".")), file=sys.stderr)
        return INTERRUPTED
    return int(any("error" in answer for answer in [*results, *_answers(good)]))


def run_manifest(
    manifest: Path,
    output: Path,
    model: str,
    rows_per_shard: int,
    options: Mapping[str, Any],
    transcriber: str | None = None,
    columns: Mapping[str, str] | None = None,
    embeddings: bool = False,
    spreadsheet: bool = False,
) -> int:
    """Answers a manifest's rows, or writes their embeddings; returns the exit status."""
    check_output(output, EMBEDDING_OUTPUTS if embeddings else TABLE_OUTPUTS)
    if unknown := [name for name in columns or {} if name not in ("audio", "text")]:
        raise OptionError(f"--columns {unknown[0]}=...: only audio and text are read here")
    require_file(manifest)
    require_checkpoint(model)
    from .manifest_prediction import Job, predict_manifest

    options = {**options, "transcriber": transcriber}
    job = Job(manifest, output, model, rows_per_shard, options, columns or {}, embeddings, spreadsheet)
    try:
        predict_manifest(job, lambda device: open_pipeline(model, device))
    except KeyboardInterrupt:
        print(f"Stopped. The same command goes on ({job.shards}).", file=sys.stderr)
        return INTERRUPTED
    return 0


def _with_speakers(result: Result, pipe: Any) -> Result:
    """A timeline with a summary of each of its speakers, where any is known."""
    summary = summarise_speakers(result, pipe.label_names) if "timeline" in result else {}
    return {**result, "speakers": summary} if summary else result


def _check_destinations(requests: Sequence[Request], is_cut: bool, output: Path | None, picture: Path | None) -> None:
    """Raises where the answers could not be written so, before they are computed."""
    if picture is not None:
        require_extra("matplotlib", "plots", "--picture needs matplotlib")
    is_timeline = len(requests) == 1 and (is_cut or requests[0].segments or requests[0].turns)
    for path, endings, what in ((output, OUTPUTS, "subtitles are"), (picture, PICTURES, "the picture is")):
        if path is not None and check_output(path, endings) in (".srt", *PICTURES) and not is_timeline:
            raise OptionError(f"{path}: {what} of one long recording, cut by --pauses, --windows or --segments")


def _placed(result: Result) -> str:
    error, audio = result["error"], result["audio"]
    return error if audio in error else f"{audio}: {error}"


def _end(beginning: Result) -> str:
    from processing.figures.timeline import clock

    return clock(beginning["audio_seconds"], decimals=1)


def _answers(results: Sequence[Result]) -> list[Mapping[str, Any]]:
    return [answer for result in results for answer in result.get("timeline", [result])]
