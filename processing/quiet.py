"""What a command shows of the libraries under it: errors, and a bar where something takes over two seconds."""

import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

BAR_DELAY_S = 2.0
VERBOSE = "DRKF_VERBOSE"


def late_bars() -> None:
    """Delays the progress bars of transformers, such as that of loading weights, by `BAR_DELAY_S`."""
    from transformers.utils import logging

    logging.set_tqdm_hook(_late_bar)


def quieten_deepspeed() -> None:
    """Keeps DeepSpeed, which accelerate imports wherever it is installed, from warning that there is no GPU."""
    import torch

    if not torch.accelerator.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")


def quieten() -> None:
    """Keeps remarks and warnings of the libraries from the terminal, unless `drkf --verbose` or `DRKF_VERBOSE=1`."""
    if not os.environ.get(VERBOSE):
        # transformers remarks at its import that torch is missing
        os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from huggingface_hub.utils import logging as hub
    from transformers.utils import logging

    if os.environ.get(VERBOSE):
        logging.set_verbosity_info()
        return
    late_bars()
    logging.set_verbosity_error()
    hub.set_verbosity_error()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def _late_bar(bar: Callable[..., Any], arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
    return bar(*arguments, **{"delay": BAR_DELAY_S, **options})
