"""On a GPU lanes train as the plain module does, with dropout, by graphs and without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from evolute.lanes.batched import BatchedNetwork
from evolute.lanes.check import exact_convolutions
from evolute.lanes.choose import choose
from evolute.lanes.criterion import LaneCriterion
from evolute.lanes.graphed import GraphedNetwork
from evolute.lanes.plans import plans_on
from evolute.lanes.stacked.network import StackedNetwork
from evolute.seeds.streams import Stream
from evolute.tasks.criteria import accuracy
from evolute.tasks.networks import published_convnet

if not torch.cuda.is_available():
    pytest.skip("no CUDA device; tests/lanes runs these plans on the CPU", allow_module_level=True)

DEVICE = torch.device("cuda")
CRITERION = LaneCriterion(
    functional.cross_entropy, accuracy, named_loss="cross_entropy", named_metric="accuracy"
)
LANES, STEPS = 4, 5


@pytest.fixture(autouse=True)
def in_float32() -> Iterator[None]:
    """No TF32, which one of two kernels for the same convolution may use and the other not."""
    with exact_convolutions(DEVICE):
        yield


def model(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return published_convnet(channels=3, classes=10, width=8)


def batch(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    inputs = torch.randn(16, 3, 16, 16, generator=generator)
    return inputs, torch.randint(10, (16,), generator=generator)


def trained(network: BatchedNetwork, criterion: LaneCriterion = CRITERION) -> list[Tensor]:
    """Losses of all steps, then the weights and buffers; two lanes share a stream."""
    for slot in range(LANES):
        network.put(slot, model(slot))
    streams = [Stream(seed) for seed in (0, 0, 1, 2)]
    losses = []
    for number in range(STEPS):
        measured = network.train_step([batch(number)] * LANES, range(LANES), criterion, streams)
        losses.append(measured.losses.clone())
        for weight, gradient in zip(network.weights, network.gradients, strict=True):
            weight.sub_(gradient, alpha=0.05)
    return [torch.stack(losses), *network.weights, *network.state.held.values()]


def close(found: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("together", [64, 2, 1])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_replayed_graphs_train_a_network_with_dropout_as_passes_do(
    together: int, precision: str
) -> None:
    options: dict[str, Any] = {"device": DEVICE, "together": together, "precision": precision}
    network = GraphedNetwork(model(), LANES, **options)
    found = trained(network)
    assert len(network._graphs) == 1
    if precision == "float32":
        close(found, trained(StackedNetwork(model(), LANES, **options)))
    else:
        assert all(bool(each.isfinite().all()) for each in found)


@pytest.mark.parametrize("plan", [each for each in plans_on(DEVICE) if each != "vmap"])
def test_every_plan_serves_the_published_network(plan: str) -> None:
    choice = choose(
        model, batch(0), CRITERION, name="t", version="1", device=DEVICE, size=LANES, plan=plan
    )
    assert choice.plan == plan


def test_a_plan_is_chosen_for_the_published_network() -> None:
    choice = choose(
        model, batch(0), CRITERION, name="t", version="1", device=DEVICE, size=LANES,
        remembering=False,
    )  # fmt: skip
    assert choice.plan in plans_on(DEVICE)
    assert "graphed" in choice.why


def reads(output: Tensor, target: Tensor) -> Tensor:
    loss = functional.cross_entropy(output, target)
    return loss * (1.0 if loss.item() < 1e9 else 2.0)


def waits(output: Tensor, target: Tensor) -> Tensor:
    torch.cuda.synchronize()  # no rehearsal notices; the capture fails
    return functional.cross_entropy(output, target)


@pytest.mark.parametrize("loss", [reads, waits])
def test_a_loss_that_cannot_be_captured_is_left_without_a_graph_and_trains_all_the_same(
    loss: Callable[[Tensor, Tensor], Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    criterion, stream = LaneCriterion(loss), torch.cuda.current_stream()
    network = GraphedNetwork(model(), LANES, device=DEVICE)
    found = trained(network, criterion)
    assert not network._graphs
    assert len(caplog.records) == 1
    assert torch.cuda.current_stream() == stream
    close(found, trained(StackedNetwork(model(), LANES, device=DEVICE), criterion))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs a second GPU")
def test_graphs_are_made_on_another_gpu_than_the_present_one() -> None:
    found = trained(GraphedNetwork(model(), LANES, device="cuda:1"))
    expected = trained(GraphedNetwork(model(), LANES, device="cuda:0"))
    close([each.cpu() for each in found], [each.cpu() for each in expected])
