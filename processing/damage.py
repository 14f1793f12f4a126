"""What is wrong with the files of a checkpoint or of an exported graph, as one kind of error."""

import json
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from .errors_drkf import DRKFError, FileError

MOST_LAYERS = 1000
LONGEST_REPLACEMENT = 100  # characters that a tokenizer puts in place of others


def require_safe(folder: str | Path) -> None:
    """Checks the files of a checkpoint's folder that would keep the machine busy for ever, or run somebody's code,
    before anything is built from them.

    Raises:
        FileError: the configuration has more layers than any model, or names attention code of a Hub repository; or
            the tokenizer puts long texts in place of short ones.
    """
    config, tokenizer = Path(folder, "config.json"), Path(folder, "tokenizer.json")
    if config.is_file():
        _check_config(config, read_object(config))
    if tokenizer.is_file():
        for part in _parts(read_object(tokenizer).get("normalizer")):
            if part.get("type") == "Replace" and len(str(part.get("content"))) > LONGEST_REPLACEMENT:
                raise FileError(
                    f"{tokenizer}: its normalizer puts {len(str(part['content'])):,} characters in place of "
                    f"others, at most {LONGEST_REPLACEMENT} are read; restore the file from its source"
                )


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object of a file; FileError where it holds none, or one that is nested too deep."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict) or not found:
        raise FileError(f"{path} is damaged: it holds no JSON object, or an empty one")
    return found


def _check_config(path: Path, config: Mapping[str, Any]) -> None:
    for part in (config, config.get("audio_config"), config.get("text_config")):
        for name, value in part.items() if isinstance(part, Mapping) else ():
            if name.endswith(("layers", "blocks")) and isinstance(value, int) and value > MOST_LAYERS:
                raise FileError(f"{path}: {name} is {value:,}, more than the {MOST_LAYERS:,} that are built")
            if name.endswith("attn_implementation") and "/" in str(value):
                raise FileError(
                    f"{path}: {name} names code of a Hub repository ({value}), which a checkpoint cannot bring; take "
                    "the field out, and choose an implementation by attn_implementation= where the model is loaded"
                )


def _parts(normalizer: Any) -> Iterator[Mapping[str, Any]]:
    waiting = [normalizer]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            yield part
            waiting += part.get("normalizers") or []


@contextmanager
def refused(checkpoint: str | Path) -> Iterator[None]:
    """Turns what transformers raises for a damaged checkpoint into a `FileError` that names it."""
    try:
        yield
    except DRKFError:
        raise
    except SafetensorError as error:
        raise FileError(f"{checkpoint}: the weights are damaged, or only half copied ({error})") from error
    except (OSError, ValueError, StrictDataclassError) as error:
        raise FileError(f"{checkpoint} cannot be loaded: {error}") from error
    except (ImportError, RecursionError, pickle.UnpicklingError) as error:
        raise FileError(f"{checkpoint} cannot be loaded ({type(error).__name__}: {error})") from error
    except RuntimeError as error:
        raise FileError(f"{checkpoint}: the weights are not of the sizes in config.json; restore both") from error
    except (TypeError, AttributeError, LookupError) as error:  # fields of other types
        raise FileError(
            f"{checkpoint} cannot be loaded: a field of config.json or of the processor's files has no valid value "
            f"({type(error).__name__}: {error}); restore the file from its source"
        ) from error
