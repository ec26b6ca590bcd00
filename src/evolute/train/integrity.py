"""The integrity check: throws degenerate rules away before any training.

Published method, section 5 (Morgan and Hougen, 2024): a rule must halve a small quadratic at some
learning rate, going along its update or against it. Before that, static checks need no run at all.

Computed in float64 (the authors used float32), as :mod:`evolute.compiler.reference` does, so that
a value overflows here exactly where it does there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import torch
from torch import Tensor

from evolute.compiler.execute import RATE_WHERE_INFINITE, uniform_noise
from evolute.compiler.program import Program, compile_rule
from evolute.compiler.stacked import StackedPrograms, row_width
from evolute.lang.curve import curve
from evolute.lang.expression import Expression, Scaled, walk
from evolute.lang.rule import Momentum, Rule
from evolute.lang.text import print_expression
from evolute.schedules import base_schedule
from evolute.train.constancy import dependencies
from evolute.train.environment import fixed_environment

START = (1.1, 0.9, 1.1, 0.9, 1.0)
"""x₀ of the test function f(x) = Σ(x−b)²."""

MINIMUM = (0.5, 1.5, -0.3, -1.2, 0.75)
"""b of the test function; f(x₀) = 7.15."""

PASSING = 3.5
"""A rule passes that ends with f below this at some learning rate. An update that is one number for
all weights cannot: the least f along the diagonal through x₀ is 4.34."""

STEPS, WARMUP_STEPS = 35, 6
"""Length of the check and of its warm-up, in steps."""

RATES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
"""Peak learning rates tried, with either sign."""

CURVE_STEPS = 100
"""T at which decays and schedules are judged (published method, section 2)."""

LARGEST_BATCH = 256
"""Rules checked at once: enough to make the calls of torch cheap, few enough to stay in cache."""

_LANES, _SIZE = 2 * len(RATES), len(START)


@dataclass(frozen=True, slots=True)
class IntegrityVerdict:
    """What the check found.

    Parameters
    ----------
    passed
        Whether the rule is worth a training.
    sign
        What to multiply the rule's sign by: −1 for a rule that passes only against its update.
    learning_rate
        The rate with the lowest end; None if the rule failed.
    final_value
        f there, or the lowest f that a failed rule ended with; infinite if it had no finite end.
    sentence
        The same for the user.
    """

    passed: bool
    sign: int
    learning_rate: float | None
    final_value: float
    sentence: str


def static_fault(rule: Rule) -> str | None:
    """Say why a rule cannot be an optimizer, by its form alone; None if nothing is found.

    The gradient must be able to change the update. At T = 100 every decay inside the update must
    stay within [0, 1] (published method, section 2); the rule's own schedule need only be finite
    from t = 1 on and not zero throughout: the published LR1 reaches 1.96, and LR8 is infinite at 0.

    Examples
    --------
    >>> static_fault(Rule.parse("none: exp(w)"))
    'no path leads from the gradient to the update: the weight alone can change it'
    >>> static_fault(Rule.parse("none: sign(exp(g))"))
    'the update is constant: neither the gradient nor the weight can change it'
    >>> static_fault(Rule.parse("none: g + [a1+a2+a3]*g"))
    'the decay [a1+a2+a3] leaves [0, 1]: at T = 100 it runs from 1.00025 to 2'
    """
    read = dependencies(rule.update)
    if not read:
        return "the update is constant: neither the gradient nor the weight can change it"
    if "g" not in read:
        return "no path leads from the gradient to the update: the weight alone can change it"
    if rule.schedule is not None and (fault := _schedule_fault(rule.schedule)):
        return fault
    for node in walk(rule.update):
        if isinstance(node, Scaled) and (fault := _decay_fault(node.decay)):
            return fault
    return None


def check_integrity(rule: Rule) -> IntegrityVerdict:
    """Check one rule; :func:`check_integrity_many` gives the same verdict, faster for many.

    Examples
    --------
    >>> check_integrity(Rule.parse("none: -g")).sign
    -1
    >>> check_integrity(Rule.parse("none: w")).passed
    False
    """
    return check_integrity_many([rule])[0]


def check_integrity_many(rules: Sequence[Rule]) -> list[IntegrityVerdict]:
    """Check rules: static faults, then 35 steps at six learning rates with both signs.

    All lanes of all rules run at once. A verdict depends on its rule alone, to the bit.

    Parameters
    ----------
    rules
        Any number of rules; noise is that of seed 0 and the same for all lanes.

    Returns
    -------
    list of IntegrityVerdict
        One for each rule, in order.
    """
    faults = [static_fault(rule) for rule in rules]
    sound = [rule for rule, fault in zip(rules, faults, strict=True) if fault is None]
    ends: list[list[float]] = []
    with fixed_environment():
        for first in range(0, len(sound), LARGEST_BATCH):
            batch = [compile_rule(rule) for rule in sound[first : first + LARGEST_BATCH]]
            ends += final_values(batch).tolist()
    remaining = iter(ends)
    return [
        _verdict(next(remaining))
        if fault is None
        else IntegrityVerdict(False, 1, None, math.inf, fault)
        for fault in faults
    ]


@torch.inference_mode()
def final_values(programs: Sequence[Program]) -> Tensor:
    """Return f at the end of every lane.

    Parameters
    ----------
    programs
        K programs, at least one.

    Returns
    -------
    Tensor
        float64 of shape [K, 12]: the six learning rates along the update, then against it.
    """
    order = sorted(range(len(programs)), key=lambda at: _MOMENTA.index(programs[at].momentum))
    ordered = [programs[at] for at in order]
    x = _Descent(ordered).run()
    ends = torch.zeros(len(programs), _LANES, dtype=torch.float64)
    lanes = x[:, : _LANES * _SIZE].unflatten(1, (_LANES, _SIZE))
    for place, target in enumerate(MINIMUM):
        ends += (lanes[:, :, place] - target).square()
    result = torch.empty_like(ends)
    result[torch.tensor(order, dtype=torch.long)] = ends
    return result


_MOMENTA = tuple(Momentum)


class _Descent:
    """The descent of all lanes of all programs, which are ordered by momentum type."""

    def __init__(self, programs: Sequence[Program]) -> None:
        decays = dict.fromkeys(decay for program in programs for decay in program.decays)
        self.stacked = StackedPrograms(
            programs,
            lanes=_LANES,
            size=_SIZE,
            decays={decay: _curve(decay) for decay in decays},
            noise=_noise,
        )
        self.factors = torch.stack([_factor(program.schedule) for program in programs], dim=1)
        self.signs = torch.tensor([[float(program.sign)] for program in programs])
        self.momentum = torch.zeros_like(self.stacked.weights)
        counts = [sum(each.momentum is kind for each in programs) for kind in _MOMENTA]
        self.blocks = list(_blocks(counts))

    def run(self) -> Tensor:
        """Return x after the last step, one row for each program."""
        x, g = self.stacked.weights, self.stacked.gradients
        x.copy_(_row(START * _LANES))
        target = _row(MINIMUM * _LANES)
        rates, coefficients = _lane_rates()
        for step, (rate, coefficient) in enumerate(zip(rates, coefficients, strict=True)):
            torch.sub(x, target, out=g).mul_(2)
            change = self.stacked.updates().mul_(self._rates(step, rate))
            for kind, rows in self.blocks:
                _move(kind, x[rows], change[rows], self.momentum[rows], coefficient)
        return x

    def _rates(self, step: int, rate: Tensor) -> Tensor:
        """Return what multiplies the updates at a step: rate, schedule factor and signs."""
        factor = self.factors[step][:, None]
        scaled = rate * factor
        if step == 0:
            scaled = torch.where(factor.isinf(), RATE_WHERE_INFINITE, scaled)
        return scaled * (_lane_signs() * self.signs)


def _move(kind: Momentum, x: Tensor, change: Tensor, momentum: Tensor, coefficient: float) -> None:
    """Apply changes lr·u to x in place: the four equations of :class:`Momentum`."""
    if kind is Momentum.NONE:
        x.sub_(change)
        return
    momentum.mul_(coefficient).sub_(change)
    if kind is Momentum.MOMENTUM:
        x.add_(momentum)
    elif kind is Momentum.NESTEROV:
        x.add_(coefficient * momentum).sub_(change)
    else:
        x.add_(momentum).sub_(change)


def _blocks(counts: Sequence[int]) -> Iterator[tuple[Momentum, slice]]:
    """Yield the momentum types present with the rows of each."""
    first = 0
    for kind, count in zip(_MOMENTA, counts, strict=True):
        if count:
            yield kind, slice(first, first + count)
        first += count


def _row(values: Sequence[float]) -> Tensor:
    """Return one value for each element of all lanes, and zeros for the padding of a row."""
    row = torch.zeros(row_width(_LANES, _SIZE), dtype=torch.float64)
    row[: len(values)] = torch.tensor(values, dtype=torch.float64)
    return row


@cache
def _lane_signs() -> Tensor:
    half = len(RATES) * _SIZE
    return _row([1.0] * half + [-1.0] * half)


@cache
def _lane_rates() -> tuple[tuple[Tensor, ...], tuple[float, ...]]:
    """Return for each step the learning rate of each element, and the momentum coefficient."""
    peaks = [rate for rate in RATES for _ in range(_SIZE)] * 2
    pairs = [base_schedule(step, STEPS, warmup_steps=WARMUP_STEPS) for step in range(STEPS)]
    rates = tuple(_row([peak * fraction for peak in peaks]) for fraction, _ in pairs)
    return rates, tuple(coefficient for _, coefficient in pairs)


# Rules of one brood often hold the same random node: a few hundred of them are kept.
@lru_cache(maxsize=256 * STEPS)
def _noise(node: str, step: int) -> Tensor:
    return uniform_noise(0, 0, step, node=node, like=_LANE)


_LANE = torch.empty(_SIZE)


# A search meets the same few thousand decays again and again, and a curve costs about 50 µs.
@lru_cache(maxsize=8192)
def _curve(schedule: Expression) -> Tensor:
    return curve(schedule, STEPS)


def _factor(schedule: Expression | None) -> Tensor:
    return torch.ones(STEPS, dtype=torch.float64) if schedule is None else _curve(schedule)


@lru_cache(maxsize=8192)
def _decay_fault(decay: Expression) -> str | None:
    values = curve(decay, CURVE_STEPS)
    lowest, highest = values.min().item(), values.max().item()  # NaN where there is one
    if lowest >= 0 and highest <= 1:
        return None
    return (
        f"the decay [{print_expression(decay)}] leaves [0, 1]: at T = {CURVE_STEPS} it runs from "
        f"{lowest:g} to {highest:g}"
    )


@lru_cache(maxsize=8192)
def _schedule_fault(schedule: Expression) -> str | None:
    values = curve(schedule, CURVE_STEPS)
    # An infinite factor at t = 0 has a learning rate of its own there.
    sound = values.isfinite()
    sound[0] |= values[0].isinf()
    text = print_expression(schedule)
    if not sound.all():
        step = int(sound.logical_not().nonzero()[0])
        value = values[step].item()
        return f"the schedule [{text}] is {value:g} at step {step} of {CURVE_STEPS}: no finite rate"
    if not values.any():
        return f"the schedule [{text}] is 0 at every step of {CURVE_STEPS}: no weight would move"
    return None


def _verdict(ends: Sequence[float]) -> IntegrityVerdict:
    """Judge the ends of the twelve lanes: along the update first, then against it."""
    halves = ((1, ends[: len(RATES)]), (-1, ends[len(RATES) :]))
    best = {sign: min(zip(map(_or_infinite, own), RATES, strict=True)) for sign, own in halves}
    for sign, (final, rate) in best.items():
        if final < PASSING:
            way = "along" if sign == 1 else "against"
            return IntegrityVerdict(
                True, sign, rate, final, f"f falls to {final:.3g} at rate {rate:g}, {way} u"
            )
    final = min(best.values())[0]
    reached = f"f stays at {final:.3g} or more" if final < math.inf else "f is never finite"
    sentence = (
        f"fails the integrity check: at the end {reached}, at every learning rate and with either "
        f"sign; it must fall below {PASSING}"
    )
    return IntegrityVerdict(False, 1, None, final, sentence)


def _or_infinite(end: float) -> float:
    """Return an end, infinity where it is NaN."""
    return math.inf if math.isnan(end) else end
