"""Protocol: how a trial is scored, as a frozen value; and the protocols of the presets.

Probe a few learning rates for a short while, train at the best of them, stop hopeless ones early
(section 6 of the published method: Morgan and Hougen, 2024).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Annotated, ClassVar, Literal, Self

import pydantic
from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass as config

from evolute.errors import ConfigError, shorten
from evolute.schedules import Shape
from evolute.trial import canonical_json

_STRICT = ConfigDict(extra="forbid")

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]


def _require_within(what: str, steps: int, epoch_steps: int, warmup_steps: int) -> None:
    if epoch_steps > steps or warmup_steps > steps:
        raise ValueError(
            f"{what} has {steps} steps: an epoch ({epoch_steps}) and the warm-up ({warmup_steps}) "
            "are no longer than that"
        )


@config(frozen=True, config=_STRICT)
class Threshold:
    """What a training must have reached by the end of an epoch.

    Parameters
    ----------
    accuracy
        Least training accuracy, for tasks whose metric is accuracy; None: the loss decides there
        too, which suits any number of classes.
    loss_fraction
        The training loss L must have fallen from its first value L₀ to
        L ≤ L₀ − (1 − loss_fraction)·|L₀|.
    """

    accuracy: Fraction | None
    loss_fraction: Fraction


@config(frozen=True, config=_STRICT)
class Probe:
    """Short trainings that find the peak learning rate; the defaults are the published ones.

    Each has its own warm-up and cosine over its own steps; the published text does not say.

    Parameters
    ----------
    steps, epoch_steps
        Length of one probe and of its epochs, in optimizer steps.
    warmup_steps
        Length of its warm-up.
    schedule
        Shape of its base schedule after the warm-up, as that of the training.
    first_rates
        Peak learning rates tried first: a rule that fails at all of them fails.
    other_rates
        Rates tried after that.
    abandon_epoch, abandon
        A probe is stopped if it is under ``abandon`` after this epoch (counted from 1).
    accept
        What the best probe must have reached.
    """

    steps: Count = 800
    epoch_steps: Count = 200
    warmup_steps: Annotated[int, Field(ge=0)] = 80
    schedule: Shape = "cosine"
    first_rates: Annotated[tuple[Rate, ...], Field(min_length=1)] = (10.0, 1e-2, 1e-5)
    other_rates: tuple[Rate, ...] = (1.0, 0.1, 1e-3, 1e-4)
    abandon_epoch: Count = 3
    abandon: Threshold = Threshold(accuracy=0.25, loss_fraction=0.9)
    accept: Threshold = Threshold(accuracy=0.40, loss_fraction=0.75)

    hold_steps: ClassVar[int] = 0
    """Read beside that of a training: a probe falls right after its warm-up."""

    def __post_init__(self) -> None:
        _require_within("a probe", self.steps, self.epoch_steps, self.warmup_steps)
        rates = (*self.first_rates, *self.other_rates)
        if len(set(rates)) != len(rates):
            raise ValueError(f"learning rates are probed once each, got {rates}")


@config(frozen=True, config=_STRICT)
class Training:
    """The training that is scored; the defaults are those of the published initial stage.

    Parameters
    ----------
    steps, epoch_steps
        Length and length of an epoch, in optimizer steps; the model is evaluated after each epoch.
    warmup_steps
        Length of the warm-up.
    abandon_epoch, abandon
        It is stopped if it is under ``abandon`` after this epoch (counted from 1).
    hold_steps
        How long the learning rate stays at its peak after the warm-up, and the momentum at its
        lowest (published method, section 1.4).
    schedule
        Shape of the base schedule after the warm-up, as :func:`evolute.schedules.base_schedule`
        takes it; a rule's own schedule multiplies it.
    """

    steps: Count = 8000
    epoch_steps: Count = 200
    warmup_steps: Annotated[int, Field(ge=0)] = 800
    schedule: Shape = "cosine"
    abandon_epoch: Count = 5
    abandon: Threshold = Threshold(accuracy=0.40, loss_fraction=0.75)
    hold_steps: Annotated[int, Field(ge=0)] = 0

    def __post_init__(self) -> None:
        _require_within("the training", self.steps, self.epoch_steps, self.warmup_steps)
        if self.warmup_steps + self.hold_steps > self.steps:
            raise ValueError(
                f"the training has {self.steps} steps: warm-up ({self.warmup_steps}) and hold "
                f"({self.hold_steps}) together are no longer than "
                "that; give more steps, or fewer of warmup_steps or hold_steps"
            )


@config(frozen=True, config=_STRICT)
class Protocol:
    """How a trial is scored.

    Parameters
    ----------
    batch_size
        Examples per training batch, for data that has no batch size of its own.
    width
        Width of the network, for tasks whose model takes one; others ignore it.
    augment
        Whether training batches are augmented, by tasks that can; others ignore it.
    probe
        How the learning rate is found; None: it is given.
    learning_rate
        Peak learning rate; None: it is probed.
    training
        The training that is scored.
    fitness
        ``metric``: the task's metric; ``loss``: minus the loss.
    fitness_epoch
        ``best`` or ``last``: of which epoch. It also says how probes are compared. The epoch is
        chosen on validation data, also where ``split`` is the test data.
    split
        What the fitness is measured on.
    precision
        What networks compute with: ``float32``, or ``bf16`` for autocast to bfloat16. Weights and
        rules are float32 with either.

    Raises
    ------
    pydantic.ValidationError
        If a value is out of its range, or not exactly one of ``probe`` and ``learning_rate`` is
        given.

    Examples
    --------
    >>> PROTOCOLS["quick"].main.at_rate(0.1).probe is None
    True
    """

    batch_size: Count = 128
    width: Count | None = None
    augment: bool = False
    probe: Probe | None = Probe()
    learning_rate: Rate | None = None
    training: Training = Training()
    fitness: Literal["metric", "loss"] = "metric"
    fitness_epoch: Literal["best", "last"] = "best"
    split: Literal["validation", "test"] = "validation"
    precision: Literal["float32", "bf16"] = "float32"

    def __post_init__(self) -> None:
        if (self.probe is None) == (self.learning_rate is None):
            raise ValueError("a protocol has either a probe or a learning_rate: give one of them")

    def at_rate(
        self, learning_rate: float, *, split: Literal["validation", "test"] | None = None
    ) -> Protocol:
        """Return the same protocol without probes, at this peak learning rate.

        Parameters
        ----------
        learning_rate
            Peak learning rate.
        split
            What fitness is measured on; None: as before.
        """
        return replace(self, probe=None, learning_rate=learning_rate, split=split or self.split)

    @property
    def most_steps(self) -> int:
        """Optimizer steps of a trial that is not stopped early: what a forecast counts with."""
        if self.probe is None:
            return self.training.steps
        rates = len(self.probe.first_rates) + len(self.probe.other_rates)
        return rates * self.probe.steps + self.training.steps

    def to_json(self) -> str:
        """Return canonical JSON, equal for equal protocols; :meth:`from_json` reverses it."""
        return _json(self)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        ConfigError
            If it is no protocol.
        """
        try:
            return TypeAdapter(cls).validate_json(text)
        except pydantic.ValidationError as error:
            fault = error.errors(include_url=False)[0]
            place = shorten(".".join(map(str, fault["loc"]))) or "the whole"
            raise ConfigError(
                f"a protocol in JSON cannot be read: {place}: {shorten(fault['msg'])}; got "
                f"{shorten(text)}"
            ) from None


