"""Lane: one course under way in a slot, with its own step counter and end."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from evolute.lang.rule import Rule
from evolute.schedules import base_schedule
from evolute.seeds.streams import Stream
from evolute.tasks.base import Split
from evolute.train.protocol import Probe, Training
from evolute.train.scoring import Course
from evolute.train.sources import Cohort


@dataclass(slots=True)
class Account:
    """Time that the lanes of one trial took, in seconds: of each step an equal share."""

    seconds: float = 0.0


@dataclass(eq=False, slots=True)
class Lane:
    """A course under way in a slot.

    Parameters
    ----------
    course
        What is trained.
    rule
        By what.
    seed
        Seed of weights, batches and noise.
    account
        Where its time is written down.
    ticket
        The trial that it belongs to.
    """

    course: Course
    rule: Rule
    seed: int
    account: Account
    ticket: int
    slot: int = -1
    steps: int = 0
    epoch_end: int = 0
    seconds: float = 0.0
    """What it took itself of the time on the account."""
    schedule: tuple[tuple[float, float], ...] = ()
    own_cohort: Cohort | None = None
    noise: Stream | None = None
    """What its own module draws from, where each lane has one: how much it draws may depend on its
    weights, so that no other lane may draw from the same."""
    refusal: str | None = None
    """Why the plan of its network cannot go on with it, in words."""

    def __post_init__(self) -> None:
        self.epoch_end = self.course.next_end
        self.schedule = _schedule(self.course.plan)

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return self.course.learning_rate * self.schedule[self.steps][0]

    @property
    def momentum(self) -> float:
        """The momentum of the next step."""
        return self.schedule[self.steps][1]

    @property
    def cohort(self) -> Cohort:
        """The lanes with which it shares batch and noise, once it is in a slot."""
        assert self.own_cohort is not None
        return self.own_cohort

    @property
    def wants(self) -> Split | None:
        """The split that its model is to be evaluated on before it goes on."""
        return self.course.wants if self.refusal is None else None

    @property
    def ended(self) -> bool:
        """Whether it has no more to do in its slot."""
        return self.course.ended or self.refusal is not None

    def took(self, seconds: float) -> None:
        """Enter its share of the time of a step."""
        self.seconds += seconds
        self.account.seconds += seconds


@lru_cache(maxsize=16)
def _schedule(plan: Probe | Training) -> tuple[tuple[float, float], ...]:
    """Return the fraction of the peak learning rate, and the momentum, at each step."""
    return tuple(
        base_schedule(
            step,
            plan.steps,
            warmup_steps=plan.warmup_steps,
            hold_steps=plan.hold_steps,
            shape=plan.schedule,
        )
        for step in range(plan.steps)
    )
