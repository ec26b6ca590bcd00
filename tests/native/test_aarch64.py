"""The rule machine on AArch64, run by an emulator: the same bounds, and the bits of AVX2."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from emulated import Emulated, started
from native_core import instruction_sets, require_native, using
from native_truth import ROOTS, SAME_AS_TORCH, SPECIAL, TRUTH, Doubles, Floats, all_floats, ulps

from evolute import zoo
from evolute.compiler.native import BOUNDS, JOB, JobTable, counts_of, instructions_of, lower
from evolute.compiler.program import compile_rule
from evolute.lang.curve import curve
from evolute.lang.registry import FUNCTIONS
from evolute.lang.rule import Rule

require_native()
STEPS = 3


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulated]:
    yield from started(tmp_path_factory.mktemp("aarch64"), "evolute_native")


class Lane:
    """A rule in the other machine's memory, with its weight, gradient and states."""

    def __init__(self, core: Emulated, rule: Rule, weight: Floats, slots: Sequence[Floats]) -> None:
        program = compile_rule(rule)
        rows, noise = instructions_of(program)
        self._core, self.program = core, program
        made = core.call(
            "evolute_create",
            [
                core.place(np.frombuffer(bytes(rows), np.uint8)),
                len(rows),
                core.place(np.array(program.constants)),
                *counts_of(program, noise),
                0,
                0,
            ],
        )
        assert made
        self._count = len(weight)
        self._job = np.zeros(1, JOB)
        self._job["program"], self._job["count"] = made, len(weight)
        self.weight, self.slots = core.place(weight), [core.place(each) for each in slots]
        self._job["weight"] = self.weight
        self._job["slots"] = core.place(np.array(self.slots, np.int64))
        self._job["momentum"], self._job["shrink"] = 0.9, 1.0

    def step(
        self,
        gradient: Floats,
        *,
        step: int = 0,
        rate: float = -1.0,
        decays: Sequence[float] = (),
        noise: Doubles | None = None,
    ) -> Floats:
        """Return the weight after a step."""
        self._job["gradient"] = self._core.place(gradient)
        self._job["decays"] = self._core.place(np.array(decays, np.float64))
        self._job["step"], self._job["rate"] = step, self.program.sign * rate
        if noise is not None:
            self._job["noise"] = self._core.place(np.array([self._core.place(noise)]))
        self._core.call("evolute_run", [self._core.place(self._job), 0, 1, 1])
        return self._core.fetch(self.weight, self._count)


def value_of(
    core: Emulated, update: str, x: Floats, *, slots: Sequence[Floats] = (), **options: Any
) -> Floats:
    """The update of a rule at gradients x: a weight of 0 makes a step with rate −1."""
    lane = Lane(core, Rule.parse(f"none: {update}"), np.zeros_like(x), slots)
    return lane.step(x, **options)


@pytest.mark.parametrize("name", sorted(TRUTH))
def test_an_approximated_function_keeps_its_bound(core: Emulated, name: str) -> None:
    x = all_floats()
    with np.errstate(all="ignore"):
        exact = TRUTH[name](x.astype(float))
    assert ulps(value_of(core, f"{name}(g)", x), exact).max() <= BOUNDS[name]


@pytest.mark.parametrize("name", SAME_AS_TORCH)
def test_a_function_of_basic_arithmetic_is_that_of_torch(core: Emulated, name: str) -> None:
    row, x = FUNCTIONS[name], all_floats(mantissas=4)
    y = np.random.default_rng(1).permutation(x)
    with np.errstate(all="ignore"):
        if row.arity == 1:
            found = value_of(core, f"{name}(g)", x)
            expected = row.compute(torch.from_numpy(x))
        else:
            found = value_of(core, f"{name}(g, previous(g))", x, slots=[y])
            expected = row.compute(torch.from_numpy(x), torch.from_numpy(y))
        assert isinstance(expected, torch.Tensor)
        values = ROOTS[name](x, y) if name in ROOTS else expected.numpy()
    np.testing.assert_array_equal(found, values)


def test_a_power_keeps_its_bound_and_is_exact_at_its_special_values(core: Emulated) -> None:
    random = np.random.default_rng(2)
    x = np.concatenate([all_floats(), np.repeat(SPECIAL, len(SPECIAL))])
    y = random.uniform(-3, 3, len(x)).astype(np.float32)
    y[-(len(SPECIAL) ** 2) :] = np.tile(SPECIAL, len(SPECIAL))
    with np.errstate(all="ignore"):
        exact = np.abs(x.astype(float)) ** y.astype(float)
    found = value_of(core, "abs_pow(g, previous(g))", x, slots=[y])
    assert ulps(found, exact).max() <= BOUNDS["abs_pow"]


def test_dropout_keeps_its_bound_and_the_numbers_above_its_rate(core: Emulated) -> None:
    random = np.random.default_rng(3)
    x, noise = random.normal(size=1000).astype(np.float32), random.uniform(size=1000)
    exact = np.where(noise >= 0.3, x.astype(float) / 0.7, 0.0)
    found = value_of(core, "dropout(g, 0.3)", x, noise=noise)
    assert ulps(found, exact).max() <= BOUNDS["dropout"]


def test_every_rule_of_the_zoo_has_the_bits_of_avx2(core: Emulated) -> None:
    if "avx2" not in instruction_sets():
        pytest.skip("needs a machine with AVX2 to compare with")
    for _ in using("avx2"):
        for name in zoo.names():
            rule = zoo.load(name).rule
            if not compile_rule(rule).is_random:
                follow(core, rule)


def follow(core: Emulated, rule: Rule) -> None:
    """Make steps here and there, and compare all weights."""
    native = lower(compile_rule(rule))
    assert native is not None
    random = np.random.default_rng(4)
    weight = random.normal(size=777).astype(np.float32)
    slots = [np.zeros_like(weight) for _ in range(native.slots)]
    lane = Lane(core, rule, weight, slots)
    here, gradient = torch.from_numpy(weight.copy()), torch.zeros(777)
    table = JobTable(1)
    states = [torch.from_numpy(each) for each in slots]
    table.set(0, native, weight=here, gradient=gradient, slots=states)
    for step in range(STEPS):
        drawn = random.normal(size=777).astype(np.float32)
        gradient.copy_(torch.from_numpy(drawn))
        decays = [float(curve(each, STEPS)[step]) for each in native.program.decays]
        table.set_decays(0, decays)
        table.rates[:], table.steps[:] = native.sign * 0.05, step
        table.run()
        there = lane.step(drawn, step=step, rate=0.05, decays=decays)
        np.testing.assert_array_equal(there, here.numpy(), err_msg=str(rule))


def test_a_step_computes_as_ever_whatever_the_calling_thread_has_chosen(core: Emulated) -> None:
    flushing, towards_zero = 1 << 24, 3 << 22  # of its register FPCR
    chosen = np.array([flushing | towards_zero, 0], np.uint32)
    before, after = core.place(np.zeros(2, np.uint32)), core.place(np.zeros(2, np.uint32))
    x = np.concatenate([all_floats(mantissas=4), np.full(5, 1e-40, np.float32)])
    expected = value_of(core, "g*w+quotient(g, g*g+3)", x)
    core.call("fegetenv", [before])
    core.call("fesetenv", [core.place(chosen)])
    try:
        found = value_of(core, "g*w+quotient(g, g*g+3)", x)
        core.call("fegetenv", [after])
    finally:
        core.call("fesetenv", [before])
    np.testing.assert_array_equal(found, expected)
    assert core.fetch(after, 1).view(np.uint32) == chosen[0]
