"""Seconds a clip: torch, the exported graph, and its 8-bit form, alone and in batches.

    drkf export onnx runs/demo/both exported && drkf export onnx runs/demo/both exported-int8 --int8
    python benchmarks/onnx_latency.py clips.csv runs/demo/both exported exported-int8 --threads 2

Each is a checkpoint or an exported folder. The manifest has the columns `audio` and `text`. Decoding and features are
timed apart, for they are the same for all. One thread is timed by the process' own seconds. Of how many clips a model
names the class that the first does, and how far its probabilities are from the first's (median, largest), is printed.
"""

import argparse
import csv
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import softmax

from drkf_cli.checkpoint import open_pipeline
from processing.onnx_recognizer import GRAPH_FILE, OnnxEmotionRecognizer

ROUNDS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with options.manifest.open(newline="", encoding="utf-8") as file:
        rows = [row for _, row in zip(range(options.clips), csv.DictReader(file), strict=False)]
    titles = f"{'features ms/clip':>17} {'model ms/clip':>14} {'clips/s':>8} {'same':>5} {'moved':>13}"
    print(f"{'model':40} {'batch':>5} {titles}")
    folder, clips = options.manifest.parent, len(rows)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    first: dict[int, Any] = {}
    for name in options.models:
        if (Path(name) / GRAPH_FILE).is_file():
            core: Any = OnnxEmotionRecognizer.from_pretrained(name, num_threads=options.threads)
        else:
            pipe = open_pipeline(name)
            core = getattr(pipe, "recognizer", pipe)
        for size in options.batch_sizes:
            batches = [rows[start : start + size] for start in range(0, len(rows), size)]
            features, read = timed(partial(read_batch, core.processor, folder), batches, clock)
            outputs, judged = timed(core.infer, features, clock)
            scores = softmax(np.concatenate([output["logits"] for output in outputs]), axis=1)
            expected = first.setdefault(size, scores)
            same = int((scores.argmax(1) == expected.argmax(1)).sum())
            moved = np.abs(scores - expected).max(1)
            print(
                f"{name:40} {size:5} {1000 * read / clips:17.1f} {1000 * judged / clips:14.1f} "
                f"{clips / (read + judged):8.1f} {same:5} {np.median(moved):6.3f} {moved.max():6.3f}"
            )


def read_batch(processor: Any, folder: Path, rows: list[dict[str, str]]) -> Any:
    audio, text = [folder / row["audio"] for row in rows], [row["text"] for row in rows]
    return dict(processor(audio=audio, text=text, return_tensors="np"))


def timed(function: Callable[[Any], Any], batches: list[Any], clock: Callable[[], float]) -> tuple[list[Any], float]:
    """What the function gives for each batch, and the seconds for all in the fastest round (others only disturb)."""
    seconds = []
    for _ in range(ROUNDS):
        start = clock()
        results = [function(batch) for batch in batches]
        seconds.append(clock() - start)
    return results, min(seconds)


if __name__ == "__main__":
    main()
