"""A conversation of four actors of RAVDESS, answered with and without what is normal for each of them.

    make encoders
    python -m study.conversation --data DATA

Trains `starter.yaml` without nine actors, once (a minute). Five of them tell how many other clips of a speaker are
enough. All clips of the other four are cut together into `conversation.flac`, beside `conversation.rttm`, which says
who speaks when, and `conversation.csv`, which says what they express. Voices alone are judged: the actors speak the
same two sentences throughout. DATA holds `ravdess_paired.csv`.
"""

import argparse
import csv
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch

from drkf_cli.checkpoint import open_pipeline
from modeling_drkf.experiments.options import parse_arguments
from modeling_drkf.experiments.run import Run
from processing.audio_drkf import load_audio
from processing.corpora.folds import Fold
from processing.corpora.registry import read_corpus
from processing.evaluation.metrics import emotion_metrics
from processing.segment_keys_drkf import SPEAKER_STATISTICS
from processing.speaker_sums_drkf import SpeakerSums
from processing.transcripts.segments import read_segments

FOLDER = Path("runs/study/conversation")
TABLE = "ravdess_paired.csv"
SPEAKERS = tuple(f"Actor_{number:02}" for number in range(1, 5))  # of the conversation
VALIDATION = tuple(f"Actor_{number:02}" for number in range(5, 10))  # of how many clips are enough
OTHERS = (1, 2, 4, 8, 16, 32)
DRAWS = 10
BATCH_SIZE = 16
PAUSES = (0.2, 0.8)  # s, between two segments
RATE = 16_000


class Clip(NamedTuple):
    path: Path
    label: str
    speaker: str


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with ravdess_paired.csv")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    model = FOLDER / "model"
    if not (model / "metrics.json").exists():
        train(options.data, model)
    pipe, clips = open_pipeline(str(model)), read_clips(options.data)
    print(f"Unweighted accuracy of the voices of {', '.join(VALIDATION)}, by the speaker's other clips:")
    for others, scores in sweep(pipe, [clip for clip in clips if clip.speaker in VALIDATION]).items():
        spread = "" if len(scores) == 1 else f", {min(scores):.3f} to {max(scores):.3f} in {DRAWS} draws"
        print(f"{others:>3} {np.mean(scores):.3f}{spread}")
    cut_conversation([clip for clip in clips if clip.speaker in SPEAKERS], FOLDER)
    print(f"{FOLDER / 'conversation.flac'}, by what is normal for {', '.join(SPEAKERS)}:")
    for statistics in SPEAKER_STATISTICS:
        print(f"{statistics:>6} {score_conversation(pipe, FOLDER, statistics):.3f}")
    return 0


def train(data: Path, folder: Path) -> None:
    """`starter.yaml` on the other actors."""
    corpus = read_corpus("manifest", str(data / TABLE))
    rows = corpus.dataset["all"]
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for utterance, speaker in zip(rows["utterance_id"][:], rows["speaker"][:], strict=True):
        part = "test" if speaker in SPEAKERS else "validation" if speaker in VALIDATION else "train"
        parts[part].append(utterance)
    fold = Fold("conversation", **{part: tuple(ids) for part, ids in parts.items()}, speaker_disjoint=True)
    chosen = ["starter.yaml", "--manifest", str(data / TABLE), "--output-dir", str(folder), "--pictures", "false"]
    Run(corpus, fold, [fold.name], *parse_arguments(chosen)).execute()


def read_clips(data: Path) -> list[Clip]:
    """All clips of the table, in its order."""
    with (data / TABLE).open(newline="", encoding="utf-8") as file:
        return [Clip(data / row["audio"], row["label"], row["speaker"]) for row in csv.DictReader(file)]


def sweep(pipe: Any, clips: Sequence[Clip]) -> dict[int, list[float]]:
    """Unweighted accuracies by how many other clips of the speaker are known, drawn at random; 0 are judged beside the
    training part."""
    recognizer = pipe.recognizer
    voices, batches = recognizer.listener.voices, []
    for start in range(0, len(clips), BATCH_SIZE):
        units = [recognizer.units(str(clip.path))[0] for clip in clips[start : start + BATCH_SIZE]]
        batches.append(voices.encode(recognizer.features(units)))
    statistics = np.concatenate([found for _, found in batches])
    places = defaultdict(list)
    for place, clip in enumerate(clips):
        places[clip.speaker].append(place)

    def accuracy(others: int, draw: int) -> float:
        generator, known = np.random.default_rng((others, draw)), []
        for place, clip in enumerate(clips):
            sums = SpeakerSums(voices.moments, least=1)
            rest = [other for other in places[clip.speaker] if other != place]
            for other in generator.choice(rest, others, replace=False):
                sums.add(clip.speaker, statistics[other])
            moments = sums.known(clip.speaker)
            known.append(voices.usual if moments is None else moments)
        predicted = []
        for number, (features, _) in enumerate(batches):
            own = known[number * BATCH_SIZE : (number + 1) * BATCH_SIZE]
            logits = recognizer.infer({**features, "speaker_statistics": np.stack(own)})["logits"]
            predicted += [pipe.label_names[best] for best in logits.argmax(1)]
        return unweighted_accuracy(predicted, [clip.label for clip in clips], pipe.label_names)

    return {0: [accuracy(0, 0)]} | {n: [accuracy(n, draw) for draw in range(DRAWS)] for n in OTHERS}


def cut_conversation(clips: Sequence[Clip], folder: Path) -> None:
    """Clips in random order, with pauses, as a recording, an RTTM file and a table of what is expressed."""
    generator, end = np.random.default_rng(0), 0.0
    sound: list[np.ndarray] = []
    with (
        (folder / "conversation.rttm").open("w", encoding="utf-8") as turns,
        (folder / "conversation.csv").open("w", newline="", encoding="utf-8") as truth,
    ):
        table = csv.writer(truth)
        table.writerow(["start", "end", "speaker", "label"])
        for place in generator.permutation(len(clips)):
            clip, pause = clips[place], round(generator.uniform(*PAUSES), 2)
            waveform = load_audio(clip.path, RATE)
            start, end = end + pause, end + pause + len(waveform) / RATE
            sound += [np.zeros(round(pause * RATE), dtype=np.float32), waveform]
            table.writerow([f"{start:.3f}", f"{end:.3f}", clip.speaker, clip.label])
            place_of_turn = f"{start:.3f} {end - start:.3f}"
            turns.write(f"SPEAKER conversation 1 {place_of_turn} <NA> <NA> {clip.speaker} <NA> <NA>\n")
    soundfile.write(folder / "conversation.flac", np.concatenate(sound), RATE)


def score_conversation(pipe: Any, folder: Path, statistics: str) -> float:
    """Unweighted accuracy of the conversation; `statistics` is the option `speaker_statistics`."""
    recording = {"audio": str(folder / "conversation.flac"), "segments": read_segments(folder / "conversation.rttm")}
    found = pipe(recording, speaker_statistics=statistics, batch_size=BATCH_SIZE)["timeline"]
    with (folder / "conversation.csv").open(newline="", encoding="utf-8") as file:
        references = [row["label"] for row in csv.DictReader(file)]
    return unweighted_accuracy([piece["scores"][0]["label"] for piece in found], references, pipe.label_names)


def unweighted_accuracy(predicted: Sequence[str], references: Sequence[str], labels: Sequence[str]) -> float:
    predictions, truth = (np.array([labels.index(label) for label in given]) for given in (predicted, references))
    return float(emotion_metrics(predictions, truth, labels)["unweighted_accuracy"])


if __name__ == "__main__":
    sys.exit(main())
