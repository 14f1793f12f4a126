"""A part of a recording, as rows of a table name it by their `start` and `end`, and how fast it is played."""

import math
from dataclasses import dataclass
from typing import Any

from .waveform_drkf import AudioError

SLACK = 0.05  # s; ends in tables are rounded


@dataclass(frozen=True)
class Excerpt:
    """
    Attributes:
        audio: the recording, see `AudioSource`.
        start, end: seconds from its beginning, numbers or their text; None or "" is the beginning and the end.
        speed: at which it is played; 1.1 is shorter by a tenth, and higher.
    """

    audio: Any
    start: Any = None
    end: Any = None
    speed: float = 1.0

    def bounds(self) -> tuple[float, float | None]:
        """Start and end in seconds.

        Raises:
            AudioError: no numbers, a start before the recording, or an end that is not after the start.
        """
        start, end = _seconds(self.start, "start") or 0.0, _seconds(self.end, "end")
        if start < 0 or (end is not None and end <= start):
            upto = "the end" if end is None else f"{end:g} s"
            raise AudioError(f"start and end, {start:g} s to {upto}, hold nothing: start is 0 or later, end after it")
        return start, end

    def check(self, seconds: float) -> None:
        """Raises `AudioError` unless a recording of so many seconds holds the excerpt."""
        start, end = self.bounds()
        if start >= seconds:
            raise AudioError(f"start ({start:g} s) is after the end of the recording ({seconds:.2f} s)")
        if end is not None and end > seconds + SLACK:
            raise AudioError(f"end ({end:g} s) is after the end of the recording ({seconds:.2f} s)")


def excerpt(audio: Any, start: Any, end: Any, speed: float | None = None) -> Any:
    """`audio` from `start` to `end`, played at `speed`; `audio` itself where none says anything, or there is none."""
    if audio is None or (_is_blank(start) and _is_blank(end) and _is_blank(speed)):
        return audio
    return Excerpt(audio, start, end, 1.0 if _is_blank(speed) else float(speed))  # type: ignore[arg-type]


def _is_blank(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _seconds(value: Any, name: str) -> float | None:
    if _is_blank(value):
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise AudioError(f"{name} must be a number of seconds, not {str(value)[:40]!r}")
    return seconds
