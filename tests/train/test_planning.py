"""Planning: a plan is found once, named to whoever needs it, and no process waits for ever."""

from __future__ import annotations

import fcntl
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from train.small_task import ADAM, AT_RATE, make, untimed

from evolute.errors import InputError
from evolute.lanes.choose import Choice, choose
from evolute.lanes.remembered import plans_file
from evolute.train import planning
from evolute.train.environment import fixed_environment
from evolute.train.equipment import Equipment
from evolute.train.planning import choose_plans, kind_of
from evolute.train.population import Population
from evolute.trial import Trial

WIDE = replace(AT_RATE, width=2, precision="bf16")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str | None]:
    """Let the loop be the fastest plan, without timing; return what was asked for."""
    asked: list[str | None] = []

    def quick(*args: Any, plan: str | None = None, **named: Any) -> Choice:
        asked.append(plan)
        return choose(*args, plan=plan or "loop", **named)

    monkeypatch.setattr(planning, "choose", quick)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return asked


def train(equipment: Equipment) -> Trial:
    population = Population(make(), equipment)
    population.add(0, ADAM, AT_RATE, seed=0)
    with fixed_environment():
        ((_, trial),) = population.run()
    return untimed(trial)


def test_each_kind_of_network_is_planned_once_before_workers_begin(
    asked: list[str | None],
) -> None:
    equipment = choose_plans(make(), (AT_RATE, AT_RATE, WIDE), equipment=Equipment())
    assert asked == [None, None]
    assert equipment.chosen == ((kind_of(AT_RATE), "loop"), (kind_of(WIDE), "loop"))
    assert Equipment.from_dict(equipment.to_dict()) == equipment


def test_a_plan_that_was_named_is_left_as_it_is(asked: list[str | None]) -> None:
    given = Equipment(plan="stacked")
    assert choose_plans(make(), (AT_RATE,), equipment=given) is given
    assert asked == []


def test_a_worker_takes_the_plan_that_was_chosen_for_it(asked: list[str | None]) -> None:
    chosen = ((kind_of(AT_RATE), "loop channels_last"),)
    assert train(Equipment(chosen=chosen)) == train(Equipment(plan="loop"))
    assert asked == ["loop channels_last", "loop"]


def test_a_worker_where_the_chosen_plan_cannot_serve_says_so_and_finds_another(
    asked: list[str | None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("evolute.lanes.choose._Trial.refusal", refuse_stacked)
    with caplog.at_level(logging.WARNING, "evolute"):
        trial = train(Equipment(chosen=((kind_of(AT_RATE), "stacked"),)))
    assert asked == ["stacked", None]
    assert any("another plan is looked for" in line for line in caplog.messages)
    assert trial == train(Equipment(plan="loop"))


@pytest.mark.parametrize("fault", [MemoryError(), InputError("not built here: take another")])
def test_a_plan_that_is_looked_for_again_is_compared_on_the_same_models(
    fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[float]] = []

    def failing_first(build: Any, *rest: Any, **named: Any) -> Choice:
        first = [[each.sum().item() for each in build().parameters()] for _ in range(3)]
        seen.append([number for numbers in first for number in numbers])
        if len(seen) == 1:
            raise fault
        return choose(build, *rest, **{**named, "plan": "loop"})

    monkeypatch.setattr(planning, "choose", failing_first)
    train(Equipment(chosen=((kind_of(AT_RATE), "stacked"),)))
    assert len(seen) == 2
    assert seen[0] == seen[1]


def refuse_stacked(_trial: object, plan: str, *_: object) -> str | None:
    return "not built here" if plan == "stacked" else None


def test_a_process_that_holds_the_lock_for_ever_stops_no_other(
    asked: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "PATIENCE_SECONDS", 0.1)
    path = plans_file().with_suffix(".lock")
    path.parent.mkdir(parents=True)
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert train(Equipment()) == train(Equipment(plan="loop"))
    assert asked == [None, "loop"]


def test_plans_are_found_by_one_process_at_a_time(
    asked: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bool] = []

    def looking(*args: Any, **named: Any) -> Choice:
        with plans_file().with_suffix(".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                held.append(True)
        return choose(*args, **{**named, "plan": "loop"})

    monkeypatch.setattr(planning, "choose", looking)
    choose_plans(make(), (AT_RATE,), equipment=Equipment())
    assert held == [True]
    train(Equipment(plan="loop"))
    assert held == [True]
