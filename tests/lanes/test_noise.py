"""What lanes draw on a GPU follows from their own streams, as what they draw on the CPU does."""

from __future__ import annotations

import pytest
import torch
from lanes.networks import CLASSES, Case, vectors
from torch import Tensor, nn

from evolute.lanes import noise as module
from evolute.lanes.check import check_against_plain
from evolute.lanes.noise import Draws, replayed, same_draws, seeded_device
from evolute.lanes.plans import PLANS
from evolute.seeds.streams import Stream

GPU = torch.device("cuda:0")


class DropsTwice(nn.Module):
    """A network of which the second mask goes on where the first ended."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.dropout = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(self.first(x).relu())
        result: Tensor = self.last(self.dropout(self.second(x).relu()))
        return result


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> torch.Generator:
    """The generator of a pretended GPU."""
    own = torch.Generator().manual_seed(99)
    monkeypatch.setattr(module, "generator_of", lambda device: own)
    return own


def drawn(generator: torch.Generator, seeds: list[int], *, passes: int = 1) -> list[Tensor]:
    """Two draws of a step of lanes with these seeds, in the last of so many passes."""
    streams = {seed: Stream(seed) for seed in seeds}
    noise = replayed([streams[seed] for seed in seeds], GPU)
    assert noise is not None
    found: list[Tensor] = []
    for _ in range(passes):
        for stream in noise:
            stream.again()
        draws = Draws(noise, len(seeds))
        found = [draws.draw(lambda: torch.rand(3, generator=generator))[0] for _ in range(2)]
    return found


def test_draws_of_a_gpu_follow_from_the_streams_alone(generator: torch.Generator) -> None:
    one, two = drawn(generator, [1, 2, 1])
    torch.rand(7, generator=generator)
    assert all(map(torch.equal, drawn(generator, [1, 2, 1]), (one, two)))
    assert torch.equal(one[0], one[2])
    assert not torch.equal(one[0], one[1])
    assert not torch.equal(one[0], two[0]), "a step goes on from draw to draw"


def test_every_pass_of_a_step_draws_the_same_on_a_gpu(generator: torch.Generator) -> None:
    once, again = drawn(generator, [1, 2]), drawn(generator, [1, 2], passes=3)
    assert all(map(torch.equal, once, again))


def test_another_step_draws_something_else_on_a_gpu(generator: torch.Generator) -> None:
    stream, found = Stream(0), []
    for _ in range(2):
        with stream.active(), seeded_device(GPU):
            found.append(torch.rand(3, generator=generator))
    assert not torch.equal(*found)


def test_lanes_of_one_stream_that_run_in_turns_draw_the_same_on_a_gpu(
    generator: torch.Generator,
) -> None:
    found = []
    with same_draws(Stream(0), GPU) as back:
        for _ in range(2):
            back()
            found.append(torch.rand(3, generator=generator))
    assert torch.equal(*found)


def test_the_generator_of_a_gpu_is_put_back(generator: torch.Generator) -> None:
    before = generator.get_state()
    drawn(generator, [1, 2])
    with same_draws(None, GPU):
        torch.rand(3, generator=generator)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("plan", ["stacked", "stacked/1", "loop"])
def test_every_plan_draws_on_a_gpu_what_the_plain_module_would(
    plan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The CPU as a GPU: dropout draws from its generator, which must begin at the lane's seed.
    monkeypatch.setattr(module, "generator_of", lambda device: torch.default_generator)
    subject = Case(DropsTwice, vectors(), CLASSES).subject()
    check_against_plain(
        lambda size: PLANS[plan].make(subject.models[0], size, device="cpu"), subject
    )
