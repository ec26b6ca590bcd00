"""Trainers: what is common to training side by side and one after the other."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from torch import nn
from train.small_task import ADAM, AT_RATE, PROBED, SGD, make, untimed

from evolute.train.environment import fixed_environment
from evolute.train.equipment import Equipment
from evolute.train.population import Population
from evolute.train.protocol import PROTOCOLS, Protocol
from evolute.train.trainer import run_trial, trial_key
from evolute.train.trainers import make_trainer
from evolute.trial import OutcomeKind, Trial

BF16 = replace(AT_RATE, precision="bf16")
PLANS = "stacked", "loop", "plain"


def smooth() -> nn.Module:
    """Return a network that every plan serves, whatever the machine."""
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3))


TASK = make(model=smooth)


def train(plan: str, protocol: Protocol, *, lanes: int = 4) -> list[Trial]:
    trainer = make_trainer(TASK, Equipment(plan=plan, lanes=lanes))
    for ticket, rule in enumerate((ADAM, SGD)):
        trainer.add(ticket, rule, protocol, seed=0)
    ended: dict[int, Trial] = {}
    with fixed_environment():
        while trainer.busy:
            ended |= trainer.step()
    return [untimed(ended[ticket]) for ticket in (0, 1)]


@pytest.mark.parametrize("plan", PLANS)
def test_what_has_not_begun_can_be_dropped_and_the_rest_goes_on_to_its_end(plan: str) -> None:
    trainer = make_trainer(TASK, Equipment(plan=plan, lanes=1))
    for ticket, rule in enumerate((ADAM, SGD, ADAM)):
        trainer.add(ticket, rule, AT_RATE, seed=0)
    with fixed_environment():
        ended = trainer.step()
        assert trainer.drop_waiting() == [1, 2]
        while trainer.busy:
            ended += trainer.step()
    ((ticket, trial),) = ended
    assert ticket == 0
    assert untimed(trial) == train(plan, AT_RATE)[0]


@pytest.mark.parametrize("plan", PLANS)
def test_the_curve_of_a_trial_has_a_point_at_every_epoch_end(plan: str) -> None:
    for trial in train(plan, AT_RATE):
        assert [record.step for record in trial.curve] == [4, 8, 12]
        for record in trial.curve:
            assert None not in (record.train_loss, record.train_metric)
            assert None not in (record.validation_loss, record.validation_metric)


@pytest.mark.parametrize("plan", PLANS)
def test_a_probed_trial_stores_the_curve_of_its_training_alone(plan: str) -> None:
    for trial in train(plan, PROBED):
        assert [record.step for record in trial.curve] == [4, 8, 12]


@pytest.mark.parametrize("plan", PLANS)
def test_bf16_is_another_trial_with_figures_of_its_own_twice_the_same(plan: str) -> None:
    exact, rounded = train(plan, AT_RATE), train(plan, BF16)
    assert rounded == train(plan, BF16)
    for one, other in zip(exact, rounded, strict=True):
        assert one.key.digest != other.key.digest
        assert one.score is not None
        assert other.score is not None
        assert one.score.loss != other.score.loss
        assert other.score.loss == pytest.approx(one.score.loss, rel=0.1)


def test_bf16_gives_the_same_bits_whatever_shares_the_lanes() -> None:
    together = train("stacked", BF16)
    assert together == train("stacked", BF16, lanes=1)


def test_bf16_is_never_the_default() -> None:
    for stages in PROTOCOLS.values():
        assert {stages.initial.precision, stages.main.precision} == {"float32"}
    assert trial_key(ADAM, TASK, AT_RATE, seed=0) != trial_key(ADAM, TASK, BF16, seed=0)


@pytest.mark.parametrize("plan", ["stacked", "loop"])
def test_each_trial_has_its_own_time_limit_in_a_population(plan: str) -> None:
    trainer = make_trainer(TASK, Equipment(plan=plan))
    limits = (None, 1e-9, 1e9)
    for ticket, limit in enumerate(limits):
        trainer.add(ticket, ADAM, AT_RATE, seed=0, timeout_seconds=limit)
    ended: dict[int, Trial] = {}
    with fixed_environment():
        while trainer.busy:
            ended |= trainer.step()
    assert [ended[ticket].outcome.kind is OutcomeKind.TIMED_OUT for ticket in range(3)] == [
        False,
        True,
        False,
    ]
    assert untimed(ended[0]) == untimed(ended[2])


def test_one_after_the_other_is_what_run_trial_makes() -> None:
    assert train("plain", AT_RATE)[1] == untimed(run_trial(SGD, TASK, AT_RATE, seed=0))


def test_training_in_lanes_imports_neither_a_compiler_nor_an_algebra_library() -> None:
    """Each takes half a second or more, in every worker process."""
    program = """
import sys
from evolute.lang.rule import Rule
from evolute.tasks.user import load_task
from evolute.train.environment import fixed_environment
from evolute.train.equipment import Equipment
from evolute.train.population import Population
from evolute.train.protocol import PROTOCOLS
population = Population(load_task("digits"), Equipment(plan="stacked", lanes=2))
population.add(0, Rule.parse("g"), PROTOCOLS["quick"].main.at_rate(0.1), seed=0)
with fixed_environment():
    assert len(list(population.run())) == 1
assert not {"torch._dynamo", "sympy", "sklearn"} & set(sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


class Counted(nn.Linear):
    """Counts the copies that are made of it."""

    copies = 0

    def __deepcopy__(self, memo: dict[int, object]) -> Counted:
        type(self).copies += 1
        fresh = Counted(self.in_features, self.out_features)
        fresh.load_state_dict(self.state_dict())
        return fresh


def test_lanes_of_a_batched_plan_cost_no_copy_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make(model=lambda: Counted(4, 3))
    copies = []
    for trials in (2, 12):
        monkeypatch.setattr(Counted, "copies", 0)
        population = Population(task, Equipment(plan="stacked/1", lanes=2))
        for ticket in range(trials):
            population.add(ticket, ADAM, AT_RATE, seed=0)
        with fixed_environment():
            assert len(list(population.run())) == trials
        copies.append(Counted.copies)
    assert copies[0] == copies[1]
