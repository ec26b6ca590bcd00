"""The tensors that the native core works on."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Parameter

from evolute.errors import InputError


def is_plain(tensor: Tensor) -> bool:
    """Whether this is an ordinary dense tensor of float32 on the CPU."""
    return (
        tensor.dtype is torch.float32
        and type(tensor) in (Tensor, Parameter)
        and tensor.is_cpu
        and tensor.layout is torch.strided
    )


def require_plain(tensor: Tensor, name: str, count: int, dtype: torch.dtype) -> None:
    """Raise InputError unless this is a contiguous tensor of so many elements on the CPU."""
    if (
        tensor.dtype is not dtype
        or not tensor.is_cpu
        or tensor.numel() != count
        or not tensor.is_contiguous()
    ):
        raise InputError(
            f"the {name} is of {tensor.dtype} with {tensor.numel()} elements on {tensor.device}"
            f"{'' if tensor.is_contiguous() else ', not contiguous'}: the native core works on "
            f"contiguous {dtype} on the CPU, all of one size (here {count})"
        )
