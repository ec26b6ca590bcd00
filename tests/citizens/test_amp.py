"""RuleOptimizer in mixed precision, with accumulated and with clipped gradients."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn

from evolute import zoo
from evolute.compiler.optimizer import RuleOptimizer

COUNTED = "nesterov: [a3]*(v/(sqrt(s)+1e-08)) + 0.1*delta(g)"
TOTAL_STEPS = 6
Batch = tuple[Tensor, Tensor]


def network(dtype: torch.dtype = torch.float32) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)
    for weight in model.parameters():
        weight.data.copy_(0.5 * torch.randn(weight.shape, generator=generator, dtype=dtype))
    return model


def batches(count: int, dtype: torch.dtype = torch.float32) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(16, 6, generator=generator, dtype=dtype),
            torch.randn(16, 3, generator=generator, dtype=dtype),
        )
        for _ in range(count)
    ]


def poisoned(batch: Batch) -> Batch:
    inputs, targets = batch
    return inputs, targets.index_fill(0, torch.tensor([3]), torch.inf)


def train(model: nn.Module, optimizer: RuleOptimizer, data: Iterable[Batch]) -> None:
    for inputs, targets in data:
        optimizer.zero_grad()
        nn.functional.mse_loss(model(inputs), targets).backward()
        optimizer.step()


def train_scaled(model: nn.Module, optimizer: RuleOptimizer, data: Iterable[Batch]) -> float:
    """Train under a GradScaler and return its last scale."""
    # Scales are powers of two, so scaling and unscaling leave every bit of a gradient as it was.
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for inputs, targets in data:
        optimizer.zero_grad()
        scaler.scale(nn.functional.mse_loss(model(inputs), targets)).backward()
        scaler.step(optimizer)
        scaler.update()
    return scaler.get_scale()


def assert_same(one: nn.Module, other: nn.Module) -> None:
    assert all(
        torch.equal(mine, theirs)
        for mine, theirs in zip(one.parameters(), other.parameters(), strict=True)
    )


@pytest.mark.parametrize("name", zoo.names())
def test_training_under_a_scaler_is_training_without_to_the_bit(name: str) -> None:
    plain, scaled = network(), network()
    train(plain, zoo.create(name, plain.parameters(), lr=0.01, total_steps=3), batches(3))
    optimizer = zoo.create(name, scaled.parameters(), lr=0.01, total_steps=3)
    train_scaled(scaled, optimizer, batches(3))
    assert_same(plain, scaled)


def test_a_step_with_infinite_gradients_is_skipped_and_not_counted() -> None:
    first, second, *rest = batches(TOTAL_STEPS)
    spared, struck = network(), network()
    train(
        spared,
        RuleOptimizer(spared.parameters(), COUNTED, lr=0.01, total_steps=TOTAL_STEPS),
        [first, second, *rest],
    )
    optimizer = RuleOptimizer(struck.parameters(), COUNTED, lr=0.01, total_steps=TOTAL_STEPS)
    scale = train_scaled(struck, optimizer, [first, poisoned(second), second, *rest])
    assert scale == 2.0**9
    assert [int(state["step"]) for state in optimizer.state.values()] == [TOTAL_STEPS] * 4
    assert_same(spared, struck)


def test_a_skipped_first_step_leaves_no_state() -> None:
    (batch,) = batches(1)
    model = network()
    optimizer = RuleOptimizer(model.parameters(), COUNTED, lr=0.01, total_steps=TOTAL_STEPS)
    train_scaled(model, optimizer, [poisoned(batch)])
    assert not optimizer.state
    assert_same(model, network())


def test_unscaling_is_left_to_the_scaler() -> None:
    # An optimizer that declares it would get scaled gradients and the scale, and unscale itself.
    optimizer = RuleOptimizer(network().parameters(), "none: g", lr=0.01)
    assert not getattr(optimizer, "_step_supports_amp_scaling", False)


def test_a_network_under_bfloat16_autocast_trains_its_float32_weights() -> None:
    ((inputs, targets),) = batches(1)
    model = network()
    optimizer = zoo.create("opt1", model.parameters(), lr=0.05, total_steps=40)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = model(inputs)
        assert output.dtype == torch.bfloat16
        loss = nn.functional.mse_loss(output.float(), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    states = [each for state in optimizer.state.values() for each in state.items()]
    assert {each.dtype for name, each in states if name != "step"} == {torch.float32}


def test_gradients_accumulated_over_two_halves_are_those_of_the_whole_batch() -> None:
    whole, halved = network(torch.float64), network(torch.float64)
    data = batches(TOTAL_STEPS, torch.float64)
    train(whole, RuleOptimizer(whole.parameters(), COUNTED, lr=0.01, total_steps=TOTAL_STEPS), data)
    optimizer = RuleOptimizer(halved.parameters(), COUNTED, lr=0.01, total_steps=TOTAL_STEPS)
    for inputs, targets in data:
        optimizer.zero_grad()
        for half in (slice(None, 8), slice(8, None)):
            loss = nn.functional.mse_loss(halved(inputs[half]), targets[half])
            (loss / 2).backward()
        optimizer.step()
    torch.testing.assert_close(halved.state_dict(), whole.state_dict(), rtol=1e-9, atol=1e-12)


def test_a_clipped_gradient_moves_the_weights_no_further_than_the_largest_norm() -> None:
    ((inputs, targets),) = batches(1)
    model = network()
    before = copy.deepcopy(model)
    optimizer = RuleOptimizer(model.parameters(), "none: g", lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    scaler.scale(100 * nn.functional.mse_loss(model(inputs), targets)).backward()
    scaler.unscale_(optimizer)
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm=0.25)
    scaler.step(optimizer)
    moves = [
        (old - new).flatten()
        for old, new in zip(before.parameters(), model.parameters(), strict=True)
    ]
    assert norm > 1
    torch.testing.assert_close(torch.cat(moves).norm().item(), 0.25, rtol=1e-5, atol=0)
