"""The choice of a plan: checked, timed once, remembered; refusals are told."""

from __future__ import annotations

import gc
import json
import logging
import os
import time
import weakref
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lanes.networks import CASES, CLASSES, vectors
from lanes.test_stacked import Branches, Counts, Draws, StopsGradient
from torch import Tensor, nn

from evolute.errors import InputError, TaskError, UnknownNameError
from evolute.lanes import check, remembered, serving, timing
from evolute.lanes import choose as module
from evolute.lanes.base import CannotStackError, LaneMeasurement
from evolute.lanes.check import subject_of
from evolute.lanes.choose import Choice, choose
from evolute.lanes.criterion import LaneCriterion
from evolute.lanes.loop import LoopNetwork
from evolute.lanes.plans import PLANS, Plan
from evolute.lanes.remembered import SITTINGS, Times, plans_file, recall
from evolute.lanes.stacked.network import StackedNetwork
from evolute.lanes.timing import Stopwatch, step_clock, take_turns
from evolute.lanes.trimmed import EXAMPLES


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "SECONDS_PER_PLAN", 0.0)
    monkeypatch.setattr(timing, "ROUNDS", 1)


def chosen(build: Any, criterion: LaneCriterion = CLASSES, **named: Any) -> Choice:
    return choose(build, vectors(), criterion, name="t", version="1", size=4, **named)


@pytest.mark.parametrize("build", [Counts, Branches, Draws, StopsGradient])
def test_a_module_that_cannot_be_stacked_falls_back_to_the_loop_and_says_why(
    build: type[nn.Module], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "evolute"):
        assert chosen(lambda: build(6, 3)).plan in ("loop", "vmap")
    assert any("plan 'stacked' is not used" in line for line in caplog.messages)


class Rolls(nn.Module):
    """Calls what the table does not hold and vmap does; without a product of matrices.

    Such a product may round otherwise for another number of lanes, as it does on some processors:
    then no plan that makes one is offered.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.full((3,), 0.5)), nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Any:
        return x[:, 3:] * self.weight + x[:, :3].roll(1, 1) * self.bias


class Scales(nn.Module):
    """Scales its inputs; without a product of matrices, as :class:`Rolls`."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((6,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


def test_what_the_table_does_not_hold_may_run_by_vmap() -> None:
    with pytest.raises(InputError, match="it calls roll, which has no form for many lanes"):
        chosen(Rolls, plan="stacked")
    assert chosen(Rolls, plan="vmap").plan == "vmap"


