"""The layers on AArch64, run by an emulator: as on this machine, to rounding."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from emulated import Emulated, started
from lanes.networks import CLASSES, Transformer

from evolute.lanes import native_layers
from evolute.lanes.chains import LaneChain
from evolute.lanes.norms import ACTIVATIONS
from evolute.lanes.stacked.network import StackedNetwork

Array = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulated]:
    if native_layers.layers() is None:
        pytest.skip("needs the layers of this machine to compare with")
    yield from started(tmp_path_factory.mktemp("aarch64"), "evolute_layers")


@dataclass(frozen=True)
class Work:
    """A structure of the layers: its numbers and its arrays, by their names."""

    kind: type[ctypes.Structure]
    fields: dict[str, Any]

    def at(self, places: dict[int, int]) -> ctypes.Structure:
        """Return it with the addresses of its arrays."""
        given = {
            name: places[id(each)] if isinstance(each, np.ndarray) else each
            for name, each in self.fields.items()
        }
        return self.kind(**given)


def drawn(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng((seed, *shape)).normal(size=shape).astype(np.float32)


def compare(away: Emulated, name: str, *arguments: Any) -> None:
    """Call a layer here and there on the same arrays, and compare what these hold then."""
    fields = [each.fields.values() for each in arguments if isinstance(each, Work)]
    values = [*arguments, *(value for each in fields for value in each)]
    arrays = [each for each in values if isinstance(each, np.ndarray)]
    there = {id(each): away.place(each) for each in arrays}
    call(name, arguments, {id(each): each.ctypes.data for each in arrays})
    whole = [each for each in arguments if not isinstance(each, float)]
    number = next((each for each in arguments if isinstance(each, float)), 0.0)
    addresses = []
    for each in whole:
        if isinstance(each, Work):
            addresses.append(away.place(np.frombuffer(bytes(each.at(there)), np.uint8)))
        else:
            addresses.append(there[id(each)] if isinstance(each, np.ndarray) else each)
    away.call(f"evolute_{name}", addresses, number=number)
    for at, each in enumerate(arrays):
        found = away.fetch(there[id(each)], each.size).reshape(each.shape)
        np.testing.assert_allclose(found, each, rtol=1e-4, atol=1e-4, err_msg=f"{name}, array {at}")


def call(name: str, arguments: tuple[Any, ...], places: dict[int, int]) -> None:
    """Call a layer on this machine."""
    given: list[Any] = []
    for each in arguments:
        if isinstance(each, Work):
            given.append(ctypes.byref(each.at(places)))
        else:
            given.append(places[id(each)] if isinstance(each, np.ndarray) else each)
    getattr(native_layers.layers(), f"evolute_{name}")(*given)


@pytest.mark.parametrize("examples", [1, 6, 32])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions_and_their_gradients(away: Emulated, examples: int, stride: int) -> None:
    side = (7 + 2 - 3) // stride + 1
    numbers = (2, examples, 3, 7, 7, 5, side, side, 3, 3, stride, stride, 1, 1)
    names = [each[0] for each in native_layers.Shape._fields_]
    size = 3 * 7 * 7 * examples
    shape = Work(native_layers.Shape, dict(zip(names, (*numbers, size), strict=True)))
    x, kernels = drawn(2, 7, 7, 3, examples), drawn(2, 5, 3, 3, 3)
    gradient = drawn(2, side, side, 5, examples)
    compare(away, "convolve", shape, x, kernels, np.zeros_like(gradient))
    compare(away, "convolve_input_gradient", shape, gradient, kernels, np.zeros_like(x))
    compare(away, "convolve_weight_gradient", shape, x, gradient, np.zeros_like(kernels))


@pytest.mark.parametrize("activation", ACTIVATIONS.values())
@pytest.mark.parametrize("examples", [3, 37])
def test_normalisation_of_images(away: Emulated, activation: int, examples: int) -> None:
    x, sums = drawn(2, 9, 5, examples), [drawn(2, 5, seed=seed) for seed in range(7)]
    names = ("scale", "offset", "mean", "variance", "deviation", "scale_gradient")
    fields: dict[str, Any] = dict(zip((*names, "offset_gradient"), sums, strict=True))
    fields |= {"activation": activation, "lanes": 2, "pixels": 9, "channels": 5, "epsilon": 1e-5}
    fields |= {"examples": examples, "gradient_pixel": 5 * examples, "x": x}
    fields["out"] = np.zeros_like(x)
    compare(away, "norm_images", Work(native_layers.Norm, fields))
    fields["gradient"] = drawn(2, 9, 5, examples, seed=1)
    compare(away, "norm_images", Work(native_layers.Norm, fields))


@pytest.mark.parametrize("activation", ACTIVATIONS.values())
@pytest.mark.parametrize("columns", [1, 7, 40])
def test_normalisation_of_channels(away: Emulated, activation: int, columns: int) -> None:
    x, out = drawn(70, columns), np.zeros((70, columns), np.float32)
    scale, offset, mean, variance, deviation = (drawn(columns, seed=seed) for seed in range(5))
    sizes = (70, columns)
    parts = (scale, offset, 1e-5, mean, variance, deviation)
    compare(away, "norm_forward", activation, x, out, *sizes, *parts)
    gradient, of_scale, of_offset = drawn(70, columns, seed=1), drawn(columns), drawn(columns)
    parts_back = (scale, offset, mean, deviation, of_scale, of_offset)
    compare(away, "norm_backward", activation, x, gradient, out, *sizes, *parts_back)


@pytest.mark.parametrize("size", [3, 64])
def test_layer_normalisation(away: Emulated, size: int) -> None:
    x = drawn(2, 70, size)
    fields: dict[str, Any] = {"lanes": 2, "rows": 70, "size": size, "epsilon": 1e-5, "x": x}
    fields |= {"out": np.zeros_like(x), "scale": drawn(2, size), "offset": drawn(2, size, seed=1)}
    fields |= {"mean": drawn(2, 70), "deviation": drawn(2, 70, seed=1)}
    compare(away, "layer_norm", Work(native_layers.Rows, fields))
    fields |= {"gradient": drawn(2, 70, size, seed=1)}
    fields |= {"scale_gradient": drawn(2, size), "offset_gradient": drawn(2, size, seed=1)}
    compare(away, "layer_norm", Work(native_layers.Rows, fields))


def test_gelu(away: Emulated) -> None:
    x = drawn(2, 101) * np.float32(3)
    fields: dict[str, Any] = {"lanes": 2, "size": 101, "x": x, "out": np.zeros_like(x)}
    compare(away, "gelu", Work(native_layers.Gelu, fields))
    compare(away, "gelu", Work(native_layers.Gelu, fields | {"gradient": drawn(2, 101)}))


def test_a_chain(away: Emulated) -> None:
    network = StackedNetwork(Transformer(), 2)
    for slot in range(2):
        network.put(slot, Transformer())
    generator = torch.Generator().manual_seed(0)
    batch = torch.randint(11, (20, 16), generator=generator)
    wanted = network.train_step([(batch, batch)] * 2, [0, 1], CLASSES)
    (chain,) = network._chains.values()
    assert isinstance(chain, LaneChain)
    losses, gradients = ran_there(away, chain, batch.numpy())
    np.testing.assert_allclose(losses, wanted.losses.numpy(), rtol=1e-5)
    assert gradients.keys() == set(network.names)
    for name, gradient in zip(network.names, network.gradients, strict=True):
        np.testing.assert_allclose(gradients[name], gradient.numpy().ravel(), rtol=1e-3, atol=1e-5)


def ran_there(
    away: Emulated, chain: LaneChain, batch: npt.NDArray[np.int64]
) -> tuple[Array, dict[str, Array]]:
    """Run two lanes of a chain on a batch of words; return its losses and gradients."""
    form, held = chain._form, []
    slopes: dict[str, int] = {}
    for name, (tensor, gradient) in chain._tensors.items():
        at = away.place(tensor.numpy())
        if gradient is not None:
            slopes[name] = away.place(np.zeros_like(gradient.numpy()))
        held.append(native_layers.Held(at, slopes.get(name), tensor[0].numel()))
    words = away.place(batch)
    tables: list[Any] = [chain._operations, chain._values]
    tables.append((native_layers.Held * len(held))(*held))
    addresses = [away.place(np.frombuffer(bytes(each), np.uint8)) for each in tables]
    numbers = ([0, 1], [words, words], [words, words])
    addresses += [away.place(np.array(each, np.int64)) for each in numbers]
    addresses += [away.place(drawn(size)) for size in (2, 2, len(chain._scratch))]
    work = native_layers.Chain(
        2, form.examples, form.places, form.matrices[form.output].width, -100, chain._block,
        len(form.layers), len(held), form.output, *addresses,
    )  # fmt: skip
    away.call("evolute_chain", [away.place(np.frombuffer(bytes(work), np.uint8))])
    sizes = {name: tensor.numel() for name, (tensor, _) in chain._tensors.items()}
    found = {name: away.fetch(at, sizes[name]) for name, at in slopes.items()}
    return away.fetch(addresses[6], 2), found
