"""A checkpoint loaded whole, or what is wrong with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoModelForAudioClassification, AutoProcessor

from processing.errors_drkf import DRKFError, FileError
from processing.processing_drkf import DRKFProcessor

from ..modeling_drkf import DRKFForEmotionClassification


def load_checkpoint(checkpoint: str | Path, **options: Any) -> tuple[DRKFForEmotionClassification, DRKFProcessor]:
    """Model and processor of a folder or Hub id.

    Args:
        options: of `from_pretrained` of the model.

    Raises:
        FileError: it cannot be loaded, is no DRKF checkpoint, or lacks weights, which transformers draws at random.
    """
    with refused(checkpoint):
        loading: dict[str, Any] = {"trust_remote_code": False, "output_loading_info": True}  # None asks for the former
        model, report = AutoModelForAudioClassification.from_pretrained(checkpoint, **loading, **options)
        if not isinstance(model, DRKFForEmotionClassification):
            raise FileError(f"{checkpoint} is not a DRKF checkpoint: its model_type is {model.config.model_type}")
        if missing := sorted(report["missing_keys"]):
            raise FileError(
                f"{checkpoint} lacks {len(missing)} of its weights, {missing[0]} among them: restore the file of the "
                "weights from its source"
            )
        return model, AutoProcessor.from_pretrained(checkpoint, trust_remote_code=False)


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
