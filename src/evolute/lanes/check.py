"""The check of a plan: its lanes against the plain module, and one lane in any company.

Two steps are compared, the second on other inputs and after an update of the weights, so that what
a trace has frozen (a value, a branch, a counter) is seen: losses, gradients and buffers of training
mode, and the loss of evaluation mode.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from evolute.errors import TaskError
from evolute.lanes.base import Batch, CannotStackError, LaneNetwork
from evolute.lanes.criterion import LaneCriterion
from evolute.lanes.noise import seeded_device
from evolute.seeds import torch_generator
from evolute.seeds.streams import Stream

TOLERANCES = {"float32": 2e-3, "bf16": 1e-1}
"""Largest distance from the plain module, as a share of the norm. Rounding stays far below; a wrong
graph is of order 1."""

ROUNDING = 1.5
"""Under autocast a gradient may also be so many times as far from the gradient in float32 as the
plain module's own under autocast is: in deep networks the rounding of bfloat16 alone moves some by
more than TOLERANCES allow."""

RATE = 0.01
"""Step length of the update between the two steps."""

COMPANIES = (1, 2, 3, 5, 16)
"""Numbers of lanes among which one lane must have the same bits."""

SPREAD = 0.01
"""Standard deviation by which the weights of the models of the check differ."""

APART = 3
"""Among so many lanes, all but the last are given other batches."""

MakeNetwork = Callable[[int], LaneNetwork]


@dataclass(frozen=True, slots=True)
class Subject:
    """What plans are tried on.

    Parameters
    ----------
    models
        Three plain models whose weights differ.
    batches
        Two batches of one shape, or more.
    criterion
        Loss and metric.
    precision
        ``"float32"`` or ``"bf16"``.
    device
        Where.
    """

    models: tuple[nn.Module, ...]
    batches: tuple[Batch, ...]
    criterion: LaneCriterion
    precision: str
    device: torch.device


def subject_of(
    build: Callable[[], nn.Module],
    batch: Batch,
    *,
    criterion: LaneCriterion,
    precision: str,
    device: torch.device | str,
) -> Subject:
    """Return what plans are tried on: models of different weights, two batches.

    Parameters
    ----------
    build
        Returns a new plain model, best of another seed each time: what a model draws beside its
        weights and buffers then differs among those that are compared.
    batch
        A training batch.
    criterion
        Loss and metric.
    precision
        ``"float32"`` or ``"bf16"``.
    device
        Where.

    Raises
    ------
    TaskError
        If the network has lazy weights.
    """
    models = tuple(build() for _ in range(3))
    for lane, model in enumerate(models):
        generator = torch_generator(lane, "lane check")
        for name, weight in model.named_parameters():
            if is_lazy(weight):
                raise TaskError(
                    f"the weight {name!r} is lazy, its shape unknown until a first batch: let "
                    "model= run its network on a batch before it returns it, or give the sizes"
                )
            if lane and weight.is_floating_point():
                noise = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
                weight.data.add_(noise.to(weight.device), alpha=SPREAD)
    inputs, targets = batch
    turned = inputs.flip(0) if isinstance(inputs, Tensor) and inputs.ndim else inputs
    batches = batch, (turned, targets)
    return Subject(models, batches, criterion, precision, torch.device(device))


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one lane did: loss and gradients of each step, buffers at the end, evaluation loss."""

    losses: list[Tensor]
    gradients: list[dict[str, Tensor]]
    buffers: dict[str, Tensor]
    evaluation: float


def trained_names(subject: Subject) -> frozenset[str]:
    """Return the weights that get a gradient from the first step of the plain module."""
    return frozenset(_plain(subject, 0).gradients[0])


@contextmanager
def exact_convolutions(device: torch.device) -> Iterator[None]:
    """Let convolutions on a GPU compute in float32.

    By torch's default they round what they multiply to ten bits (TF32) where the library they call
    has a kernel for that, which may be so for one of two plans: by more than TOLERANCES allow.
    """
    if device.type != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn
    with cudnn.flags(
        enabled=cudnn.enabled,
        benchmark=cudnn.benchmark,
        deterministic=cudnn.deterministic,
        allow_tf32=False,
    ):
        yield


