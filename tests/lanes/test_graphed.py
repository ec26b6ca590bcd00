"""A graphed network trains as the stacked one, and captures only what one graph can do again."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lanes.networks import CASES, CLASSES, Case
from torch import Tensor, nn
from torch.nn import functional

from evolute.errors import InputError
from evolute.lanes import choose as choosing
from evolute.lanes.batched import BatchedNetwork, Found, moved_to
from evolute.lanes.check import check_against_plain, exact_convolutions
from evolute.lanes.choose import choose
from evolute.lanes.criterion import LaneCriterion
from evolute.lanes.graphed import (
    MOST_GRAPHS,
    CudaCapture,
    GraphedNetwork,
    Pass,
    as_before,
    rehearse,
)
from evolute.lanes.plans import GRAPHED, PLANS, Plan, plans_on
from evolute.lanes.stacked.network import StackedNetwork
from evolute.lanes.timing import Stopwatch
from evolute.seeds.streams import Stream

CRITERION = LaneCriterion(functional.cross_entropy, named_loss="cross_entropy")
LANES = 4


class FakeGraphs:
    """Does a pass again in place of a replay, and overwrites what it returned before."""

    def __init__(self, *, fault: str | None = None) -> None:
        self.captured, self.replayed, self.fault = 0, 0, fault

    def capture(self, run: Pass) -> Pass:
        if self.fault is not None:
            raise RuntimeError(self.fault)
        self.captured += 1
        held: list[Found] = []

        def replay() -> Found:
            self.replayed += 1
            found = run()
            if not held:
                held.append(found)
                return found
            pairs = zip(held[0].gradients, found.gradients, strict=True)
            for own, new in [(held[0].losses, found.losses), *pairs]:
                own.copy_(new)
            return Found(held[0].losses, found.outputs, held[0].gradients)

        return replay


class Model(nn.Module):
    """Convolution, normalisation, and two masks of dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.pixels, self.channels = nn.Dropout(0.2), nn.Dropout2d(0.5)
        self.last = nn.Linear(4 * 36, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.channels(self.norm(self.convolution(x)).relu())
        result: Tensor = self.last(self.pixels(x.flatten(1)))
        return result


def model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return Model()


def batch(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    return (
        torch.randn(6, 1, 8, 8, generator=generator),
        torch.randint(3, (6,), generator=generator),
    )


class Follower:
    """A network and the streams of its lanes, the first two of which share one."""

    def __init__(self, network: BatchedNetwork) -> None:
        self.network = network
        for slot in range(network.size):
            network.put(slot, model(slot))
        streams = [Stream(seed) for seed in range(network.size)]
        self.streams = [streams[0], *streams[:-1]]

    def step(self, number: int, slots: list[int], *, apart: bool = False) -> list[Tensor]:
        """Losses, gradients and buffers after a step, of which the gradients move the weights."""
        network, shared = self.network, batch(number)
        batches = [batch(number + slot) if apart else shared for slot in slots]
        noise = [self.streams[slot] for slot in slots]
        losses = network.train_step(batches, slots, CRITERION, noise).losses
        for weight, gradient in zip(network.weights, network.gradients, strict=True):
            weight[slots] -= 0.1 * gradient[slots]
        everything = [losses, *network.gradients, *network.weights, *network.state.held.values()]
        return [each.clone() for each in everything]


def graphed(graphs: FakeGraphs, *, size: int = LANES, together: int = 64) -> Follower:
    return Follower(GraphedNetwork(model(), size, capture=graphs.capture, together=together))


def stacked(*, size: int = LANES, together: int = 64) -> Follower:
    return Follower(StackedNetwork(model(), size, together=together))


def require_same(found: list[Tensor], expected: list[Tensor]) -> None:
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("together", [1, 2, 64])
def test_replays_train_a_network_with_dropout_as_the_stacked_plan_does_to_the_bit(
    together: int,
) -> None:
    graphs = FakeGraphs()
    network, plain = graphed(graphs, together=together), stacked(together=together)
    for number in range(6):
        require_same(network.step(number, [0, 1, 2, 3]), plain.step(number, [0, 1, 2, 3]))
    passes = -(-LANES // together)
    assert (graphs.captured, graphs.replayed) == (1, 6 * passes - 1)


class Counted(Stream):
    """A stream that counts how often it is drawn from."""

    times = 0

    @contextmanager
    def active(self) -> Iterator[None]:
        self.times += 1
        with super().active():
            yield


def test_lanes_of_one_stream_draw_their_masks_once_in_a_step() -> None:
    network, plain, stream = graphed(FakeGraphs(), together=1), stacked(together=1), Counted(0)
    for number in range(4):
        network.streams = [stream] * LANES
        plain.streams = [plain.streams[0]] * LANES
        before = stream.times
        require_same(network.step(number, [0, 1, 2, 3]), plain.step(number, [0, 1, 2, 3]))
        if number:
            assert stream.times - before == 2, "one for each layer that draws"


def test_lanes_with_batches_of_their_own_are_another_kind_of_pass() -> None:
    graphs = FakeGraphs()
    network, plain = graphed(graphs), stacked()
    for number in range(6):
        for apart in (False, True):
            slots = [0, 1, 2, 3]
            require_same(
                network.step(number, slots, apart=apart), plain.step(number, slots, apart=apart)
            )
    assert (graphs.captured, graphs.replayed) == (2, 10)


def test_one_graph_serves_as_many_lanes_in_whatever_slots() -> None:
    graphs = FakeGraphs()
    network, plain = graphed(graphs, size=6), stacked(size=6)
    for number, slots in enumerate([[0, 1, 2], [3, 4, 5], [5, 0, 2], [1, 3, 4], [0, 2, 4]]):
        require_same(network.step(number, slots), plain.step(number, slots))
    assert (graphs.captured, graphs.replayed) == (1, 4)


def test_slots_that_take_no_part_stay_as_they_are() -> None:
    network = graphed(FakeGraphs())
    for number in range(2):
        network.step(number, [0, 1, 2, 3])
    before = [each[3].clone() for each in network.network.gradients]
    for number in range(3):
        network.step(number, [0, 1, 2])
    require_same([each[3] for each in network.network.gradients], before)


def test_other_numbers_of_lanes_and_other_sizes_are_captured_anew() -> None:
    graphs = FakeGraphs()
    network = graphed(graphs)
    for number in range(3):
        network.step(number, [0, 1, 2, 3])
        network.step(number, [1, 2])
    assert graphs.captured == 2
    network.network.resize(LANES, keep=[0, 1, 2, 3])
    for number in range(2):
        network.step(number, [0, 1, 2, 3])
    assert graphs.captured == 3


def test_no_more_graphs_are_kept_than_memory_is_meant_for_and_those_used_last() -> None:
    graphs = FakeGraphs()
    network = graphed(graphs, size=12)
    for count in range(2, 12):
        for number in range(2):
            network.step(number, list(range(count)))
            network.step(number, [0, 1])
    assert isinstance(network.network, GraphedNetwork)
    assert len(network.network._graphs) == MOST_GRAPHS
    assert graphs.captured == 10, "that of two lanes was in use all the time"


def test_what_cannot_be_captured_goes_on_without_graphs_and_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    network, plain = graphed(FakeGraphs(fault="operation not permitted")), stacked()
    with caplog.at_level(logging.WARNING, "evolute"):
        for number in range(4):
            require_same(network.step(number, [0, 1, 2, 3]), plain.step(number, [0, 1, 2, 3]))
    assert [record.getMessage() for record in caplog.records] == [
        "plan 'graphed' goes on without CUDA graphs, as a pass could not be captured: "
        "operation not permitted"
    ]


def test_the_generators_are_left_as_they_were() -> None:
    network, before = graphed(FakeGraphs()), torch.random.get_rng_state()
    for number in range(3):
        network.step(number, [0, 1, 2, 3])
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_a_step_off_the_cpu_mixes_no_devices_and_reads_nothing_back(name: str, apart: bool) -> None:
    # On the device "meta" tensors hold no numbers: what reads one raises, as a capture would.
    case, graphs = CASES[name], FakeGraphs()
    network = GraphedNetwork(case.build(), LANES, device="meta", capture=graphs.capture)
    inputs, targets = case.batch
    for _ in range(3):
        own = [(inputs.clone(), targets.clone()) for _ in range(LANES)]
        batches = own if apart else [case.batch] * LANES
        found = network.train_step(batches, range(LANES), case.criterion, None)
        assert found.losses.device.type == "meta"
        assert found.metrics is not None
    assert graphs.replayed == 2


def test_graphs_are_offered_on_a_gpu_alone() -> None:
    assert list(plans_on(torch.device("cuda:1"))) == [*GRAPHED, *PLANS]
    assert list(plans_on(torch.device("cpu"))) == [*PLANS]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGraphs:
    """The CPU as a GPU: plans with graphs are offered, and what they capture is counted."""
    graphs = FakeGraphs()

    def make(*args: Any, **named: Any) -> GraphedNetwork:
        return GraphedNetwork(*args, capture=lambda run: graphs.capture(run), **named)

    row = Plan(make, together=64, replays=True)
    monkeypatch.setattr(choosing, "plans_on", lambda device: {"graphed": row, **PLANS})
    monkeypatch.setattr(choosing, "SECONDS_PER_PLAN", 0.0)
    return graphs


def chosen(plan: str | None = None) -> choosing.Choice:
    return choose(
        model, batch(0), CLASSES, name="t", version="1", size=LANES, plan=plan, remembering=False
    )


def test_a_plan_with_graphs_is_checked_and_timed_on_replays(
    gpu: FakeGraphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[str] = []
    run = Stopwatch.run

    def watched(self: Stopwatch, steps: int, **named: Any) -> None:
        before = gpu.replayed
        run(self, steps, **named)
        timed.append("replayed" if gpu.replayed > before else "run")

    monkeypatch.setattr(Stopwatch, "run", watched)
    assert "graphed" in chosen().why
    assert timed[0] == "replayed"


def test_a_graph_that_does_the_same_pass_for_ever_is_refused(gpu: FakeGraphs) -> None:
    assert chosen("graphed").plan == "graphed"

    def stale(run: Pass) -> Pass:
        found = run()
        return lambda: found

    gpu.capture = stale  # type: ignore[method-assign]
    with pytest.raises(InputError, match="differs from the plain module's at step"):
        chosen("graphed")


def test_convolutions_of_a_gpu_are_compared_in_float32() -> None:
    allowed = torch.backends.cudnn.allow_tf32
    for device, inside in (("cpu", allowed), ("cuda", False)):
        with exact_convolutions(torch.device(device)):
            assert torch.backends.cudnn.allow_tf32 is inside
        assert torch.backends.cudnn.allow_tf32 is allowed


def test_a_check_without_a_step_more_sees_no_replay_of_other_contents() -> None:
    replays: list[int] = []
    for again in (False, True):
        graphs, subject = FakeGraphs(), Case(model, batch(0), CLASSES).subject()
        make = partial(GraphedNetwork, model(), capture=graphs.capture)
        check_against_plain(make, subject, replays=again)
        replays.append(graphs.replayed)
    assert replays == [1, 2]


def test_a_failed_capture_leaves_stream_and_generator_usable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    present = ["default"]

    @contextmanager
    def stream(one: str) -> Iterator[None]:
        before = present[-1]
        present.append(one)
        try:
            yield
        finally:
            present.append(before)

    class Capturing:
        """A generator that draws no more, of which a copy does."""

        state = "capturing"

        def clone_state(self) -> Any:
            return SimpleNamespace(state="at rest")

        def graphsafe_set_state(self, other: Any) -> None:
            self.state = other.state

    own = Capturing()
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: present[-1])
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "default_generators", (own,))
    with as_before():
        pass
    assert own.state == "capturing", "nothing is mended that has not failed"

    def fail() -> None:
        present.append("aside")  # as a capture that fails leaves it
        raise RuntimeError("operation not permitted")

    with pytest.raises(RuntimeError, match="not permitted"), as_before():
        fail()
    assert (own.state, present[-1]) == ("at rest", "default")


class FakeCuda:
    """What a capture asks of torch.cuda, written down."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[str] = []
        self.pools: list[object] = []
        self.mode = 0
        cuda = self

        class Stream:
            def wait_stream(self, other: object) -> None:
                cuda.said.append("wait")

        class Graph:
            def pool(self) -> object:
                return "shared"

            def replay(self) -> None:
                cuda.said.append("replay")

        default, aside = Stream(), Stream()
        fakes = {
            "device": lambda device: self.inside(f"on {device}"),
            "current_stream": lambda: default,
            "Stream": lambda: aside,
            "stream": lambda one: self.inside("aside" if one is aside else "default"),
            "CUDAGraph": Graph,
            "graph": self.capture,
            "get_sync_debug_mode": lambda: self.mode,
            "set_sync_debug_mode": self.set_mode,
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)

    @contextmanager
    def inside(self, what: str) -> Iterator[None]:
        self.said.append(what)
        yield

    @contextmanager
    def capture(self, graph: object, *, pool: object, stream: object) -> Iterator[None]:
        self.pools.append(pool)
        self.said.append("capture")
        yield

    def set_mode(self, mode: Any) -> None:
        warnings.warn("a prototype feature", stacklevel=1)
        self.mode = mode

    def run(self) -> Found:
        self.said.append(f"pass, waiting is {self.mode or 'allowed'}")
        return Found(torch.zeros(1), None, [])


def test_a_pass_is_rehearsed_on_the_stream_of_its_capture_where_it_may_not_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = FakeCuda(monkeypatch)
    replay = CudaCapture(torch.device("cuda:1"))(cuda.run)
    assert cuda.said == [
        *("on cuda:1", "default"),
        *("wait", "aside", "pass, waiting is error", "wait"),
        *("capture", "pass, waiting is allowed"),
    ]
    replay()
    assert cuda.said[-1] == "replay"


def test_what_a_rehearsal_has_begun_is_waited_for_though_it_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = FakeCuda(monkeypatch)

    def fail() -> Found:
        raise RuntimeError("called a synchronizing CUDA operation")

    with pytest.raises(RuntimeError, match="synchronizing"):
        rehearse(fail, torch.cuda.Stream())
    assert cuda.said == ["wait", "aside", "wait"]
    assert cuda.mode == 0


def test_graphs_share_memory_while_one_of_them_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(monkeypatch)
    capture = CudaCapture(torch.device("cuda"))
    first = capture(cuda.run)
    second = capture(cuda.run)
    del first, second
    capture(cuda.run)
    assert cuda.pools == [None, "shared", None]


class Travelling:
    """A tensor that says how it is moved."""

    def __init__(self, device: str) -> None:
        self.device, self.said = torch.device(device), [device]

    def pin_memory(self) -> Travelling:
        self.said.append("pinned")
        return self

    def to(self, device: torch.device, **how: Any) -> Travelling:
        self.said += [str(device), *how]
        return self


@pytest.mark.parametrize(
    ("begin", "end", "way"),
    [
        ("cpu", "cuda:1", ["cpu", "pinned", "cuda:1", "non_blocking"]),
        ("cuda", "cuda", ["cuda", "cuda"]),
        ("cpu", "cpu", ["cpu", "cpu"]),
    ],
)
def test_batches_travel_to_a_gpu_without_waiting(begin: str, end: str, way: list[str]) -> None:
    given: Any = Travelling(begin)
    moved: Any = moved_to(torch.device(end), given)
    assert moved.said == way
