"""Numbers in double precision, and the comparison of a function with its naive twin: values and gradients."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def random_numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def numbers(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def total(parts: Iterable[Tensor], dim: int | None = None) -> Tensor:
    return torch.stack(list(parts)).sum(dim)


def agree(function: Callable[..., Tensor], naive: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Both give the same scalar and the same gradient for each input; the gradient is also the numerical one."""
    values, gradients = [], []
    for call in (function, naive):
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        values.append(call(*leaves))
        gradients.append(torch.autograd.grad(values[-1], leaves))
    torch.testing.assert_close(*values, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)
    assert torch.autograd.gradcheck(function, [tensor.clone().requires_grad_() for tensor in inputs])
