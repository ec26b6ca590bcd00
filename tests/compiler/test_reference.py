"""The reference against figures worked out by hand from the published method."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from evolute.compiler.reference import reference_trajectory
from evolute.lang.rule import Rule

G = [2.0, -1.0, 4.0]


def path(text: str, *, rate: float = 0.1, mu: float = 0.5, total: int | None = None) -> list[float]:
    """Follow a rule over the gradients G from w = 1; return the weight after each step."""

    def gradient(step: int, weights: list[Tensor]) -> list[Tensor]:
        return [torch.tensor([G[step]])]

    steps = reference_trajectory(
        Rule.parse(text),
        [torch.tensor([1.0])],
        gradient=gradient,
        rates=[rate] * 3,
        momenta=[mu] * 3,
        total_steps=total,
    )
    return [float(weights[0]) for weights in steps]


def test_momentum_types_are_the_equations_of_the_specification() -> None:
    assert path("none: g") == pytest.approx([0.8, 0.9, 0.5])
    # m = −0.2, 0, −0.4
    assert path("momentum: g") == pytest.approx([0.8, 0.8, 0.4])
    # w + μm − lr·u: 1 − 0.1 − 0.2, + 0 + 0.1, − 0.2 − 0.4
    assert path("nesterov: g") == pytest.approx([0.7, 0.8, 0.2])
    # w + m − lr·u: 1 − 0.2 − 0.2, + 0 + 0.1, − 0.4 − 0.4
    assert path("nesterov_published: g") == pytest.approx([0.6, 0.7, -0.1])


def test_sign_turns_the_direction() -> None:
    assert path("none: -g") == pytest.approx([1.2, 1.1, 1.5])


def test_inner_decay_schedule_and_their_end() -> None:
    assert path("none: [a1]*g", total=2) == pytest.approx([0.8, 0.85, 0.65])
    assert path("none: g + [a1]*g", total=2) == pytest.approx([0.6, 0.75, 0.15])


def test_infinite_schedule_gives_the_published_rate_at_the_start() -> None:
    assert path("none: [quotient(1, a2)]*g")[0] == pytest.approx(1 - 2e-7)


def test_states_follow_the_specification() -> None:
    # n = 0.5·0 + 0.5·2 → 1/0.5; 0.5 − 0.5 → 0/0.75; 0 + 2 → 2/0.875
    assert path("none: ema(g, 0.5)") == pytest.approx([0.8, 0.8, 0.8 - 0.2 / 0.875])
    # n = 2, −1 − 2, 4 + 3
    assert path("none: delta(g)") == pytest.approx([0.8, 1.1, 0.4])
    assert path("none: running_max(g)") == pytest.approx([0.8, 0.6, 0.2])
    # β-mean of the raw averages minus g, at the first step: (0 + 0.9·0.2 + 0.999·0.2)/3 − 2
    assert path("none: agg_g")[0] == pytest.approx(1 - 0.1 * ((0.9 + 0.999) * 0.2 / 3 - 2))


def test_equal_nodes_share_their_state() -> None:
    # Were each delta(g) fed twice a step, its state would be another.
    assert path("none: delta(g) + delta(g)") == pytest.approx([0.6, 1.2, -0.2])


def test_noise_of_equal_nodes_is_shared_and_the_sum_unbiased() -> None:
    wide = torch.ones(20_000)
    (after,) = reference_trajectory(
        Rule.parse("none: dropout(g, 0.3) - dropout(g, 0.3) + dropout(g, 0.5)"),
        [wide],
        gradient=lambda step, weights: [wide],
        rates=[1.0],
        momenta=[0.9],
    )
    assert set(after[0].tolist()) == {1.0, -1.0}
    assert float(after[0].mean()) == pytest.approx(0.0, abs=0.03)


def test_gradient_is_asked_at_the_present_weights() -> None:
    steps = reference_trajectory(
        Rule.parse("none: g"),
        [torch.tensor([1.0])],
        gradient=lambda step, weights: [2 * weights[0]],
        rates=[0.1] * 20,
        momenta=[0.9] * 20,
    )
    assert float(steps[-1][0]) == pytest.approx(math.pow(0.8, 20))
