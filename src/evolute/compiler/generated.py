"""One step of a group by code that ``torch.compile`` generates: Triton kernels on a GPU.

What ``fused=True`` means where the native core is not: tensors on another device than the CPU. The
code is made at the first step; neither a new learning rate or momentum nor a new step makes it
anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from evolute.compiler.step import Group, Members
from evolute.compiler.traced import TracedProgram, update_traced

NUMBERS = ("lr", "momentum")
"""Options that change from step to step: tensors to the generated code, which reads them."""


class GeneratedSteps:
    """Steps the parameters of one group.

    Parameters
    ----------
    traced
        The rule; it draws no noise.
    compile_options
        Handed to ``torch.compile``.
    """

    def __init__(self, traced: TracedProgram, **compile_options: Any) -> None:
        self._traced = traced
        # The compiler counts what it made for one piece of code, and gives up after a few: each
        # group brings a copy of its own.
        own = FunctionType(
            update_traced.__code__.replace(co_name=f"update_{id(self)}"),
            update_traced.__globals__,
        )
        own.__kwdefaults__ = update_traced.__kwdefaults__
        self._update: Callable[..., None] = torch.compile(own, **compile_options)

    def step(self, members: Members, group: Group, *, curves: Sequence[Tensor]) -> None:
        """Move all weights, slots and counters in place.

        Parameters
        ----------
        members, group
            As :func:`evolute.compiler.step.update_each`.
        curves
            What :func:`evolute.compiler.step.curve_tensor` returned, where the rule needs it.
        """
        options = {name: group[name] for name in ("weight_decay", "maximize")}
        for name in NUMBERS:
            options[name] = torch.as_tensor(group[name], dtype=torch.float64)
        self._update(members, self._traced, options, curves=curves)
