"""Answers that wait for whoever asked, in Gradio's queue: the one place that knows the queue from inside."""

import time
from collections import Counter
from typing import Any

from .limits import Limits
from .turns import Turns

MOST = 2000  # sessions whose messages Gradio keeps; it throws away the oldest of more


class Answers:
    """Whose answers may be fetched, and whether Gradio's queue runs.

    Gradio by itself keeps the messages of sessions that are over, loses an answer once enough other sessions have
    begun, and stops for good when one of its own errors ends the queue's loop.
    """

    def __init__(self, page: Any, limits: Limits, turns: Turns):
        self.page, self.limits, self.turns = page, limits, turns
        self._expected: dict[str, tuple[str, float]] = {}  # event or session: client, when; the oldest first

    @property
    def under_way(self) -> int:
        """Sessions that wait for an answer, or have not fetched it."""
        return len(self._expected)

    @property
    def is_stopped(self) -> bool:
        """Whether Gradio's queue has ended: nothing is answered any more."""
        return self.page._queue.stopped

    def restart(self) -> None:
        """Starts the queue again; what was under way is lost."""
        self.page.run_startup_events()

    def expect(self, session: str, client: str) -> None:
        """An event or session may be asked for its answer from now on.

        What is too much goes the way of the client's oldest answer, or of the oldest one of whoever has most.
        """
        self._expected[session] = client, time.monotonic()
        held = Counter(asker for asker, _ in self._expected.values())
        if held[client] > self.limits.client_answers or len(self._expected) > MOST:
            fullest = client if held[client] > self.limits.client_answers else held.most_common(1)[0][0]
            answered = (one for one, (asker, _) in self._expected.items() if asker == fullest)
            if (oldest := next((one for one in answered if not self.turns.hold(one)), None)) is not None:
                self._forget(oldest)

    def knows(self, session: str) -> bool:
        return session in self._expected

    def delivered(self, session: str, is_whole: bool) -> None:
        """A stream of answers has ended: whole, or because the client has gone."""
        if not (is_whole and self.page._queue.pending_event_ids_session.get(session)):  # no further event was asked
            self._forget(session)

    def forget_old(self) -> None:
        """Forgets answers that nobody has fetched."""
        before = time.monotonic() - 2 * self.limits.answer_seconds
        for session in [session for session, (_, when) in self._expected.items() if when < before]:
            self._forget(session)

    def _forget(self, session: str) -> None:
        self._expected.pop(session, None)
        self.page._queue.pending_messages_per_session.pop(session, None)
        self.page._queue.pending_event_ids_session.pop(session, None)