def another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what this process took."""
    monkeypatch.setattr(remembered, "_here", {})


class Fake:
    """A watch that shows times made up."""

    def __init__(self, least: float, *, share: float = 1.0) -> None:
        self.least, self.own, self.wall = least, share, 1.0

    def run(self, steps: int) -> None:
        """Show the same again."""


def showing(
    monkeypatch: pytest.MonkeyPatch, seconds: Mapping[str, float], *, share: float = 1.0
) -> list[str]:
    """Let plans serve and take these seconds; return the list of those that are timed."""
    timed: list[str] = []

    def watch(self: Any, plan: str, size: int) -> Fake:
        timed.append(plan)
        return Fake(seconds.get(plan, 2.0), share=share)

    monkeypatch.setattr(module._Trial, "refusal", lambda self, plan: None)
    monkeypatch.setattr(module._Trial, "_timed", watch)
    return timed


PERCEPTRON = CASES["perceptron"].build


def test_the_plan_is_timed_once_and_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = showing(monkeypatch, {"stacked/4": 1.0})
    first = chosen(PERCEPTRON)
    (row,) = json.loads(plans_file().read_text()).values()
    assert first.plan == row["plan"] == "stacked/4"
    timed.clear()
    another_process(monkeypatch)
    again = chosen(PERCEPTRON)
    assert (again.plan, again.why) == (first.plan, "remembered from an earlier run")
    assert not timed


def test_times_of_a_busy_machine_are_taken_again_and_what_they_chose_is_mended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timed = showing(monkeypatch, {"stacked": 5.0, "stacked/4": 1.0}, share=0.5)
    assert chosen(PERCEPTRON).plan == "stacked/4"
    assert chosen(PERCEPTRON).plan == "stacked/4", "one process stays with one plan"
    for sitting in range(SITTINGS - 1):
        another_process(monkeypatch)
        timed = showing(monkeypatch, {"stacked": 0.5, "stacked/4": 1.5}, share=0.5)
        assert chosen(PERCEPTRON).plan == "stacked", sitting
        assert timed
    another_process(monkeypatch)
    timed.clear()
    assert chosen(PERCEPTRON).plan == "stacked"
    assert not timed, "so often is enough"


def test_a_plan_written_down_without_its_times_is_timed_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    showing(monkeypatch, {"stacked": 1.0})
    chosen(PERCEPTRON)
    (key,) = json.loads(plans_file().read_text())
    plans_file().write_text(json.dumps({key: "stacked/4"}))
    another_process(monkeypatch)
    assert chosen(PERCEPTRON).plan == "stacked"


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": 1}'])
def test_a_damaged_file_of_plans_is_written_anew(text: str) -> None:
    plans_file().parent.mkdir(parents=True)
    plans_file().write_text(text)
    chosen(PERCEPTRON)
    (key,) = [key for key in json.loads(plans_file().read_text()) if key != "a"]
    assert recall(key).finished


@pytest.mark.parametrize(
    "change",
    [{"seconds": 3}, {"seconds": {"loop": "x"}}, {"seconds": {"loop": -1.0}}, {"sittings": None}],
)
def test_a_row_of_times_that_is_not_sound_counts_as_none(change: dict[str, Any]) -> None:
    remembered.remember("k", "loop", Times({"loop": 1.0}, 1, True))
    assert recall("k") == Times({"loop": 1.0}, 1, True)
    rows = json.loads(plans_file().read_text())
    rows["k"] |= change
    plans_file().write_text(json.dumps(rows))
    assert recall("k") == Times()


def test_a_remembered_plan_that_no_longer_serves_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for times in (
        Times({"stacked": 1e-9, "loop": 1.0}, SITTINGS, True),
        Times({"stacked": 1e-9}, 0, False),
    ):
        monkeypatch.setattr(module, "recall", lambda key, times=times: times)
        another_process(monkeypatch)
        assert chosen(lambda: Branches(6, 3)).plan == "loop"


def test_a_faster_plan_wins_only_by_a_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"stacked": 1.0, "loop": 0.9}
    showing(monkeypatch, seconds)
    assert chosen(PERCEPTRON, remembering=False).plan == "stacked"
    seconds["loop"] = 0.8
    assert chosen(PERCEPTRON, remembering=False).plan == "loop"


class Timed:
    """A network whose steps take seconds of a clock made up."""

    def __init__(self, clock: list[float], seconds: list[float]) -> None:
        self._clock, self._seconds = clock, iter(seconds)

    def of(self, size: int) -> Any:
        """Return itself, as networks of any number of slots."""
        return self

    def put(self, slot: int, model: nn.Module) -> None:
        """Take nothing in."""

    def train_step(self, *_: Any) -> LaneMeasurement:
        self._clock[0] += next(self._seconds)
        return LaneMeasurement(torch.zeros(1), None)


def test_a_machine_that_is_busy_for_a_while_changes_no_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr(timing, "step_clock", lambda device: lambda: clock[0])
    monkeypatch.setattr(timing, "ROUNDS", 2)
    monkeypatch.setattr(timing, "STEPS_PER_ROUND", 1)
    subject = subject_of(Scales, vectors(), criterion=CLASSES, precision="float32", device="cpu")
    # Tracing, the first round, then two rounds in turns: the machine is busy all along the first
    # plan's first round and the second plan's last.
    taken = {"one": [9.0, 8.0, 2.0, 2.0], "two": [9.0, 4.0, 4.0, 16.0]}
    watches = {}
    for name, seconds in taken.items():
        watches[name] = Stopwatch(partial(Timed.of, Timed(clock, seconds)), subject, 2)
        watches[name].run(1)
    assert watches["two"].least < watches["one"].least
    take_turns([*watches.values()])
    assert [watches[name].least for name in taken] == [1.0, 2.0]


def test_after_the_longest_time_the_fastest_plan_so_far_is_taken_and_a_line_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(module.MOST_SECONDS, "cpu", -1.0)
    monkeypatch.setattr(
        module._Trial, "refusal", lambda self, plan: "no" if plan == "stacked" else None
    )
    with caplog.at_level(logging.WARNING, "evolute"):
        assert chosen(PERCEPTRON, remembering=False).plan == "stacked/16"
    (line,) = [line for line in caplog.messages if "not tried" in line]
    assert "stacked/4" in line
    assert "stacked/16" not in line


def test_plans_left_untried_are_tried_by_the_next_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(module.MOST_SECONDS, "cpu", -1.0)
    seconds = {"stacked": 1.0, "stacked/16": 3.0, "stacked/4": 0.5}
    timed = showing(monkeypatch, seconds)
    assert chosen(PERCEPTRON).plan == "stacked"
    assert timed == ["stacked"]
    assert chosen(PERCEPTRON).plan == "stacked"
    assert timed == ["stacked"], "one process stays with one plan"
    monkeypatch.setitem(module.MOST_SECONDS, "cpu", 1e9)
    another_process(monkeypatch)
    assert chosen(PERCEPTRON).plan == "stacked/4"
    assert timed == ["stacked", "stacked/16", "stacked/4", "stacked/1", "loop"]
    another_process(monkeypatch)
    timed.clear()
    assert chosen(PERCEPTRON).plan == "stacked/4"
    assert not timed


def test_plans_are_timed_by_the_clock_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    spent = [0.0]  # by this thread
    asked: list[torch.device] = []

    class Counting(StackedNetwork):
        def train_step(self, *args: Any) -> LaneMeasurement:
            spent[0] += 3.0
            return super().train_step(*args)

    def clock(device: torch.device) -> Any:
        asked.append(device)
        return lambda: spent[0]

    monkeypatch.setitem(PLANS, "stacked", Plan(Counting, together=64))
    subject = subject_of(Scales, vectors(), criterion=CLASSES, precision="float32", device="cpu")
    trial = module._Trial(subject, "t", lanes=3)
    monkeypatch.setattr(timing, "step_clock", clock)
    assert trial._timed("stacked", 3).least == 1.0
    assert asked == [torch.device("cpu")]


@pytest.mark.skipif(os.name != "posix", reason="elsewhere the clock of a thread is too coarse")
def test_steps_on_the_cpu_are_timed_by_the_clock_of_the_thread() -> None:
    assert step_clock(torch.device("cpu")) is time.thread_time
    assert step_clock(torch.device("cuda")) is time.perf_counter


def test_what_is_slow_is_tried_one_by_one_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "QUICK_STEP_SECONDS", 0.0)
    monkeypatch.setitem(module.MOST_SECONDS, "cpu", -1.0)
    assert chosen(PERCEPTRON, remembering=False).plan == "loop"


class OddAmongSeven(StackedNetwork):
    """Rounds otherwise among exactly seven lanes."""

    def train_step(self, batches: Any, slots: Any, *more: Any) -> LaneMeasurement:
        found = super().train_step(batches, slots, *more)
        return replace(found, losses=found.losses + (1e-3 if len(slots) == 7 else 0.0))


def test_a_lane_is_tried_among_as_many_as_will_be_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PLANS, "stacked", Plan(OddAmongSeven, together=64))
    assert chosen(Scales, plan="stacked", lanes=6).plan == "stacked"
    with pytest.raises(InputError, match="other bits among 7 lanes"):
        chosen(Scales, plan="stacked", lanes=7)


def test_the_lanes_of_one_pass_are_the_most_among_which_a_lane_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[list[int]] = []
    monkeypatch.setattr(
        serving, "check_company", lambda make, subject, *, most, counts: tried.append(counts)
    )
    monkeypatch.setattr(serving, "COMPANY_SECONDS", 1e9)
    chosen(PERCEPTRON, plan="stacked", lanes=37)
    chosen(PERCEPTRON, plan="stacked/4", lanes=37)
    monkeypatch.setattr(serving, "COMPANY_SECONDS", 0.0)
    chosen(PERCEPTRON, plan="stacked", lanes=37)
    assert tried == [[1, 2, 3, 5, 16, 37], [1, 2, 3, 4], [1, 37]]


def test_slow_networks_are_tried_one_by_one_on_batches_cut_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving, "QUICK_STEP_SECONDS", 0.0)
    monkeypatch.setattr(module, "SLOW_STEP_SECONDS", 0.0)
    seen: list[int] = []

    class Sees(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(len(x))
            return super().forward(x)

    inputs, targets = torch.zeros(40, 6), torch.zeros(40, dtype=torch.int64)
    choice = choose(
        lambda: Sees(6, 3), (inputs, targets), CLASSES, name="t", version="1", remembering=False
    )
    assert choice.plan == "loop"
    assert set(seen) == {EXAMPLES, 40}
    assert seen.count(40) == 2, "a step and its evaluation tell which weights are trained"


class Late(nn.Module):
    """Scales its inputs, and those from the ninth example on by a second weight too.

    Without a product of matrices, as :class:`Rolls`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.late = nn.Parameter(torch.ones(6)), nn.Parameter(torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        scaled = x * self.weight
        if len(x) <= EXAMPLES:
            return scaled
        return torch.cat([scaled[:EXAMPLES], scaled[EXAMPLES:] * self.late])


def late(**named: Any) -> Choice:
    batch = torch.ones(40, 6), torch.zeros(40, dtype=torch.int64)
    return choose(Late, batch, CLASSES, name="t", version="1", remembering=False, **named)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "QUICK_STEP_SECONDS", 0.0)
    monkeypatch.setattr(module, "SLOW_STEP_SECONDS", 0.0)


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("plan", [None, "loop", "vmap"])
def test_what_only_the_examples_cut_off_train_is_trained(plan: str | None) -> None:
    network = late(plan=plan).make(1)
    assert network.names == ("weight", "late")
    network.put(0, Late())
    batch = torch.randn(40, 6), torch.zeros(40, dtype=torch.int64)
    network.train_step([batch], [0], CLASSES, None)
    assert all(bool(gradient.any()) for gradient in network.gradients)


