"""Every rule of the zoo against its published formula, written out here from the tables.

The formulas use closed forms (weighted sums over the gradients so far) where the rules use state,
so that both cannot share a mistake.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import erf, erfc, i1e

from evolute import zoo
from evolute.compiler.execute import uniform_noise
from evolute.compiler.reference import reference_trajectory
from evolute.lang.rule import Momentum

Array = NDArray[np.float64]
EPSILON = 1e-7
STEPS = 12
RATE = 0.03
COEFFICIENT = 0.9
START = np.array([0.7, -1.3, 0.02, 2.5, -0.4])
GRADIENTS = np.random.default_rng(0).normal(size=(STEPS, START.size)) * [1.0, 0.3, 2.0, 0.01, 0.5]


@dataclass(frozen=True)
class Now:
    """What a formula reads: the weights, the gradients so far and the time."""

    w: Array
    gradients: Array
    t: int

    @property
    def g(self) -> Array:
        return np.asarray(self.gradients[-1])

    def raw(self, power: int, beta: float) -> Array:
        """Σᵢ (1−β)·β^(t−i)·gᵢ^power."""
        ages = np.arange(self.t, -1, -1)
        weighted = (1 - beta) * beta ** ages[:, None] * self.gradients**power
        return np.asarray(weighted.sum(axis=0))

    def hat(self, power: int, beta: float) -> Array:
        return self.raw(power, beta) / (1 - beta ** (self.t + 1))

    @property
    def v(self) -> Array:
        return self.hat(1, 0.9)

    @property
    def s(self) -> Array:
        return self.hat(2, 0.99)

    @property
    def qh(self) -> Array:
        return 0.3 * self.g + 0.7 * self.v

    @property
    def qh2(self) -> Array:
        return 0.05 * self.g**2 + 0.95 * self.s

    @property
    def qh3(self) -> Array:
        return 0.01 * self.g**3 + 0.99 * self.hat(3, 0.999)

    @property
    def x(self) -> float:
        """t/T."""
        return self.t / STEPS

    @property
    def a13(self) -> float:
        beta = 0.95 * (1 - (self.t + 1) / STEPS)
        return beta / ((1 - 0.95) + beta)

    @property
    def a6_a10(self) -> float:
        return max((1 - math.cos(2 * math.pi * self.x)) / 2, (2 * self.t % STEPS) / STEPS)

    @property
    def lr1(self) -> float:
        restarted = (2 * self.t % STEPS) / STEPS
        a4, a8 = (1 - math.cos(math.pi * self.x)) / 2, (1 - math.cos(math.pi * restarted)) / 2
        return math.erfc(math.erfc(a4)) / (1 - math.tanh(a8) ** 2)

    @property
    def cosine(self) -> float:
        """a4."""
        return (1 - math.cos(math.pi * self.x)) / 2

    @property
    def a5(self) -> float:
        return (1 + math.cos(2 * math.pi * self.x)) / 2

    @property
    def a6(self) -> float:
        return 1 - self.a5

    @property
    def tent(self) -> float:
        """max(a9, a10)."""
        restarted = (2 * self.t % STEPS) / STEPS
        return max(1 - restarted, restarted)

    @property
    def slope(self) -> float:
        """σ′(a2)."""
        return math.exp(-self.x) / (1 + math.exp(-self.x)) ** 2

    @property
    def lam(self) -> Array:
        return self.hat(3, 0.999)

    def sum(self, factor: Callable[[int], float], values: Callable[[int], Array]) -> Array:
        """Σᵢ xᵢ·Π_{i<j≤t} b_j."""
        terms = [
            values(i) * math.prod(factor(j) for j in range(i + 1, self.t + 1))
            for i in range(self.t + 1)
        ]
        return np.asarray(sum(terms))


def softsign(x: Array) -> Array:
    return x / (1 + abs(x))


def clip(x: Array | float, y: Array) -> Array:
    return np.asarray(np.clip(x, -abs(y), abs(y)))


def divide(x: Array, y: Array) -> Array:
    return x / (y + EPSILON)


def hypot_quotient(x: Array, y: Array) -> Array:
    return x / np.sqrt(1 + y**2)


def lion(n: Now) -> Array:
    """sign(β₁·m + (1−β₁)·g), m the average of the gradients before this one (Chen et al. 2023)."""
    before = Now(n.w, n.gradients[:-1], n.t - 1)
    average = before.raw(1, 0.99) if n.t else np.zeros_like(n.g)
    return np.sign(0.9 * average + 0.1 * n.g)


def adam(n: Now) -> Array:
    return n.hat(1, 0.9) / (np.sqrt(n.hat(2, 0.999)) + 1e-8)


def a1(n: Now) -> Array:
    return clip(n.v, np.sqrt(n.s) + EPSILON)


def adagrad(n: Now) -> Array:
    """g over the root of the sum of squares (Duchi et al. 2011)."""
    return np.asarray(n.g / (np.sqrt((n.gradients**2).sum(axis=0)) + 1e-10))


def amsgrad(n: Now) -> Array:
    """Reddi et al. 2018, with the bias correction of torch."""
    averages = [Now(n.w, n.gradients[: t + 1], t).raw(2, 0.999) for t in range(n.t + 1)]
    largest = np.max(averages, axis=0)
    return np.asarray(n.v / (np.sqrt(largest) / math.sqrt(1 - 0.999 ** (n.t + 1)) + 1e-8))


def nadam(n: Now) -> Array:
    """Dozat 2016, with μ_t = 0.9·(1 − 0.5·0.96^(t·0.004)), t from 1, as torch has it."""
    mu = [0.9 * (1 - 0.5 * 0.96 ** (0.004 * t)) for t in range(1, n.t + 3)]
    product, next_product = math.prod(mu[:-1]), math.prod(mu)
    gradient = (1 - mu[-2]) / (1 - product) * n.g
    average = mu[-1] / (1 - next_product) * n.raw(1, 0.9)
    return np.asarray((gradient + average) / (np.sqrt(n.hat(2, 0.999)) + 1e-8))


def adabelief(n: Now) -> Array:
    """Zhuang et al. 2020, algorithm 2: s_t = β₂·s + (1−β₂)·(g − m_t)² + ε."""
    s = np.zeros_like(n.g)
    for t in range(n.t + 1):
        past = Now(n.w, n.gradients[: t + 1], t)
        s = 0.999 * s + 0.001 * (past.g - past.raw(1, 0.9)) ** 2 + 1e-8
    return n.v / (np.sqrt(s / (1 - 0.999 ** (n.t + 1))) + 1e-8)


def aggmo(n: Now) -> Array:
    """The mean of three velocities v ← β·v − g, β = 0, 0.9, 0.99 (Lucas et al. 2019)."""
    velocities = [n.sum(lambda _, beta=beta: beta, n.gradients.__getitem__)  # type: ignore[misc]
                  for beta in (0.0, 0.9, 0.99)]  # fmt: skip
    return np.asarray(sum(velocities) / 3)


def demon(n: Now) -> Array:
    """v ← β_t·v + g, β_t = β(1−t/T)/((1−β)+β(1−t/T)), β = 0.9 (Chen et al. 2020)."""

    def coefficient(t: int) -> float:
        left = 1 - t / STEPS
        return 0.9 * left / ((1 - 0.9) + 0.9 * left)

    return n.sum(coefficient, n.gradients.__getitem__)


def dropped(n: Now) -> Array:
    """Inverted dropout of sign(v̂) at rate 0.3: the noise is the reference's own."""
    noise = uniform_noise(0, 0, n.t, node="dropout(sign(ema(g, 0.9)), 0.3)", like=torch.tensor(n.w))
    return np.where(noise.numpy() >= 0.3, np.sign(n.v) / 0.7, 0.0)


