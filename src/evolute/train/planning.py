"""Planning: which plan of the lanes serves the network of a task, the same in every process."""

from __future__ import annotations

import contextlib
import gc
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from evolute.errors import InputError
from evolute.lanes.choose import LANES_TIMED, Choice, choose
from evolute.lanes.criterion import LaneCriterion
from evolute.lanes.kinds import Kind
from evolute.lanes.remembered import plans_file
from evolute.lanes.shortage import is_out_of_memory
from evolute.seeds import derive
from evolute.seeds.streams import seeded
from evolute.tasks.base import Split, Task
from evolute.tasks.criteria import LOSSES, METRICS
from evolute.tasks.data import Batch, LoaderData
from evolute.tasks.faults import naming
from evolute.train.environment import fixed_environment
from evolute.train.equipment import AUTO, CPU, Equipment, has_device
from evolute.train.memory import (
    SHARE_OF_FREE,
    free_memory,
    lanes_that_fit,
    memory_in_words,
    why_unlikely,
)
from evolute.train.protocol import Protocol
from evolute.train.sources import Sources
from evolute.train.survey import Survey, survey

_log = logging.getLogger("evolute")

TIMED_BYTES = 2 * 2**30
"""Memory of the lanes with which plans are timed. Not what is free: the plan, and with it the last
bits of every figure, must not depend on the hour."""

TIMED_SHARE = 0.125
"""Of a GPU, the part of its whole memory: several plans are timed at once, some with graphs."""

SECONDS_OF_SHAPES = 5.0
"""How long the batches of a split are gone through for their shapes."""

REFERENCE_SEED = 0
"""Seed of the first of the models, and of the batch, that plans are compared on: so whether a plan
serves a task, or the model of a seed, depends on no trial and is the same in every process."""

PATIENCE_SECONDS = 20.0
"""How long a process waits for others that find plans: one that hangs must not stop them all."""


def lane_criterion(task: Task) -> LaneCriterion:
    """Return how lanes of a task are measured.

    Examples
    --------
    >>> from evolute.tasks.user import load_task
    >>> lane_criterion(load_task("digits")).named_loss
    'cross_entropy'
    """
    loss, metric = task.criteria
    if task.measures_itself:
        return LaneCriterion(task.loss, metric, measure=task.measure)
    return LaneCriterion(
        task.loss,
        metric,
        named_loss=next((name for name, row in LOSSES.items() if row is loss), None),
        named_metric=next((name for name, row in METRICS.items() if row is metric), None),
    )


def first_model(task: Task, seed: int, *, width: int | None) -> nn.Module:
    """Return a new model with the first weights of a seed."""
    with seeded(derive(seed, "weights")):
        return task.model(width)


def models_of(task: Task, seed: int, *, width: int | None) -> Callable[[], nn.Module]:
    """Return what builds new models in training mode: of a seed, then of those that follow it.

    Plans are compared on them, and so are seen to mix up lanes where models differ in more than
    weights and buffers.
    """
    seeds = itertools.count(seed)
    return lambda: first_model(task, next(seeds), width=width).train()


@dataclass(frozen=True, slots=True)
class Ground:
    """What trials of one kind share before the first of them begins.

    Parameters
    ----------
    sources
        Their batches and noise.
    batch
        The first of them.
    survey
        What is known about the network.
    """

    sources: Sources
    batch: Batch
    survey: Survey

    @classmethod
    def of(cls, task: Task, protocol: Protocol, *, model: nn.Module) -> Ground:
        """Look at a task as a protocol trains it.

        Parameters
        ----------
        task, protocol
            What is trained.
        model
            A new model; given away.
        """
        sources = Sources(task, batch_size=protocol.batch_size, augment=protocol.augment)
        batch = next(sources.batches(REFERENCE_SEED))
        splits = _splits(protocol)
        found = survey(task, model, batch=batch, seed=REFERENCE_SEED, splits=splits)
        return cls(sources, batch, found)


