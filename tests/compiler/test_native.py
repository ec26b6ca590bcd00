"""Rules on the native core: as the reference to float32 rounding, whatever shares the call."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
import rounding
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from native_core import instruction_sets, require_native, using
from rounding import COEFFICIENT, RATE, SEED, gradients, numbers_at
from strategies import decays, rules, searched_rules
from torch import Tensor

from evolute import zoo
from evolute.compiler.execute import RATE_WHERE_INFINITE, scheduled_rate, uniform_noise
from evolute.compiler.native import JobTable, NativeProgram, lower, status, why_not
from evolute.compiler.program import compile_rule
from evolute.errors import InputError
from evolute.lang.functions import function
from evolute.lang.registry import FUNCTIONS
from evolute.lang.rule import Momentum, Rule

require_native()


def lowered(rule: Rule | str) -> NativeProgram:
    program = compile_rule(rule if isinstance(rule, Rule) else Rule.parse(rule))
    native = lower(program)
    assert native is not None, why_not(program)
    return native


class Lane:
    """One tensor and its states, to be put into rows of tables."""

    def __init__(self, rule: Rule | str, weight: Tensor) -> None:
        self.native = lowered(rule)
        self.weight, self.gradient = weight.clone(), torch.zeros_like(weight)
        self.slots = [torch.zeros_like(weight) for _ in range(self.native.slots)]

    def put(self, table: JobTable, row: int, step: int, gradient: Tensor) -> None:
        program = self.native.program
        self.gradient.copy_(gradient)
        table.set(row, self.native, weight=self.weight, gradient=self.gradient, slots=self.slots)
        rate, values = numbers_at(program, step)
        table.rates[row], table.steps[row] = self.native.sign * rate, step
        table.momenta[row] = COEFFICIENT
        table.set_decays(row, values)
        noise = [uniform_noise(SEED, 0, step, node=n, like=gradient) for n in self.native.noise]
        table.set_noise(row, noise)

    def everything(self) -> list[Tensor]:
        return [self.weight, *self.slots]


def walked(
    rule: Rule | str, weight: Tensor, given: list[Tensor], *, threads: int = 1
) -> list[Tensor]:
    """Weights after each step."""
    lane, path = Lane(rule, weight), []
    for step, gradient in enumerate(given):
        table = JobTable(1)
        lane.put(table, 0, step, gradient)
        table.run(threads=threads)
        path.append(lane.weight.clone())
    return path


def assert_equal_to_rounding(rule: Rule) -> None:
    weight, given = torch.linspace(-2, 2, 37), gradients(37)
    rounding.assert_equal_to_rounding(rule, weight, given, walked(rule, weight, given))


@settings(max_examples=100)
@given(searched_rules() | rules(decays=decays()))
def test_any_rule_moves_as_the_reference_to_float32_rounding(rule: Rule) -> None:
    assert_equal_to_rounding(rule)


@pytest.mark.parametrize("name", zoo.names())
def test_a_rule_of_the_zoo_moves_as_the_reference_to_float32_rounding(name: str) -> None:
    assert_equal_to_rounding(zoo.load(name).rule)


@pytest.mark.parametrize("momentum", Momentum)
@pytest.mark.parametrize("update", ["g", "ema(w, 0.9)", "clip_norm(g)+clip_norm(w*clip_norm(g))"])
def test_the_four_equations_of_momentum_are_those_of_the_reference(
    momentum: Momentum, update: str
) -> None:
    assert_equal_to_rounding(Rule.parse(f"{momentum.value}: -({update})"))


@pytest.mark.parametrize(
    "update",
    [
        # The second walk takes over: a state, an average, what is neither, what is done anew.
        "clip_norm(ema_raw(g, 0.9))*ema_raw(g, 0.9)",
        "clip_norm(v*sqrt(s))+v+sqrt(s)",
        "clip_norm(tanh(g)*w)*tanh(g)+delta(g)",
        "clip_norm(clip_norm(previous(g))+v)+previous(g)*clip_norm(g-w)",
        "quotient(g+accumulate(g, 0.9)+accumulate(g, 0.99), 3)",
        "running_max(v)*(running_max(v)+previous(running_max(v)))",
    ],
)
def test_a_value_that_is_read_again_is_the_same_however_it_was_kept(update: str) -> None:
    assert_equal_to_rounding(Rule.parse(f"nesterov: {update}"))


def test_a_rule_whose_update_is_one_number_moves_every_weight_by_it() -> None:
    assert_equal_to_rounding(Rule.parse("nesterov: exp(0.5)*2"))
    assert_equal_to_rounding(Rule.parse("none: ema(1, 0.9)+dropout(1, 0.5)+clip_norm(2)"))


def test_weight_decay_and_maximize_come_before_the_rule() -> None:
    weight, gradient = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([0.5, 0.25, -1.0])
    native = lowered("none: g*w")
    table = JobTable(1)
    table.set(0, native, weight=weight, gradient=gradient)
    table.rates[0], table.shrinks[0], table.maximize[0] = 0.1, 0.5, 1
    table.run()
    half = torch.tensor([0.5, -1.0, 1.5])
    torch.testing.assert_close(weight, half - 0.1 * (-gradient * half))


def test_the_rate_at_step_0_may_be_that_of_an_infinite_schedule() -> None:
    assert scheduled_rate(RATE, float("inf"), step=0) == RATE_WHERE_INFINITE
    assert_equal_to_rounding(Rule.parse("none: [quotient(1, a12)]*g"))


EVERYTHING = (
    "nesterov: ema(clip_norm(g), 0.9)*tanh(arcsinh(w))+dropout(bessel_i1e(erfc(g)), 0.3)"
    "+abs_pow(softplus(g), sigmoid(previous(w)))-running_max(log(g))+mix(delta(g), arctan(w))"
)


@pytest.mark.parametrize("name", instruction_sets())
def test_a_result_does_not_depend_on_threads_or_company(name: str) -> None:
    for _ in using(name):
        count = 70_001  # large enough for threads, and no whole number of tiles
        weight, given = torch.linspace(-2, 2, count), gradients(count)
        alone = walked(EVERYTHING, weight, given)[-1]
        assert torch.equal(alone, walked(EVERYTHING, weight, given, threads=3)[-1])
        others = [Lane("momentum: exp(g)", torch.ones(at * 7 + 1)) for at in range(40)]
        lane = Lane(EVERYTHING, weight)
        for step, gradient in enumerate(given):
            table = JobTable(len(others) + 1)
            for row, each in enumerate(others):
                each.put(table, row, step, torch.full_like(each.weight, float("nan")))
            lane.put(table, len(others), step, gradient)
            table.run(np.random.default_rng(step).permutation(len(table)), threads=2)
        assert torch.equal(alone, lane.weight)


@pytest.mark.parametrize("name", instruction_sets())
@settings(max_examples=10)
@given(st.lists(st.integers(1, 299), max_size=4))
def test_a_result_does_not_depend_on_where_a_tensor_is_cut(name: str, cuts: list[int]) -> None:
    rule = EVERYTHING.replace("clip_norm(g)", "g").replace("dropout(", "(").replace(", 0.3)", ")")
    for _ in using(name):
        weight, given = torch.linspace(-2, 2, 300), gradients(300)
        whole = walked(rule, weight, given)[-1]
        edges = [0, *sorted(set(cuts)), 300]
        pieces = [
            walked(rule, weight[a:b], [each[a:b] for each in given])[-1]
            for a, b in itertools.pairwise(edges)
        ]
        assert torch.equal(whole, torch.cat(pieces))


@pytest.mark.parametrize("wide", [each for each in instruction_sets() if each == "avx512"])
def test_wide_instruction_sets_agree_to_the_bit(wide: str) -> None:
    first, second = (
        walked(EVERYTHING, torch.linspace(-2, 2, 999), gradients(999))[-1]
        for name in ("avx2", wide)
        for _ in using(name)
    )
    assert torch.equal(first, second)


def test_hostile_values_do_not_reach_their_neighbours() -> None:
    rule = EVERYTHING.replace("clip_norm(g)", "g")
    weight, given = torch.linspace(-2, 2, 512), gradients(512)
    clean = walked(rule, weight, given)[-1]
    for value in (float("nan"), float("inf"), -3e38, 1e-44):
        hostile = [each.clone() for each in given]
        for each in hostile:
            each[100] = value
        dirty = walked(rule, weight, hostile)[-1]
        assert torch.equal(dirty[:100], clean[:100])
        assert torch.equal(dirty[101:], clean[101:])


@pytest.mark.parametrize("name", instruction_sets())
def test_denormal_numbers_are_kept_where_a_thread_flushes_its_own(name: str) -> None:
    denormal, table = torch.tensor([1e-40]), JobTable(1)
    weight, kept = denormal.repeat(300), 2 * denormal
    table.set(0, lowered("none: g*w"), weight=weight, gradient=torch.ones(300))
    table.rates[0] = -1.0
    for _ in using(name):
        flushes = torch.set_flush_denormal(True)
        try:
            table.run()
            still_flushed = denormal * 2
        finally:
            torch.set_flush_denormal(False)
        assert torch.equal(weight, kept.repeat(300))
        assert not flushes or not still_flushed.any()  # the caller's choice is its own again


def test_memory_beside_the_tensor_is_left_alone() -> None:
    room = torch.full((300,), 7.0)
    lane = Lane("momentum: ema(g, 0.9)", torch.zeros(133))
    lane.weight, lane.slots = room[11:144], [torch.zeros(133), torch.zeros(133)]
    table = JobTable(1)
    lane.put(table, 0, 0, torch.ones(133))
    table.run()
    assert (room[:11] == 7).all()
    assert (room[144:] == 7).all()
    assert (lane.weight < 7).all()


def test_a_function_of_the_users_own_is_not_lowered() -> None:
    try:

        @function(latex="{0}", searched=())
        def twice_as_much(x: Tensor) -> Tensor:
            return 2 * x

        program = compile_rule(Rule.parse("none: twice_as_much(g)"))
        assert lower(program) is None
        assert "twice_as_much" in str(why_not(program))
    finally:
        del FUNCTIONS._rows["twice_as_much"]


def test_switched_off_nothing_is_lowered_and_the_reason_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EVOLUTE_NATIVE_ISA", "off")
    program = compile_rule(Rule.parse("none: g"))
    assert lower(program) is None
    assert "switched off" in str(why_not(program))
    assert not status().active


def test_the_same_program_is_lowered_once() -> None:
    assert lowered("none: g*2") is lowered("none: g*2")


GOOD = torch.zeros(4)


@pytest.mark.parametrize(
    "gradient",
    [torch.zeros(4).double(), torch.zeros(5), torch.zeros(8)[::2], torch.zeros(4).half()],
)
def test_tensors_of_another_kind_are_refused(gradient: Tensor) -> None:
    table = JobTable(1)
    with pytest.raises(InputError, match="the gradient is of .* contiguous torch.float32"):
        table.set(0, lowered("none: g"), weight=GOOD, gradient=gradient)


def test_a_table_that_is_not_filled_is_refused() -> None:
    table, native = JobTable(2), lowered("none: dropout(g, 0.5)")
    with pytest.raises(InputError, match="no program"):
        table.run()
    with pytest.raises(InputError, match="0 slots are given: the rule has 1"):
        table.set(0, lowered("none: ema(g, 0.9)"), weight=GOOD, gradient=GOOD)
    table.set(0, native, weight=torch.zeros(4), gradient=GOOD)
    with pytest.raises(InputError, match="row 0 has no noise"):
        table.run([0])
    with pytest.raises(InputError, match="rows 0 to 1"):
        table.run([2])


def test_a_rows_noise_is_that_of_its_random_nodes() -> None:
    table = JobTable(1)
    table.set(0, lowered("none: dropout(g, 0.5)"), weight=torch.zeros(4), gradient=GOOD)
    with pytest.raises(InputError, match="2 noises are given: the rule has 1 random nodes"):
        table.set_noise(0, [torch.rand(4, dtype=torch.float64)] * 2)
    with pytest.raises(InputError, match="the noise is of torch.float32"):
        table.set_noise(0, [torch.rand(4)])


WITHOUT_MEMORY = """
import numpy, resource, torch
from evolute.compiler.native import JobTable, lower
from evolute.compiler.program import compile_rule
from evolute.lang.rule import Rule