@pytest.mark.usefixtures("slow")
def test_a_plan_that_holds_what_only_the_examples_cut_off_train_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Unseeing(LoopNetwork):
        def _require_held(self, own: Mapping[str, nn.Parameter]) -> None:
            """See no gradient of a weight that is held, as plans that compute none."""

    def holding(*args: Any, without: frozenset[str], **named: Any) -> LoopNetwork:
        return Unseeing(*args, without=without | {"late"}, **named)

    monkeypatch.setitem(PLANS, "loop", Plan(holding, whole_module=True))
    with pytest.raises(InputError, match="its loss differs from the plain module's"):
        late(plan="loop")


def test_a_network_that_counts_its_examples_is_tried_on_whole_batches_and_a_line_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(serving, "QUICK_STEP_SECONDS", 0.0)

    class Counted(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.reshape(40, 6))

    batch = torch.zeros(40, 6), torch.zeros(40, dtype=torch.int64)
    with caplog.at_level(logging.WARNING, "evolute"):
        choice = choose(lambda: Counted(6, 3), batch, CLASSES, name="t", version="1", plan="loop")
    assert choice.plan == "loop"
    (line,) = caplog.messages
    assert "on 8 examples its network fails: RuntimeError: shape" in line


@pytest.mark.usefixtures("slow")
def test_what_fails_on_whole_batches_too_is_hidden_by_nothing() -> None:
    class Hungry(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            raise MemoryError("no more")

    batch = torch.zeros(40, 6), torch.zeros(40, dtype=torch.int64)
    with pytest.raises(MemoryError, match="no more"):
        choose(lambda: Hungry(6, 3), batch, CLASSES, name="t", version="1", plan="loop")


def test_a_task_that_measures_in_its_own_way_runs_in_the_loop_and_is_asked() -> None:
    asked = []

    def measure(model: nn.Module, batch: Any) -> Any:
        asked.append(model)
        return SimpleNamespace(loss=model(batch[0]).square().mean(), metric=None)

    criterion = LaneCriterion(CLASSES.loss, measure=measure)
    choice = chosen(PERCEPTRON, criterion)
    assert choice.plan == "loop"
    network = choice.make(2)
    model = CASES["perceptron"].build()
    network.put(1, model)
    network.train_step([vectors()], [1], criterion)
    assert asked[-1] is model


def test_a_plan_named_that_cannot_serve_is_an_error_that_says_why() -> None:
    with pytest.raises(InputError, match=r"plan 'stacked' cannot serve task 't': it cannot be tr"):
        chosen(lambda: Branches(6, 3), plan="stacked")
    with pytest.raises(UnknownNameError, match="did you mean 'loop'"):
        chosen(lambda: Branches(6, 3), plan="lop")


def test_lazy_weights_are_refused() -> None:
    with pytest.raises(TaskError, match="'weight' is lazy"):
        chosen(lambda: nn.LazyLinear(3))


class Idle(nn.Module):
    """Scales its inputs, without a product of matrices; holds a weight that it does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.idle = nn.Parameter(torch.ones(6)), nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Any:
        return x * self.weight


@pytest.mark.parametrize("plan", ["stacked", "vmap", "loop"])
def test_a_weight_that_gets_no_gradient_is_held_and_not_trained(plan: str) -> None:
    network = chosen(Idle, plan=plan).make(2)
    network.put(0, Idle())
    assert network.names == ("weight",)
    assert "idle" in network.take(0)


def test_a_later_run_that_remembers_a_plan_says_too_why_the_others_are_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    chosen(lambda: Counts(6, 3))
    rows = json.loads(plans_file().read_text())
    for row in rows.values():
        row |= {"sittings": SITTINGS, "finished": True}
    plans_file().write_text(json.dumps(rows))
    monkeypatch.setattr(remembered, "_here", {})
    with caplog.at_level(logging.WARNING, "evolute"):
        assert "remembered" in chosen(lambda: Counts(6, 3)).why
    assert any("plan 'stacked' is not used" in line for line in caplog.messages)


def test_remembered_times_without_reasons_are_read() -> None:
    row = {"plan": "loop", "sittings": 1, "finished": True, "seconds": {"loop": 1.0}}
    plans_file().parent.mkdir(parents=True, exist_ok=True)
    plans_file().write_text(json.dumps({"k": row}))
    assert recall("k") == Times({"loop": 1.0}, 1, finished=True)


class WritesByData(nn.Linear):
    """Scales its inputs behind autograd's back."""

    def forward(self, x: Tensor) -> Any:
        x.data.mul_(0.9)
        return super().forward(x)


class WritesByNumpy(nn.Linear):
    """Scales its inputs by NumPy."""

    def forward(self, x: Tensor) -> Any:
        x.detach().numpy()[...] *= 0.9
        return super().forward(x)


@pytest.mark.parametrize("kind", [WritesByData, WritesByNumpy])
def test_a_module_that_writes_into_its_inputs_is_told_so_and_what_to_do(
    kind: type[nn.Module],
) -> None:
    with pytest.raises(TaskError, match=r"writes into its inputs .*x = x\.clone\(\)"):
        chosen(lambda: kind(6, 3))


def test_inputs_that_hold_nan_are_not_taken_for_written() -> None:
    inputs, targets = vectors()
    subject = subject_of(
        lambda: nn.Linear(6, 3), (inputs.clone().fill_(torch.nan), targets),
        criterion=CLASSES, precision="float32", device="cpu",
    )  # fmt: skip
    assert check.trained_names(subject) == {"weight", "bias"}


def test_a_plan_that_raised_keeps_no_network_alive() -> None:
    made: list[weakref.ref[StackedNetwork]] = []

    class Broken(StackedNetwork):
        def __init__(self, template: nn.Module, size: int, **_: Any) -> None:
            super().__init__(template, size)
            made.append(weakref.ref(self))

        def train_step(self, *_: Any) -> LaneMeasurement:
            raise RuntimeError("it is broken")

    subject = subject_of(
        lambda: nn.Linear(6, 3).train(),
        vectors(),
        criterion=CLASSES,
        precision="float32",
        device=torch.device("cpu"),
    )
    plans = {"stacked": replace(PLANS["stacked"], make=Broken)}
    trial = serving.Serving(subject, "t", plans=plans, lanes=4)
    assert trial.refusal("stacked") == "RuntimeError: it is broken"
    gc.collect()
    assert made
    assert not [each for each in made if each() is not None]


@pytest.mark.parametrize("name", ["check_company", "check_against_plain"])
def test_what_a_check_held_is_free_before_it_is_made_again(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a spare lane for the same bits in any company; on whole batches in place of some."""
    held: list[weakref.ref[nn.Module]] = []
    alive: list[bool] = []

    def failing_first(*_: Any, **__: Any) -> None:
        alive.extend(each() is not None for each in held)
        network = nn.Linear(6, 3)
        held.append(weakref.ref(network))
        if len(held) == 1:
            raise CannotStackError("it is not as it should be")

    monkeypatch.setattr(serving, name, failing_first)
    monkeypatch.setattr(serving, "QUICK_STEP_SECONDS", -1.0)
    many = 4 * EXAMPLES
    batch = torch.randn(many, 6), torch.randint(3, (many,))
    build = partial(nn.Linear, 6, 3)
    choose(build, batch, CLASSES, name="t", version="1", size=4, plan="stacked")
    assert alive == [False]