def _splits(protocol: Protocol) -> list[Split]:
    """Return what models of a protocol are evaluated on."""
    return sorted({Split.VALIDATION, Split(protocol.split)})


def memory_of(equipment: Equipment) -> int:
    """Return the bytes that one process has for its trainings.

    >>> memory_of(Equipment(memory_bytes=2**30, shared_by=4)) == 2**28
    True
    """
    memory = equipment.memory_bytes or round(SHARE_OF_FREE * free_memory(equipment.device))
    return memory // equipment.shared_by


def most_lanes(equipment: Equipment, bytes_per_lane: int) -> int:
    """Return how many lanes of this size are trained side by side by one process, at most.

    >>> most_lanes(Equipment(memory_bytes=2**30, shared_by=4), 2**24)
    16
    """
    if equipment.lanes is not None:
        return equipment.lanes
    return lanes_that_fit(bytes_per_lane, memory_of(equipment))


def say_if_unlikely(task: Task, equipment: Equipment, *, bytes_per_lane: int) -> None:
    """Say in one line what does not fit about the memory that is given.

    Parameters
    ----------
    task
        The task.
    equipment
        With what it is trained.
    bytes_per_lane
        What one training takes.
    """
    if equipment.memory_bytes is None or equipment.lanes is not None or equipment.chosen:
        return  # it does not count, or was spoken of where plans were chosen
    why = why_unlikely(
        equipment.memory_bytes,
        bytes_per_lane=bytes_per_lane,
        shared_by=equipment.shared_by,
        device=equipment.device,
    )
    if why is not None:
        _log.warning("task %r: %s", task.name, why)


def timed_bytes(device: str) -> int:
    """Return the memory of the lanes with which plans are timed.

    >>> timed_bytes("cpu") == TIMED_BYTES
    True
    """
    if device == CPU:
        return TIMED_BYTES
    _, total = torch.cuda.mem_get_info(device)
    return round(TIMED_SHARE * total)


def kind_of(protocol: Protocol) -> str:
    """Say what decides which plan serves, among all that a protocol says.

    Examples
    --------
    >>> from evolute.train.protocol import PROTOCOLS
    >>> kind_of(PROTOCOLS["quick"].main)
    'width None, batch 64, augment False, float32'
    """
    return (
        f"width {protocol.width}, batch {protocol.batch_size}, augment {protocol.augment}, "
        f"{protocol.precision}"
    )


def choose_plans(task: Task, protocols: Sequence[Protocol], *, equipment: Equipment) -> Equipment:
    """Return equipment that names the plan of each kind of network.

    One process asks before it starts its workers: so they need not wait for one another, and all
    of them, on whatever machine, give the same bits.

    Parameters
    ----------
    task, protocols
        What is going to be trained.
    equipment
        With what; returned as it is if it names a plan itself, or a device that workers may have
        and this process has not.

    Raises
    ------
    TaskError
        If no plan serves, or the user's code raises.
    """
    if equipment.plan != AUTO or not has_device(equipment.device):
        return equipment
    kinds = {kind_of(protocol): protocol for protocol in protocols}
    with fixed_environment(), naming(task.name), memory_in_words(task.name, equipment.device):
        found = {
            kind: _plan_of(task, protocol, equipment=equipment) for kind, protocol in kinds.items()
        }
    chosen = tuple((kind, plan) for kind, plan in found.items() if plan is not None)
    return replace(equipment, chosen=chosen)


def _plan_of(task: Task, protocol: Protocol, *, equipment: Equipment) -> str | None:
    """Return the name of the plan for trials of a protocol; None if it is not chosen by speed."""
    model = first_model(task, REFERENCE_SEED, width=protocol.width).train()
    ground = Ground.of(task, protocol, model=model)
    say_if_unlikely(task, equipment, bytes_per_lane=ground.survey.bytes_needed)
    if ground.survey.why_unchecked is not None:
        return None
    return plan_lanes(task, protocol, ground=ground, equipment=equipment).plan


