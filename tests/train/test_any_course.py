"""Whatever happens on the way, each trial is answered once, as the plain trainer answers it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn
from train.small_task import AT_RATE, PROBED, make, untimed

from evolute.lanes.base import CannotStackError
from evolute.lanes.loop import LoopNetwork
from evolute.lang.rule import Rule
from evolute.train.environment import fixed_environment
from evolute.train.equipment import Equipment
from evolute.train.population import SHARE_ASIDE, Population
from evolute.train.trainer import run_trial
from evolute.trial import Trial

RULES = "g", "momentum: v/sqrt(s)", "nesterov: dropout(v, 0.5)", "exp(exp(exp(g*0+3)))"
PROTOCOLS = {
    "probed": PROBED,
    "at a rate": AT_RATE,
    "of another width": replace(PROBED, width=5),
    "of another metric": replace(AT_RATE, fitness="metric", fitness_epoch="best", split="test"),
}
Request = tuple[str, str, int]


def model(width: int = 8) -> nn.Module:
    """Return a network that now and then is one of a kind."""
    network = nn.Sequential(nn.Linear(4, width), nn.Dropout(0.3), nn.Linear(width, 3))
    network.odd = bool(torch.rand(()) < 0.3)  # type: ignore[assignment]
    return network


TASK = make(model=model)


@cache
def alone(text: str, protocol: str, seed: int) -> Trial:
    return untimed(run_trial(Rule.parse(text), TASK, PROTOCOLS[protocol], seed=seed))


class Unlucky(LoopNetwork):
    """Runs out of memory now and then where there are many lanes, and refuses odd models."""

    luck = random.Random(0)

    def _try(self, lanes: int) -> None:
        if lanes > 1 and self.luck.random() < 0.02:
            raise MemoryError

    def train_step(self, batches: Any, slots: Sequence[int], *rest: Any) -> Any:
        self._try(len(slots))
        return super().train_step(batches, slots, *rest)

    def evaluate(self, batches: Any, slots: Sequence[int], criterion: Any) -> Any:
        self._try(len(slots))
        return super().evaluate(batches, slots, criterion)

    def put(self, slot: int, model: nn.Module) -> None:
        self._try(self.size)
        if model.odd:
            raise CannotStackError("an odd one")
        super().put(slot, model)

    def resize(self, size: int, *, keep: Sequence[int]) -> None:
        self._try(size)
        super().resize(size, keep=keep)


@pytest.mark.parametrize("number", range(12))
def test_each_trial_is_answered_once_and_as_if_it_were_alone(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(number)
    monkeypatch.setattr(Unlucky, "luck", draw)
    lanes = draw.choice([1, 2, 3, 5, 8, 16])
    population = Population(TASK, Equipment(lanes=lanes), make_network=Unlucky)
    asked: list[Request] = []
    ended: list[tuple[int, Trial]] = []
    dropped: list[int] = []
    with fixed_environment():
        for _ in range(draw.randint(2, 5)):
            for _ in range(draw.randint(1, 6)):
                text, protocol = draw.choice(RULES), draw.choice(list(PROTOCOLS))
                asked.append((text, protocol, draw.randint(0, 3)))
                text, protocol, seed = asked[-1]
                rule = Rule.parse(text)
                population.add(len(asked) - 1, rule, PROTOCOLS[protocol], seed=seed)
            for _ in range(draw.randint(0, 15)):
                ended += population.step()
                assert population.lanes <= lanes + max(1, lanes // SHARE_ASIDE)
            if draw.random() < 0.2:
                dropped += population.drop_waiting()
        ended += population.run()
    assert sorted(dropped + [ticket for ticket, _ in ended]) == list(range(len(asked)))
    for ticket, trial in ended:
        assert untimed(trial) == alone(*asked[ticket])
