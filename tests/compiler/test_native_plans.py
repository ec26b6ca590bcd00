"""However a program is planned, its values are those of its functions one by one, to the bit."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from native_core import instruction_sets, require_native, using
from strategies import decays, rules, searched_rules
from torch import Tensor

from evolute.compiler.native import JobTable, NativeProgram, lower
from evolute.compiler.program import Program, compile_rule
from evolute.lang.registry import Kind
from evolute.lang.rule import Momentum, Rule

require_native()

Floats = npt.NDArray[np.float32]
TELLING = np.array(
    [0.0, 1, np.inf, np.nan, 1e-45, 1e-40, 2.0**-126, 3.4e38, 1e20, 1e-20, 1e-7, 0.34, 0.625, 8192],
    dtype=np.float32,
)
COUNTS = (1, 2, 7, 16, 31, 33, 127, 129, 300, 513, 1000)


def drawn(random: np.random.Generator, count: int) -> Floats:
    """Numbers as gradients are, of any bits, of any size, telling ones, or one among many."""
    signs = random.choice(np.array([-1, 1], np.float32), size=count)
    usual = (random.normal(size=count) * 10.0 ** random.integers(-3, 1)).astype(np.float32)
    match random.integers(0, 5):
        case 0:
            return usual
        case 1:
            return np.frombuffer(random.bytes(4 * count), np.float32).copy()
        case 2:
            sized: Floats = signs * np.exp2(random.uniform(-149, 127, count)).astype(np.float32)
            return sized
        case 3:
            telling: Floats = signs * random.choice(TELLING, size=count)
            return telling
        case _:
            usual[random.integers(0, count)] = signs[0] * random.choice(TELLING)
            return usual


def multiplied_and_added(a: Floats, b: Floats, c: Floats, *, once: bool) -> Floats:
    """a·b + c, rounded once: to odd in doubles, which hold the product, then to a float."""
    if not once:
        rounded_twice: Floats = a * b + c
        return rounded_twice
    product, other = a.astype(float) * b.astype(float), c.astype(float)
    total = product + other
    back = total - product
    error = (product - (total - back)) + (other - back)
    inexact = np.isfinite(error) & np.isfinite(total) & (error != 0)
    even = inexact & (total.view(np.int64) % 2 == 0)
    odd = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
    rounded: Floats = np.where(even, odd, total).astype(np.float32)
    return rounded


@lru_cache(maxsize=64)
def _alone(name: str, arity: int) -> NativeProgram:
    rule = Rule.parse(f"none: previous({name}({'g' if arity == 1 else 'g, w'}))")
    native = lower(compile_rule(rule))
    assert native is not None
    return native


def alone(name: str, *arguments: Floats) -> Floats:
    """A function's values: a state keeps them, signs of zeros included."""
    first, last = (torch.from_numpy(np.array(each)) for each in (arguments[0], arguments[-1]))
    kept, table = torch.zeros(len(first)), JobTable(1)
    table.set(0, _alone(name, len(arguments)), weight=last, gradient=first, slots=[kept])
    table.run()
    return kept.numpy()


@dataclass(frozen=True)
class Case:
    """A rule, where it stands, and the numbers of its step."""

    native: NativeProgram
    weight: Floats
    gradient: Floats
    slots: list[Floats]
    noise: list[npt.NDArray[np.float64]]
    decays: list[float]
    rate: float
    momentum: float
    shrink: float
    step: int
    maximize: int
    offset: int

    @staticmethod
    def drawn(rule: Rule, seed: int) -> Case:
        """Draw all but the rule."""
        random, native = np.random.default_rng(seed), lower(compile_rule(rule))
        assert native is not None
        count = int(random.choice(COUNTS))
        return Case(
            native,
            drawn(random, count),
            drawn(random, count),
            [drawn(random, count) for _ in range(native.slots)],
            [random.random(count) for _ in native.noise],
            [float(random.choice([0.0, 1.0, random.normal()])) for _ in native.program.decays],
            rate=float(random.choice([0.0, 0.001, 0.1, 1.0])),
            momentum=float(random.choice([0.0, 0.9, 1.0])),
            shrink=float(random.choice([0.5, 0.99, 1.0])),
            step=int(random.choice([0, 1, 2, 1000])),
            maximize=int(random.integers(0, 2)),
            offset=int(random.integers(0, 17)),
        )

    def placed(self, values: Floats) -> Tensor:
        """The values in memory that begins anywhere."""
        room = torch.zeros(self.offset + len(values))
        room[self.offset :] = torch.from_numpy(values)
        return room[self.offset :]

    def moved(self) -> list[Floats]:
        """Weight and slots after the step of the core."""
        weight, gradient = self.placed(self.weight), self.placed(self.gradient)
        slots, table = [self.placed(each) for each in self.slots], JobTable(1)
        table.set(0, self.native, weight=weight, gradient=gradient, slots=slots)
        table.rates[0], table.momenta[0], table.steps[0] = self.rate, self.momentum, self.step
        table.shrinks[0], table.maximize[0] = self.shrink, self.maximize
        table.set_decays(0, self.decays)
        table.set_noise(0, [torch.from_numpy(each) for each in self.noise])
        table.run()
        return [each.numpy() for each in (weight, *slots)]


