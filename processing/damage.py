"""What is wrong with the files of a checkpoint or of an exported graph, as one kind of error."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from .errors_drkf import DRKFError, FileError


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
    except RuntimeError as error:
        raise FileError(f"{checkpoint}: the weights are not of the sizes in config.json; restore both") from error
    except (TypeError, AttributeError, LookupError) as error:  # fields of other types
        raise FileError(
            f"{checkpoint} cannot be loaded: a field of config.json or of the processor's files has no valid value "
            f"({type(error).__name__}: {error}); restore the file from its source"
        ) from error
