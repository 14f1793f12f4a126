"""How `drkf predict` cuts recordings that have no segments: at their pauses, into windows, or not at all."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import soundfile

from processing.errors_drkf import DependencyError, OptionError
from processing.printable import printable

from .errors import require_extra

WINDOW_S = 10.0


def chosen_cut(options: Mapping[str, Any], has_segments: bool) -> dict[str, Any]:
    """Options of the pipeline's call, of which `pauses` may be None: nothing is chosen.

    Raises:
        DependencyError: pauses need an extra that is not installed.
        OptionError: the recordings have segments.
    """
    pauses = options.get("pauses")
    if pauses is None:
        return {**options, "pauses": False}
    if has_segments:
        raise OptionError(f"{'--pauses' if pauses else '--windows'} is for recordings without --segments")
    if pauses:
        _require_detector()
    elif options.get("chunk_length_s") is None:
        return {**options, "chunk_length_s": WINDOW_S}
    return dict(options)


def cut_if_too_long(audio: Path, options: Mapping[str, Any], pipe: Any) -> dict[str, Any]:
    """The options, with a way to cut a recording that is too long for one answer, which is said."""
    limit = pipe.processor.max_audio_samples
    seconds = recorded_seconds(audio)
    if limit is None or seconds is None or seconds <= limit / pipe.processor.sampling_rate:
        return dict(options)
    longest = limit / pipe.processor.sampling_rate
    try:
        _require_detector()
        cut: dict[str, Any] = {"pauses": True}
        how = "at its pauses (--windows cuts it evenly)"
    except DependencyError:
        cut = {"chunk_length_s": min(WINDOW_S, longest)}
        how = f"into windows of {cut['chunk_length_s']:g} s (at its pauses with pip install 'drkf[pauses]')"
    said = f"{audio} lasts {seconds:.1f} s, longer than one answer covers ({longest:g} s): it is cut {how}"
    print(f"note: {printable(said)}", file=sys.stderr)
    return {**options, **cut}


def recorded_seconds(audio: Path) -> float | None:
    """The length that a file states; None where it cannot be read so."""
    try:
        return soundfile.info(audio).duration
    except (OSError, soundfile.SoundFileError):
        return None


def _require_detector() -> None:
    require_extra("silero_vad", "pauses", "cutting at pauses needs silero-vad")