def check_against_plain(make: MakeNetwork, subject: Subject, *, replays: bool = False) -> None:
    """Compare each of three lanes with its plain module.

    Parameters
    ----------
    make, subject
        What is tried.
    replays
        Whether to make a step more, on the first batch again: what the second has captured is
        replayed there.

    Raises
    ------
    CannotStackError
        Saying what differs.
    """
    if replays:
        subject = replace(subject, batches=(*subject.batches, subject.batches[0]))
    with exact_convolutions(subject.device):
        seen = _lanes(make, subject, lanes=[0, 1, 2])
        exact = replace(subject, precision="float32")
        for lane, found in enumerate(seen):
            plain = _plain(subject, lane)
            unrounded = plain if subject.precision == "float32" else _plain(exact, lane)
            _compare(plain, found, unrounded=unrounded, tolerance=TOLERANCES[subject.precision])


def check_company(
    make: MakeNetwork, subject: Subject, *, most: int, counts: Iterable[int] = COMPANIES
) -> None:
    """Compare the bits of one lane among several numbers of lanes, slots and batches.

    Parameters
    ----------
    make, subject
        What is tried.
    most
        The largest number of lanes.
    counts
        The numbers of lanes; ``most`` in place of larger ones.

    Raises
    ------
    CannotStackError
        If they differ.
    """
    first: dict[int, _Seen] = {}
    for count in sorted({min(company, most) for company in counts}):
        lanes = [(place + 1) % 3 for place in range(count)]
        lanes[-1] = 0
        seen = _lanes(make, subject, lanes=lanes, apart=count == APART)
        # The lanes that were given another batch than they get elsewhere are no witnesses.
        witnesses = [-1] if count == APART else range(count)
        for place in witnesses:
            found = seen[place]
            if not _identical(first.setdefault(lanes[place], found), found):
                raise CannotStackError(f"a lane has other bits among {count} lanes than alone")


def _plain(subject: Subject, lane: int) -> _Seen:
    """Return what the plain module does."""
    model = copy.deepcopy(subject.models[lane]).to(subject.device)
    model.train()
    parameters = dict(model.named_parameters())
    noise = Stream(lane)
    losses: list[Tensor] = []
    gradients: list[dict[str, Tensor]] = []
    for batch in subject.batches:
        model.zero_grad(set_to_none=True)
        with _unwritten(batch), noise.active(), seeded_device(subject.device):
            loss = _loss(subject, model, batch)
            loss.backward()
        losses.append(loss.detach())
        found = {name: each.grad for name, each in parameters.items() if each.grad is not None}
        gradients.append({name: gradient.clone() for name, gradient in found.items()})
        with torch.no_grad():
            for name, gradient in found.items():
                parameters[name].sub_(gradient, alpha=RATE)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.eval()
    with torch.no_grad(), Stream(0).active(), seeded_device(subject.device):
        evaluation = _loss(subject, model, subject.batches[0]).item()
    return _Seen(losses, gradients, buffers, evaluation)


@contextmanager
def _unwritten(batch: Batch) -> Iterator[None]:
    """Refuse code that writes into a batch, of which a comparison gives each plan the same."""
    dense = [each for each in batch if isinstance(each, Tensor) and each.layout is torch.strided]
    kept = [each.detach().clone() for each in dense]
    yield
    for part, own in zip(dense, kept, strict=True):
        changed = part != own
        if part.is_floating_point():
            changed &= ~(part.isnan() & own.isnan())
        if bool(changed.any()):
            raise TaskError(
                "its network writes into its inputs (through .data or .numpy(), say), which are "
                "those of every lane and epoch: let forward work on a copy, x = x.clone()"
            )


def _loss(subject: Subject, model: nn.Module, batch: Batch) -> Tensor:
    inputs, targets = (
        part.to(subject.device) if isinstance(part, Tensor) else part for part in batch
    )
    bf16 = subject.precision == "bf16"
    with torch.autocast(subject.device.type, dtype=torch.bfloat16, enabled=bf16):
        if subject.criterion.measure is not None:
            return subject.criterion.measure(model, (inputs, targets)).loss
        return subject.criterion.loss(model(inputs), targets)