# A search asks for it many times for each candidate, and writing it takes half a millisecond.
@lru_cache(maxsize=256)
def _json(protocol: Protocol) -> str:
    data = asdict(protocol)
    if not protocol.training.hold_steps:  # so that trials from before there was one are found
        del data["training"]["hold_steps"]
    return canonical_json(data)


@dataclass(frozen=True, slots=True)
class Stages:
    """The protocols of the two stages of a search.

    Parameters
    ----------
    initial
        Scores the random candidates from which particles are chosen.
    main
        Scores particles and their children.
    """

    initial: Protocol
    main: Protocol


_PAPER = Stages(
    initial=Protocol(width=32, training=Training(steps=8000)),
    main=Protocol(width=48, augment=True, training=Training(steps=16_000)),
)

# Trained at fewer steps, a rule must pass at more rates before it counts as hopeless: with the
# published three (10, 0.01, 1e-5), SGD failed all of quick's first probes.
_FIRST_RATES = (1.0, 0.1, 1e-2, 1e-3)
_HALF_WAY = Threshold(accuracy=None, loss_fraction=0.95)
_AT_THE_END = Threshold(accuracy=None, loss_fraction=0.9)

_STANDARD = Protocol(
    probe=Probe(
        steps=200,
        epoch_steps=50,
        warmup_steps=20,
        first_rates=_FIRST_RATES,
        other_rates=(10.0, 1e-4, 1e-5),
        abandon_epoch=2,
        abandon=_HALF_WAY,
        accept=_AT_THE_END,
    ),
    training=Training(
        steps=2000, epoch_steps=200, warmup_steps=200, abandon_epoch=2, abandon=_AT_THE_END
    ),
    fitness="loss",
    fitness_epoch="last",
)