def plan_lanes(task: Task, protocol: Protocol, *, ground: Ground, equipment: Equipment) -> Choice:
    """Return the plan that serves a network, as asked for or the fastest.

    The first process on a machine that needs it finds it and writes it down; others wait for that,
    so that all of them get the same bits.

    Parameters
    ----------
    task, protocol
        What is trained.
    ground
        What is known of it.
    equipment
        What to train with.

    Raises
    ------
    InputError
        If the plan that is asked for cannot serve the network.
    TaskError
        If no plan can.
    """
    batch, bytes_per_lane = ground.batch, ground.survey.bytes_per_lane
    kinds = other_kinds(task, protocol, batch=batch)
    fitting = max(1, timed_bytes(equipment.device) // max(1, bytes_per_lane))
    size = min(LANES_TIMED, 1 << (fitting.bit_length() - 1))
    lanes = most_lanes(equipment, bytes_per_lane)

    def chosen(plan: str | None, most: int | None = None) -> Choice:
        return choose(
            models_of(
                task, REFERENCE_SEED, width=protocol.width
            ),  # from the first seed at each try
            batch,
            lane_criterion(task),
            name=task.name,
            version=f"{task.version} width {protocol.width}",
            device=equipment.device,
            size=size,
            lanes=lanes,
            most=most,
            plan=plan,
            precision=protocol.precision,
            kinds=kinds,
        )

    in_memory = partial(_in_memory, task=task.name, lanes=max(size, lanes))
    if equipment.plan != AUTO:
        return in_memory(partial(chosen, equipment.plan))
    known = dict(equipment.chosen).get(kind_of(protocol))
    if known is not None:
        try:
            return in_memory(partial(chosen, known))
        except InputError as fault:  # chosen on another machine, where the native core is built
            _log.warning("task %r: another plan is looked for: %s", task.name, fault)
    with _one_at_a_time():
        return in_memory(partial(chosen, None))


def _in_memory(chosen: Callable[[int | None], Choice], *, task: str, lanes: int) -> Choice:
    """Choose among fewer than these lanes, each time half as many, until the memory is enough."""
    most: int | None = None
    while True:
        try:
            return chosen(most)
        except Exception as error:
            if not is_out_of_memory(error) or most == 1:
                raise
        most = max(1, (most or lanes) // 2)
        gc.collect()  # what the error held
        _log.info("task %r: memory ran out as plans were tried: now among %d lanes", task, most)


def other_kinds(task: Task, protocol: Protocol, *, batch: Batch) -> list[Kind]:
    """Return a batch of each shape and mode that a task will use, besides a training batch.

    Shapes are read from the data for :data:`SECONDS_OF_SHAPES` at most in each mode. Later ones
    are compared with the plain module when they come (:mod:`evolute.train.first_use`).

    Parameters
    ----------
    task, protocol
        What is trained.
    batch
        A training batch.
    """
    if task.measures_itself:
        return []
    found: dict[Any, Kind] = {}
    if isinstance(task.training_data, LoaderData):  # others make batches of one shape
        _gather(found, task, Split.TRAIN, training=True)
    for split in _splits(protocol):
        _gather(found, task, split, training=False)
    for training in (True, False):  # tried in any case
        found.pop(Kind(batch, training).key, None)
    return list(found.values())


def _gather(found: dict[Any, Kind], task: Task, split: Split, *, training: bool) -> None:
    """Enter the kinds of the batches of a split."""
    end = time.monotonic() + SECONDS_OF_SHAPES
    with seeded(0):
        for batch in task.in_order(split):
            kind = Kind(batch, training)
            found.setdefault(kind.key, kind)
            if time.monotonic() > end:
                return


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Hold the lock of the remembered plans; where files cannot be locked, do without."""
    try:
        import fcntl  # not there on every system

        path = plans_file().with_suffix(".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("w")
    except (ImportError, OSError):
        yield
        return
    with lock:
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:  # another process is finding a plan
                time.sleep(0.05)
        yield
