"""Rows of layers: products with weights, convolutions, normalisation, pooling."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from evolute.lanes import fused, images, products, sequences
from evolute.lanes.base import CannotStackError
from evolute.lanes.native_layers import serves
from evolute.lanes.norms import normalise
from evolute.lanes.stacked.table import Step, row
from evolute.lanes.stacked.value import Lanes, aligned, apart, widened

ACTIVATED: dict[Any, str] = {
    functional.relu: "relu",
    torch.relu: "relu",
    functional.silu: "silu",
}
"""Activations that one pass may compute together with the layer before them."""

_PLAIN: dict[str | None, Any] = {
    None: lambda y: y,
    "relu": functional.relu,
    "silu": functional.silu,
}


def activated_norm(*args: Any, activation: str | None = None, **kwargs: Any) -> Tensor:
    """Return f(batch_norm(…)), where ``activation`` names f."""
    result: Tensor = _PLAIN[activation](functional.batch_norm(*args, **kwargs))
    return result


def activated_linear(*args: Any, activation: str | None = None, **kwargs: Any) -> Tensor:
    """Return f(linear(…)), where ``activation`` names f."""
    result: Tensor = _PLAIN[activation](functional.linear(*args, **kwargs))
    return result


FUSED: dict[Any, tuple[Any, tuple[str, ...]]] = {
    functional.batch_norm: (activated_norm, ("relu", "silu")),
    functional.linear: (activated_linear, ("relu",)),
}
"""Layers that may be run together with an activation after them: what does both, and which."""


@row(functional.linear, activated_linear)
def linear(
    step: Step, x: Any, weight: Any, bias: Any = None, *, activation: str | None = None
) -> Lanes:
    """Return f(x·Wᵀ + b) lane by lane, natively or as W·xᵀ: [L, O, I]·[L, I, N].

    Without the native layers the examples of a lane then lie side by side in memory, so that what
    follows (softmax over ten classes, sums over the examples) runs over long rows.
    """
    data = apart(x, step.count)
    own = apart(weight, step.count)
    if data.ndim > 2 and serves(data, own):
        given = None if bias is None else apart(bias, step.count)
        rectified = activation == "relu"
        return Lanes(products.linear(data, own, given, rectified=rectified), step.count)
    result = _linear_by_torch(step, data, own, bias)
    return result if activation is None else Lanes(_PLAIN[activation](result.data), step.count)


def _linear_by_torch(step: Step, data: Tensor, own: Tensor, bias: Any) -> Lanes:
    if data.ndim > 3:  # sequences: their features stay side by side for what normalises them
        flat, turned = data.reshape(step.count, -1, data.shape[-1]), own.transpose(1, 2)
        offset = None if bias is None else apart(bias, step.count).unsqueeze(1)
        product = _product(offset, flat, turned)
        return Lanes(product.reshape(*data.shape[:-1], own.shape[1]), step.count)
    if data.ndim == 2:
        raise CannotStackError("it has a linear layer without a batch dimension")
    offset = None if bias is None else apart(bias, step.count).unsqueeze(2)
    return Lanes(_product(offset, own, data.transpose(1, 2)).transpose(1, 2), step.count)


def _product(offset: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
    if offset is None:
        return torch.bmm(left, right)
    return torch.baddbmm(offset, left, right)


def _convolution(function: Any, dimensions: int) -> None:
    @row(function)
    def convolve(
        step: Step,
        x: Any,
        weight: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Lanes:
        if len(x.shape) != dimensions + 2:
            raise CannotStackError("it convolves without a batch dimension")
        if dilation in (1, (1,), (1, 1)) and groups == 1:
            found = _native(step, x, weight, bias, stride, padding)
            if found is not None:
                return found
        kernels = apart(weight, step.count).flatten(0, 1)
        offsets = None if bias is None else apart(bias, step.count).flatten()
        result = function(
            widened(x, step.count),
            kernels,
            offsets,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups * step.count,
        )
        return Lanes(result, step.count, wide=True)


def _native(step: Step, x: Any, weight: Any, bias: Any, stride: Any, padding: Any) -> Lanes | None:
    """Return the convolution by the native layer; None where it cannot be had."""
    data, own = apart(x, step.count), apart(weight, step.count)
    if isinstance(padding, str) or not serves(data, own):
        return None
    offset = None if bias is None else apart(bias, step.count)
    if data.ndim == 4:  # sequences are images of one row
        along, beside = (each[0] if isinstance(each, tuple) else each for each in (stride, padding))
        result = images.convolve(
            data.unsqueeze(3), own.unsqueeze(3), offset, stride=(1, along), padding=(0, beside)
        )
        return Lanes(result.squeeze(3).contiguous(), step.count)
    down, right = (each if isinstance(each, tuple) else (each, each) for each in (stride, padding))
    return Lanes(images.convolve(data, own, offset, stride=down, padding=right), step.count)


_convolution(functional.conv1d, 1)
_convolution(functional.conv2d, 2)


@row(functional.batch_norm, activated_norm)
def _batch_norm(
    step: Step,
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    activation: str | None = None,
) -> Lanes:
    if not (isinstance(x, Lanes) and x.wide) and serves(apart(x, step.count)):
        values = [running_mean, running_var, weight, bias]
        own = [None if each is None else apart(each, step.count) for each in values]
        data = apart(x, step.count)
        as_images = data.reshape(*data.shape[:3], *[1] * (5 - data.ndim), *data.shape[3:])
        result = _norm_apart(as_images, own, training, momentum, eps, activation)
        result = result.view(data.shape)
        # Sequences lie as torch would leave them: a mask after this is drawn in that order.
        return Lanes(result.contiguous() if data.ndim == 4 else result, step.count)

    def flat(value: Any) -> Any:
        return None if value is None else apart(value, step.count).flatten()

    data = widened(x, step.count)
    running = (flat(running_mean), flat(running_var))
    weights = (flat(weight), flat(bias))
    if training and fused.serves(data):
        channels = data.shape[1]
        scale = torch.ones(channels) if weights[0] is None else weights[0]
        offset = torch.zeros(channels) if weights[1] is None else weights[1]
        kept = None if running[0] is None else running
        result = normalise(
            fused.RowNorm, data, weight=scale, bias=offset, running=kept,
            momentum=momentum, epsilon=eps, activation=activation,
        )  # fmt: skip
    else:
        result = activated_norm(
            data, *running, *weights, training, momentum, eps, activation=activation
        )
    return Lanes(result, step.count, wide=True)


def _norm_apart(
    x: Tensor,
    own: list[Tensor | None],
    training: bool,
    momentum: float,
    epsilon: float,
    activation: str | None,
) -> Tensor:
    """Normalise images [L, N, C, H, W] by the native layer, or by their running averages."""
    mean, variance, weight, bias = own
    channels = (len(x), x.shape[2])
    weight = torch.ones(channels) if weight is None else weight
    bias = torch.zeros(channels) if bias is None else bias
    running = None if mean is None or variance is None else (mean, variance)
    if training or running is None:
        return normalise(
            images.ImageNorm, x, weight=weight, bias=bias, running=running,
            momentum=momentum, epsilon=epsilon, activation=activation,
        )  # fmt: skip
    factor = weight * torch.rsqrt(running[1] + epsilon)
    offset = bias - running[0] * factor
    wide = (channels[0], 1, channels[1], 1, 1)
    result: Tensor = _PLAIN[activation](torch.addcmul(offset.view(wide), x, factor.view(wide)))
    return result


@row(functional.layer_norm)
def layer_norm(
    step: Step,
    x: Any,
    normalized_shape: Any,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
) -> Lanes:
    """Normalise the last dimensions, then scale and shift with each lane's own weights."""
    data = apart(x, step.count)
    if len(normalized_shape) == 1 and serves(data) and weight is not None:
        own = apart(weight, step.count)
        offset = torch.zeros_like(own) if bias is None else apart(bias, step.count)
        return Lanes(sequences.layer_norm(data, own, offset, epsilon=eps), step.count)
    result = functional.layer_norm(data, tuple(normalized_shape), eps=eps)
    rank = data.ndim - 1
    if weight is not None:
        result = result * _broadcast(weight, rank)
    if bias is not None:
        result = result + _broadcast(bias, rank)
    return Lanes(result, step.count)


