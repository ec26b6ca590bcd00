"""Sources: the batches and the noise of a seed, the same for every lane that trains on it.

Common random numbers: the batch of a seed at a step, and the noise that its model draws there, are
functions of the seed and the step alone, whoever asks and in whatever order.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import nullcontext

from evolute.seeds import derive, torch_generator
from evolute.seeds.streams import Stream, seeded
from evolute.tasks.base import Task
from evolute.tasks.data import Batch, TensorData
from evolute.train.survey import tensors_of

REMEMBERED_BYTES = 256 * 2**20
"""Batches that are kept for lanes that come to them later: all 200 of the quick preset's training
take 3 MB, but 170 of 128 colour images of 32×32 pixels are as much as this."""


class Sources:
    """The batches of all seeds, remembered from the first step on while there is room.

    Parameters
    ----------
    task
        Where batches come from.
    batch_size, augment
        As the protocol says.
    budget_bytes
        How much is remembered.
    """

    def __init__(
        self,
        task: Task,
        *,
        batch_size: int,
        augment: bool,
        budget_bytes: int = REMEMBERED_BYTES,
    ) -> None:
        self._task, self._batch_size, self._augment = task, batch_size, augment
        self._left = self._budget = budget_bytes
        self._seeds: OrderedDict[int, _Seed] = OrderedDict()

    def cohort(self, seed: int) -> Cohort:
        """Return the batches and the noise of a seed from their beginning."""
        if seed not in self._seeds:
            self._seeds[seed] = _Seed(self, seed)
        self._seeds.move_to_end(seed)
        return Cohort(self._seeds[seed])

    def forget(self) -> None:
        """Forget all batches, as when memory ran out; they are made again for those who come."""
        self._seeds.clear()
        self._left = self._budget

    def batches(self, seed: int) -> Iterator[Batch]:
        """Yield the batches of a seed from the first."""
        batches = self._task.batches(
            torch_generator(seed, "batches"), self._batch_size, augment=self._augment
        )
        may_draw = self._augment or _may_draw(self._task)
        step = 0
        while True:
            # What is a user's may draw from the global generators in place of ours. To seed them
            # takes as long as two lanes of a small perceptron, so it is spared where nothing does.
            with seeded(derive(seed, "batch noise", step)) if may_draw else nullcontext():
                batch = next(batches)
            yield batch
            step += 1

    def make_room(self, size: int, *, besides: int) -> bool:
        """Take bytes from the budget, forgetting seeds long unused; False if it is spent."""
        for seed in [seed for seed in self._seeds if seed != besides]:
            if self._left >= size:
                break
            if not self._seeds[seed].in_use:
                self._left += self._seeds.pop(seed).size
        if self._left < size:
            return False
        self._left -= size
        return True


def _may_draw(task: Task) -> bool:
    """Whether a user's own code makes the batches of a task, rows of tensors apart."""
    return type(task).batches is not Task.batches or type(task.training_data) is not TensorData


class _Seed:
    """The batches of one seed."""

    def __init__(self, sources: Sources, seed: int) -> None:
        self.seed, self._sources = seed, sources
        self.remembered: list[Batch] = []
        self.size = 0
        self.in_use = 0
        self.noise: Stream | None = None  # at its beginning, which copies of it have in common
        self._full = False
        self._frontier: Iterator[Batch] | None = None
        """Yields the batch after those remembered, while no cohort has it."""

    def iterator_at(self, step: int) -> Iterator[Batch]:
        """Return what yields the batches from this step on."""
        frontier, self._frontier = self._frontier, None
        if frontier is not None and step == len(self.remembered):
            return frontier
        fresh = self._sources.batches(self.seed)
        for _ in range(step):
            next(fresh)
        return fresh

    def remember(self, step: int, batch: Batch) -> None:
        """Keep the batch of a step, if it is the next one and there is room."""
        if self._full or step != len(self.remembered):
            return
        size = sum(each.numel() * each.element_size() for each in tensors_of(batch))
        self._full = not self._sources.make_room(size, besides=self.seed)
        if not self._full:
            self.remembered.append(batch)
            self.size += size

    def give_back(self, iterator: Iterator[Batch], step: int) -> None:
        """Keep an iterator that stands behind the last batch remembered."""
        if step == len(self.remembered):
            self._frontier = iterator


class Cohort:
    """Lanes of one seed that are at one step: they share batch and noise.

    Parameters
    ----------
    seed
        The batches of their seed.
    """

    def __init__(self, seed: _Seed) -> None:
        self._seed = seed
        self._step = 0
        self._own: Iterator[Batch] | None = None
        self._noise: Stream | None = None
        self.lanes = 0
        seed.in_use += 1

    @property
    def noise(self) -> Stream:
        """What the models of these lanes draw from."""
        if self._noise is None:
            self._noise = self.own_noise()
        return self._noise

    def own_noise(self) -> Stream:
        """Return what one model of this seed draws from, if no other draws from the same."""
        if self._seed.noise is None:
            self._seed.noise = Stream(derive(self._seed.seed, "model noise"))
        return copy.copy(self._seed.noise)

    def next_batch(self) -> Batch:
        """Return the batch of the next step."""
        step, self._step = self._step, self._step + 1
        if step < len(self._seed.remembered):
            return self._seed.remembered[step]
        if self._own is None:
            self._own = self._seed.iterator_at(step)
        batch = next(self._own)
        self._seed.remember(step, batch)
        return batch

    def close(self) -> None:
        """Say that no lane is left."""
        self._seed.in_use -= 1
        if self._own is not None:
            self._seed.give_back(self._own, self._step)