# Measured on digits over the 22 rules of the zoo, 4 seeds. Probes of 100 steps choose the rate that
# is best after 200 steps for every rule that can be trained; probes of 40 to 80 do not (Lion, 0.1
# for 0.01: loss 1.5 for 0.3). A rule's best probe stands at 0.02 to 0.20 of the first loss at the
# end and at 0.13 to 0.87 in its second epoch, other rates mostly above 0.9. Loss after 200 steps:
# Adam 0.12, RMSprop 0.16, SGD 0.17, Opt7 0.20, Lion 0.33; paired noise 0.012; accuracies 0.94 to
# 0.97 are too close to tell rules apart. About 560 steps and 0.6 s on one core of an AMD EPYC;
# a rule that fails every first probe costs 160 steps.
_QUICK = Protocol(
    batch_size=64,
    probe=Probe(
        steps=100,
        epoch_steps=20,
        warmup_steps=10,
        first_rates=_FIRST_RATES,
        other_rates=(10.0, 1e-4),
        abandon_epoch=2,
        abandon=_HALF_WAY,
        accept=_AT_THE_END,
    ),
    training=Training(
        steps=200, epoch_steps=50, warmup_steps=20, abandon_epoch=2, abandon=_AT_THE_END
    ),
    fitness="loss",
    fitness_epoch="last",
)

# Lengths, batches, epochs and fitness are the authors' (docs/paper.md says where each stands). Ours
# are the probes, those of their search, and that a hopeless training is told by its loss soon after
# the warm-up: with up to 200 classes no accuracy says so.
_TRANSFER = Protocol(
    batch_size=64,
    augment=True,
    probe=Probe(abandon=_HALF_WAY, accept=_AT_THE_END),
    training=Training(
        steps=96_000,
        epoch_steps=100,
        warmup_steps=6400,
        hold_steps=12_800,
        abandon_epoch=80,
        abandon=_AT_THE_END,
    ),
)
_FROM_SCRATCH = replace(
    _TRANSFER,
    augment=False,
    training=replace(_TRANSFER.training, steps=64_000, hold_steps=0),
)
_FINE_TUNING = replace(
    _FROM_SCRATCH,
    training=replace(_FROM_SCRATCH.training, steps=16_000, warmup_steps=1600, abandon_epoch=20),
)

PROTOCOLS: dict[str, Stages] = {
    "paper": _PAPER,
    "paper-transfer": Stages(_TRANSFER, _TRANSFER),
    "paper-from-scratch": Stages(_FROM_SCRATCH, _FROM_SCRATCH),
    "paper-fine-tuning": Stages(_FINE_TUNING, _FINE_TUNING),
    "standard": Stages(_STANDARD, _STANDARD),
    "quick": Stages(_QUICK, _QUICK),
}
"""Protocols of the presets. ``paper`` is section 6 of the published method to the letter."""
