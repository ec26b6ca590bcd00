"""Trials trained by replayed graphs are those of the passes that were captured, to the bit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from lanes.test_graphed import FakeGraphs
from torch import nn
from train.small_task import PROBED, make, untimed

from evolute.lanes.base import LaneNetwork
from evolute.lanes.graphed import GraphedNetwork
from evolute.lanes.stacked.network import StackedNetwork
from evolute.lang.rule import Rule
from evolute.train.environment import fixed_environment
from evolute.train.equipment import Equipment
from evolute.train.population import Population
from evolute.trial import Trial

RULES = ("g", "v/sqrt(s)", "momentum: sign(g)", "1e9*g", "nesterov: [a1]*tanh(g)")


def trained(network: Callable[[nn.Module, int], LaneNetwork]) -> list[Trial]:
    """Trials of several rules and seeds, of which lanes diverge, end and begin at any step."""
    population = Population(make(), Equipment(lanes=5), make_network=network)
    for ticket in range(2 * len(RULES)):
        rule = Rule.parse(RULES[ticket % len(RULES)])
        population.add(ticket, rule, PROBED, seed=ticket // 4)
    with fixed_environment():
        ended = dict(population.run())
    return [untimed(ended[ticket]) for ticket in sorted(ended)]


@pytest.mark.parametrize("together", [1, 2, 64])
def test_a_population_with_dropout_goes_the_same_way_by_replays(together: int) -> None:
    graphs = FakeGraphs()
    graphed = partial(GraphedNetwork, capture=graphs.capture, together=together)
    assert trained(graphed) == trained(partial(StackedNetwork, together=together))
    assert graphs.replayed > 2 * graphs.captured > 0
