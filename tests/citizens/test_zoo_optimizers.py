"""Every entry of the zoo as a ``torch.optim.Optimizer``: its paths agree, it saves and resumes."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from evolute import zoo
from evolute.compiler import blocks
from evolute.compiler.optimizer import RuleOptimizer
from evolute.compiler.reference import reference_trajectory

STEPS = 20
Change = Callable[[Tensor], Tensor]
LAYOUTS: list[tuple[tuple[int, ...], Change]] = [
    ((), lambda each: each),
    ((0,), lambda each: each),
    ((3,), lambda each: each),
    ((70, 3), lambda each: each),
    ((4, 7), lambda each: each.t()),
    ((6, 8), lambda each: each[:, ::2]),
    ((2, 3, 4, 5), lambda each: each.to(memory_format=torch.channels_last)),
]
every_entry = pytest.mark.parametrize("name", zoo.names())


def tensors(seed: int, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape, _ in LAYOUTS]
    return [change(each.to(dtype)) for each, (_, change) in zip(drawn, LAYOUTS, strict=True)]


def made(name: str, dtype: torch.dtype, **options: Any) -> tuple[list[nn.Parameter], RuleOptimizer]:
    weights = [nn.Parameter(each) for each in tensors(0, dtype)]
    return weights, zoo.create(name, weights, lr=0.01, total_steps=STEPS, seed=4, **options)


def moved(optimizer: RuleOptimizer, weights: list[nn.Parameter], span: range) -> list[Tensor]:
    """Make steps with gradients of the step; return the weights thereafter."""
    for step in span:
        for weight, gradient in zip(weights, tensors(100 + step, weights[0].dtype), strict=True):
            weight.grad = gradient
        optimizer.step()
    return [weight.detach().clone() for weight in weights]


def assert_same_bits(some: list[Tensor], others: list[Tensor]) -> None:
    for one, other in zip(some, others, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


@every_entry
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_lists_move_as_the_loop_to_the_bit(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 32)  # most tensors are cut, some are put together
    options = {"weight_decay": 0.1, "maximize": True}
    in_lists = moved(*made(name, dtype, foreach=True, **options)[::-1], range(STEPS))
    one_by_one = moved(*made(name, dtype, foreach=False, **options)[::-1], range(STEPS))
    assert_same_bits(in_lists, one_by_one)
    assert not torch.equal(in_lists[3], tensors(0, dtype)[3])


@every_entry
def test_it_moves_as_the_reference(name: str) -> None:
    weights, optimizer = made(name, torch.float64)
    path = reference_trajectory(
        zoo.load(name).rule,
        tensors(0, torch.float64),
        gradient=lambda step, _: tensors(100 + step, torch.float64),
        rates=[0.01] * STEPS,
        momenta=[0.9] * STEPS,
        seed=4,
    )
    for ours, expected in zip(moved(optimizer, weights, range(STEPS)), path[-1], strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-11)


@every_entry
def test_saved_in_mid_training_it_continues_to_the_bit(name: str) -> None:
    weights, optimizer = made(name, torch.float32)
    moved(optimizer, weights, range(7))
    file = io.BytesIO()
    torch.save([optimizer.state_dict(), [each.detach() for each in weights]], file)
    copied_weights, copied = copy.deepcopy((weights, optimizer))
    pickled_weights, pickled = pickle.loads(pickle.dumps((weights, optimizer)))
    whole = moved(optimizer, weights, range(7, 12))
    assert_same_bits(moved(copied, copied_weights, range(7, 12)), whole)
    assert_same_bits(moved(pickled, pickled_weights, range(7, 12)), whole)
    file.seek(0)
    state, saved = torch.load(file, weights_only=True)
    resumed_weights = [nn.Parameter(each) for each in saved]
    # Its decays go on where they were, over the length of the training that was saved.
    resumed = RuleOptimizer(resumed_weights, zoo.load(name).rule, lr=0.5, total_steps=99)
    resumed.load_state_dict(state)
    assert {int(slots["step"]) for slots in resumed.state.values()} == {7}
    assert_same_bits(moved(resumed, resumed_weights, range(7, 12)), whole)


@every_entry
def test_a_state_moves_to_another_dtype(name: str) -> None:
    weights, optimizer = made(name, torch.float32)
    moved(optimizer, weights, range(5))
    state = optimizer.state_dict()
    for dtype in (torch.float64, torch.bfloat16):
        finer, other = made(name, dtype)
        other.load_state_dict(state)
        for slots in other.state.values():
            assert {each.dtype for key, each in slots.items() if key != "step"} <= {dtype}
            assert int(slots["step"]) == 5
        moved(other, finer, range(5, 7))
    # Back and forth through float64 nothing is lost.
    _, wide = made(name, torch.float64)
    wide.load_state_dict(state)
    again, back = made(name, torch.float32)
    back.load_state_dict(wide.state_dict())
    with torch.no_grad():
        for weight, source in zip(again, weights, strict=True):
            weight.copy_(source)
    assert_same_bits(moved(back, again, range(5, 8)), moved(optimizer, weights, range(5, 8)))


@every_entry
def test_a_loaded_state_is_its_own(name: str) -> None:
    weights, optimizer = made(name, torch.float32)
    moved(optimizer, weights, range(2))
    others, other = made(name, torch.float32)
    other.load_state_dict(optimizer.state_dict())
    before = copy.deepcopy(optimizer.state_dict()["state"])
    moved(other, others, range(2, 4))
    for slots, saved in zip(optimizer.state_dict()["state"].values(), before.values(), strict=True):
        assert_same_bits(list(slots.values()), list(saved.values()))


@every_entry
def test_parameters_come_late_and_without_gradients(name: str) -> None:
    """Each counts its own steps, so it moves as alone."""
    late, other = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = zoo.create(name, [late, other], lr=0.1, total_steps=9)
    alone = nn.Parameter(torch.ones(3))
    single = zoo.create(name, [alone], lr=0.1, total_steps=9)
    for step in range(5):
        other.grad = torch.full((3,), 0.5)
        late.grad = None
        if step >= 2:
            late.grad = torch.tensor([0.3, -0.2, 0.1 * step])
            alone.grad = late.grad.clone()
            single.step()
        optimizer.step()
    assert torch.equal(late, alone)


@every_entry
def test_a_rate_that_is_a_tensor_is_followed(name: str) -> None:
    rate = torch.tensor(0.5)
    for foreach in (True, False):
        weights, optimizer = made(name, torch.float32, foreach=foreach)
        tensor_weights = [nn.Parameter(each) for each in tensors(0, torch.float32)]
        with_tensor = zoo.create(
            name, tensor_weights, lr=rate, total_steps=STEPS, seed=4, foreach=foreach
        )
        for step, value in enumerate((0.5, 0.25, 0.0, 0.125)):
            rate.fill_(value)
            optimizer.param_groups[0]["lr"] = value
            expected = moved(optimizer, weights, range(step, step + 1))
            assert_same_bits(moved(with_tensor, tensor_weights, range(step, step + 1)), expected)


@every_entry
def test_complex_numbers_are_pairs_of_real_ones(name: str) -> None:
    ends = []
    for as_complex in (True, False):
        for foreach in (True, False):
            pairs = torch.tensor([[1.0, 2.0], [-0.5, 0.1]], dtype=torch.float64)
            weight = nn.Parameter(torch.view_as_complex(pairs.clone()) if as_complex else pairs)
            optimizer = zoo.create(name, [weight], lr=0.1, total_steps=5, foreach=foreach)
            for step in range(4):
                gradient = torch.tensor([[0.3, -0.1], [0.2, 0.1 * step]], dtype=torch.float64)
                weight.grad = torch.view_as_complex(gradient) if as_complex else gradient
                optimizer.step()
            end = weight.detach()
            ends.append(torch.view_as_real(end) if as_complex else end)
    assert_same_bits(ends[1:], ends[:1] * 3)


# The norm of a tensor has no derivative where the tensor is 0, and a decay of 0 makes it so.
@pytest.mark.parametrize("name", [name for name in zoo.names() if zoo.load(name).is_elementwise])
def test_autograd_follows_a_differentiable_step(name: str) -> None:
    def end(start: Tensor, gradient: Tensor) -> Tensor:
        weight = start.clone()
        optimizer = zoo.create(
            name, [weight], lr=0.1, total_steps=5, differentiable=True, weight_decay=0.1
        )
        for factor in (1.0, 0.7):
            weight.grad = gradient * factor
            optimizer.step()
        return weight

    start = torch.tensor([0.7, -0.4], dtype=torch.float64, requires_grad=True)
    gradient = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(end, (start, gradient), atol=1e-4, rtol=1e-3)
