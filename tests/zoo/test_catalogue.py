from __future__ import annotations

from typing import Any

import pytest

from evolute import zoo
from evolute.errors import UnknownNameError
from evolute.lang.rule import Rule
from evolute.zoo.entry import EntryKind, read_entry

SGD: dict[str, Any] = {
    "title": "SGD",
    "kind": "hand-made",
    "rule": "none: g",
    "learning_rates": [0.01, 1.0],
    "origin": {"authors": "H. Robbins, S. Monro", "year": 1951, "reference": "A Stochastic…"},
}


def test_an_unknown_name_gives_the_nearest_ones() -> None:
    with pytest.raises(UnknownNameError, match="unknown optimizer of the zoo 'adm': did you mean"):
        zoo.load("adm")


def test_names_of_the_two_kinds_make_up_all_names() -> None:
    hand_made, published = (zoo.names(kind) for kind in EntryKind)
    assert sorted(hand_made + published) == sorted(zoo.names())
    assert published == ("a1", "a2", "a3", "a4", "a5", *(f"opt{index}" for index in range(1, 11)))


def test_the_verdict_compares_with_the_five_hand_made_optimizers() -> None:
    assert sorted(zoo.HAND_MADE) == ["Adam", "AdamW", "Lion", "RMSprop", "SGD with momentum"]
    assert zoo.HAND_MADE["Lion"] == zoo.load("lion").rule


@pytest.mark.parametrize("name", zoo.names())
def test_every_entry_is_called_by_its_file_and_its_rule_reads_back(name: str) -> None:
    entry = zoo.load(name)
    assert entry.name == name
    assert Rule.parse(str(entry.rule)) == entry.rule
    assert entry.origin.authors
    assert entry.origin.reference
    assert 1950 <= entry.origin.year <= 2030


def test_no_two_entries_are_one_rule_or_share_a_title() -> None:
    entries = [zoo.load(name) for name in zoo.names()]
    assert len({entry.rule.canonical() for entry in entries}) == len(entries)
    assert len({entry.title for entry in entries}) == len(entries)


@pytest.mark.parametrize("name", ["opt1", "opt3"])
def test_a_mended_fault_of_the_source_is_noted(name: str) -> None:
    assert any(note.startswith("Mended: ") for note in zoo.load(name).notes)


def test_an_entry_with_an_unknown_or_a_missing_field_is_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        read_entry("sgd", {**SGD, "colour": "red"})
    with pytest.raises(TypeError, match="title"):
        read_entry("sgd", {key: value for key, value in SGD.items() if key != "title"})


@pytest.mark.parametrize("rates", [[0.1, 0.1], [0.0, 1.0], [1.0, 0.1]])
def test_an_entry_without_a_range_of_rates_is_refused(rates: list[float]) -> None:
    with pytest.raises(ValueError, match="no range of learning rates"):
        read_entry("sgd", {**SGD, "learning_rates": rates})
