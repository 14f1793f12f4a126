"""Many inputs in place of one: whether it is many, and their units read ahead of the model."""

import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .recognition_inputs_drkf import Unit


def is_collection(inputs: Any) -> bool:
    """Whether `inputs` is many inputs (a generator, a dataset, a list) rather than one (a dict, bytes, an array)."""
    if isinstance(inputs, (str, bytes, bytearray, memoryview, Mapping, tuple)):
        return False
    if hasattr(inputs, "read") or hasattr(inputs, "dtype") or hasattr(inputs, "__fspath__"):
        return False
    return hasattr(inputs, "__iter__") or (hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__"))


def iterated(inputs: Any) -> Iterable[Any]:
    return inputs if hasattr(inputs, "__iter__") else (inputs[i] for i in range(len(inputs)))


def read_ahead(units: Iterator[Unit], limit: int) -> Iterator[Unit]:
    """The same units, read in a thread of its own, at most `limit` before they are used."""
    waiting: queue.Queue[tuple[Unit | None, BaseException | None]] = queue.Queue(limit)
    stopped = threading.Event()

    def read() -> None:
        failure = None
        try:
            for unit in units:
                waiting.put((unit, None))
                if stopped.is_set():
                    return
        except BaseException as error:
            failure = error
        waiting.put((None, failure))

    threading.Thread(target=read, daemon=True).start()
    try:
        while (unit := (entry := waiting.get())[0]) is not None:
            yield unit
        if entry[1] is not None:
            raise entry[1]
    finally:
        stopped.set()
        while not waiting.empty():
            waiting.get_nowait()
