"""Evaluating: the models of lanes on validation and test data, at the ends of their epochs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from evolute.lanes.base import LaneNetwork
from evolute.lanes.criterion import LaneCriterion
from evolute.lanes.noise import generator_of, seeded_device
from evolute.seeds import derive
from evolute.seeds.streams import generator_states, same_states, seeded
from evolute.tasks.base import Evaluation, Split, Task
from evolute.tasks.faults import calling
from evolute.train.first_use import FirstUse
from evolute.train.lane import Lane


class Evaluating:
    """Evaluates the models in the slots of a network.

    Parameters
    ----------
    task
        What is trained on.
    network
        The slots.
    criterion
        Loss and metric.
    first_use
        What compares batches of new shapes.
    changes_inputs
        Whether the model writes into its inputs.
    at_once
        How many models are evaluated in one pass, at most.
    """

    def __init__(
        self,
        task: Task,
        network: LaneNetwork,
        *,
        criterion: LaneCriterion,
        first_use: FirstUse,
        changes_inputs: bool,
        at_once: int,
    ) -> None:
        self._task, self._network = task, network
        self._criterion, self._first_use = criterion, first_use
        self._at_once = at_once
        self._refusals: dict[Split, str | None] = {}
        # None: not known yet. A model that writes into its inputs is evaluated alone as well.
        self._draws: bool | None = True if changes_inputs else None

    def evaluate(self, split: Split, lanes: Sequence[Lane]) -> None:
        """Evaluate the models of these lanes on a split; tell their courses, or why it cannot be.

        Raises
        ------
        TaskError
            If the user's code raises.
        """
        if not lanes:
            return
        if self._task.measures_itself:
            for lane in lanes:
                with seeded(derive(lane.seed, "evaluation")):
                    model = self._network.module(lane.slot)
                    lane.course.evaluated(self._task.evaluate(model, split))
            return
        with calling(
            self._task.name, f"its evaluation on the {split} data", advice="mend the model"
        ):
            if split not in self._refusals:
                self._refusals[split] = self._first_use.evaluation(
                    self._task.in_order(split), lanes[0].slot
                )
            refusal = self._refusals[split]
            if refusal is not None:
                for lane in lanes:
                    lane.refusal = refusal
                return
            figures = self._figures(split, lanes)
        for lane, (loss, metric) in zip(lanes, figures, strict=True):
            lane.course.evaluated(Evaluation(loss, metric))

    def _figures(self, split: Split, lanes: Sequence[Lane]) -> list[tuple[float, float | None]]:
        """Return loss and metric of each lane on a split, each drawing as its seed says, if any."""
        network, task = self._network, self._task
        if self._draws is None:
            self._draws = self._draws_on_gpu(split, lanes[0].slot)
        figures: list[tuple[float, float | None]] = []
        for start in range(0, len(lanes), self._at_once):
            if not self._draws:
                figures += self._pass(split, lanes[start : start + self._at_once])
        if not self._draws:
            return figures
        figures = []
        for lane in lanes:  # one by one: what a pass draws is one for all its lanes
            with seeded(derive(lane.seed, "evaluation")):
                figures += network.evaluate(task.in_order(split), [lane.slot], self._criterion)
        return figures

    def _pass(self, split: Split, lanes: Sequence[Lane]) -> list[tuple[float, float | None]]:
        """Evaluate these together; find out whether their models draw."""
        with seeded(0), seeded_device(self._network.device):
            untouched = generator_states()
        with seeded(0):
            slots = [lane.slot for lane in lanes]
            figures = self._network.evaluate(self._task.in_order(split), slots, self._criterion)
            self._draws = not same_states(untouched, generator_states())
        return figures

    def _draws_on_gpu(self, split: Split, slot: int) -> bool:
        """Whether a module draws from its GPU's generator in evaluation mode."""
        device = self._network.device
        generator = generator_of(device)
        if generator is None:
            return False
        inputs, _ = next(iter(self._task.in_order(split)))
        module = self._network.module(slot).eval()
        with torch.no_grad(), seeded(0), seeded_device(device):
            before = generator.get_state()
            module(inputs.to(device) if isinstance(inputs, Tensor) else inputs)
            return not torch.equal(before, generator.get_state())
