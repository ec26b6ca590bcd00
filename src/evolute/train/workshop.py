"""Workshop: what makes decks for trials of one kind, and how large they may be."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from evolute.lanes.base import LaneNetwork
from evolute.lanes.loop import LoopNetwork
from evolute.tasks.base import Task
from evolute.train.deck import Deck
from evolute.train.equipment import Equipment
from evolute.train.first_models import FirstModels
from evolute.train.memory import lanes_that_fit
from evolute.train.planning import (
    REFERENCE_SEED,
    Ground,
    kind_of,
    memory_of,
    most_lanes,
    plan_lanes,
    say_if_unlikely,
)
from evolute.train.protocol import Protocol
from evolute.train.survey import Survey

_log = logging.getLogger("evolute")

MakeNetwork = Callable[[nn.Module, int], LaneNetwork]
"""Makes so many slots for copies of a model."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """Makes decks for trials of one kind.

    Parameters
    ----------
    task
        What is trained on.
    kind
        What the trials share, as :func:`evolute.train.planning.kind_of` says it.
    width
        Of their networks.
    ground
        What is known about them.
    models
        Their first models.
    make_network
        Makes the slots.
    most
        How many slots fit.
    evaluated_at_once
        How many of them are evaluated in one pass.
    """

    task: Task
    kind: str
    width: int | None
    ground: Ground
    models: FirstModels
    make_network: MakeNetwork
    most: int
    evaluated_at_once: int

    @classmethod
    def of(
        cls,
        task: Task,
        protocol: Protocol,
        *,
        equipment: Equipment,
        models: FirstModels,
        make_network: MakeNetwork | None = None,
    ) -> Workshop:
        """Look at a task as a protocol trains it, and choose the plan of its networks.

        Parameters
        ----------
        task, protocol
            What is trained.
        equipment
            With what.
        models
            First models of the task.
        make_network
            Makes the slots in place of the plan that the equipment names.

        Raises
        ------
        InputError
            If the plan that is named cannot serve the network.
        TaskError
            If no plan can, or the user's code raises.
        """
        width = protocol.width
        ground = Ground.of(task, protocol, model=models.own(REFERENCE_SEED, width))
        most, at_once = _lanes_in_memory(equipment, ground.survey)
        say_if_unlikely(task, equipment, bytes_per_lane=ground.survey.bytes_needed)
        why = ground.survey.why_unchecked
        if make_network is None and why is not None:
            _log.info("task %r: plan 'loop': %s", task.name, why)
            make_network = partial(
                LoopNetwork,
                device=equipment.device,
                precision=protocol.precision,
                without=ground.survey.untrained,
            )
        if make_network is None:
            choice = plan_lanes(task, protocol, ground=ground, equipment=equipment)
            _log.info("task %r: plan %r: %s", task.name, choice.plan, choice.why)
            make, most = choice.make, min(most, choice.lanes or most)
            make_network = lambda _model, size: make(size)  # noqa: E731 - of one use
        return cls(task, kind_of(protocol), width, ground, models, make_network, most, at_once)

    def deck(self, size: int, *, clock: Callable[[], float]) -> Deck:
        """Return a deck of so many slots, whose steps are timed by a clock."""
        network = self.make_network(self.models.own(REFERENCE_SEED, self.width), size)
        return Deck(
            self.task,
            network,
            sources=self.ground.sources,
            survey=self.ground.survey,
            reference=self.models.own(REFERENCE_SEED, self.width),
            evaluated_at_once=self.evaluated_at_once,
            clock=clock,
        )


def _lanes_in_memory(equipment: Equipment, survey: Survey) -> tuple[int, int]:
    """Return how many lanes are trained side by side, and how many of them evaluated in one pass.

    A batch of an evaluation may be many times as large as one of the training, so what lanes take
    while they are evaluated together may be more than what they take in a step.
    """
    memory = memory_of(equipment)
    most = most_lanes(equipment, survey.bytes_per_lane)
    if equipment.lanes is None:  # one of them must be evaluated while the others are there
        most = lanes_that_fit(survey.bytes_held, memory - survey.bytes_evaluated, most=most)
    free = memory - most * survey.bytes_held
    return most, lanes_that_fit(survey.bytes_evaluated, free, most=most)
