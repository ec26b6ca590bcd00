"""The check of batches of other shapes: a short last one, or those of an evaluation.

A network is traced anew for each shape of its inputs and for each mode, as it may branch on both.
So what was found right on one shape says nothing about another.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evolute.lanes.base import Batch, CannotStackError, LaneNetwork, Noise
from evolute.lanes.batched import kind_of
from evolute.lanes.check import TOLERANCES, MakeNetwork, Subject, exact_convolutions
from evolute.lanes.criterion import LaneCriterion
from evolute.lanes.loop import LoopNetwork
from evolute.lanes.refusals import reason_of
from evolute.lanes.shortage import is_out_of_memory
from evolute.seeds.streams import Stream


@dataclass(frozen=True, slots=True)
class Kind:
    """A batch of a shape, in a mode.

    Parameters
    ----------
    batch
        One such batch.
    training
        Whether it is trained on; else it is evaluated.
    """

    batch: Batch
    training: bool

    @property
    def key(self) -> Any:
        """What two kinds have in common that need one check.

        >>> Kind((torch.zeros(2), None), True).key == Kind((torch.ones(2), None), True).key
        True
        """
        return (self.training, *map(kind_of, self.batch))


@dataclass(frozen=True, slots=True)
class Done:
    """What one lane made of a batch.

    Parameters
    ----------
    loss
        Its loss.
    gradients
        By name; none of an evaluation.
    """

    loss: Tensor
    gradients: dict[str, Tensor]


def plain_lane(network: LaneNetwork, slot: int) -> LoopNetwork:
    """Return a plain module with the weights and buffers of a slot, as a loop of one lane."""
    module = copy.deepcopy(network.module(slot))
    names = frozenset(name for name, _ in module.named_parameters())
    plain = LoopNetwork(
        module,
        1,
        device=network.device,
        precision=network.precision,
        without=names - set(network.names),
    )
    plain.put(0, module)
    return plain


def done(
    network: LaneNetwork, slot: int, kind: Kind, criterion: LaneCriterion, noise: Noise | None
) -> Done:
    """Let one slot train or evaluate on a batch, of which it gets a copy.

    Parameters
    ----------
    network, slot
        What runs.
    kind
        On what.
    criterion
        Loss and metric.
    noise
        What is drawn from in training; None where nothing is.
    """
    batch = copy.deepcopy(kind.batch)
    if not kind.training:
        with Stream(0).active():
            return Done(torch.tensor(network.evaluate([batch], [slot], criterion)[0][0]), {})
    streams = None if noise is None else [noise]
    loss = network.train_step([batch], [slot], criterion, streams).losses[0]
    pairs = zip(network.names, network.gradients, strict=True)
    return Done(loss, {name: gradient[slot].clone() for name, gradient in pairs})


def difference(wanted: Done, found: Done, tolerance: float) -> str | None:
    """Say what differs by more than a share of the norm; None if nothing does."""
    if _far(wanted.loss, found.loss, tolerance, floor=tolerance):
        return f"its loss is {found.loss.item():.6g}, not {wanted.loss.item():.6g}"
    norms = [float(each.nan_to_num().norm()) for each in wanted.gradients.values()]
    floor = tolerance * max(norms, default=0.0)
    for name, gradient in wanted.gradients.items():
        if _far(gradient, found.gradients[name], tolerance, floor=floor):
            return f"the gradient of {name!r} differs"
    return None


def _far(wanted: Tensor, found: Tensor, tolerance: float, *, floor: float) -> bool:
    wanted, found = wanted.detach(), found.detach().to(wanted.device)
    if not torch.equal(wanted.isfinite(), found.isfinite()):
        return True
    distance = float((found - wanted).nan_to_num(0.0, 0.0, 0.0).norm())
    return distance > tolerance * (float(wanted.nan_to_num(0.0, 0.0, 0.0).norm()) + floor)


def shape_in_words(kind: Kind) -> str:
    """Return the shape and the mode of a kind.

    >>> shape_in_words(Kind((torch.zeros(3, 2), torch.zeros(3)), training=False))
    'on a batch of shape (3, 2) in evaluation mode'
    """
    inputs = kind.batch[0]
    what = f"shape {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else type(inputs).__name__
    return f"on a batch of {what} in {'training' if kind.training else 'evaluation'} mode"


def check_kind(make: MakeNetwork, subject: Subject, kind: Kind) -> None:
    """Compare a lane with its plain module on a batch.

    Parameters
    ----------
    make, subject
        What is tried.
    kind
        On what.

    Raises
    ------
    CannotStackError
        Saying what differs. Where the plain module raises there is nothing to compare.
    """
    network = make(1)
    network.put(0, copy.deepcopy(subject.models[1]))
    with exact_convolutions(subject.device):
        try:
            plain = plain_lane(network, 0)
            wanted = done(plain, 0, kind, subject.criterion, Stream(1))
        except Exception as fault:
            if is_out_of_memory(fault):
                raise
            return  # what training says of it is right
        try:
            found = done(network, 0, kind, subject.criterion, Stream(1))
        except CannotStackError as fault:
            raise CannotStackError(f"{fault} {shape_in_words(kind)}") from fault
    told = difference(wanted, found, TOLERANCES[subject.precision])
    if told is not None:
        raise CannotStackError(f"{told}, {shape_in_words(kind)}")


def refusal_of_kinds(make: MakeNetwork, subject: Subject, kinds: Sequence[Kind]) -> str | None:
    """Return why a plan is not right on batches of these kinds; None if it is."""
    try:
        for kind in kinds:
            check_kind(make, subject, kind)
    except CannotStackError as fault:
        return str(fault)
    except Exception as fault:
        if is_out_of_memory(fault):
            raise
        return reason_of(fault)  # a module may do anything, and each is a reason
    return None
