"""Options of emotion recognition: pipeline and ONNX runtime take the same."""

import dataclasses
import math
import numbers
from collections.abc import Mapping
from typing import Any

from .errors_drkf import OptionError


@dataclasses.dataclass(frozen=True)
class RecognitionOptions:
    """
    Args:
        batch_size: how many clips or windows the model sees at once. Clips of like length share a batch; order and
            values of the answers do not change with it.
        num_workers: above 0, recordings are read in a thread while the model answers those before.
        top_k: how many scores an answer lists; None lists every class.
        transcriber: fills in the words where none are given: a speech recognition pipeline of transformers, the
            folder or Hub id of a model for one, or any function from `{"array", "sampling_rate"}` to a str or to
            `{"text": str}`. None leaves the words out: speech alone.
        chunk_length_s: cut each recording into windows of this many seconds and answer a timeline. Windows have no
            words of their own: they are transcribed, or judged by the voice alone. Inputs with segments keep those.
        step_s: seconds from one window's start to the next one's, at most `chunk_length_s`, which is the default.
        max_recording_s: a longer recording is an error, found before it is decoded; for servers. None takes any.
        speaker: other clips of the same speaker (a list of recordings), or what `pipe.speaker(clips)` made of them:
            the voice is then judged by what is usual for it. For checkpoints that standardise by speaker; some ten
            clips in different moods are worth having.
        return_embeddings: answers also have `"embeddings"`, float32 vectors: `"fused"`, `"speech"` and `"text"` (None
            where that half is missing), for a classifier of one's own. An exported graph gives none.
        errors: "raise" stops at an input that cannot be used, "return" answers it by `{"error": message}`.

    Raises:
        OptionError: an option is unknown or its value invalid.
    """

    batch_size: int = 1
    num_workers: int = 0
    top_k: int | None = None
    transcriber: Any = None
    chunk_length_s: float | None = None
    step_s: float | None = None
    max_recording_s: float | None = None
    speaker: Any = None
    return_embeddings: bool = False
    errors: str = "raise"

    @classmethod
    def names(cls) -> list[str]:
        """The options there are."""
        return [option.name for option in dataclasses.fields(cls)]

    @classmethod
    def checked(cls, options: Mapping[str, Any], defaults: "RecognitionOptions | None" = None) -> "RecognitionOptions":
        """`defaults` with some options changed."""
        known = cls.names()
        if unknown := sorted(options.keys() - set(known)):
            raise OptionError(f"unknown option {', '.join(unknown)}; the options are {', '.join(known)}")
        return dataclasses.replace(defaults or cls(), **options)

    def __post_init__(self) -> None:
        if not _is_count(self.batch_size):
            raise OptionError(f"batch_size must be a positive integer, not {self.batch_size!r}")
        if self.num_workers != 0 and not _is_count(self.num_workers):
            raise OptionError(f"num_workers must be 0 or a positive integer, not {self.num_workers!r}")
        if self.top_k is not None and not _is_count(self.top_k):
            raise OptionError(f"top_k must be a positive integer or None, not {self.top_k!r}")
        if not isinstance(self.return_embeddings, bool):
            raise OptionError(f"return_embeddings must be True or False, not {self.return_embeddings!r}")
        if self.transcriber is not None and not (callable(self.transcriber) or isinstance(self.transcriber, str)):
            raise OptionError(
                "transcriber must be a speech recognition pipeline, a function, a model's folder or Hub id, or None, "
                f"not {type(self.transcriber).__name__}"
            )
        for name in ("chunk_length_s", "step_s", "max_recording_s"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and 0 < value < math.inf):
                raise OptionError(f"{name} must be a positive number of seconds or None, not {value!r}")
        if self.step_s is not None and (self.chunk_length_s is None or self.step_s > self.chunk_length_s):
            raise OptionError(
                f"step_s={self.step_s} needs a chunk_length_s of at least as many seconds, or audio would be left "
                f"out; it is {self.chunk_length_s}"
            )
        if self.errors not in ("raise", "return"):
            raise OptionError(f'errors must be "raise" or "return", not {self.errors!r}')


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
