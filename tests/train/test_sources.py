"""The batch of a seed at a step is the same whoever asks for it, remembered or not."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from train.small_task import make

from evolute.seeds import torch_generator
from evolute.tasks.data import Batch
from evolute.train.sources import Sources

STEPS = 12
BATCH_BYTES = 8 * 4 * 4 + 8 * 8


def expected(seed: int) -> list[Batch]:
    batches: Iterator[Batch] = make().batches(torch_generator(seed, "batches"), 8)
    return list(itertools.islice(batches, STEPS))


def equal(first: Batch, second: Batch) -> bool:
    return torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])


@pytest.mark.parametrize("remembered", [0, 1, 3, 100])
def test_cohorts_at_different_steps_see_the_batches_of_their_seed(remembered: int) -> None:
    sources = Sources(make(), batch_size=8, augment=False, budget_bytes=remembered * BATCH_BYTES)
    plan = {seed: expected(seed) for seed in (0, 1)}
    cohorts = [(seed, sources.cohort(seed), iter(plan[seed])) for seed in (0, 1, 0, 1, 0)]
    shuffler = random.Random(0)
    for position in [at for at in range(5) for _ in range(4)] + [0, 1, 4] * (STEPS - 4):
        which = shuffler.choice(range(position + 1))
        _, cohort, rest = cohorts[which]
        if (batch := next(rest, None)) is not None:
            assert equal(cohort.next_batch(), batch)
    for _, cohort, _ in cohorts:
        cohort.close()
    again = sources.cohort(0)
    assert all(equal(again.next_batch(), batch) for batch in plan[0])


def test_a_batch_that_is_remembered_is_one_object_for_all_lanes() -> None:
    sources = Sources(make(), batch_size=8, augment=False)
    first, second = sources.cohort(0), sources.cohort(0)
    for _ in range(STEPS):
        assert first.next_batch()[0] is second.next_batch()[0]


def test_the_batches_of_a_seed_long_unused_make_room_for_another_s() -> None:
    sources = Sources(make(), batch_size=8, augment=False, budget_bytes=2 * BATCH_BYTES)
    old = sources.cohort(0)
    for _ in range(2):
        old.next_batch()
    old.close()
    first, second = sources.cohort(1), sources.cohort(1)
    assert first.next_batch()[0] is second.next_batch()[0]


def test_an_augmentation_that_draws_from_the_global_generator_depends_on_its_step_alone() -> None:
    def noisy(inputs: Tensor, generator: torch.Generator) -> Tensor:
        return inputs + torch.rand(())

    sources = Sources(make(augment=noisy), batch_size=8, augment=True, budget_bytes=0)
    first = sources.cohort(0)
    seen = [first.next_batch() for _ in range(3)]
    torch.rand(17)
    second = sources.cohort(0)
    assert all(equal(second.next_batch(), batch) for batch in seen)


@pytest.mark.parametrize("augment", [False, True])
def test_generators_are_seeded_where_a_user_s_code_makes_batches_and_there_alone(
    monkeypatch: pytest.MonkeyPatch, augment: bool
) -> None:
    seeds: list[int] = []

    @contextlib.contextmanager
    def noted(seed: int) -> Iterator[None]:
        seeds.append(seed)
        yield

    monkeypatch.setattr("evolute.train.sources.seeded", noted)
    rows = Sources(make(), batch_size=8, augment=augment)
    list(itertools.islice(rows.batches(0), STEPS))
    assert len(seeds) == STEPS * augment
    inputs, targets = torch.randn(24, 4), torch.zeros(24, dtype=torch.int64)
    dataset = torch.utils.data.Subset(torch.utils.data.TensorDataset(inputs, targets), range(24))
    own = Sources(make(train=dataset), batch_size=8, augment=False)
    list(itertools.islice(own.batches(0), STEPS))
    assert len(seeds) == STEPS * (1 + augment)
