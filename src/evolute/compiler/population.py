"""One step for many rules over stacked parameters: every lane its own rule, rate and step counter.

Weights are tensors with a leading axis of lanes. A lane's new weights are those that
:class:`evolute.compiler.optimizer.RuleOptimizer` would give it alone, to the bit on the CPU and to
rounding on a GPU, and the same bits whatever the other lanes do. All lanes whose rules the native
core knows, or on a GPU the kernels, are stepped in one call of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evolute.compiler.execute import RATE_WHERE_INFINITE, scheduled_rate
from evolute.compiler.lane_noise import RememberedNoise
from evolute.compiler.native import JobTable, NativeProgram, lower
from evolute.compiler.program import Program, compile_rule
from evolute.compiler.step import Members, real_views, update_lists, values_at
from evolute.compiler.triton_lanes import KernelLane, kernel_lanes
from evolute.compiler.triton_tables import LaneNumbers
from evolute.lang.rule import Momentum, Rule

_OPTIONS: Mapping[str, Any] = {"weight_decay": 0.0, "maximize": False, "differentiable": False}
"""Options of a group of parameters that a training does not use."""


Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class _Lane:
    """A rule at work in a slot, and its state."""

    program: Program
    native: NativeProgram | None
    total_steps: int
    seed: int
    curves: Floats | None
    """Schedule factor and decays at each step, [T, 1 + decays]."""
    states: list[list[Tensor]]
    """Of each parameter."""
    noise: Tensor | None
    """Where the native core finds the noise of a step: of each random node, parameter by parameter,
    [nodes, numbers]."""
    kernel: KernelLane | None = None
    """Its rule and its state where kernels step it; ``states`` are views of them."""
    counters: list[Tensor] = field(default_factory=list)

    @property
    def is_plain(self) -> bool:
        """Whether nothing but numbers in columns changes from step to step."""
        return self.noise is None and self.native is not None


class LaneOptimizer:
    """Steps the lanes of stacked parameters, each by the rule assigned to its slot.

    Parameters
    ----------
    weights
        One tensor [L, *shape] for each parameter, in the order that an optimizer of one model would
        have them; moved in place.
    gradients
        Their gradients, of the same shapes, read at each step.
    indices
        Index of each parameter in that optimizer, where some of its parameters are left out.
    fused
        Whether the native core, or on a GPU the kernels, step the rules that they know; None: where
        they work on such tensors.

    Examples
    --------
    >>> weights, gradients = [torch.zeros(2, 3)], [torch.ones(2, 3)]
    >>> optimizer = LaneOptimizer(weights, gradients)
    >>> optimizer.assign(0, Rule.parse("g"), total_steps=1, seed=0)
    >>> optimizer.assign(1, Rule.parse("momentum: -sign(g)"), total_steps=1, seed=0)
    >>> optimizer.step([0, 1], rates=[0.5, 0.25], momenta=[0.9, 0.9])
    >>> weights[0][:, 0].tolist()
    [-0.5, 0.25]
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        gradients: Sequence[Tensor],
        *,
        indices: Sequence[int] | None = None,
        fused: bool | None = None,
    ) -> None:
        self._fused = fused
        self._indices = range(len(weights)) if indices is None else indices
        self._lanes: dict[int, _Lane] = {}
        self._uneven: set[int] = set()
        self._noise = RememberedNoise(
            self._indices, [each.shape[1:] for each in real_views(weights)]
        )
        self._bind(weights, gradients)

    def _bind(self, weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        self._weights, self._gradients = real_views(weights), real_views(gradients)
        size = len(weights[0]) if weights else 0
        self._table = JobTable(size * len(weights))
        self._rows = np.arange(len(self._table), dtype=np.int64).reshape(size, len(weights))
        self._rows_of: list[list[int]] = self._rows.tolist()
        self._kernels = (
            None if self._fused is False else kernel_lanes(self._weights, self._gradients)
        )
        self._plain = all(
            each.dtype is torch.float32 and each.device.type == "cpu" for each in self._weights
        )
        self._steps = np.zeros(size, dtype=np.int64)
        self._signs = np.ones(size)
        # Schedule factors of each slot, step by step; the last one holds from then on.
        self._factors = np.ones((size, 1))
        # Where the inner decays of each slot stand: of its first step, then bytes from one step to
        # the next, and the last step that has its own.
        self._decays = np.zeros((3, size), dtype=np.int64)

    def assign(self, slot: int, rule: Rule, *, total_steps: int, seed: int) -> None:
        """Let a rule move the weights of a slot from now on, its state zero, at step 0.

        Parameters
        ----------
        slot
            Index along the axis of lanes.
        rule
            The rule.
        total_steps
            T of its decays and schedule.
        seed
            Seed of its noise.
        """
        program = compile_rule(rule)
        count = len(program.state_slots) + (program.momentum is not Momentum.NONE)
        kernel = None if self._kernels is None else self._kernels.lane(program)
        plain = self._plain and self._fused is not False and kernel is None
        native = lower(program) if plain else None
        self._steps[slot], self._signs[slot] = 0, program.sign
        lane = _Lane(
            program,
            native,
            total_steps,
            seed,
            _curves(program, total_steps) if program.needs_total_steps else None,
            [[torch.zeros_like(each[slot]) for _ in range(count)] for each in self._weights],
            self._noise.room(len(native.noise)) if native is not None and native.noise else None,
        )
        if kernel is not None:
            lane.kernel, lane.states = kernel, kernel.states
        self._put(slot, lane)

    def _put(self, slot: int, lane: _Lane) -> None:
        """Give a lane the tensors of its slot."""
        self._lanes[slot] = lane
        if lane.is_plain:
            self._uneven.discard(slot)
        else:
            self._uneven.add(slot)
        if self._kernels is not None and lane.kernel is not None:
            self._kernels.put(slot, lane.kernel)
        if lane.native is None:
            return
        self._set_factors(slot, lane.curves)
        self._set_decays(slot, lane.curves)
        for at, row in enumerate(self._rows_of[slot]):
            self._table.set(
                row,
                lane.native,
                weight=self._weights[at][slot],
                gradient=self._gradients[at][slot],
                slots=lane.states[at],
            )
            if lane.noise is not None:
                self._table.set_noise(row, self._noise.parts(lane.noise, at))

    def _set_decays(self, slot: int, curves: Floats | None) -> None:
        """Write down where the inner decays of a slot stand; its lane keeps them alive."""
        self._decays[:, slot] = 0
        if curves is not None and curves.shape[1] > 1:
            first = curves.ctypes.data + curves.strides[1]
            self._decays[:, slot] = first, curves.strides[0], len(curves) - 1

    def _set_factors(self, slot: int, curves: Floats | None) -> None:
        """Write down the schedule factors of a slot."""
        if curves is None:
            self._factors[slot] = 1.0
            return
        more = len(curves) - self._factors.shape[1]
        if more > 0:
            self._factors = np.pad(self._factors, ((0, 0), (0, more)), mode="edge")
        self._factors[slot, : len(curves)] = curves[:, 0]
        self._factors[slot, len(curves) :] = curves[-1, 0]

    def release(self, slot: int) -> None:
        """Forget the rule of a slot and its state."""
        del self._lanes[slot]
        self._uneven.discard(slot)
        if self._kernels is not None:
            self._kernels.release(slot)

    def rebind(
        self, weights: Sequence[Tensor], gradients: Sequence[Tensor], *, keep: Sequence[int]
    ) -> None:
        """Go on with other tensors: slot ``keep[i]`` becomes slot i, all others are released."""
        lanes, self._lanes = self._lanes, {}
        self._uneven.clear()
        kept, steps, signs = list(keep), self._steps, self._signs
        self._bind(weights, gradients)
        self._steps[: len(kept)], self._signs[: len(kept)] = steps[kept], signs[kept]
        for slot, old in enumerate(kept):
            if old in lanes:
                self._put(slot, lanes[old])

    def step(
        self, slots: Sequence[int], *, rates: Sequence[float], momenta: Sequence[float]
    ) -> None:
        """Make one step of these slots.

        Parameters
        ----------
        slots
            Slots with a rule, each once.
        rates
            Learning rate of each at this step; its rule's own schedule multiplies it.
        momenta
            Momentum coefficient of each at this step.
        """
        native = np.array(slots, dtype=np.int64)
        given, coefficients = np.array(rates, dtype=float), np.array(momenta, dtype=float)
        if self._uneven:
            alone, on_device = [], []
            for position, slot in enumerate(slots):
                if slot not in self._uneven:
                    continue
                lane = self._lanes[slot]
                if self._kernels is not None and lane.kernel is not None:
                    alone.append(position)
                    rate, momentum = rates[position], momenta[position]
                    on_device.append(self._numbers(slot, lane, lane.kernel, rate, momentum))
                elif lane.native is None:
                    alone.append(position)
                    self._step_alone(slot, lane, rates[position], momenta[position])
                else:
                    self._draw(slot, lane)
            if self._kernels is not None and on_device:
                self._kernels.step(on_device)
            if alone:
                native, given, coefficients = (
                    np.delete(each, alone) for each in (native, given, coefficients)
                )
        if len(native):
            steps = self._steps[native]
            rows = self._rows[native]
            width, flat = rows.shape[1], rows.ravel()
            signed = self._signs[native] * self._scheduled(native, steps, given)
            self._table.rates[flat] = signed.repeat(width)
            self._table.momenta[flat] = coefficients.repeat(width)
            self._table.steps[flat] = steps.repeat(width)
            first, apart, last = self._decays[:, native]
            if first.any():
                self._table.decays[flat] = (first + np.minimum(steps, last) * apart).repeat(width)
            self._table.run(flat)
            self._steps[native] += 1

    def _scheduled(self, slots: npt.NDArray[np.int64], steps: Any, rates: Floats) -> Floats:
        """Return rates times schedule factors, as ``scheduled_rate`` does one by one."""
        last = self._factors.shape[1] - 1
        factors = self._factors[slots, np.minimum(steps, last)]
        with np.errstate(over="ignore", invalid="ignore"):
            scaled: Floats = rates * factors
        infinite = (steps == 0) & np.isinf(factors)
        if infinite.any():
            scaled[infinite] = RATE_WHERE_INFINITE
        return scaled

    def _draw(self, slot: int, lane: _Lane) -> None:
        """Write the noise of this step into the table."""
        assert lane.native is not None
        assert lane.noise is not None
        step = int(self._steps[slot])
        for own, node in zip(lane.noise, lane.native.noise, strict=True):
            own.copy_(self._noise.at(lane.seed, step, node=node))

    def _numbers(
        self, slot: int, lane: _Lane, kernel: KernelLane, rate: float, momentum: float
    ) -> LaneNumbers:
        """Return what the kernels are told of a lane at this step; its noise is written down."""
        step, decays = int(self._steps[slot]), []
        if lane.curves is not None:
            factor, *decays = lane.curves[min(step, len(lane.curves) - 1)].tolist()
            rate = scheduled_rate(rate, factor, step=step)
        for own, node in zip(kernel.noise, kernel.program.noise, strict=True):
            own.copy_(self._noise.at(lane.seed, step, node=node))
        self._steps[slot] += 1
        return LaneNumbers(slot, lane.program.sign * rate, momentum, step, decays)

    def _step_alone(self, slot: int, lane: _Lane, rate: float, momentum: float) -> None:
        """Step a lane in lists of tensors."""
        if not lane.counters:
            lane.counters = [torch.tensor(int(self._steps[slot])) for _ in self._weights]
        members = Members(
            [each[slot] for each in self._weights],
            [each[slot] for each in self._gradients],
            [state for states in lane.states for state in states],
            lane.counters,
            self._indices,
        )
        options = {
            **_OPTIONS,
            "lr": rate,
            "momentum": momentum,
            "total_steps": lane.total_steps,
            "seed": lane.seed,
        }
        update_lists(members, lane.program, options)
        self._steps[slot] += 1


@lru_cache(maxsize=512)
def _curves(program: Program, total_steps: int) -> Floats:
    """Return schedule factor and inner decays at each step, [T, 1 + decays]."""
    group = {"total_steps": total_steps}
    rows = [values_at(program, group, step) for step in range(total_steps)]
    return np.array([(factor, *decays) for factor, decays in rows])
