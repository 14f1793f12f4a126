"""A bar for what a model answers, with rate and time left, where it takes more than two seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import soundfile
from tqdm import tqdm

from processing.quiet import BAR_DELAY_S


@contextmanager
def answering(pipe: Any, total: int | None, unit: str, description: str = "answering") -> Iterator[tqdm]:
    """A bar that counts the clips or pieces that `pipe` answers inside, if they are more than one.

    Args:
        pipe: the pipeline, or the recogniser of an exported graph. total: how many there will be, if that is known.
    """
    recognizer = getattr(pipe, "recognizer", pipe)
    infer = recognizer.infer

    def counted(features: Any) -> Any:
        outputs = infer(features)
        bar.update(len(outputs["logits"]))
        return outputs

    with tqdm(total=total, desc=description, unit=unit, delay=BAR_DELAY_S, disable=total == 1) as bar:
        recognizer.infer = counted
        try:
            yield bar
        finally:
            recognizer.infer = infer


def count_pieces(
    inputs: Sequence[Mapping[str, Any]], chunk_length_s: float | None, step_s: float | None
) -> int | None:
    """How many pieces the inputs are answered in, segments, windows or clips; None where a length is not known."""
    total = 0
    for value in inputs:
        if "segments" in value:
            total += len(value["segments"])
        elif chunk_length_s is None:
            total += 1
        else:
            try:
                seconds = soundfile.info(value["audio"]).duration
            except (OSError, soundfile.SoundFileError):
                return None
            total += 1 + max(0, -int(-(seconds - chunk_length_s) // (step_s or chunk_length_s)))
    return total
