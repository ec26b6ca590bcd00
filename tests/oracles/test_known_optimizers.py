"""Hand-made optimizers written as rules follow torch's own; Lion follows its published formula."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor, nn

from evolute import zoo
from evolute.compiler.optimizer import RuleOptimizer

STEPS = 200
Build = Callable[[Iterable[Tensor]], torch.optim.Optimizer]


class PublishedLion(torch.optim.Optimizer):
    """Chen et al. 2023, algorithm 2: u = sign(β₁m + (1−β₁)g) + λw, then m ← β₂m + (1−β₂)g."""

    def __init__(self, params: Iterable[Tensor], lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                g = weight.grad
                m = self.state[weight].setdefault("m", torch.zeros_like(weight))
                direction = torch.sign(0.9 * m + 0.1 * g)
                weight -= group["lr"] * (direction + group["weight_decay"] * weight)
                self.state[weight]["m"] = 0.99 * m + 0.01 * g


def written(name: str) -> str:
    """Return the rule of the zoo that bears this name."""
    return str(zoo.load(name).rule)


CASES: dict[str, tuple[str, float, Build]] = {
    "sgd": (written("sgd"), 0.05, lambda p: torch.optim.SGD(p, lr=0.05)),
    "sgd with weight decay": (
        "none: g + 0.01*w",
        0.05,
        lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=0.01),
    ),
    "momentum": (
        written("momentum"),
        0.02,
        lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9),
    ),
    "nesterov": (
        written("nesterov"),
        0.02,
        lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True),
    ),
    "rmsprop": (written("rmsprop"), 0.001, lambda p: torch.optim.RMSprop(p, lr=0.001)),
    "adam": (written("adam"), 0.003, lambda p: torch.optim.Adam(p, lr=0.003)),
    "adamw": (
        written("adamw"),
        0.003,
        lambda p: torch.optim.AdamW(p, lr=0.003, weight_decay=0.01),
    ),
    "lion": (written("lion"), 0.0003, lambda p: PublishedLion(p, lr=0.0003)),
    "lion with weight decay": (
        f"{written('lion')} + 0.1*w",
        0.0003,
        lambda p: PublishedLion(p, lr=0.0003, weight_decay=0.1),
    ),
}


def trained(build: Build, *, dtype: torch.dtype, steps: int = STEPS) -> list[Tensor]:
    """Return the weights of a small network after training on fixed random data."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)
    for weight in model.parameters():
        draw = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        weight.data.copy_(0.5 * draw)
    inputs = torch.randn(steps, 16, 6, generator=generator, dtype=torch.float64).to(dtype)
    targets = torch.randn(steps, 16, 3, generator=generator, dtype=torch.float64).to(dtype)
    optimizer = build(model.parameters())
    for batch, target in zip(inputs, targets, strict=True):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(batch), target).backward()
        optimizer.step()
    return [weight.detach() for weight in model.parameters()]


@pytest.mark.parametrize("name", CASES)
def test_rule_follows_the_optimizer_it_writes_down(name: str) -> None:
    text, rate, build = CASES[name]
    ours = trained(lambda p: RuleOptimizer(p, text, lr=rate), dtype=torch.float64)
    theirs = trained(build, dtype=torch.float64)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in CASES if "lion" not in name])
def test_rule_follows_the_optimizer_in_single_precision(name: str) -> None:
    # Lion is left out: where the argument of its sign is a rounding error, single precision may
    # choose either sign.
    text, rate, build = CASES[name]
    ours = trained(lambda p: RuleOptimizer(p, text, lr=rate), dtype=torch.float32)
    theirs = trained(build, dtype=torch.float32)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", CASES)
def test_training_moves_the_weights_far_beyond_the_tolerance(name: str) -> None:
    text, rate, _ = CASES[name]
    start = trained(lambda p: RuleOptimizer(p, text, lr=0.0), dtype=torch.float64, steps=1)
    end = trained(lambda p: RuleOptimizer(p, text, lr=rate), dtype=torch.float64)
    assert all(
        (after - before).abs().max() > 1e-2 for before, after in zip(start, end, strict=True)
    )


@pytest.mark.parametrize("wrong", ["none: g", "momentum: g", "nesterov_published: g"])
def test_another_momentum_type_is_no_nesterov(wrong: str) -> None:
    _, rate, build = CASES["nesterov"]
    ours = trained(lambda p: RuleOptimizer(p, wrong, lr=rate), dtype=torch.float64)
    theirs = trained(build, dtype=torch.float64)
    assert any(
        not torch.allclose(mine, other, atol=1e-6) for mine, other in zip(ours, theirs, strict=True)
    )
