"""First models: a model with the first weights of each seed, kept for the lanes of that seed."""

from __future__ import annotations

import copy
from collections import OrderedDict

from torch import nn

from evolute.tasks.base import Task
from evolute.tasks.copies import lost_in_copies
from evolute.train.planning import first_model

REMEMBERED_MODELS = 64
"""First models of different seeds that are kept."""


class FirstModels:
    """The first models of a task, in training mode.

    Parameters
    ----------
    task
        The task.

    Examples
    --------
    >>> from evolute.tasks.user import load_task
    >>> models = FirstModels(load_task("digits"))
    >>> models.kept(0, None) is models.kept(0, None), models.own(0, None) is models.own(0, None)
    (True, False)
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._models: OrderedDict[tuple[int, int | None], nn.Module] = OrderedDict()

    def kept(self, seed: int, width: int | None) -> nn.Module:
        """Return the model of a seed that is kept, not to be changed.

        Parameters
        ----------
        seed
            Of its weights.
        width
            As :meth:`evolute.tasks.base.Task.model` takes it.

        Raises
        ------
        TaskError
            If the user's code raises.
        """
        key = seed, width
        if key not in self._models:
            self._models[key] = first_model(self._task, seed, width=width).train()
            if len(self._models) > REMEMBERED_MODELS:
                self._models.popitem(last=False)
        self._models.move_to_end(key)
        return self._models[key]

    def own(self, seed: int, width: int | None) -> nn.Module:
        """Return a model of its own with the first weights of a seed.

        Parameters
        ----------
        seed, width
            As in :meth:`kept`.

        Raises
        ------
        TaskError
            If the user's code raises.
        """
        kept = self.kept(seed, width)
        if lost_in_copies(kept) is not None:
            return first_model(self._task, seed, width=width).train()
        return copy.deepcopy(kept)
