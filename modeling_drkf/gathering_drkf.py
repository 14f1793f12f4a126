"""Batches gathered across processes, with gradients, for the terms that compare samples with each other."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


class _GatherEqual(torch.autograd.Function):
    """All-gather of equally shaped tensors. The gradient sums what every process sends back to a process' own rows.

    Data-parallel training then divides by the number of processes, which makes a loss that each process averages over
    its own rows equal to the one-process loss on the whole batch.
    """

    @staticmethod
    def forward(ctx, tensor: Tensor) -> Tensor:
        gathered = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, tensor.contiguous())
        return torch.stack(gathered)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient[dist.get_rank()]


def is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gather_rows(tensor: Tensor) -> Tensor:
    """Concatenates a tensor's rows over all processes: this process' own first, then those of the ranks behind it.

    Args:
        tensor: (batch, ...), whose batch and second dimension may differ between processes; the second is padded with
            zeros to the longest.
    """
    if tensor.dtype == torch.bool:
        return gather_rows(tensor.long()).bool()
    sizes = _sizes(len(tensor), tensor.device)
    padding = [0, max(sizes) - len(tensor)]
    if tensor.ndim > 1:
        lengths = _sizes(tensor.shape[1], tensor.device)
        padding = [0, max(lengths) - tensor.shape[1], *padding]
    padding = [0, 0] * (tensor.ndim - 2) + padding
    gathered = _GatherEqual.apply(F.pad(tensor, padding))
    rows = torch.cat([rows[:size] for rows, size in zip(gathered, sizes, strict=True)])
    return rows.roll(-sum(sizes[: dist.get_rank()]), 0)


def _sizes(size: int, device: torch.device) -> list[int]:
    sizes = [torch.zeros(1, dtype=torch.long, device=device) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor([size], device=device))
    return [int(other) for other in sizes]