@row(functional.group_norm)
def group_norm(
    step: Step, x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Lanes:
    """Normalise groups of channels, then scale and shift with each lane's own weights."""
    data = apart(x, step.count)
    result = functional.group_norm(data.flatten(0, 1), num_groups, eps=eps).view(data.shape)
    after = [1] * (data.ndim - 3)
    for value, join in ((weight, torch.mul), (bias, torch.add)):
        if value is not None:
            own = apart(value, step.count)
            result = join(result, own.view(step.count, 1, -1, *after))
    return Lanes(result, step.count)


@row(functional.embedding)
def _embedding(
    step: Step,
    x: Any,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,  # noqa: ARG001 - in the order of torch's arguments
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Lanes:
    if max_norm is not None or scale_grad_by_freq or sparse:
        raise CannotStackError("its embedding has max_norm, or gradients scaled or sparse")
    own = apart(weight, step.count)
    words = own.shape[1]
    if own.device.type == "cpu":  # one too large would be another lane's
        least, most = (x.data if isinstance(x, Lanes) else x).aminmax()
        if least < 0 or most >= words:
            raise IndexError(f"an index of an embedding is none of its {words} words")
    first = torch.arange(step.count, device=own.device) * words
    index = apart(x, step.count) + first.view(-1, *[1] * len(x.shape))
    found = functional.embedding(index, own.flatten(0, 1))
    if padding_idx is not None:  # a word that learns nothing
        padding = apart(x, step.count) == padding_idx % words
        found = torch.where(padding.unsqueeze(-1), found.detach(), found)
    return Lanes(found, step.count)


def _broadcast(value: Any, rank: int) -> Tensor:
    tensor: Tensor = aligned(value, rank) if isinstance(value, Lanes) else value
    return tensor


_TO_ONE = ((1,), ((1, 1),))


def _pooling(function: Any, dimensions: int) -> None:
    @row(function)
    def pool(step: Step, x: Lanes, *args: Any, **kwargs: Any) -> Lanes:
        if len(x.shape) != dimensions + 2:
            raise CannotStackError("it pools without a batch dimension")
        if function is functional.adaptive_avg_pool2d and not x.wide and args[:1] in _TO_ONE:
            return Lanes(images.average(x.data), step.count)
        if dimensions == 1 and not x.wide:  # lanes as examples, which lie as in the plain module
            data = x.data.flatten(0, 1)
            return Lanes(function(data, *args, **kwargs).unflatten(0, x.data.shape[:2]), step.count)
        return Lanes(function(x.widened(), *args, **kwargs), step.count, wide=True)


for _kind in ("max_pool", "avg_pool", "adaptive_avg_pool"):
    for _dimensions in (1, 2):
        _pooling(getattr(functional, f"{_kind}{_dimensions}d"), _dimensions)
for _dimensions in (1, 2):
    _pooling(getattr(torch, f"max_pool{_dimensions}d"), _dimensions)
_pooling(torch.avg_pool1d, 1)
