"""Live memory: the most bytes of tensors that exist at one moment of a computation."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveMemory(TorchDispatchMode):
    """Watches the tensors that operations inside of it return, as long as they exist.

    Parameters
    ----------
    known
        Tensors that were there before: what shares their memory does not count.

    Attributes
    ----------
    peak
        The most bytes that were there at one moment.

    Examples
    --------
    >>> kept = torch.zeros(1000)
    >>> with torch.no_grad(), LiveMemory([kept]) as live:
    ...     _ = kept.view(10, 100).relu().exp().sum()  # two of 4,000 bytes at most
    >>> 8000 <= live.peak < 9000
    True
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch gives it no types
        self._known = {each.untyped_storage().data_ptr() for each in known}
        self._sharing: Counter[int] = Counter()
        self._now = 0
        self.peak = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Say no: what keeps torch's compiler away would import it, which takes a second."""
        return False

    def __torch_dispatch__(
        self,
        operation: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operation and enter what it returns."""
        found = operation(*args, **(kwargs or {}))
        for each in tree_leaves(found):
            if isinstance(each, Tensor) and each.layout is torch.strided:
                self._enter(each)
        return found

    def _enter(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        if place in self._known:
            return
        if not self._sharing[place]:
            self._now += size
            self.peak = max(self.peak, self._now)
        self._sharing[place] += 1
        weakref.finalize(tensor, self._gone, place, size)

    def _gone(self, place: int, size: int) -> None:
        self._sharing[place] -= 1
        if not self._sharing[place]:
            self._now -= size
