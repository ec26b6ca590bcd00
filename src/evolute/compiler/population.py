"""One step for many rules over stacked parameters: every lane its own rule, rate and step counter.

Weights are tensors with a leading axis of lanes. A lane's new weights are those that
:class:`evolute.compiler.optimizer.RuleOptimizer` would give it alone, to the bit, whatever the
other lanes do. All lanes whose rules the native core knows are stepped in one call of it.
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

from evolute.compiler.execute import scheduled_rate, uniform_noise
from evolute.compiler.native import JobTable, NativeProgram, lower
from evolute.compiler.program import Program, compile_rule
from evolute.compiler.step import Members, update_lists, values_at
from evolute.lang.rule import Momentum, Rule

_OPTIONS: Mapping[str, Any] = {"weight_decay": 0.0, "maximize": False, "differentiable": False}
"""Options of a group of parameters that a training does not use."""


@dataclass(slots=True)
class _Lane:
    """A rule at work in a slot, and its state."""

    program: Program
    native: NativeProgram | None
    total_steps: int
    seed: int
    curves: npt.NDArray[np.float64] | None
    states: list[list[Tensor]]
    """Of each parameter."""
    steps: int = 0
    counters: list[Tensor] = field(default_factory=list)


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
        Whether the native core steps the rules that it knows; None: where it works on such tensors.

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
        self._bind(weights, gradients)

    def _bind(self, weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        self._weights, self._gradients = list(weights), list(gradients)
        size = len(weights[0]) if weights else 0
        self._table = JobTable(size * len(weights))
        self._rows = np.arange(len(self._table), dtype=np.int64).reshape(size, len(weights))
        self._rows_of: list[list[int]] = self._rows.tolist()
        self._plain = all(
            each.dtype is torch.float32 and each.device.type == "cpu" for each in self._weights
        )

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
        lane = _Lane(
            program,
            lower(program) if self._plain and self._fused is not False else None,
            total_steps,
            seed,
            _curves(program, total_steps) if program.needs_total_steps else None,
            [[torch.zeros_like(each[slot]) for _ in range(count)] for each in self._weights],
        )
        self._put(slot, lane)

    def _put(self, slot: int, lane: _Lane) -> None:
        """Give a lane the tensors of its slot."""
        self._lanes[slot] = lane
        if lane.native is None:
            return
        for at, row in enumerate(self._rows[slot]):
            self._table.set(
                int(row),
                lane.native,
                weight=self._weights[at][slot],
                gradient=self._gradients[at][slot],
                slots=lane.states[at],
            )
        if lane.native.program.decays and self._rows_of[slot]:
            self._table.share_decays(self._rows_of[slot])

    def release(self, slot: int) -> None:
        """Forget the rule of a slot and its state."""
        del self._lanes[slot]

    def rebind(
        self, weights: Sequence[Tensor], gradients: Sequence[Tensor], *, keep: Sequence[int]
    ) -> None:
        """Go on with other tensors: slot ``keep[i]`` becomes slot i, all others are released."""
        lanes, self._lanes = self._lanes, {}
        self._bind(weights, gradients)
        for slot, old in enumerate(keep):
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
        native: list[int] = []
        signed: list[float] = []
        counts: list[int] = []
        noise: dict[tuple[int, int, int, str], Tensor] = {}
        for position, slot in enumerate(slots):
            lane = self._lanes[slot]
            program = lane.native
            if program is None:
                self._step_alone(slot, lane, rates[position], momenta[position])
                continue
            rate = rates[position]
            if lane.curves is not None:
                rate = self._scheduled(slot, lane.curves, rate, lane.steps)
            if program.noise:
                self._give_noise(slot, lane, program.noise, noise)
            native.append(position)
            signed.append(program.sign * rate)
            counts.append(lane.steps)
            lane.steps += 1
        if native:
            rows = self._rows[[slots[position] for position in native]]
            width = rows.shape[1]
            flat = rows.ravel()
            self._table.rates[flat] = np.repeat(signed, width)
            self._table.momenta[flat] = np.repeat([momenta[at] for at in native], width)
            self._table.steps[flat] = np.repeat(counts, width)
            self._table.run(flat)

    def _scheduled(
        self, slot: int, curves: npt.NDArray[np.float64], rate: float, step: int
    ) -> float:
        """Write the decays of a lane into the table; return its rate times its schedule."""
        values = curves[min(step, len(curves) - 1)]
        if len(values) > 1:
            self._table.set_decays(self._rows_of[slot][0], values[1:])
        return scheduled_rate(rate, float(values[0]), step=step)

    def _give_noise(
        self,
        slot: int,
        lane: _Lane,
        nodes: Sequence[str],
        noise: dict[tuple[int, int, int, str], Tensor],
    ) -> None:
        """Write the noise of a lane into the table; ``noise`` holds what this step has drawn."""
        step = lane.steps
        for at, row in enumerate(self._rows_of[slot]):
            drawn, index = [], self._indices[at]
            for node in nodes:  # lanes of one seed at one step draw the same
                key = lane.seed, index, step, node
                if key not in noise:
                    like = self._weights[at][slot]
                    noise[key] = uniform_noise(lane.seed, index, step, node=node, like=like)
                drawn.append(noise[key])
            self._table.set_noise(row, drawn)

    def _step_alone(self, slot: int, lane: _Lane, rate: float, momentum: float) -> None:
        """Step a lane in lists of tensors."""
        if not lane.counters:
            lane.counters = [torch.tensor(lane.steps) for _ in self._weights]
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
        lane.steps += 1


@lru_cache(maxsize=512)
def _curves(program: Program, total_steps: int) -> npt.NDArray[np.float64]:
    """Return schedule factor and inner decays at each step, [T, 1 + decays]."""
    group = {"total_steps": total_steps}
    rows = [values_at(program, group, step) for step in range(total_steps)]
    return np.array([(factor, *decays) for factor, decays in rows])
