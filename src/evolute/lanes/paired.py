"""Images of lanes in bfloat16, two channels side by side: the native way of ``--precision bf16``.

What autocast does, with less rounding: convolutions take images and weights in bfloat16, sum in
float32 and give bfloat16; normalisation keeps its weights and statistics in float32, and the
activation after it takes what was not yet rounded. Gradients of images are bfloat16, gradients of
weights float32.

Images lie as ``native/core/layers_paired.h`` says, in a tensor [L, blocks, H, W, pairs, 32, 2], and
stay so from layer to layer; :class:`PairedLanes` gives them to all other functions as [L, N, C, H,
W]. It is offered where the processor multiplies bfloat16 by instructions of its own (AVX512_BF16);
elsewhere the same results, to rounding, take longer than torch's.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from evolute.lanes.native_layers import PairedImages, PairedNorm, PairedShape, layers
from evolute.lanes.stacked.value import Lanes

Pair = tuple[int, int]

BLOCK = 32
"""Examples that lie together."""


class PairedLanes(Lanes):
    """Images that differ from lane to lane, as paired words.

    Parameters
    ----------
    words
        [L, blocks, H, W, pairs, 32, 2], bfloat16; zero where there is no example or channel.
    examples, channels
        N and C.
    """

    __slots__ = ("channels", "examples", "words")

    words: Tensor
    examples: int
    channels: int

    def __init__(self, words: Tensor, examples: int, channels: int) -> None:
        for name, value in (
            ("words", words), ("examples", examples), ("channels", channels),
            ("count", len(words)), ("wide", False),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    @property
    def data(self) -> Tensor:
        """The images as [L, N, C, H, W]."""
        return unpacked(self.words, self.examples, self.channels)

    @property
    def shape(self) -> torch.Size:
        """[N, C, H, W]."""
        return torch.Size((self.examples, self.channels, *self.words.shape[2:4]))


def wanted() -> bool:
    """Say whether autocast asks for bfloat16, and these layers are the fastest way there is."""
    if not torch.is_autocast_enabled("cpu") or torch.get_autocast_dtype("cpu") != torch.bfloat16:
        return False
    library = layers()
    return library is not None and bool(library.evolute_paired_is_fast())


def packed(x: Tensor, *, plain: bool = False) -> Tensor:
    """Return images [L, N, C, H, W] as words; lanes that share them (stride 0) share the words."""
    apply: Any = _Packing.apply
    shared = x.stride(0) == 0 and len(x) > 1
    words: Tensor = apply(x[:1] if shared else x, plain)
    return words.expand(len(x), *words.shape[1:]) if shared else words


def unpacked(words: Tensor, examples: int, channels: int) -> Tensor:
    """Return words as images [L, N, C, H, W], bfloat16."""
    lanes, blocks, height, width, pairs, *_ = words.shape
    turned = words.permute(0, 1, 5, 4, 6, 2, 3)
    whole = turned.reshape(lanes, blocks * BLOCK, 2 * pairs, height, width)
    return whole[:, :examples, :channels]


class _Packing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, plain: bool) -> Tensor:
        ctx.examples, ctx.channels, ctx.dtype = x.shape[1], x.shape[2], x.dtype
        x = x.float()
        lanes, examples, channels, height, width = x.shape
        pixels = x.flatten(3)  # a view, or a copy where there is none
        words = _words(lanes, examples, channels, height, width)
        work = PairedImages(
            lanes, examples, words.shape[1], channels, height * width,
            *pixels.stride(), pixels.data_ptr(), words.data_ptr(), None,
        )  # fmt: skip
        _call("pack", work, int(plain))
        return words

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return unpacked(gradients[0], ctx.examples, ctx.channels).to(ctx.dtype), None


def convolve(
    words: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    examples: int,
    stride: Pair,
    padding: Pair,
    plain: bool = False,
) -> Tensor:
    """Return the convolution of each lane's images with its own kernels, as words.

    Parameters
    ----------
    words
        Images with as many channels as the kernels take; expanded where lanes share them.
    weight
        [L, O, C, kh, kw], float32.
    bias
        [L, O], or None.
    examples
        N.
    stride, padding
        (down, right).
    plain
        Whether to do without AVX512_BF16.
    """
    apply: Any = _Convolution.apply
    result: Tensor = apply(words, weight, bias, examples, stride, padding, plain)
    return result


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        words: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        examples: int,
        stride: Pair,
        padding: Pair,
        plain: bool,
    ) -> Tensor:
        shared = words.stride(0) == 0 and len(words) > 1
        words, weight = (words[:1] if shared else words).contiguous(), weight.contiguous()
        bias = None if bias is None else bias.contiguous()
        shape = _shape_of(words, weight, examples, stride, padding, shared=shared)
        out = _words(shape.lanes, examples, shape.outputs, shape.rows, shape.columns)
        offset = None if bias is None else bias.data_ptr()
        _call(
            "convolve", shape, int(plain),
            words.data_ptr(), weight.data_ptr(), offset, out.data_ptr(),
        )  # fmt: skip
        ctx.save_for_backward(words, weight)
        ctx.shape, ctx.plain = shape, int(plain)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        words, weight = ctx.saved_tensors
        gradient, shape = gradients[0].contiguous(), ctx.shape
        of_input, of_weight, of_bias = None, None, None
        if ctx.needs_input_grad[0]:
            of_input = words.new_empty((shape.lanes, *words.shape[1:]))
            _call(
                "input_gradient", shape, ctx.plain,
                gradient.data_ptr(), weight.data_ptr(), of_input.data_ptr(),
            )  # fmt: skip
        if ctx.needs_input_grad[1]:
            of_weight = torch.empty_like(weight)
            _call(
                "weight_gradient", shape, ctx.plain,
                words.data_ptr(), gradient.data_ptr(), of_weight.data_ptr(),
            )  # fmt: skip
        if ctx.needs_input_grad[2]:
            sums = gradient.float().sum((1, 2, 3, 5)).flatten(1)
            of_bias = sums[:, : shape.outputs]
        return of_input, of_weight, of_bias, None, None, None, None


def _shape_of(
    words: Tensor, weight: Tensor, examples: int, stride: Pair, padding: Pair, *, shared: bool
) -> PairedShape:
    _, blocks, height, width, *_ = words.shape
    lanes, outputs, inputs, kernel_height, kernel_width = weight.shape
    return PairedShape(
        lanes, examples, blocks, inputs, height, width, outputs,
        (height + 2 * padding[0] - kernel_height) // stride[0] + 1,
        (width + 2 * padding[1] - kernel_width) // stride[1] + 1,
        kernel_height, kernel_width, *stride, *padding,
        0 if shared else words[0].numel() // 2,
    )  # fmt: skip


class PairedNorm2d(torch.autograd.Function):
    """A batch normalisation and the activation after it, of words; weight and bias [L, C]."""

    @staticmethod
    def forward(
        ctx: Any,
        words: Tensor,
        weight: Tensor,
        bias: Tensor,
        epsilon: float,
        activation: int,
        examples: int,
        plain: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        words, weight, bias = words.contiguous(), weight.contiguous(), bias.contiguous()
        out = torch.empty_like(words)
        mean, variance, deviation = (torch.empty_like(weight) for _ in range(3))
        ctx.save_for_backward(words, weight, bias, mean, deviation)
        ctx.chosen = activation, examples, plain
        _norm(ctx.chosen, epsilon, words, None, out, weight, bias, mean, variance, deviation)
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        words, weight, bias, mean, deviation = ctx.saved_tensors
        gradient, out = gradients[0].contiguous(), torch.empty_like(words)
        of_weight, of_bias = torch.empty_like(weight), torch.empty_like(bias)
        _norm(
            ctx.chosen, 0.0, words, gradient, out, weight, bias, mean, None, deviation,
            of_weight, of_bias,
        )  # fmt: skip
        return out, of_weight, of_bias, None, None, None, None


def _norm(
    chosen: tuple[int, int, bool],
    epsilon: float,
    words: Tensor,
    *more: Tensor | None,
    fixed: bool = False,
) -> None:
    activation, examples, plain = chosen
    pointers = [None if each is None else each.data_ptr() for each in more]
    work = PairedNorm(
        activation, len(words), examples, words.shape[1], _channels(more[2]),
        words.shape[2] * words.shape[3], int(fixed), epsilon, words.data_ptr(), *pointers,
    )  # fmt: skip
    _call("norm", work, int(plain))


def _channels(weight: Tensor | None) -> int:
    return 0 if weight is None else weight.shape[1]


def normalised_by(
    words: Tensor,
    weight: Tensor,
    bias: Tensor,
    running: tuple[Tensor, Tensor],
    *,
    examples: int,
    epsilon: float,
    activation: int,
    plain: bool = False,
) -> Tensor:
    """Return the normalisation by a given mean and variance [L, C], without a gradient."""
    words, weight, bias = words.contiguous(), weight.contiguous(), bias.contiguous()
    out, deviation = torch.empty_like(words), torch.empty_like(weight)
    mean, variance = (each.contiguous() for each in running)
    chosen = activation, examples, plain
    _norm(chosen, epsilon, words, None, out, weight, bias, mean, variance, deviation, fixed=True)
    return out


def average(words: Tensor, examples: int, channels: int, *, plain: bool = False) -> Tensor:
    """Return the mean over the pixels of images, [L, N, C, 1, 1], bfloat16."""
    apply: Any = _Average.apply
    means: Tensor = apply(words, plain)
    return unpacked(means, examples, channels)


class _Average(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, words: Tensor, plain: bool) -> Tensor:
        words = words.contiguous()
        lanes, blocks, height, width, pairs, *_ = words.shape
        ctx.shape = words.shape
        means = torch.empty((lanes, blocks, 1, 1, pairs, BLOCK, 2))
        work = PairedImages(
            lanes, 0, blocks, 2 * pairs, height * width, 0, 0, 0, 0,
            None, words.data_ptr(), means.data_ptr(),
        )  # fmt: skip
        _call("average", work, int(plain))
        return means.to(torch.bfloat16)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        share = gradients[0].float() / (ctx.shape[2] * ctx.shape[3])
        return share.to(torch.bfloat16).expand(ctx.shape).contiguous(), None


def _words(lanes: int, examples: int, channels: int, height: int, width: int) -> Tensor:
    blocks = -(-examples // BLOCK)
    shape = (lanes, blocks, height, width, -(-channels // 2), BLOCK, 2)
    return torch.empty(shape, dtype=torch.bfloat16)


def _call(name: str, work: ctypes.Structure, *more: Any) -> None:
    getattr(layers(), f"evolute_paired_{name}")(ctypes.byref(work), *more)
