"""Training stops where a loss or a weight is no longer a number, and says where that came from."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from accelerate.utils import gather_object
from torch import Tensor, nn

from processing.errors_drkf import DRKFError

from ..gathering_drkf import is_distributed

ADVICE = "earlier checkpoints are intact. Look at these recordings, or lower the learning rate"


class NonFiniteError(DRKFError, FloatingPointError):
    """A loss or a weight is infinite or not a number."""


def require_finite_loss(outputs: Mapping[str, Any], ids: Sequence[str] | None, when: str) -> None:
    """Checks the loss of one batch; all processes call it together, and all of them raise if one must.

    The gradients are not looked at: under fp16 they overflow now and then, which the loss scale answers.

    Args:
        outputs: `loss`, `loss_terms` and `logits` (batch, classes) of the model.
        ids: of the batch's utterances, if known.
        when: where training stands, such as "training, step 7".

    Raises:
        NonFiniteError: naming the terms, and the utterances whose own scores are not finite (all of the batch if no
            single one is to blame), of whichever process they are.
    """
    losses: dict[str, Tensor] = {**outputs["loss_terms"], "loss": outputs["loss"].detach()}
    bad = ~torch.stack([value.float() for value in losses.values()]).isfinite().all()
    if is_distributed():
        flag = bad.float()
        dist.all_reduce(flag)
        bad = flag > 0
    if bad:
        raise NonFiniteError(f"{when}: {_describe(losses, outputs['logits'], ids)}; {ADVICE}")


def _describe(losses: Mapping[str, Tensor], logits: Tensor, ids: Sequence[str] | None) -> str:
    terms = [f"{name} is {value.item()}" for name, value in losses.items() if not value.isfinite()]
    rows = (~logits.detach().isfinite().flatten(1).all(1)).tolist()
    names = (
        list(ids) if ids is not None else [f"row {row} (the data have no utterance_id)" for row in range(len(rows))]
    )
    blamed = [name for name, bad in zip(names, rows, strict=True) if bad]
    found = gather_object([(terms, blamed, names)])  # of every process
    terms, blamed, names = ([item for process in found for item in process[part]] for part in range(3))
    where = f"utterance {', '.join(blamed)}" if blamed else f"the batch of the utterances {', '.join(names)}"
    return f"{', '.join(dict.fromkeys(terms))} for {where}"


def require_finite_weights(model: nn.Module, when: str) -> None:
    """
    Raises:
        NonFiniteError: naming the first parameter that is not finite; a checkpoint of it would be of no use.
    """
    for name, parameter in model.named_parameters():
        local = parameter.to_local() if hasattr(parameter, "to_local") else parameter  # a shard's own part
        if not local.detach().isfinite().all():
            raise NonFiniteError(f"{when}: the weights {name} are no longer finite, so nothing is saved; {ADVICE}")