def _lanes(
    make: MakeNetwork, subject: Subject, *, lanes: list[int], apart: bool = False
) -> list[_Seen]:
    """Return what lanes of these models do; ``apart``: each with a batch of its own."""
    network = make(len(lanes))
    slots = range(len(lanes))
    for slot, lane in enumerate(lanes):
        network.put(slot, copy.deepcopy(subject.models[lane]))
    noise = [Stream(lane) for lane in lanes]
    losses: list[Tensor] = []
    gradients: list[list[dict[str, Tensor]]] = []
    for batch in subject.batches:
        other = subject.batches[0] if batch is subject.batches[1] else subject.batches[1]
        batches = [other if apart and slot < len(lanes) - 1 else batch for slot in slots]
        losses.append(network.train_step(batches, slots, subject.criterion, noise).losses)
        gradients.append([_row(network, slot) for slot in slots])
        with torch.no_grad():
            for weight, gradient in zip(network.weights, network.gradients, strict=True):
                weight.sub_(gradient, alpha=RATE)
    buffers = [_buffers(network.module(slot)) for slot in slots]
    with Stream(0).active():
        evaluations = network.evaluate([subject.batches[0]], slots, subject.criterion)
    return [
        _Seen(
            [loss[slot] for loss in losses],
            [step[slot] for step in gradients],
            buffers[slot],
            evaluations[slot][0],
        )
        for slot in slots
    ]


def _row(network: LaneNetwork, slot: int) -> dict[str, Tensor]:
    pairs = zip(network.names, network.gradients, strict=True)
    return {name: gradient[slot].clone() for name, gradient in pairs}


def _buffers(module: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


def _compare(plain: _Seen, found: _Seen, *, unrounded: _Seen, tolerance: float) -> None:
    for step, (wanted, given) in enumerate(zip(plain.losses, found.losses, strict=True), 1):
        if _far(wanted, given, tolerance, floor=tolerance):
            raise CannotStackError(
                f"its loss differs from the plain module's at step {step} "
                f"({given.item():.6g}, not {wanted.item():.6g})"
            )
    for step, (gradients, others, exact) in enumerate(
        zip(plain.gradients, found.gradients, unrounded.gradients, strict=True), 1
    ):
        floor = tolerance * max(gradient.norm().item() for gradient in gradients.values())
        for name, gradient in gradients.items():
            if name not in others:
                raise CannotStackError(f"the weight {name!r} has a gradient at step {step} only")
            far = _far(gradient, others[name], tolerance, floor=floor)
            if far and not _as_near(gradient, others[name], exact[name]):
                raise CannotStackError(
                    f"the gradient of {name!r} differs from the plain module's at step {step}"
                )
    for name, buffer in plain.buffers.items():
        if _far(buffer, found.buffers[name], tolerance, floor=1e-6):
            raise CannotStackError(f"the buffer {name!r} differs from the plain module's")
    wanted, given = torch.tensor(plain.evaluation), torch.tensor(found.evaluation)
    if _far(wanted, given, tolerance, floor=tolerance):
        raise CannotStackError("its loss differs from the plain module's in evaluation mode")


def _far(wanted: Tensor, given: Tensor, tolerance: float, *, floor: float) -> bool:
    """Say whether ‖given − wanted‖ > tolerance·(‖wanted‖ + floor); NaN where NaN is wanted."""
    wanted, given = _in_double(wanted), _in_double(given).to(wanted.device)
    if not torch.equal(wanted.isfinite(), given.isfinite()):
        return True
    distance = float((given - wanted).nan_to_num(0.0, 0.0, 0.0).norm())
    return distance > tolerance * (float(wanted.nan_to_num(0.0, 0.0, 0.0).norm()) + floor)


def _as_near(plain: Tensor, given: Tensor, exact: Tensor) -> bool:
    """Say whether ‖given − exact‖ ≤ ROUNDING·‖plain − exact‖, all of them finite."""
    own, other = ((_in_double(each) - _in_double(exact)).norm() for each in (plain, given))
    return bool(own.isfinite() and other <= ROUNDING * own)


def _in_double(tensor: Tensor) -> Tensor:
    """Return its numbers as real ones; of complex ones both parts."""
    return (
        torch.view_as_real(tensor.resolve_conj()).double()
        if tensor.is_complex()
        else tensor.double()
    )


def _identical(one: _Seen, other: _Seen) -> bool:
    pairs: list[tuple[Any, Any]] = [*zip(one.losses, other.losses, strict=True)]
    for gradients, others in zip(one.gradients, other.gradients, strict=True):
        pairs += [(gradient, others[name]) for name, gradient in gradients.items()]
    pairs += [(buffer, other.buffers[name]) for name, buffer in one.buffers.items()]
    same = all(torch.equal(left.nan_to_num(), right.nan_to_num()) for left, right in pairs)
    evaluations = torch.tensor([one.evaluation]), torch.tensor([other.evaluation])
    return same and torch.equal(*(each.nan_to_num() for each in evaluations))
