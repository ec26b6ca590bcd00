"""What a step of an optimizer costs: its time and its memory, apart from the network's."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from evolute.benchmark.measured import Cost
from evolute.compiler.optimizer import RuleOptimizer
from evolute.lang.rule import Rule
from evolute.seeds import derive, torch_generator
from evolute.seeds.streams import seeded
from evolute.train.environment import fixed_environment

WARM_STEPS = 3
"""Steps before the clock runs: the first ones make the state."""

TIMED_STEPS = 15


def step_cost(rule: Rule, network: Callable[[], nn.Module], *, seed: int) -> Cost:
    """Time a rule's step on the weights of a network, with random gradients.

    Parameters
    ----------
    rule
        The rule.
    network
        Makes the network.
    seed
        Seed of the weights and of the gradients.

    Returns
    -------
    Cost
        The median time of a step, on one thread where trials are trained on one; and the bytes of
        all tensors that the optimizer keeps.
    """
    with fixed_environment():
        with seeded(derive(seed, "weights")):
            model = network()
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        generator = torch_generator(seed, "gradients")
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=generator).to(weight) * 1e-2
        steps = WARM_STEPS + TIMED_STEPS
        # At rate 0 the weights stay where they are, so no rule can blow them up.
        optimizer = RuleOptimizer(weights, rule, lr=0.0, total_steps=steps)
        seconds = []
        for _ in range(steps):
            started = time.perf_counter()
            optimizer.step()
            seconds.append(time.perf_counter() - started)
    kept = [value for state in optimizer.state.values() for value in state.values()]
    return Cost(
        parameters=sum(weight.numel() for weight in weights),
        step_seconds=statistics.median(seconds[WARM_STEPS:]),
        state_bytes=sum(value.nbytes for value in kept if isinstance(value, torch.Tensor)),
    )
