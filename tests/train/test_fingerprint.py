"""Fingerprints: what does the same to a task is found, whatever it is dressed in."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from strategies import searched_rules
from torch import Tensor, nn

from evolute.compiler.execute import execute, uniform_noise
from evolute.compiler.program import compile_rule
from evolute.errors import TaskError
from evolute.lang.curve import curve
from evolute.lang.rule import Momentum, Rule
from evolute.tasks.base import Task
from evolute.train.fingerprint import (
    COMPARED,
    Fingerprint,
    Recording,
    fingerprint,
    record,
)
from evolute.train.fingerprint_index import FingerprintIndex


def line_task(*, width: int = 5, loss: object = "mse") -> Task:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(200, 3, generator=generator)
    targets = inputs @ torch.tensor([[1.0], [-2.0], [0.5]])
    data = (inputs, targets)

    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Dropout(0.1), nn.Linear(width, 1))

    return Task(name="line", model=model, loss=loss, train=data, validation=data, test=data)  # type: ignore[arg-type]


def drawn(*, gradient_size: float = 1e-2, lengths: tuple[int, ...] = (40, 7)) -> Recording:
    """Weights of size 0.1 and gradients of the size given, of two tensors at four steps."""
    generator = torch.Generator().manual_seed(0)

    def some(size: float) -> tuple[tuple[Tensor, ...], ...]:
        return tuple(
            tuple(
                size * torch.randn(length, generator=generator, dtype=torch.float64)
                for length in lengths
            )
            for _ in range(4)
        )

    return Recording(some(0.1), some(gradient_size))


RECORDING = drawn()


def found(one: str, other: str, recording: Recording = RECORDING) -> bool:
    """Say whether the second rule is found to be the first."""
    index = FingerprintIndex()
    index.add("one", fingerprint(Rule.parse(one), recording))
    return index.find(fingerprint(Rule.parse(other), recording)) == "one"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("none: g", "none: g + 1e-09*w"),
        ("none: qh_g", "none: qh_g + softsign(clip(1e-06*w, w1e_6 - qh_g2))"),
        ("momentum: g", "momentum: g + g3*g3"),
        ("none: g", "none: max0(g) + min0(g)"),
        ("none: sign_g", "none: -(w1e_6*g2 - sign(g))"),
        ("none: [a3]*g", "none: [1-a4]*g"),
        ("none: dropout(g, 0.5)", "none: dropout(g, 0.5) + 1e-09*w"),
    ],
)
def test_rules_that_do_the_same_are_found(one: str, other: str) -> None:
    assert found(one, other)
    assert found(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("none: g", "none: 2*g"),
        ("none: g", "none: -g"),
        ("none: g", "none: [a3]*g"),
        ("none: [a1]*g", "none: [a3]*g"),
        ("none: g + v", "none: g + [a1]*v"),
        ("none: g", "momentum: g"),
        ("nesterov: g", "nesterov_published: g"),
        ("none: g", "none: v"),
        ("none: g", "none: g + 0.001*w"),
        ("none: clip_norm(100*g)", "none: 100*g"),
        ("none: dropout(g, 0.5)", "none: dropout(g, 0.3)"),
        ("none: g", "none: 1.01*g"),
    ],
)
def test_rules_that_do_something_else_are_not_found(one: str, other: str) -> None:
    assert not found(one, other)
    assert not found(other, one)


def test_the_size_of_real_gradients_decides() -> None:
    assert found("none: g", "none: tanh(g)", drawn(gradient_size=1e-2))
    assert not found("none: g", "none: tanh(g)", drawn(gradient_size=1.0))


def test_one_tensor_that_differs_is_enough() -> None:
    last = RECORDING.gradients[-1]
    changed = replace(
        RECORDING, gradients=(*RECORDING.gradients[:-1], (last[0], last[1] * (1 + 3e-3)))
    )
    index = FingerprintIndex()
    rule = Rule.parse("none: g")
    index.add("one", fingerprint(rule, RECORDING))
    assert index.find(fingerprint(rule, changed)) is None
    assert index.find(fingerprint(rule, RECORDING)) == "one"


def test_tolerance_is_relative_to_the_larger_norm() -> None:
    recording = drawn(gradient_size=1e-100)  # squares of these are zero in float32
    rules = [fingerprint(Rule.parse(f"none: {size}*g"), recording) for size in (1, 1.0009, 1.0011)]
    index = FingerprintIndex(tolerance=1e-3)
    index.add("one", rules[0])
    assert [index.find(each) for each in rules] == ["one", "one", None]
    strict = FingerprintIndex(tolerance=1e-4)
    strict.add("one", rules[0])
    assert strict.find(rules[1]) is None


@pytest.mark.parametrize("update", ["quotient(g, 0)", "quotient(0, 0)*g", "exp(exp(9+g))*g"])
def test_a_fingerprint_that_is_not_finite_matches_none(update: str) -> None:
    rule = Rule.parse(f"none: {update}")
    print_ = fingerprint(rule, RECORDING)
    assert not print_.is_finite
    index = FingerprintIndex()
    index.add("one", print_)
    assert index.find(print_) is None


def test_updates_too_small_to_tell_apart_are_equal() -> None:
    assert found("none: g", "none: 2*g", drawn(gradient_size=1e-250))


def test_the_first_one_added_is_found_among_many() -> None:
    """Twins of one rule beside many others of equal norms: signs of other permutations."""
    generator = torch.Generator().manual_seed(0)
    sizes = (16, 16)
    momentum = Rule.parse("none: g").momentum
    prints = [
        Fingerprint(
            momentum,
            torch.randn(32, generator=generator, dtype=torch.float64).sign().numpy(),
            sizes,
        )
        for _ in range(1_000)
    ]
    index = FingerprintIndex()
    for number, each in enumerate(prints):
        assert index.find(each) is None
        index.add(str(number), each)
    for number in (0, 63, 64, 999):
        assert index.find(prints[number]) == str(number)
        index.add("later", prints[number])
        assert index.find(prints[number]) == str(number)


def test_fingerprints_of_two_recordings_do_not_meet() -> None:
    rule = Rule.parse("none: g")
    shorter = Recording(RECORDING.weights[:2], RECORDING.gradients[:2])
    index = FingerprintIndex()
    index.add("one", fingerprint(rule, RECORDING))
    assert index.find(fingerprint(rule, shorter)) is None


@settings(max_examples=60)
@given(searched_rules())
def test_the_canonical_form_has_the_same_fingerprint(rule: Rule) -> None:
    plain, canonical = (fingerprint(each, RECORDING) for each in (rule, rule.canonical()))
    if plain.is_finite:
        index = FingerprintIndex()
        index.add("plain", plain)
        # Noise follows the text of its node, which the canonical form may change.
        assert index.find(canonical) == "plain" or "dropout" in str(rule)


def test_a_recording_is_a_function_of_task_and_seed() -> None:
    torch.manual_seed(1)
    first = record(line_task(), 0)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again = record(line_task(), 0)
    other = record(line_task(), 1)
    assert torch.equal(before, torch.get_rng_state())
    for one, same, different in zip(first.gradients, again.gradients, other.gradients, strict=True):
        assert all(map(torch.equal, one, same))
        assert not any(map(torch.equal, one, different))


def test_a_recording_holds_what_training_meets() -> None:
    recording = record(line_task(), 0)
    assert [len(step) for step in recording.weights] == [4] * 8
    assert [len(each) for each in recording.weights[0]] == [15, 5, 5, 1]
    assert {each.dtype for step in recording.gradients for each in step} == {torch.float64}
    first, last = recording.gradients[0], recording.gradients[-1]
    assert all(math.isfinite(float(each.norm())) and each.norm() > 0 for each in first)
    assert not any(map(torch.equal, first, last))
    assert not any(map(torch.equal, recording.weights[0], recording.weights[-1]))


def test_large_tensors_are_sampled() -> None:
    recording = record(line_task(width=2_000), 0)
    assert [len(each) for each in recording.weights[0]] == [4_096, 2_000, 2_000, 1]
    print_ = fingerprint(Rule.parse("none: g"), recording)
    assert print_.sizes == (128, 128, 128, 1) * 8
    assert len(print_.values) == sum(print_.sizes)


def test_weights_and_gradients_are_of_the_same_entries() -> None:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        return output.square().mean() * 0 + sum(
            weight.square().sum() / 2 for weight in model.parameters()
        )

    model = nn.Linear(90, 60)
    data = (torch.zeros(8, 90), torch.zeros(8, 60))
    task = Task(
        name="half square", model=lambda: model, loss=loss, train=data, validation=data, test=data
    )
    task.model = lambda width=None: model  # type: ignore[method-assign]
    recording = record(task, 0)
    for weights, gradients in zip(recording.weights, recording.gradients, strict=True):
        for weight, gradient in zip(weights, gradients, strict=True):
            torch.testing.assert_close(weight, gradient)


def test_frozen_parameters_are_not_recorded() -> None:
    inner = line_task()

    def model() -> nn.Module:
        made = inner.model()
        next(made.parameters()).requires_grad_(False)
        return made

    data = (torch.ones(4, 3), torch.ones(4, 1))
    task = Task(name="frozen", model=model, loss="mse", train=data, validation=data, test=data)
    assert [len(each) for each in record(task, 0).weights[0]] == [5, 5, 1]


def test_a_task_that_raises_is_a_task_error() -> None:
    def broken(output: Tensor, target: Tensor) -> Tensor:
        raise ZeroDivisionError("no loss today")

    with pytest.raises(TaskError, match="no loss today"):
        record(line_task(loss=broken), 0)


def test_what_was_loaded_is_found_as_what_was_added() -> None:
    generator = torch.Generator().manual_seed(1)
    sizes, momentum = (5, 7, 3), Rule.parse("none: g").momentum
    scales = 10.0 ** torch.arange(-200, 100, dtype=torch.float64)[torch.randperm(300)]
    prints = {
        str(at): Fingerprint(
            momentum,
            (torch.randn(15, generator=generator, dtype=torch.float64) * scale).numpy(),
            sizes,
        )
        for at, scale in enumerate(scales)
    }
    added = FingerprintIndex()
    for name, each in prints.items():
        added.add(name, each)
    ((_, _, names, sketches),) = added.rows()
    recalled: list[str] = []

    def recall(name: str) -> Fingerprint:
        recalled.append(name)
        return prints[name]

    loaded = FingerprintIndex(recall=recall)
    loaded.load(momentum, sizes, names=names, sketches=sketches)
    for each in prints.values():
        for factor in (1.0, 1.0009, -1.0, 1.002):
            wanted = Fingerprint(momentum, each.values * factor, sizes)
            assert added.find(wanted) == loaded.find(wanted)
    assert len(recalled) <= len(prints)
    loaded.add("later", prints["0"])
    assert loaded.rows()[0][2][-1] == "later"
    assert np.array_equal(loaded.rows()[0][3][:, :-1], sketches)


def test_sketches_that_do_not_fit_their_names_are_refused() -> None:
    with pytest.raises(ValueError, match="sketches of shape"):
        FingerprintIndex().load(Momentum.NONE, (3,), names=["a"], sketches=np.zeros((2, 2)))


@pytest.mark.parametrize(
    "text",
    [
        "none: [a1]*(v/(sqrt(s)+1e-08)) + delta(w)",
        "momentum: dropout(g, 0.5) + sign(w)",
        "none: clip_norm(g) + ema(w, 0.9)",
        "none: clip_norm(dropout(g, 0.5))",
    ],
)
def test_a_fingerprint_is_that_of_each_tensor_alone(text: str) -> None:
    recording = drawn(lengths=(3 * COMPARED, 7))
    rule, steps = Rule.parse(text), range(len(recording.weights))
    program = compile_rule(rule)
    decays = [curve(decay, len(steps)).tolist() for decay in program.decays]
    whole = program.schedule
    factors = [1.0] * len(steps) if whole is None else curve(whole, len(steps)).tolist()
    parts: dict[tuple[int, int], Tensor] = {}
    for index, like in enumerate(recording.weights[0]):
        state = [torch.zeros_like(like) for _ in program.state_slots]
        for step in steps:

            def noise(node: str, index: int = index, step: int = step) -> Tensor:
                like = recording.weights[step][index]
                return uniform_noise(0, index, step, node=node, like=like)

            update = execute(
                program,
                recording.weights[step][index],
                gradient=recording.gradients[step][index],
                state=state,
                step=step,
                decays=[values[step] for values in decays],
                uniform=noise,
            )
            parts[step, index] = rule.sign * factors[step] * update.expand_as(like)[:COMPARED]
    wanted = torch.cat([parts[key] for key in sorted(parts)])
    found = fingerprint(rule, recording)
    assert torch.allclose(torch.from_numpy(found.values), wanted, rtol=1e-12, atol=0)
    assert found.sizes == tuple(len(parts[key]) for key in sorted(parts))
