"""Regular expressions that a file of somebody brings along: they give up in place of running for hours."""

from __future__ import annotations

import math
import re
import time

import regex

from ..errors_drkf import OptionError

LONGEST = 2_000  # characters
MOST_REPETITIONS = 10_000  # all counts of a pattern multiplied: `regex` unrolls them in memory
SLOW = 0.001  # s; an ordinary match takes a few millionths
BUDGET = 0.5  # s of processor time for all slow matches of a pattern

COUNT = re.compile(r"\{(\d*),?(\d*)\}")


class Pattern:
    """A regular expression, and the key of the declaration that it stands at.

    Raises:
        ValueError: it is no regular expression, or too large to be compiled.
    """

    def __init__(self, written: str, where: str, *, ignore_case: bool = True):
        self.written, self.where = written, where
        self._left = BUDGET
        if len(written) > LONGEST:
            raise ValueError(f"a regular expression of more than {LONGEST:,} characters")
        counts = [max(int(number or 1) for number in found) for found in COUNT.findall(written)]
        if math.prod(count or 1 for count in counts) > MOST_REPETITIONS:
            raise ValueError(f"{written[:80]!r} repeats its parts more than {MOST_REPETITIONS:,} times")
        try:
            self._compiled = regex.compile(written, regex.IGNORECASE if ignore_case else 0)
        except (regex.error, OverflowError) as error:
            raise ValueError(f"{written[:80]!r} is no regular expression ({error})") from error
        except RecursionError as error:
            raise ValueError(f"{written[:80]!r} is nested too deeply") from error

    @property
    def groups(self) -> frozenset[str]:
        """The names of its groups."""
        return frozenset(self._compiled.groupindex)

    def fullmatch(self, text: str) -> dict[str, str] | None:
        """What its named groups hold where it matches the whole text, empty ones aside; None where it does not.

        Raises:
            OptionError: it takes too long.
        """
        begin = time.perf_counter()
        try:
            match = self._compiled.fullmatch(text, timeout=self._left)
            if time.perf_counter() - begin > SLOW:  # or the machine was busy
                self._left = max(self._left - self._processor_time(text), SLOW)
        except (TimeoutError, MemoryError, RecursionError) as error:
            raise OptionError(
                f"{self.where}: {self.written[:80]!r} takes too long on {text[:60]!r}, which it can match in too many "
                "ways: leave out repetitions inside repetitions"
            ) from error
        return {name: value for name, value in match.groupdict().items() if value} if match else None

    def _processor_time(self, text: str) -> float:
        """Seconds that the match takes; 0 where it is an ordinary one."""
        begin = time.thread_time()
        self._compiled.fullmatch(text, timeout=self._left)
        took = time.thread_time() - begin
        return took if took > SLOW else 0.0
