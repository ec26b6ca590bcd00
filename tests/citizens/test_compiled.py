"""``torch.compile`` of a step: the same steps, compiled once for all learning rates and counts."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import nn

from evolute import zoo
from evolute.compiler.optimizer import RuleOptimizer

STEPS = 8
SHAPES = ((), (3,), (4, 5))
FROM_SOURCE = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("c++") is None, reason="no C++ compiler here"
)
pytestmark = [
    # torch's own modules use what torch deprecates.
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning"),
]


def made(
    name: str, rate: torch.Tensor, **options: bool
) -> tuple[list[nn.Parameter], RuleOptimizer]:
    generator = torch.Generator().manual_seed(0)
    weights = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    # Fewer steps than are made: past the end decays keep their last value.
    optimizer = zoo.create(
        name, weights, lr=rate, total_steps=STEPS - 2, weight_decay=0.1, **options
    )
    return weights, optimizer


def assert_compiled_moves_as_eager(name: str, backend: str) -> None:
    torch._dynamo.reset()
    rate = torch.tensor(0.05)
    weights, optimizer = made(name, rate)
    compiled_weights, compiled = made(name, rate)
    step = torch.compile(compiled.step, backend=backend)
    generator = torch.Generator().manual_seed(1)
    for count in range(STEPS):
        for weight, other in zip(weights, compiled_weights, strict=True):
            weight.grad = torch.randn(weight.shape, generator=generator)
            other.grad = weight.grad.clone()
        optimizer.step()
        # The first call makes the states, the second sees them.
        with torch.compiler.set_stance("fail_on_recompile" if count >= 2 else "default"):
            step()
        rate.mul_(0.9)
        for weight, other in zip(weights, compiled_weights, strict=True):
            torch.testing.assert_close(weight, other, rtol=2e-5, atol=1e-6)
    assert {int(slots["step"]) for slots in compiled.state.values()} == {STEPS}
    for slots, others in zip(optimizer.state.values(), compiled.state.values(), strict=True):
        for key, value in slots.items():
            torch.testing.assert_close(value, others[key], rtol=2e-5, atol=1e-6)


@FROM_SOURCE
@pytest.mark.parametrize("name", ["adam", "opt1", "opt6", "opt10"])
def test_a_step_compiled_to_machine_code_moves_as_eager(name: str) -> None:
    assert_compiled_moves_as_eager(name, "inductor")


@pytest.mark.parametrize("name", zoo.names())
def test_a_captured_step_moves_as_eager(name: str) -> None:
    assert_compiled_moves_as_eager(name, "eager")


@pytest.mark.parametrize("rule", ["none: [a3]*v", "nesterov: g", "nesterov_published: g + v"])
def test_rates_and_momenta_that_are_numbers_change_without_compiling_anew(rule: str) -> None:
    """A scheduler sets numbers: taken for constants, each would be compiled for."""
    torch._dynamo.reset()
    ends = []
    for is_compiled in (False, True):
        weight = nn.Parameter(torch.ones(3))
        optimizer = RuleOptimizer([weight], rule, lr=0.05, total_steps=STEPS, weight_decay=0.1)
        step = torch.compile(optimizer.step, backend="eager") if is_compiled else optimizer.step
        for count in range(STEPS):
            optimizer.param_groups[0].update(lr=0.05 / (count + 1), momentum=0.9 - 0.01 * count)
            weight.grad = torch.tensor([0.1, -2.0, 3.0 + count])
            with torch.compiler.set_stance("fail_on_recompile" if count >= 2 else "default"):
                step()
        ends.append(weight.detach())
    torch.testing.assert_close(*ends, rtol=2e-6, atol=1e-6)


KINDS = (
    torch.zeros(0),
    torch.ones(()),
    torch.linspace(-2, 2, 28).reshape(4, 7).t(),
    torch.linspace(-2, 2, 48).reshape(6, 8)[:, ::2],
    torch.linspace(-2, 2, 120).reshape(2, 3, 4, 5).to(memory_format=torch.channels_last),
    torch.tensor([0.5, -2.0], dtype=torch.float64),
    torch.tensor([0.5, -2.0], dtype=torch.bfloat16),
    torch.tensor([0.5 - 1.0j, 2.0j], dtype=torch.complex64),
)
EVERY_SORT = "nesterov: [a3]*bessel_i1e(v) + clip_norm(erf(delta(g))) + 0.1*w"


def test_a_captured_step_takes_parameters_of_every_kind() -> None:
    torch._dynamo.reset()
    ends = []
    for is_compiled in (False, True):
        weights = [  # with the gaps that a clone would close
            nn.Parameter(torch.empty_strided(each.shape, each.stride(), dtype=each.dtype))
            for each in KINDS
        ]
        for weight, each in zip(weights, KINDS, strict=True):
            weight.data.copy_(each)
        weights.append(nn.Parameter(torch.ones(2)))  # which never has a gradient
        optimizer = RuleOptimizer(
            weights, EVERY_SORT, lr=0.05, total_steps=9, maximize=True, foreach=False
        )
        step = torch.compile(optimizer.step, backend="eager") if is_compiled else optimizer.step
        for count in range(4):
            for weight in weights[:-1]:
                weight.grad = torch.full_like(weight, 0.3 - 0.2 * count)
            with torch.compiler.set_stance("fail_on_recompile" if count >= 2 else "default"):
                step()
        ends.append([weight.detach() for weight in weights])
    for one, other, start in zip(*ends, (*KINDS, torch.ones(2)), strict=True):
        tolerance = 1e-2 if start.dtype is torch.bfloat16 else 1e-5
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
    assert all(torch.equal(each[0], KINDS[0]) and each[-1].tolist() == [1, 1] for each in ends)
    assert not any(map(torch.equal, ends[1][1:-1], KINDS[1:]))


def test_noise_is_the_same_under_the_compiler() -> None:
    torch._dynamo.reset()
    ends = []
    for is_compiled in (False, True):
        weight = nn.Parameter(torch.ones(50))
        optimizer = RuleOptimizer([weight], "none: dropout(g, 0.3)", lr=0.1, seed=3)
        step = torch.compile(optimizer.step, backend="eager") if is_compiled else optimizer.step
        for _ in range(3):
            weight.grad = torch.ones(50)
            step()
        ends.append(weight.detach())
    assert torch.equal(*ends)


def test_a_compiled_step_and_one_that_is_not_take_turns() -> None:
    torch._dynamo.reset()
    rate = torch.tensor(0.05)
    weights, optimizer = made("opt6", rate)
    mixed_weights, mixed = made("opt6", rate)
    compiled = torch.compile(mixed.step, backend="eager")
    for count in range(4):
        for weight in (*weights, *mixed_weights):
            weight.grad = torch.full(weight.shape, 0.3)
        optimizer.step()
        (compiled if count % 2 else mixed.step)()
    for weight, other in zip(weights, mixed_weights, strict=True):
        torch.testing.assert_close(weight, other, rtol=1e-5, atol=1e-6)


def test_a_whole_graph_holds_all_parameters() -> None:
    """One graph for the step: nothing is left to Python."""
    torch._dynamo.reset()
    weights, optimizer = made("opt6", torch.tensor(0.05))
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    captured = []

    def backend(graph: torch.fx.GraphModule, _: object) -> object:
        captured.append(graph)
        return graph.forward

    torch.compile(optimizer.step, backend=backend)()
    assert len(captured) == 1