def clip_norm(x: Array) -> Array:
    return np.asarray(x / max(1.0, float(np.linalg.norm(x))))


FORMULAS: dict[str, tuple[Momentum, Callable[[Now], Array]]] = {
    "sgd": (Momentum.NONE, lambda n: n.g),
    "momentum": (Momentum.MOMENTUM, lambda n: n.g),
    "nesterov": (Momentum.NESTEROV, lambda n: n.g),
    "rmsprop": (Momentum.NONE, lambda n: n.g / (np.sqrt(n.raw(2, 0.99)) + 1e-8)),
    "adam": (Momentum.NONE, adam),
    "adamw": (Momentum.NONE, lambda n: adam(n) + 0.01 * n.w),
    "lion": (Momentum.NONE, lion),
    "adagrad": (Momentum.NONE, adagrad),
    "amsgrad": (Momentum.NONE, amsgrad),
    "nadam": (Momentum.NONE, nadam),
    "adabelief": (Momentum.NONE, adabelief),
    # Bello et al. 2017: e^(sign(g)·sign(m))·g and (1 + sign(g)·sign(m))·g, m the average of g.
    "powersign": (
        Momentum.NONE,
        lambda n: np.exp(np.sign(n.g) * np.sign(n.raw(1, 0.9))) * n.g,
    ),
    "addsign": (Momentum.NONE, lambda n: (1 + np.sign(n.g) * np.sign(n.raw(1, 0.9))) * n.g),
    # Ma & Yarats 2019: (1−ν)·g + ν·m, ν = 0.7, m the average of g with β = 0.999.
    "qhm": (Momentum.NONE, lambda n: (1 - 0.7) * n.g + 0.7 * n.raw(1, 0.999)),
    "aggmo": (Momentum.NONE, aggmo),
    "signsgd": (Momentum.NONE, lambda n: np.sign(n.g)),  # Bernstein et al. 2018
    "demon": (Momentum.NONE, demon),
    "opt1": (
        Momentum.NONE,
        lambda n: n.qh + softsign(clip(1e-5 * n.w, 1e-5 * n.w - n.qh2)),
    ),
    "opt2": (
        Momentum.NONE,
        lambda n: n.qh + softsign(hypot_quotient(1e-5 * n.w, 1e-5 * n.w - n.qh2)),
    ),
    "opt3": (
        Momentum.NONE,
        lambda n: n.qh + softsign(hypot_quotient(1e-5 * n.w, 1e-5 * n.w - n.qh3)),
    ),
    "opt4": (
        Momentum.NONE,
        lambda n: n.lr1 * divide(n.qh, clip(2, math.atan(n.a13) * np.exp(n.v))),
    ),
    "opt5": (Momentum.NONE, lambda n: n.lr1 * divide(n.qh, clip(2, np.exp(n.v)))),
    "opt6": (
        Momentum.NONE,
        lambda n: (
            n.lr1
            * divide(
                n.qh,
                abs((1 - math.tanh((1 - math.cos(math.pi * n.x)) / 2) ** 2) * np.exp(1e-4 * n.w)),
            )
        ),
    ),
    "opt7": (Momentum.NONE, lambda n: np.tanh(n.a6_a10 * np.arcsinh(n.qh))),
    "opt8": (Momentum.NONE, lambda n: np.arcsinh(n.a6_a10 * np.arcsinh(n.qh))),
    "opt9": (
        Momentum.NESTEROV,
        lambda n: float(erfc(0.01**n.x)) * n.g * np.exp(np.arctan(n.qh2)),
    ),
    "opt10": (Momentum.NESTEROV, lambda n: np.asarray(i1e(i1e(n.a13 * n.x * n.g)))),
    "a1": (Momentum.NONE, a1),
    "a2": (Momentum.NONE, lambda n: clip(n.v, np.log(n.s + EPSILON))),
    "a3": (Momentum.NONE, lambda n: clip(n.v, np.sqrt(abs(np.log(n.s + EPSILON))))),
    "a4": (Momentum.NONE, lambda n: clip(n.v, 1 / (1 + np.exp(-(n.s + EPSILON))))),
    "a5": (Momentum.NONE, lambda n: clip_norm(a1(n))),
    "found01": (
        Momentum.NESTEROV_PUBLISHED,
        lambda n: np.asarray(i1e(np.arctan(n.a13 * n.x * n.g))),
    ),
    "found02": (Momentum.NONE, lambda n: clip_norm(math.sqrt(n.a6) * (n.lam + n.qh))),
    "found03": (
        Momentum.MOMENTUM,
        lambda n: math.atan(n.cosine) * np.log1p(np.exp(n.tent * n.g**3)) * n.g,
    ),
    "found04": (Momentum.NESTEROV_PUBLISHED, lambda n: np.asarray(i1e(n.a13 * n.x * n.g))),
    "found05": (Momentum.NESTEROV_PUBLISHED, lambda n: np.asarray(i1e(n.a6 * i1e(n.g)))),
    "found06": (Momentum.NONE, lambda n: math.sqrt(n.a6) * (n.lam + n.qh)),
    "found07": (
        Momentum.NESTEROV_PUBLISHED,
        lambda n: n.g * math.atan(n.cosine) / (1 + abs(n.tent * n.g**3)),
    ),
    "found08": (
        Momentum.NESTEROV_PUBLISHED,
        lambda n: 0.95 * n.g + 0.05 * n.slope * np.minimum(1e-6 * n.w, 1e-5 * n.w),
    ),
    "found09": (
        Momentum.NESTEROV_PUBLISHED,
        lambda n: math.atan(n.cosine) * np.log1p(np.exp(n.tent * n.g**3)) * n.g,
    ),
    "found10": (
        Momentum.NESTEROV_PUBLISHED,
        lambda n: (
            -math.tanh(math.tanh(n.x))
            * np.asarray(erf((1 - math.tanh(n.a5) ** 2) * (1.899 / 3 * n.raw(1, 0.9) - n.g)))
            / math.sqrt(2)
        ),
    ),
    "found11": (Momentum.NESTEROV_PUBLISHED, lambda n: np.arctan(n.a13 * n.x * n.g)),
    "found12": (Momentum.NESTEROV_PUBLISHED, lambda n: n.g - n.slope * 1.1e-5 * n.w),
    "found13": (
        Momentum.NESTEROV_PUBLISHED,
        lambda n: np.asarray(i1e(clip(min(n.x, n.a6) * n.g, np.sign(n.v)))),
    ),
    "found14": (
        Momentum.NESTEROV_PUBLISHED,
        lambda n: clip(n.g, 1 / (np.sign(n.g) + EPSILON)),
    ),
    "found15": (Momentum.NONE, lambda n: math.sqrt(n.cosine) * np.sign(n.v) + np.sign(n.g)),
    "found16": (Momentum.NONE, lambda n: math.sqrt(n.a6) * softsign(n.qh)),
    "found17": (
        Momentum.NESTEROV_PUBLISHED,
        lambda n: np.asarray(i1e(math.erfc(1 - n.x) * n.a13 * n.x * n.g)),
    ),
    "found18": (
        Momentum.NESTEROV_PUBLISHED,
        lambda n: np.arctan(np.arctan(n.a13 * n.x * n.g)),
    ),
    "found19": (
        Momentum.NESTEROV_PUBLISHED,
        lambda n: clip_norm(math.erfc(n.a5 / (1 + n.a5)) * n.g),
    ),
    "found20": (Momentum.NONE, lambda n: math.erfc(n.a5) * dropped(n)),
}


