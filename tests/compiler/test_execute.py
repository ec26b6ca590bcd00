"""Execution of a program: on one tensor, on lanes, with state, noise and constants."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from evolute.compiler.execute import execute, scheduled_rate, uniform_noise
from evolute.compiler.program import Program, compile_rule
from evolute.lang.functions import function
from evolute.lang.registry import FUNCTIONS, Kind
from evolute.lang.rule import Rule

SHAPE = (3, 4)


def compiled(text: str) -> Program:
    return compile_rule(Rule.parse(text))


def values(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def zeros(program: Program, weight: Tensor) -> list[Tensor]:
    return [torch.zeros_like(weight) for _ in program.state_slots]


def followed(text: str, gradients: list[Tensor], **options: object) -> list[Tensor]:
    """Return the updates of a rule for a sequence of gradients, the weight staying at 1."""
    program = compiled(text)
    weight = torch.ones_like(gradients[0])
    state = zeros(program, weight)
    return [
        execute(program, weight, gradient=each, state=state, step=step, **options)  # type: ignore[arg-type]
        for step, each in enumerate(gradients)
    ]


def test_averages_correct_their_bias_from_the_first_step() -> None:
    gradients = [torch.tensor([3.0]), torch.tensor([5.0])]
    first, second = followed("none: v", gradients)
    torch.testing.assert_close(first, torch.tensor([3.0]))
    torch.testing.assert_close(second, torch.tensor([(0.09 * 3 + 0.1 * 5) / 0.19]) * 1.0)


def test_state_replaced_is_that_of_the_slot() -> None:
    program = compiled("none: delta(g) + running_max(g)")
    weight = values(*SHAPE)
    state = zeros(program, weight)
    execute(program, weight, gradient=torch.full(SHAPE, 2.0).double(), state=state, step=0)
    assert [float(each[0, 0]) for each in state] == [2.0, 2.0]
    execute(program, weight, gradient=torch.full(SHAPE, 1.0).double(), state=state, step=1)
    assert [float(each[0, 0]) for each in state] == [-1.0, 2.0]


def test_inputs_are_left_as_they_were() -> None:
    program = compiled("none: previous(g) + delta(w) + clip_norm(max0(g)) + v")
    weight, gradient = values(*SHAPE), values(*SHAPE, seed=1)
    before = weight.clone(), gradient.clone()
    execute(program, weight, gradient=gradient, state=zeros(program, weight), step=0)
    assert torch.equal(weight, before[0])
    assert torch.equal(gradient, before[1])


def test_a_state_survives_a_gradient_that_changes_in_place() -> None:
    program = compiled("none: previous(g) + previous(identity(w))")
    weight, gradient = values(*SHAPE), values(*SHAPE, seed=1)
    state = zeros(program, weight)
    kept = {name: each.clone() for name, each in (("g", gradient), ("w", weight))}
    execute(program, weight, gradient=gradient, state=state, step=0)
    gradient.zero_()
    weight.zero_()
    assert torch.equal(state[0], kept["g"])
    assert torch.equal(state[1], kept["w"])


def test_lanes_are_what_each_is_alone() -> None:
    program = compiled("none: clip_norm(3*g) + tanh(v) + [a1]*w")
    weight, gradient = values(6, *SHAPE), values(6, *SHAPE, seed=1)
    together = execute(
        program,
        weight,
        gradient=gradient,
        state=zeros(program, weight),
        step=0,
        decays=[0.5],
        dims=(1, 2),
    )
    for lane in range(6):
        alone = execute(
            program,
            weight[lane],
            gradient=gradient[lane],
            state=zeros(program, weight[lane]),
            step=0,
            decays=[0.5],
        )
        torch.testing.assert_close(together[lane], alone, rtol=1e-14, atol=0)


def test_noise_without_a_lane_axis_is_shared_by_the_lanes() -> None:
    program = compiled("none: dropout(g, 0.5)")
    weight = torch.ones(6, *SHAPE)
    update = execute(
        program,
        weight,
        gradient=torch.ones_like(weight),
        state=[],
        step=0,
        uniform=lambda node: uniform_noise(0, 0, 0, node=node, like=weight[0]),
        dims=(1, 2),
    )
    assert set(update.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(update, update[:1].expand_as(update))


def test_one_random_node_is_drawn_once_a_step() -> None:
    drawn = []

    def uniform(node: str) -> Tensor:
        drawn.append(node)
        return torch.full(SHAPE, 0.9)

    gradient = torch.ones(SHAPE)
    (update,) = followed("none: dropout(g, 0.5) + dropout(g, 0.5)", [gradient], uniform=uniform)
    assert drawn == ["dropout(g, 0.5)"]
    assert torch.equal(update, 4 * gradient)


def test_a_constant_has_the_shape_of_the_weight_where_that_matters() -> None:
    gradient = torch.ones(SHAPE)
    (clipped,) = followed("none: clip_norm(2)", [gradient])
    assert clipped.shape == SHAPE
    torch.testing.assert_close(clipped.norm(), torch.tensor(1.0))
    first, second = followed("none: previous(2)", [gradient, gradient])
    assert float(first.sum()) == 0
    assert torch.equal(second, 2 * gradient)


def test_every_argument_of_a_function_of_the_tensor_has_its_shape(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FUNCTIONS, "_rows", {**FUNCTIONS})  # other tests read the table too

    @function(latex="m({0}, {1})", kind=Kind.PER_TENSOR, searched=())
    def sum_of_means(x: Tensor, y: Tensor, *, dims: tuple[int, ...]) -> Tensor:
        return x.mean(dim=dims, keepdim=True) + y.mean(dim=dims, keepdim=True)

    @function(latex="l({0}, {1})", kind=Kind.STATEFUL, searched=())
    def last_of_second(x: Tensor, y: Tensor, *, state: Tensor, step: int) -> tuple[Tensor, Tensor]:
        return state + x, y

    gradient = torch.full(SHAPE, 3.0)
    (update,) = followed("none: sum_of_means(2, g)", [gradient])
    assert float(update.squeeze()) == 5.0
    first, second = followed("none: last_of_second(1, g)", [gradient, gradient])
    gradient.zero_()
    assert torch.equal(first, torch.ones(SHAPE))
    assert torch.equal(second, torch.full(SHAPE, 4.0))


def test_noise_depends_on_each_of_its_arguments() -> None:
    like = torch.empty(SHAPE)
    base = uniform_noise(0, 0, 0, node="a", like=like)
    assert torch.equal(base, uniform_noise(0, 0, 0, node="a", like=like))
    others = [
        uniform_noise(1, 0, 0, node="a", like=like),
        uniform_noise(0, 1, 0, node="a", like=like),
        uniform_noise(0, 0, 1, node="a", like=like),
        uniform_noise(0, 0, 0, node="b", like=like),
    ]
    assert not any(torch.equal(base, other) for other in others)
    assert 0 <= float(base.min()) <= float(base.max()) < 1


def test_an_infinite_schedule_at_the_start_gives_the_published_rate() -> None:
    assert scheduled_rate(0.5, 3.0, step=4) == 1.5
    assert scheduled_rate(0.5, float("inf"), step=0) == 1e-7
    assert scheduled_rate(0.5, float("inf"), step=1) == float("inf")
