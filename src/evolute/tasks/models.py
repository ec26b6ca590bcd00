"""Where a task's models come from: a callable that makes them, or a model to begin from."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable

from torch import nn
from torch.nn.utils.weight_norm import WeightNorm

from evolute.errors import TaskError
from evolute.seeds.streams import seeded
from evolute.tasks.copies import lost_in_copies, share_tensors

ModelSource = nn.Module | Callable[..., nn.Module]
"""A callable that returns a new model, or a model to begin every training from."""


class Models:
    """Models of a task, none of which shares anything with another.

    Parameters
    ----------
    source
        What the user gave.
    """

    def __init__(self, source: ModelSource) -> None:
        self._source = source
        self._shares: bool | None = None  # between two calls; None: not asked yet

    def new(self, width: int | None, *, task: str) -> nn.Module:
        """Return a model of its own; its weights are drawn from torch's global generator.

        It is a copy, as a callable that returns one and the same model would carry weights between
        trials; but where a copy would lose something, and two calls share nothing, it is what the
        callable returned.

        Parameters
        ----------
        width
            Handed to a callable that takes a ``width``; others ignore it.
        task
            Name of the task, for messages.

        Raises
        ------
        TaskError
            If a copy is needed and would lose something.
        TypeError
            If a callable returns no ``nn.Module``.
        """
        if isinstance(self._source, nn.Module):
            return _copied(self._source, task)
        made = _made(self._source, width)
        if lost_in_copies(made) is not None and self._shares is None:
            with seeded(0):
                self._shares = share_tensors(made, _made(self._source, width))
        return made if self._shares is False else _copied(made, task)


def _copied(model: nn.Module, task: str) -> nn.Module:
    lost = lost_in_copies(model)
    if lost is not None:
        raise TaskError(
            f"task {task!r}: each training begins from a copy of its model, which would lose "
            f"{lost}: let model= be a callable that returns a new model each time"
        )
    try:
        return copy.deepcopy(model)
    except RuntimeError as fault:
        if not _has_old_weight_norm(model):
            raise
        raise TaskError(
            f"task {task!r}: its model has torch.nn.utils.weight_norm, whose weights cannot be "
            "copied: use torch.nn.utils.parametrizations.weight_norm"
        ) from fault


def _has_old_weight_norm(model: nn.Module) -> bool:
    # What a look at .weight would find is a tensor that each forward computes anew.
    return any(
        isinstance(hook, WeightNorm)
        for part in model.modules()
        for hook in part._forward_pre_hooks.values()
    )


def _made(source: Callable[..., nn.Module], width: int | None) -> nn.Module:
    made: object
    if width is not None and "width" in inspect.signature(source).parameters:
        made = source(width=width)
    else:
        made = source()
    if not isinstance(made, nn.Module):
        raise TypeError(f"it returned {type(made).__name__}, not an nn.Module")
    return made
