"""Launches are done one by one once, then as one graph, or not at all as a graph."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from evolute.compiler import triton_lanes
from evolute.compiler.program import compile_rule
from evolute.compiler.triton_graph import GraphedLaunch, Launch, on_device
from evolute.compiler.triton_lanes import TritonLanes
from evolute.compiler.triton_tables import LaneNumbers
from evolute.lang.rule import Rule


class FakeGraphs:
    """Counts launches by the way in which they were done."""

    def __init__(self, *, fault: str | None = None) -> None:
        self.launched, self.captured, self.replayed, self.fault = 0, 0, 0, fault

    def launch(self) -> None:
        self.launched += 1

    def capture(self, launch: Launch) -> Launch:
        if self.fault is not None:
            raise RuntimeError(self.fault)
        self.captured += 1
        return self.replay

    def replay(self) -> None:
        self.replayed += 1

    def counts(self) -> tuple[int, int, int]:
        return self.launched, self.captured, self.replayed


def test_the_first_launch_compiles_and_all_others_are_replays_of_one_graph() -> None:
    graphs = FakeGraphs()
    graphed = GraphedLaunch(graphs.capture)
    for done in [(1, 0, 0), (1, 1, 1), (1, 1, 2)]:
        graphed.run("key", graphs.launch)
        assert graphs.counts() == done


def test_other_tables_are_captured_anew() -> None:
    graphs = FakeGraphs()
    graphed = GraphedLaunch(graphs.capture)
    for key, done in [("a", (1, 0, 0)), ("a", (1, 1, 1)), ("b", (2, 1, 1)), ("b", (2, 2, 2))]:
        graphed.run(key, graphs.launch)
        assert graphs.counts() == done


def test_what_cannot_be_captured_is_launched_one_by_one_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    graphs = FakeGraphs(fault="operation not permitted when stream is capturing")
    graphed = GraphedLaunch(graphs.capture)
    with caplog.at_level(logging.WARNING, "evolute"):
        for _ in range(4):
            graphed.run("key", graphs.launch)
    assert graphs.counts() == (4, 0, 0)
    assert [record.getMessage() for record in caplog.records] == [
        "the steps of rules are launched one by one, as they could not be captured in a CUDA "
        "graph: operation not permitted when stream is capturing"
    ]


def test_without_graphs_every_step_launches() -> None:
    graphs = FakeGraphs()
    graphed = GraphedLaunch(None)
    for _ in range(3):
        graphed.run("key", graphs.launch)
    assert graphs.counts() == (3, 0, 0)


def test_a_step_is_launched_on_the_device_of_its_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    present: list[torch.device] = []
    seen: list[list[torch.device]] = []

    @contextmanager
    def entered(device: torch.device) -> Iterator[None]:
        present.append(device)
        yield
        present.pop()

    monkeypatch.setattr(triton_lanes, "on_device", entered)
    monkeypatch.setattr(TritonLanes, "_launch", lambda self: seen.append([*present]))
    lanes = TritonLanes([torch.zeros(1, 3)], [torch.ones(1, 3)])
    lane = lanes.lane(compile_rule(Rule.parse("g")))
    assert lane is not None
    lanes.put(0, lane)
    lanes.step([LaneNumbers(0, 0.5, 0.9, 0)])
    assert seen == [[torch.device("cpu")]]


def test_a_gpu_is_the_present_one_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[torch.device] = []

    @contextmanager
    def device(one: torch.device) -> Iterator[None]:
        entered.append(one)
        yield

    monkeypatch.setattr(torch.cuda, "device", device)
    with on_device(torch.device("cuda:1")), on_device(torch.device("cpu")):
        assert entered == [torch.device("cuda:1")]