def follow(momentum: Momentum, formula: Callable[[Now], Array]) -> Array:
    """Apply a formula as section 1.4 of the published method says."""
    weight, speed, path = START.copy(), np.zeros_like(START), []
    for t in range(STEPS):
        step = RATE * formula(Now(weight, GRADIENTS[: t + 1], t))
        speed = COEFFICIENT * speed - step
        weight = (
            weight
            + {
                Momentum.NONE: -step,
                Momentum.MOMENTUM: speed,
                Momentum.NESTEROV: COEFFICIENT * speed - step,
                Momentum.NESTEROV_PUBLISHED: speed - step,
            }[momentum]
        )
        path.append(weight)
    return np.array(path)


def follow_entry(name: str) -> Array:
    path = reference_trajectory(
        zoo.load(name).rule,
        [torch.tensor(START)],
        gradient=lambda t, _: [torch.tensor(GRADIENTS[t])],
        rates=[RATE] * STEPS,
        momenta=[COEFFICIENT] * STEPS,
    )
    return np.array([weights[0].numpy() for weights in path])


def test_every_entry_has_a_formula_here() -> None:
    assert sorted(FORMULAS) == sorted(zoo.names())


@pytest.mark.parametrize("name", zoo.names())
def test_an_entry_takes_the_steps_of_its_published_formula(name: str) -> None:
    expected = follow(*FORMULAS[name])
    np.testing.assert_allclose(follow_entry(name), expected, rtol=1e-11, atol=1e-13)


def test_no_two_entries_take_the_same_steps() -> None:
    paths = [follow_entry(name) for name in zoo.names()]
    for index, path in enumerate(paths):
        assert not any(np.array_equal(path, other) for other in paths[:index])
