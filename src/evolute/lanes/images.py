"""Convolution and batch normalisation of many lanes of small images, native, for the CPU.

Images lie with the examples last in memory ([L, H, W, C, N], seen as [L, N, C, H, W]), so that
vectors are full however few the channels, and what a pixel is summed from stands together;
``native/core/layers_images.cpp`` runs one lane after the other. Torch's grouped convolution fills a
vector by the channels of one lane only.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from evolute.lanes.native_layers import Norm, Shape, layers

Pair = tuple[int, int]


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, stride: Pair, padding: Pair
) -> Tensor:
    """Return the convolution of each lane's images with its own kernels.

    Parameters
    ----------
    x
        [L, N, C, H, W], examples last in memory; expanded where lanes share their images.
    weight
        [L, O, C, kh, kw].
    bias
        [L, O], or None.
    stride, padding
        (down, right).
    """
    apply: Any = _Convolution.apply
    result: Tensor = apply(x, weight, bias, stride, padding)
    return result


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair
    ) -> Tensor:
        shared = x.stride(0) == 0 and len(x) > 1
        x, weight = _laid(x[:1]) if shared else _laid(x), weight.contiguous()
        shape = _shape_of(x, weight, stride, padding, shared=shared)
        out = _empty((shape.lanes, shape.examples, shape.outputs, shape.rows, shape.columns))
        _call("convolve", shape, x, weight, out)
        if bias is not None:
            out += bias[:, None, :, None, None]
        ctx.save_for_backward(x, weight)
        ctx.shape = shape
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        gradient = _laid(gradients[0])
        of_input, of_weight, of_bias = None, None, None
        if ctx.needs_input_grad[0]:
            lanes, (_, *rest) = ctx.shape.lanes, x.shape
            of_input = _empty((lanes, *rest))
            _call("convolve_input_gradient", ctx.shape, gradient, weight, of_input)
        if ctx.needs_input_grad[1]:
            of_weight = torch.empty_like(weight)
            _call("convolve_weight_gradient", ctx.shape, x, gradient, of_weight)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((1, 3, 4))
        return of_input, of_weight, of_bias, None, None


def _shape_of(x: Tensor, weight: Tensor, stride: Pair, padding: Pair, *, shared: bool) -> Shape:
    _, examples, inputs, height, width = x.shape
    lanes, outputs, _, kernel_height, kernel_width = weight.shape
    return Shape(
        lanes, examples, inputs, height, width, outputs,
        (height + 2 * padding[0] - kernel_height) // stride[0] + 1,
        (width + 2 * padding[1] - kernel_width) // stride[1] + 1,
        kernel_height, kernel_width, *stride, *padding,
        0 if shared else x[0].numel(),
    )  # fmt: skip


def _call(name: str, shape: Shape, *tensors: Tensor) -> None:
    function = getattr(layers(), f"evolute_{name}")
    function(ctypes.byref(shape), *(each.data_ptr() for each in tensors))


class ImageNorm(torch.autograd.Function):
    """The pass over x [L, N, C, H, W]; weight and bias [L, C]."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, activation: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        x, weight, bias = _laid(x), weight.contiguous(), bias.contiguous()
        out = torch.empty_like(x)
        mean, variance, deviation = (torch.empty_like(weight) for _ in range(3))
        ctx.save_for_backward(x, weight, bias, mean, deviation)
        ctx.activation = activation
        _norm_images(activation, epsilon, x, None, out, weight, bias, mean, variance, deviation)
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weight, bias, mean, deviation = ctx.saved_tensors
        given = gradients[0]
        shared = given.stride(3) == given.stride(4) == 0  # of a mean over the pixels
        gradient, out = _laid(given[..., :1, :1] if shared else given), torch.empty_like(x)
        of_weight, of_bias = torch.empty_like(weight), torch.empty_like(bias)
        _norm_images(
            ctx.activation, 0.0, x, gradient, out, weight, bias, mean, None, deviation,
            of_weight, of_bias, shared=shared,
        )  # fmt: skip
        return out, of_weight, of_bias, None, None


def _norm_images(
    activation: int, epsilon: float, x: Tensor, *more: Tensor | None, shared: bool = False
) -> None:
    lanes, examples, channels, height, width = x.shape
    pointers = [None if each is None else each.data_ptr() for each in more]
    work = Norm(
        activation, lanes, height * width, channels, examples,
        0 if shared else channels * examples, epsilon, x.data_ptr(), *pointers,
    )  # fmt: skip
    layers().evolute_norm_images(ctypes.byref(work))  # type: ignore[union-attr]


def average(x: Tensor) -> Tensor:
    """Return the mean over the pixels of images [L, N, C, H, W], as [L, N, C, 1, 1]."""
    apply: Any = _Average.apply
    result: Tensor = apply(x)
    return result


class _Average(torch.autograd.Function):
    """In the order of memory; the gradient is one number for all pixels, and stays one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        in_memory = x.permute(0, 3, 4, 2, 1).flatten(1, 2)
        return in_memory.mean(1).transpose(1, 2)[..., None, None]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return (gradients[0] / (ctx.shape[3] * ctx.shape[4])).expand(ctx.shape)


def _laid(x: Tensor) -> Tensor:
    """Return images [L, N, C, H, W] with the examples last in memory."""
    return x.permute(0, 3, 4, 2, 1).contiguous().permute(0, 4, 3, 1, 2)


def _empty(shape: tuple[int, ...]) -> Tensor:
    lanes, examples, channels, height, width = shape
    return torch.empty((lanes, height, width, channels, examples)).permute(0, 4, 3, 1, 2)
