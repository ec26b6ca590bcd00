"""One step for many rules over stacked parameters: every lane its own rule, rate and step counter.

Weights are tensors with a leading axis of lanes. A lane's new weights are those that
:class:`evolute.compiler.optimizer.RuleOptimizer` would give it alone, to the bit, whatever the
other lanes do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evolute.compiler.program import Program, compile_rule
from evolute.compiler.step import Members, update_lists
from evolute.lang.rule import Momentum, Rule


@dataclass(slots=True)
class _Lane:
    """A rule at work in a slot, and its state."""

    program: Program
    options: dict[str, Any]
    steps: list[Tensor]
    state: list[Tensor]
    members: Members | None = None


class LaneOptimizer:
    """Steps the lanes of stacked parameters, each by the rule assigned to its slot.

    Parameters
    ----------
    weights
        One tensor [L, *shape] for each parameter, in the order that an optimizer of one model would
        have them; moved in place.
    gradients
        Their gradients, of the same shapes, read at each step.
    without_gradient
        Positions of parameters that get no gradient, and are left alone as torch's optimizers do.

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
        without_gradient: frozenset[int] = frozenset(),
    ) -> None:
        self._weights, self._gradients = list(weights), list(gradients)
        self._used = [at for at in range(len(self._weights)) if at not in without_gradient]
        self._lanes: dict[int, _Lane] = {}

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
        state = [
            torch.zeros_like(self._weights[at][slot]) for at in self._used for _ in range(count)
        ]
        steps = [torch.tensor(0) for _ in self._used]
        options = {**_OPTIONS, "total_steps": total_steps, "seed": seed}
        self._put(slot, _Lane(program, options, steps, state))

    def release(self, slot: int) -> None:
        """Forget the rule of a slot and its state."""
        del self._lanes[slot]

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
        for slot, rate, momentum in zip(slots, rates, momenta, strict=True):
            lane = self._lanes[slot]
            lane.options["lr"], lane.options["momentum"] = rate, momentum
            assert lane.members is not None
            update_lists(lane.members, lane.program, lane.options)

    def rebind(
        self, weights: Sequence[Tensor], gradients: Sequence[Tensor], *, keep: Sequence[int]
    ) -> None:
        """Go on with other tensors: slot ``keep[i]`` becomes slot i, all others are released."""
        self._weights, self._gradients = list(weights), list(gradients)
        lanes, self._lanes = self._lanes, {}
        for slot, old in enumerate(keep):
            if old in lanes:
                self._put(slot, lanes[old])

    def _put(self, slot: int, lane: _Lane) -> None:
        """Give a lane the views of its slot."""
        lane.members = Members(
            [self._weights[at][slot] for at in self._used],
            [self._gradients[at][slot] for at in self._used],
            lane.state,
            lane.steps,
            self._used,
        )
        self._lanes[slot] = lane


_OPTIONS: Mapping[str, Any] = {"weight_decay": 0.0, "maximize": False, "differentiable": False}
"""Options of a group of parameters that a training does not use."""
