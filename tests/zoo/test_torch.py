"""Hand-made optimizers of the zoo that torch has too, against torch's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor, nn

from evolute import zoo

STEPS = 200
RATE = 0.003
Build = Callable[[Iterable[Tensor]], torch.optim.Optimizer]

OPTIMIZERS: dict[str, Build] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=RATE),
    "momentum": lambda p: torch.optim.SGD(p, lr=RATE, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(p, lr=RATE, momentum=0.9, nesterov=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=RATE),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=RATE),
    "adam": lambda p: torch.optim.Adam(p, lr=RATE),
    "adamw": lambda p: torch.optim.AdamW(p, lr=RATE, weight_decay=0.01),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=RATE, amsgrad=True),
    "nadam": lambda p: torch.optim.NAdam(p, lr=RATE),
}
TOLERANCES = {torch.float64: 1e-6, torch.float32: 2e-4}


def trained(build: Build, dtype: torch.dtype) -> list[Tensor]:
    """Return the weights of a small network after training on fixed random data.

    Its gradients are small at times and large at others, so that a running maximum shows.
    """
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)
    for weight in model.parameters():
        weight.data.copy_(0.5 * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    inputs = torch.randn(STEPS, 16, 6, generator=generator, dtype=torch.float64).to(dtype)
    targets = torch.randn(STEPS, 16, 3, generator=generator, dtype=torch.float64).to(dtype)
    optimizer = build(model.parameters())
    for step, (batch, target) in enumerate(zip(inputs, targets, strict=True)):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(batch), target)
        (loss * (3.0 if step < 20 else 1.0)).backward()
        optimizer.step()
    return [weight.detach() for weight in model.parameters()]


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_entry_follows_the_optimizer_of_torch(name: str, dtype: torch.dtype) -> None:
    ours = trained(lambda p: zoo.create(name, p, lr=RATE), dtype)
    theirs = trained(OPTIMIZERS[name], dtype)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=TOLERANCES[dtype])


def test_each_optimizer_ends_further_from_the_others_than_the_tolerance() -> None:
    ends = [torch.cat([end.flatten() for end in trained(build, torch.float64)])
            for build in OPTIMIZERS.values()]  # fmt: skip
    distances = torch.cdist(torch.stack(ends), torch.stack(ends), p=torch.inf)
    distances.fill_diagonal_(torch.inf)
    assert distances.min() > 1e-4
