"""RuleOptimizer beside ``torch.optim.swa_utils``: averaged weights, and their learning rate."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn

from evolute import zoo
from evolute.compiler.optimizer import RuleOptimizer

STEPS = 6


def training() -> tuple[nn.Module, RuleOptimizer]:
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(4, 3, dtype=torch.float64)
    for weight in model.parameters():
        weight.data.copy_(torch.randn(weight.shape, generator=generator))
    return model, zoo.create("opt1", model.parameters(), lr=0.1, total_steps=STEPS)


def step(model: nn.Module, optimizer: RuleOptimizer, seed: int) -> None:
    inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(seed)).double()
    optimizer.zero_grad()
    model(inputs).square().mean().backward()
    optimizer.step()


def weights(model: nn.Module) -> Tensor:
    return torch.cat([each.detach().flatten().clone() for each in model.parameters()])


def test_averaged_weights_are_the_mean_of_those_after_each_step() -> None:
    model, optimizer = training()
    averaged, seen = AveragedModel(model), []
    for seed in range(STEPS):
        step(model, optimizer, seed)
        averaged.update_parameters(model)
        seen.append(weights(model))
    torch.testing.assert_close(weights(averaged.module), torch.stack(seen).mean(dim=0))


def test_moving_averages_of_weights_follow_the_steps() -> None:
    model, optimizer = training()
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.75))
    step(model, optimizer, 0)
    averaged.update_parameters(model)  # the first is a copy
    expected = weights(model)
    for seed in range(1, STEPS):
        step(model, optimizer, seed)
        averaged.update_parameters(model)
        expected = 0.75 * expected + 0.25 * weights(model)
    torch.testing.assert_close(weights(averaged.module), expected)


def test_averaging_leaves_the_training_as_it_was() -> None:
    (plain, optimizer), (watched, watched_optimizer) = training(), training()
    averaged = AveragedModel(watched)
    for seed in range(STEPS):
        step(plain, optimizer, seed)
        step(watched, watched_optimizer, seed)
        averaged.update_parameters(watched)
    assert torch.equal(weights(plain), weights(watched))


def test_the_learning_rate_of_swa_is_the_one_that_steps_are_made_with() -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = RuleOptimizer([weight], "none: g", lr=0.8)
    scheduler = SWALR(optimizer, swa_lr=0.2, anneal_epochs=2, anneal_strategy="linear")
    moves = []
    for _ in range(4):
        before = weight.item()
        weight.grad = torch.ones(1)
        optimizer.step()
        scheduler.step()
        moves.append(before - weight.item())
    torch.testing.assert_close(moves, [0.8, 0.5, 0.2, 0.2], rtol=1e-6, atol=0)
