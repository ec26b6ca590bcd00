from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from evolute import zoo
from evolute.errors import InputError, UnknownNameError
from evolute.lang.rule import Momentum, Rule
from evolute.zoo.entry import EntryKind, read_entry

SGD: dict[str, Any] = {
    "title": "SGD",
    "kind": "hand-made",
    "rule": "none: g",
    "learning_rates": [0.01, 1.0],
    "origin": {"authors": "H. Robbins, S. Monro", "year": 1951, "reference": "A Stochastic…"},
}


def unsigned(rule: Rule) -> Rule:
    """The canonical form, with one form of Nesterov momentum and one sign for both."""
    momentum = rule.momentum
    if momentum is Momentum.NESTEROV_PUBLISHED:
        momentum = Momentum.NESTEROV
    return replace(rule.canonical(), momentum=momentum, sign=1)


def test_an_unknown_name_gives_the_nearest_ones() -> None:
    with pytest.raises(UnknownNameError, match="unknown optimizer of the zoo 'adm': did you mean"):
        zoo.load("adm")


def test_names_of_the_kinds_make_up_all_names() -> None:
    hand_made, published, searched = (zoo.names(kind) for kind in EntryKind)
    assert sorted(hand_made + published + searched) == sorted(zoo.names())
    assert published == ("a1", "a2", "a3", "a4", "a5", *(f"opt{index}" for index in range(1, 11)))
    assert searched == tuple(f"found{index:02d}" for index in range(1, 21))
    assert set(hand_made) >= {"sgd", "adam", "adamw", "nadam", "amsgrad", "adabelief", "demon"}


def test_schedules_have_names_of_their_own() -> None:
    assert zoo.schedule_names() == tuple(f"lr{index}" for index in range(1, 10))
    assert not set(zoo.schedule_names()) & set(zoo.names())
    with pytest.raises(UnknownNameError, match="unknown schedule of the zoo 'lr10': did you mean"):
        zoo.schedule("lr10")


def test_the_verdict_compares_with_the_five_hand_made_optimizers() -> None:
    assert sorted(zoo.HAND_MADE) == ["Adam", "AdamW", "Lion", "RMSprop", "SGD with momentum"]
    assert zoo.HAND_MADE["Lion"] == zoo.load("lion").rule


@pytest.mark.parametrize("name", zoo.names())
def test_every_entry_is_called_by_its_file_and_its_rule_reads_back(name: str) -> None:
    entry = zoo.load(name)
    assert entry.name == name
    assert Rule.parse(str(entry.rule)) == entry.rule
    assert entry.rule.canonical().canonical() == entry.rule.canonical()
    assert entry.origin.authors
    assert entry.origin.reference
    assert 1950 <= entry.origin.year <= 2030


def test_no_two_entries_are_one_rule_or_share_a_title() -> None:
    entries = [zoo.load(name) for name in zoo.names()]
    assert len({unsigned(entry.rule) for entry in entries}) == len(entries)
    assert len({entry.title for entry in entries}) == len(entries)


@pytest.mark.parametrize("name", ["opt1", "opt3"])
def test_a_mended_fault_of_the_source_is_noted(name: str) -> None:
    assert any(note.startswith("Mended: ") for note in zoo.load(name).notes)


def test_an_entry_with_an_unknown_or_a_missing_field_is_refused() -> None:
    with pytest.raises(InputError, match="colour"):
        read_entry("sgd", {**SGD, "colour": "red"})
    with pytest.raises(InputError, match="title"):
        read_entry("sgd", {key: value for key, value in SGD.items() if key != "title"})


@pytest.mark.parametrize("rates", [[0.1, 0.1], [0.0, 1.0], [1.0, 0.1]])
def test_an_entry_without_a_range_of_rates_is_refused(rates: list[float]) -> None:
    with pytest.raises(InputError, match="no range of learning rates"):
        read_entry("sgd", {**SGD, "learning_rates": rates})


BUFFERS = {
    "sgd": 0,
    "signsgd": 0,
    "momentum": 1,
    "rmsprop": 1,
    "adagrad": 1,
    "demon": 1,
    "aggmo": 2,
    "adam": 2,
    "lion": 2,
    "opt9": 2,
    "opt10": 1,
    "found01": 1,
    "found15": 1,
    "amsgrad": 4,
}


@pytest.mark.parametrize("name", BUFFERS)
def test_the_number_of_state_buffers_is_that_of_the_equation(name: str) -> None:
    assert len(zoo.load(name).state_buffers) == BUFFERS[name]


@pytest.mark.parametrize("name", zoo.names())
def test_an_optimizer_keeps_the_buffers_that_its_entry_counts(name: str) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = zoo.create(name, [weight], lr=0.001, total_steps=20)
    weight.grad = torch.ones(3)
    optimizer.step()
    kept = {
        key
        for key, value in optimizer.state[weight].items()
        if isinstance(value, torch.Tensor) and key != "step"
    }
    assert kept == set(zoo.load(name).state_buffers)


@pytest.mark.parametrize("name", zoo.names())
def test_twenty_steps_in_the_suggested_range_keep_the_weights_finite(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((4, 3), 5)]
    before = [weight.detach().clone() for weight in weights]
    rate = zoo.load(name).learning_rates[0]
    optimizer = zoo.create(name, weights, lr=rate, total_steps=20)
    for _ in range(20):
        for weight in weights:
            noise = torch.randn(weight.shape, generator=generator)
            weight.grad = 0.1 * (weight.detach() + noise)
        optimizer.step()
    assert all(torch.isfinite(weight).all() for weight in weights)
    assert all((weight != old).any() for weight, old in zip(weights, before, strict=True))


def test_only_clipping_by_norm_keeps_a_rule_from_being_sharded() -> None:
    whole = {name for name in zoo.names() if not zoo.load(name).is_elementwise}
    assert whole == {name for name in zoo.names() if "clip_norm" in str(zoo.load(name).rule)}
    assert whole == {"a5", "found02", "found19"}


def test_only_dropout_makes_a_rule_random() -> None:
    assert [name for name in zoo.names() if not zoo.load(name).is_deterministic] == ["found20"]


@pytest.mark.parametrize("name", zoo.names())
def test_total_steps_is_asked_for_where_a_rule_has_decays(name: str) -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    if zoo.load(name).needs_total_steps:
        with pytest.raises(InputError, match="total_steps is missing"):
            zoo.create(name, [weight], lr=0.1)
    else:
        zoo.create(name, [weight], lr=0.1)


def test_create_hands_its_options_to_the_optimizer() -> None:
    optimizer = zoo.create("momentum", [torch.nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.5)
    assert optimizer.rule == zoo.load("momentum").rule
    (group,) = optimizer.param_groups
    assert (group["lr"], group["momentum"]) == (0.1, 0.5)
    with pytest.raises(UnknownNameError, match="did you mean 'lion'"):
        zoo.create("lionn", [torch.nn.Parameter(torch.ones(2))], lr=0.1)


def test_evidence_reads_as_a_sentence() -> None:
    (figure,) = zoo.load("found01").evidence
    assert str(figure) == (
        "validation accuracy 0.8366 on CIFAR-10, main stage, one seed, 206 s (search log of Morgan "
        "and Hougen 2024)"
    )