def put(table, row, rule, count):
    weight, gradient = torch.zeros(count), torch.full((count,), 2.0)
    native = lower(compile_rule(Rule.parse(rule)))
    slots = [torch.zeros(count) for _ in range(native.slots)]
    table.set(row, native, weight=weight, gradient=gradient, slots=slots)
    table.rates[row] = -native.sign
    return weight, *slots

def moved(*rows):
    return [any(numpy.count_nonzero(each.numpy()) for each in row) for row in rows]

threads, count = THREADS, 1 << 23
table = JobTable(4)
first = put(table, 0, "nesterov: v", 3)
wide = put(table, 1, "momentum: ema(g, 0.9)", 1 << 16)
large = put(table, 2, "none: clip_norm(previous(w) + tanh(g))", count)
last = put(table, 3, "none: clip_norm(v)", 5)
table.run([0, 1], threads=threads)  # whatever helps them is there
for each in (*first, *wide):
    each.zero_()
pages = int(open("/proc/self/statm").read().split()[0])
most = pages * resource.getpagesize() + (4 * count) // 2
before = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
for rows in (None, [0, 3, 2]):
    try:
        table.run(rows, threads=threads)
    except MemoryError as error:
        print(error)
print(moved(first, wide, large, last))
table.run([0, 3], threads=threads)
print(moved(first, wide, large, last))
resource.setrlimit(resource.RLIMIT_AS, before)
table.run([2, 1], threads=threads)
print(moved(first, wide, large, last))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
@pytest.mark.parametrize("threads", [1, 3])
def test_a_step_without_memory_is_an_error_that_leaves_every_tensor_as_it_was(threads: int) -> None:
    source = WITHOUT_MEMORY.replace("THREADS", str(threads))
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "no memory for a step of 4 tensors: none of them has moved",
        "no memory for a step of 3 tensors: none of them has moved",
        "[False, False, False, False]",
        "[True, False, False, True]",
        "[True, True, True, True]",
    ]
