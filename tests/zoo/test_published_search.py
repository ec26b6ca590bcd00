"""The entries taken from the published search, against its log where that is at hand."""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from evolute import zoo
from evolute.lang.rule import Momentum, Rule
from evolute.train.integrity import check_integrity
from evolute.zoo.entry import EntryKind

LOG = Path(__file__).parents[3] / "shared" / "data" / "published_search.csv"
FOUND = zoo.names(EntryKind.SEARCHED)

Figure = tuple[float, str, float]
"""Validation accuracy to four digits, stage, seconds to one."""


@pytest.fixture(scope="module")
def figures() -> dict[Rule, list[Figure]]:
    """Every figure of every distinct rule of the log, unsigned, best first."""
    if not LOG.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"the published log is missing, {LOG}: CI must read all of it")
        pytest.skip(f"the published log is not here: {LOG}")
    found: dict[Rule, list[Figure]] = defaultdict(list)
    with LOG.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["val_accuracy"]:
                accuracy = round(float(row["val_accuracy"]), 4)
                stage = "initial" if row["stage"] == "initial" else "main"
                rule = unsigned(Rule.from_published(row["expression"]))
                found[rule].append((accuracy, stage, round(float(row["seconds"]), 1)))
    return {rule: sorted(rows, reverse=True) for rule, rows in found.items()}


def unsigned(rule: Rule) -> Rule:
    """The canonical form; the log has no signs."""
    return rule.canonical().with_sign(1)


def textbook(rule: Rule) -> Rule:
    """The rule with the textbook form of Nesterov momentum."""
    if rule.momentum is Momentum.NESTEROV_PUBLISHED:
        return replace(rule, momentum=Momentum.NESTEROV)
    return rule


def test_they_are_the_best_twenty_of_the_log_that_the_zoo_does_not_have(
    figures: dict[Rule, list[Figure]],
) -> None:
    others = {
        unsigned(zoo.load(name).rule)
        for kind in EntryKind
        if kind is not EntryKind.SEARCHED
        for name in zoo.names(kind)
    }
    new = {rule: rows[0][0] for rule, rows in figures.items() if textbook(rule) not in others}
    taken = [unsigned(zoo.load(name).rule) for name in FOUND]
    assert len(set(taken)) == 20
    accuracies = [new.pop(rule) for rule in taken]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[-1] >= max(new.values())


@pytest.mark.parametrize("name", zoo.names())
def test_the_evidence_of_an_entry_stands_in_the_log(
    figures: dict[Rule, list[Figure]], name: str
) -> None:
    entry = zoo.load(name)
    rule = textbook(unsigned(entry.rule))
    logged = [rows[0] for logged, rows in figures.items() if textbook(logged) == rule]
    given = [(each.validation_accuracy, each.stage, each.seconds) for each in entry.evidence]
    assert given == logged


@pytest.mark.parametrize("name", FOUND)
def test_a_found_rule_descends(name: str) -> None:
    verdict = check_integrity(zoo.load(name).rule)
    assert verdict.passed
    assert verdict.sign == 1
