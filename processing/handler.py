"""Custom handler of Hugging Face Inference Endpoints: JSON or raw audio bytes in, answers out.

    {"inputs": {"audio": "<base64 of a wav, flac, ogg or mp3 file>", "text": "what is said"},
     "parameters": {"top_k": 3}}

`inputs` is one request or a list of them; `audio` or `text` may be missing, `segments` ask for a timeline, in which
each speaker is judged beside what they said before; raw audio bytes are a request without text. `parameters`:
`top_k`, `chunk_length_s`, `step_s`. A request is bounded in all that
a client chooses, in size, decoded length and time, and names no file, address or model: nothing but the bytes that it
brings is read.
"""

import base64
import sys
import time
from collections.abc import Mapping
from typing import Any

from transformers import pipeline


class EndpointHandler:
    """
    Args:
        path: the checkpoint's folder.
        options: of `pipeline(...)`, such as `device`.

    Raises:
        ValueError: the checkpoint cannot be loaded; the message names it.
    """

    max_body_bytes = 64 * 2**20
    max_audio_bytes = 32 * 2**20
    max_seconds = 600.0
    max_answer_seconds = 60.0
    max_text_characters = 10_000
    max_requests = 32
    max_segments = 1_000
    max_overlap = 4
    max_message_characters = 500
    parameters = ("top_k", "chunk_length_s", "step_s")
    fields = ("audio", "text", "segments")

    def __init__(self, path: str = "", **options: Any):
        task: Any = "multimodal-emotion-recognition"
        try:
            self.pipeline = pipeline(task, model=path, trust_remote_code=True, **options)
        except Exception as error:  # of any kind, as transformers reads damaged files
            raise ValueError(f"the checkpoint {path} cannot be loaded ({type(error).__name__}: {error})") from error

    def __call__(self, data: Mapping[str, Any]) -> Any:
        """
        Args:
            data: `{"inputs": ..., "parameters": {...}}`, see the head of this file.

        Returns: the pipeline's answer or timeline; for a list of requests a list, with `{"error"}` for a bad one.

        Raises:
            ValueError: the request cannot be used; the message tells why, and is fit for the client.
        """
        if not isinstance(data, Mapping) or "inputs" not in data:
            raise ValueError('the request has no "inputs"')
        end = time.monotonic() + self.max_answer_seconds
        inputs = data["inputs"]
        if _size(inputs, self.max_body_bytes) > self.max_body_bytes:
            raise ValueError(f'"inputs" are larger than {self.max_body_bytes / 2**20:g} MiB')
        options = self._options(data.get("parameters") or {})
        if not isinstance(inputs, list):
            return self._answer(inputs, options, end)
        if not 0 < len(inputs) <= self.max_requests:
            raise ValueError(f'"inputs" holds {len(inputs)} requests; 1 to {self.max_requests} are taken at once')
        return [self._answer_or_error(request, options, end) for request in inputs]

    def _answer_or_error(self, request: Any, options: dict[str, Any], end: float) -> Any:
        try:
            return self._answer(request, options, end)
        except ValueError as error:
            return {"error": str(error)}

    def _check_time(self, end: float) -> None:
        if time.monotonic() > end:
            raise ValueError(f"no answer within {self.max_answer_seconds:g} s; send less at once")

    def _answer(self, request: Any, options: dict[str, Any], end: float) -> Any:
        self._check_time(end)
        if isinstance(request, (bytes, bytearray, memoryview)):
            request = {"audio": bytes(request)}
        if not isinstance(request, Mapping):
            raise ValueError('a request is an object with "audio" (base64), "text" or both, or the bytes of a file')
        self._refuse_unknown(request, self.fields, "field")
        checked = {
            "audio": self._audio(request.get("audio")),
            "text": self._text(request.get("text")),
            "segments": self._segments(request.get("segments")),
        }
        options = {**options, "max_recording_s": self.max_seconds, "speaker_statistics": "before"}
        try:
            for unit in self.pipeline.recognizer.answered([checked], ["the input"], **options):
                if unit.is_last:
                    return unit.item.whole_answer()
                self._check_time(end)
        except (TypeError, ValueError) as error:
            raise ValueError(str(error)[: self.max_message_characters]) from error

    def _refuse_unknown(self, given: Mapping[str, Any], known: tuple[str, ...], what: str) -> None:
        if unknown := sorted(map(str, given.keys() - set(known))):
            raise ValueError(f"unknown {what} {', '.join(unknown)[:100]}; there are {', '.join(known)}")

    def _options(self, parameters: Any) -> dict[str, Any]:
        if not isinstance(parameters, Mapping):
            raise ValueError(f'"parameters" is an object with {", ".join(self.parameters)}')
        self._refuse_unknown(parameters, self.parameters, "parameter")
        for name in ("chunk_length_s", "step_s"):
            value = parameters.get(name)
            if value is not None and not (_is_number(value) and 0 < value <= self.max_seconds):
                raise ValueError(f"{name} is a number of seconds up to {self.max_seconds:g}")
        length = parameters.get("chunk_length_s")
        step: float = parameters.get("step_s") or length or 0.0
        if length and (length < 1 or length > self.max_overlap * step):
            raise ValueError(f"windows last a second or more, and at most {self.max_overlap} of them overlap")
        return dict(parameters)

    def _audio(self, audio: Any) -> bytes | None:
        if audio is None:
            return None
        largest = f'"audio" is larger than {self.max_audio_bytes / 2**20:g} MiB'
        if isinstance(audio, str):
            if len(audio) > 4 * -(-self.max_audio_bytes // 3) + 4:
                raise ValueError(largest)
            try:
                encoded = audio.rpartition(";base64,")[2].encode("ascii").translate(None, b" \r\n")
                audio = base64.b64decode(encoded, validate=True)
            except ValueError as error:
                raise ValueError(f'"audio" is no base64 ({error}); paths and addresses are not read') from error
        if not isinstance(audio, (bytes, bytearray)):
            raise ValueError('"audio" is the base64 of a wav, flac, ogg or mp3 file')
        if len(audio) > self.max_audio_bytes:
            raise ValueError(largest)
        if not audio:
            raise ValueError('"audio" is empty')
        return bytes(audio)

    def _text(self, text: Any) -> str | None:
        if text is not None and not isinstance(text, str):
            raise ValueError('"text" is a string')
        if text is not None and len(text) > self.max_text_characters:
            raise ValueError(f'"text" is longer than {self.max_text_characters} characters')
        return text

    def _segments(self, segments: Any) -> list[Any] | None:
        if segments is None:
            return None
        if not isinstance(segments, list) or not 0 < len(segments) <= self.max_segments:
            raise ValueError(f'"segments" is a list of 1 to {self.max_segments} objects with start, end and text')
        total = 0.0
        for segment in segments:
            if not isinstance(segment, Mapping) or not all(_is_number(segment.get(key)) for key in ("start", "end")):
                raise ValueError('a segment is an object with "start" and "end" in seconds, and "text"')
            for key in ("text", "word"):
                self._text(segment.get(key))
            total += segment["end"] - segment["start"]
        if total > self.max_seconds:
            raise ValueError(f"the segments last {total:g} s together, more than {self.max_seconds:g} s")
        return segments


def _is_number(value: Any) -> bool:
    """Whether it is a number that a float holds; this file stands alone at the root of a checkpoint."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _size(value: Any, limit: int) -> float:
    """Characters and bytes of all strings in a request; no more are counted once they exceed the limit."""
    size, waiting = 0.0, [value]
    while waiting and size <= limit:
        part = waiting.pop()
        if isinstance(part, (str, bytes, bytearray)):
            size += len(part)
        elif isinstance(part, memoryview):
            size += part.nbytes
        elif isinstance(part, Mapping):
            waiting += [*part.keys(), *part.values()]
        elif isinstance(part, (list, tuple)):
            waiting += part
        size += 1
    return size
