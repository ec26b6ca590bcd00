"""The library of native layers: where it is, and the types of its functions.

It is optional: where it was not built, or is switched off, torch's own functions run.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_double, c_int32, c_int64, c_void_p
from functools import cache

import torch
from torch import Tensor

from evolute.native import Opened, opened

ABI = 9
"""Version of the interface of ``native/core/layers*.cpp`` that this file speaks."""


class Shape(Structure):
    """``Shape`` of layers_images.cpp: the sizes of a convolution."""

    _fields_ = tuple(
        (name, c_int64)
        for name in (
            "lanes", "examples", "inputs", "height", "width", "outputs", "rows", "columns",
            "kernel_height", "kernel_width", "stride_height", "stride_width",
            "padding_height", "padding_width", "input_stride",
        )
    )  # fmt: skip


class Norm(Structure):
    """``Norm`` of layers_images_norm.cpp: a batch normalisation and the activation after it."""

    _fields_ = (
        *(
            (name, c_int64)
            for name in (
                "activation", "lanes", "pixels", "channels", "examples", "gradient_pixel",
            )
        ),
        ("epsilon", c_double),
        *(
            (name, c_void_p)
            for name in (
                "x", "gradient", "out", "scale", "offset", "mean", "variance", "deviation",
                "scale_gradient", "offset_gradient",
            )
        ),
    )  # fmt: skip


class PairedShape(Structure):
    """``Shape`` of layers_paired.h: the sizes of a convolution."""

    _fields_ = tuple(
        (name, c_int64)
        for name in (
            "lanes", "examples", "blocks", "inputs", "height", "width", "outputs", "rows",
            "columns", "kernel_height", "kernel_width", "stride_height", "stride_width",
            "padding_height", "padding_width", "input_stride",
        )
    )  # fmt: skip


class PairedNorm(Structure):
    """``Norm`` of layers_paired.h: a batch normalisation and the activation after it."""

    _fields_ = (
        *(
            (name, c_int64)
            for name in (
                "activation", "lanes", "examples", "blocks", "channels", "pixels", "fixed",
            )
        ),
        ("epsilon", c_double),
        *(
            (name, c_void_p)
            for name in (
                "x", "gradient", "out", "scale", "offset", "mean", "variance", "deviation",
                "scale_gradient", "offset_gradient",
            )
        ),
    )  # fmt: skip


class PairedImages(Structure):
    """``Images`` of layers_paired.h: images of torch on their way to words, or their means."""

    _fields_ = (
        *(
            (name, c_int64)
            for name in (
                "lanes", "examples", "blocks", "channels", "pixels",
                "lane_stride", "example_stride", "channel_stride", "pixel_stride",
            )
        ),
        *((name, c_void_p) for name in ("numbers", "words", "means")),
    )  # fmt: skip


class Rows(Structure):
    """``Rows`` of layers_works.h: a layer normalisation."""

    _fields_ = (
        *((name, c_int64) for name in ("lanes", "rows", "size", "add")),
        ("epsilon", c_double),
        *(
            (name, c_void_p)
            for name in (
                "x", "gradient", "out", "scale", "offset", "mean", "deviation",
                "scale_gradient", "offset_gradient",
            )
        ),
    )  # fmt: skip


class Gelu(Structure):
    """``Gelu`` of layers_works.h: a Gaussian error linear unit."""

    _fields_ = (
        *((name, c_int64) for name in ("lanes", "size")),
        *((name, c_void_p) for name in ("x", "gradient", "out", "slope")),
    )


class Linear(Structure):
    """``Linear`` of layers_works.h: a linear layer, forward or backward."""

    _fields_ = (
        *(
            (name, c_int64)
            for name in ("lanes", "rows", "inputs", "outputs", "rectified", "x_stride", "add")
        ),
        *(
            (name, c_void_p)
            for name in (
                "x", "weight", "bias", "gradient", "out",
                "x_gradient", "weight_gradient", "bias_gradient", "panels",
            )
        ),
    )  # fmt: skip


class Entropy(Structure):
    """``Entropy`` of layers_loss.cpp: a cross-entropy, or the share of right answers."""

    _fields_ = (
        *((name, c_int64) for name in ("lanes", "rows", "classes", "target_stride", "ignored")),
        *((name, c_void_p) for name in ("x", "targets", "losses", "gradient")),
    )


class Side(Structure):
    """``Side`` of layers_works.h: a tensor [L, N, H, T, D] by its strides."""

    _fields_ = (
        ("numbers", c_void_p),
        *((name, c_int64) for name in ("lane", "example", "head", "place")),
    )


class Attention(Structure):
    """``Attention`` of layers_works.h: an attention, forward or backward."""

    _fields_ = (
        *((name, c_int64) for name in ("lanes", "examples", "heads", "places", "width", "causal")),
        ("scale", c_double),
        ("statistics", c_void_p),
        *(
            (name, Side)
            for name in (
                "query", "key", "value", "out", "gradient", "of_query", "of_key", "of_value",
            )
        ),
        ("shares", c_void_p),
    )  # fmt: skip


class Operation(Structure):
    """``Operation`` of layers_chain.cpp: one layer of a chain."""

    _fields_ = (
        ("kind", c_int64),
        *((name, c_int64 * 3) for name in ("inputs", "columns", "slopes")),
        *((name, c_int64) for name in ("out", "weight", "bias", "number", "causal", "extra")),
        ("factor", c_double),
    )


class Value(Structure):
    """``Value`` of layers_chain.cpp: a matrix on its way through a chain."""

    _fields_ = tuple((name, c_int64) for name in ("width", "shared", "at", "slope"))


class Held(Structure):
    """``Held`` of layers_chain.cpp: a weight or buffer of all slots."""

    _fields_ = (("numbers", c_void_p), ("gradient", c_void_p), ("size", c_int64))


class Chain(Structure):
    """``Chain`` of layers_chain.cpp: a whole network, forward and backward."""

    _fields_ = (
        *(
            (name, c_int64)
            for name in (
                "lanes", "examples", "places", "classes", "ignored", "block",
                "operations_count", "held_count", "output",
            )
        ),
        *(
            (name, c_void_p)
            for name in (
                "operations", "values", "held", "slots", "inputs", "targets",
                "losses", "right", "scratch",
            )
        ),
    )  # fmt: skip


class ImageOperation(Structure):
    """``Operation`` of layers_image_chain.h: one layer of a chain on images."""

    _fields_ = (
        ("kind", c_int64),
        ("inputs", c_int64 * 2),
        *(
            (name, c_int64)
            for name in (
                "out", "weight", "bias", "mean", "variance", "number",
                "kernel_height", "kernel_width", "stride_height", "stride_width",
                "padding_height", "padding_width", "extra", "slope",
            )
        ),
        ("slopes", c_int64 * 2),
        ("sums", c_int64 * 2),
        ("spread", c_int64),
        ("epsilon", c_double),
        ("momentum", c_double),
    )  # fmt: skip


class ImageValue(Structure):
    """``Value`` of layers_image_chain.h: an image on its way through a chain."""

    _fields_ = tuple((name, c_int64) for name in ("channels", "height", "width", "at"))


class ImageChain(Structure):
    """``Chain`` of layers_image_chain.h: a whole convolutional network, forward and backward."""

    _fields_ = (
        *(
            (name, c_int64)
            for name in (
                "lanes", "examples", "classes", "ignored", "operations_count", "output",
                "output_slope", "masks_count",
            )
        ),
        *(
            (name, c_void_p)
            for name in (
                "operations", "values", "held", "slots", "inputs", "targets", "masks",
                "losses", "right", "scratch",
            )
        ),
    )  # fmt: skip


_FORWARD = (c_int32, *[c_void_p] * 2, *[c_int64] * 2, *[c_void_p] * 2, c_double, *[c_void_p] * 3)
_BACKWARD = (c_int32, *[c_void_p] * 3, *[c_int64] * 2, *[c_void_p] * 6)
_CONVOLUTION = (POINTER(Shape), *[c_void_p] * 3)
_ARGUMENTS = {
    "evolute_norm_forward": _FORWARD,
    "evolute_norm_forward_bf16": _FORWARD,
    "evolute_norm_backward": _BACKWARD,
    "evolute_norm_backward_bf16": _BACKWARD,
    "evolute_convolve": _CONVOLUTION,
    "evolute_convolve_input_gradient": _CONVOLUTION,
    "evolute_convolve_weight_gradient": _CONVOLUTION,
    "evolute_norm_images": (POINTER(Norm),),
    "evolute_paired_is_fast": (),
    "evolute_paired_convolve": (POINTER(PairedShape), c_int64, *[c_void_p] * 4),
    "evolute_paired_input_gradient": (POINTER(PairedShape), c_int64, *[c_void_p] * 3),
    "evolute_paired_weight_gradient": (POINTER(PairedShape), c_int64, *[c_void_p] * 3),
    "evolute_paired_norm": (POINTER(PairedNorm), c_int64),
    "evolute_paired_pack": (POINTER(PairedImages), c_int64),
    "evolute_paired_average": (POINTER(PairedImages), c_int64),
    "evolute_layer_norm": (POINTER(Rows),),
    "evolute_gelu": (POINTER(Gelu),),
    "evolute_linear": (POINTER(Linear),),
    "evolute_cross_entropy": (POINTER(Entropy),),
    "evolute_accuracy": (POINTER(Entropy),),
    "evolute_attention": (POINTER(Attention),),
    "evolute_chain": (POINTER(Chain),),
    "evolute_image_chain": (POINTER(ImageChain),),
}
_RESULTS = {
    "evolute_cross_entropy": c_int32,
    "evolute_chain": c_int32,
    "evolute_image_chain": c_int32,
    "evolute_paired_is_fast": c_int32,
}


@cache
def layers() -> ctypes.CDLL | None:
    """Return the native layers; None where they were not built, or are switched off."""
    return open_layers().library


def open_layers() -> Opened:
    """Open the library of native layers, or say why it cannot be used."""
    found = opened("evolute_layers", asks="evolute_layers_abi", speaks=ABI)
    if found.library is None:
        return found
    try:
        for name, types in _ARGUMENTS.items():
            function = getattr(found.library, name)
            function.argtypes, function.restype = types, _RESULTS.get(name)
    except AttributeError as error:
        return Opened(None, f"cannot be used: {error}; install evolute again")
    return found


def kind() -> str:
    """Return which native layers run, as the speed of plans depends on them."""
    return "torch's layers" if layers() is None else f"native layers {ABI}"


def serves(*tensors: Tensor | None) -> bool:
    """Say whether the native layers can take these tensors, in float32 and outside autocast."""
    known = [each for each in tensors if each is not None]
    plain = all(
        each.device.type == "cpu" and each.dtype == torch.float32 and each.numel() > 0
        for each in known
    )
    return plain and not torch.is_autocast_enabled("cpu") and layers() is not None
