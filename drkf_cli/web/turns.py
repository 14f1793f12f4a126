"""The model's time, shared out between clients."""

import asyncio
import time
from collections import Counter
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from .addresses import client_of
from .clips import ClipError
from .limits import Limits

ON_THE_WAY = 5.0  # seconds for which a place is kept for a question that Gradio has not passed on yet
TO_FINISH = 5.0  # seconds in which a question that is interrupted may still give what it has
RECORDINGS_AT_A_TIME = 4  # decoded recordings that wait for their next step: 40 MB each at the longest
Steps = Generator[None, None, Any]
"""Work in steps, whose last one returns the answer. Where it is interrupted, its `yield` raises a `ClipError`: it may
return what it has by then."""
GONE = "Nobody waits for this answer any more."
STOPPED = "Stopped."


@dataclass(eq=False)
class Question:
    """What the model is asked: work in steps, whose last one returns the answer."""

    client: str
    session: str
    steps: Steps
    is_long: bool
    answer: asyncio.Future[Any]
    is_started: bool = False
    interruption: ClipError | None = None


class Turns:
    """One step of the model at a time, shared out between clients by start-time fair queueing.

    A client's tag grows by the processor's seconds of each of its steps; the lowest tag is next, and its value is the
    clock. A client that returns after a pause starts at the clock, before all that have had more than their share,
    however many questions they ask. All methods are for the thread of the event loop; the steps run in another.

    Goyal, Vin and Cheng, Start-time Fair Queueing, SIGCOMM 1996.
    """

    def __init__(self, limits: Limits):
        self.limits = limits
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._is_busy = False
        self._questions: list[Question] = []
        self._announced: list[tuple[str, float]] = []  # client, when
        self._places: Counter[str] = Counter()  # questions that have arrived, by client
        self._clock = 0.0
        self._tags: dict[str, float] = {}  # of clients; those at or below the clock mean nothing

    def announce(self, client: str) -> tuple[int, str] | None:
        """Keeps a place for a question that Gradio will pass on; status and reason where there is none."""
        since = time.monotonic() - ON_THE_WAY
        self._announced = [(other, when) for other, when in self._announced if when > since]
        others = [other for other, _ in self._announced]
        if self._places[client] + others.count(client) >= self.limits.client_questions:
            return 429, "Too many of your questions wait for the model; fetch some of the answers first."
        if self._places.total() + len(others) >= self.limits.queue_length:
            return 503, "Too many questions wait for the model; try again in a minute."
        self._announced.append((client, time.monotonic()))
        return None

    @contextmanager
    def place(self, client: str) -> Iterator[None]:
        """The place of a question, from its arrival to its answer."""
        if (found := next((one for one in self._announced if one[0] == client), None)) is not None:
            self._announced.remove(found)
        self._places[client] += 1
        try:
            yield
        finally:
            self._places[client] -= 1
            if not self._places[client]:
                del self._places[client]

    async def ask(self, client: str, session: str, steps: Steps, is_long: bool = False) -> Any:
        """The answer of a question.

        Args:
            steps: the work; what its generator returns is the answer.
            is_long: whether it holds a recording between its steps.

        Raises:
            ClipError: there is no answer within `answer_seconds`, it is stopped, or nobody waits for it any more.
        """
        answer = asyncio.get_running_loop().create_future()
        question = Question(client, session, steps, is_long, answer)
        waiting = {question.client for question in self._questions}
        self._tags = {one: tag for one, tag in self._tags.items() if tag > self._clock or one in waiting}
        self._tags.setdefault(client, self._clock)
        self._questions.append(question)
        self._step()
        late = ClipError(f"No answer within {self.limits.answer_seconds:g} seconds. Try a shorter clip.")
        try:
            done, _ = await asyncio.wait([answer], timeout=self.limits.answer_seconds)
            if not done:
                self._interrupt(question, late)
            return await asyncio.wait_for(answer, TO_FINISH)
        except TimeoutError:
            raise late from None
        finally:
            self._questions.remove(question)

    def hold(self, session: str) -> bool:
        """Whether a question of a session waits."""
        return any(question.session == session for question in self._questions)

    def drop(self, session: str) -> None:
        """Gives up the questions of a session whose client has gone."""
        for question in self._questions:
            if question.session == session and not question.answer.done():
                question.answer.set_exception(ClipError(GONE))

    def stop(self, session: str) -> None:
        """Interrupts the questions of a session, whose client wants what they have found so far."""
        for question in self._questions:
            if question.session == session:
                self._interrupt(question, ClipError(STOPPED))

    def _interrupt(self, question: Question, why: ClipError) -> None:
        question.interruption = question.interruption or why
        if not question.is_started and not question.answer.done():
            question.answer.set_exception(why)

    def _step(self) -> None:
        """Starts the next step, unless one runs."""
        waiting = [question for question in self._questions if not question.answer.done()]
        if sum(question.is_long and question.is_started for question in waiting) >= RECORDINGS_AT_A_TIME:
            waiting = [question for question in waiting if question.is_started or not question.is_long]
        if self._is_busy or not waiting:
            return
        question = min(waiting, key=lambda question: self._tags[question.client])
        self._clock = max(self._clock, self._tags[question.client])
        question.is_started = self._is_busy = True
        step = asyncio.wrap_future(self._worker.submit(_next, question.steps, question.interruption))
        step.add_done_callback(partial(self._stepped, question))

    def _stepped(self, question: Question, step: asyncio.Future[tuple[bool, Any, float]]) -> None:
        self._is_busy = False
        is_done, found, seconds = step.result()
        self._tags[question.client] = self._tags.get(question.client, self._clock) + seconds
        if is_done and not question.answer.done():
            if isinstance(found, Exception):
                question.answer.set_exception(found)
            else:
                question.answer.set_result(found)
        self._step()


def asked_by(request: Any) -> tuple[str, str]:
    """The client and the session of a Gradio request, which a program of this process does not have."""
    if request is None:
        return "unknown", ""
    return client_of(request.client.host) if request.client else "unknown", request.session_hash or ""


def _next(steps: Steps, interruption: ClipError | None = None) -> tuple[bool, Any, float]:
    """Whether the work is done, the answer or the error then, and the processor's seconds, however busy it is."""
    start = time.thread_time()
    try:
        next(steps) if interruption is None else steps.throw(interruption)
        is_done, found = False, None
    except StopIteration as end:
        is_done, found = True, end.value
    except Exception as error:  # for whoever waits for the answer
        is_done, found = True, error
    return is_done, found, time.thread_time() - start