class Follower:
    """Follows a program instruction by instruction, each value in memory of its own."""

    def __init__(self, case: Case, *, once: bool) -> None:
        self.case, self.once = case, once
        self.slots, self.noise = [each.copy() for each in case.slots], iter(case.noise)
        program = case.native.program
        shrunk = np.float32(case.shrink)
        self.weight = case.weight if shrunk == 1 else case.weight * shrunk
        self.values = [-case.gradient if case.maximize else case.gradient, self.weight]
        self.values += [self.all(each) for each in (*program.constants, *case.decays)]

    def all(self, value: float) -> Floats:
        return np.full(len(self.case.weight), value, np.float64).astype(np.float32)

    def changed(self, name: str, beta: float, *, old: Floats, given: Sequence[Floats]) -> Floats:
        """What a state becomes."""
        x = given[0]
        match name:
            case "ema" | "ema_raw":
                new = self.all(1 - beta) * x
                return multiplied_and_added(self.all(beta), old, new, once=self.once)
            case "accumulate":
                return multiplied_and_added(given[1], old, x, once=self.once)
            case "delta":
                return x - old
            case "running_max":
                return np.maximum(x, old)
            case _:
                return x

    def value(self, at: int, program: Program) -> Floats:
        """The value of an instruction."""
        each = program.instructions[at]
        name, given = each.function.name, [self.values[i] for i in each.arguments]
        parameter = each.parameters[0] if each.parameters else 0.0
        if each.function.kind is Kind.RANDOM:
            kept = given[0] / self.all(1 - parameter)
            return np.where(next(self.noise) >= parameter, kept, np.float32(0))
        if each.slot is None:
            return alone(name, *given)
        old = self.slots[each.slot]
        new = self.slots[each.slot] = self.changed(name, parameter, old=old, given=given)
        if name == "ema":
            return new * self.all(1 / (1 - parameter ** (self.case.step + 1)))
        return old if name == "previous" else new

    def follow(self) -> list[Floats]:
        """Weight and slots after the step."""
        program = self.case.native.program
        for at in range(len(program.instructions)):
            self.values.append(self.value(at, program))
        update, rate, mu = (
            self.values[program.output],
            *map(self.all, (-self.case.rate, self.case.momentum)),
        )
        w = self.weight
        if program.momentum is Momentum.NONE:
            return [multiplied_and_added(rate, update, w, once=self.once), *self.slots]
        change = rate * update
        buffer = multiplied_and_added(mu, self.slots[-1], change, once=self.once)
        self.slots[-1] = buffer
        if program.momentum is Momentum.NESTEROV:
            w = multiplied_and_added(mu, buffer, w, once=self.once)
        else:
            w = w + buffer
        return [w if program.momentum is Momentum.MOMENTUM else w + change, *self.slots]


def assert_same_bits(rule: Rule, seed: int, *, name: str) -> None:
    once = name != "baseline" or platform.machine() in ("aarch64", "arm64")
    with np.errstate(all="ignore"):
        case = Case.drawn(rule, seed)
        expected = Follower(case, once=once).follow()
        for found, each in zip(case.moved(), expected, strict=True):
            np.testing.assert_array_equal(found, each)


PLANNED = (
    # A denominator takes a number to it, which may be 0; not where it is read again.
    *(f"quotient(g, w+{number})" for number in ("1e-8", "0", "(-1)*0")),
    "quotient(g, [a1]*w+sqrt(w))+quotient(w, g*2+1)",
    "quotient(g, sqrt(ema_raw(g2, 0.9))+1e-8)",
    "quotient(w, g+2)*(g+2)+quotient(2+w, 2+w)",
    # Roots by the divider alone, and in turn with products.
    "sqrt(log(g))+sqrt(exp(w))",
    "sqrt(log(g))*reciprocal(sqrt(w))",
    "div_hypot(g, w)+div_hypot(w, 3)+div_hypot(2, tanh(g))",
    # Signs, squares, and terms of sums that their readers take.
    "sign(ema(g, 0.9))*g+0.5*sign(w)-w*w*0.1",
    "sign(g)*0.3-sign(ema(w*g, 0.5))*ema(w*g, 0.5)",
    "clip_norm(erf(sign(g))*w)+clip_norm(0.5*g)*clip_norm(2)",
)


@pytest.mark.parametrize("name", instruction_sets())
@pytest.mark.parametrize("update", PLANNED)
def test_what_a_step_takes_from_another_has_the_same_bits(name: str, update: str) -> None:
    for _ in using(name):
        for seed in range(40):
            assert_same_bits(Rule.parse(f"none: previous({update})+({update})"), seed, name=name)


@pytest.mark.parametrize("name", instruction_sets())
@settings(max_examples=400)
@given(searched_rules(max_leaves=10) | rules(decays=decays(), max_leaves=10), st.integers(0, 2**31))
def test_a_step_has_the_bits_of_its_functions_one_by_one(name: str, rule: Rule, seed: int) -> None:
    for _ in using(name):
        assert_same_bits(rule, seed, name=name)
