"""Weight tensors cut and joined into blocks of about equal size, which stay in the cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

BLOCK = 1 << 19
"""Elements of a block on a CPU: 2 MiB of float32 for each of its tensors. Smaller ones spend more
time on calls, larger ones leave the cache."""

BLOCK_ELSEWHERE = 1 << 24
"""Elements of a block on other devices, where every call starts a kernel."""


@dataclass(slots=True)
class Block:
    """Pieces of weight tensors that are worked on together, list beside list.

    Parameters
    ----------
    weights, gradients
        The pieces.
    slots
        For each state slot, then for the momentum buffer, the pieces of it.
    indices
        Which weight tensor each piece is of.
    """

    weights: list[Tensor]
    gradients: list[Tensor]
    slots: list[list[Tensor]]
    indices: list[int]


def blocks(
    weights: Sequence[Tensor],
    gradients: Sequence[Tensor],
    slots: Sequence[Sequence[Tensor]],
    *,
    whole: bool,
    in_order: bool,
) -> Iterator[Block]:
    """Cut and join weight tensors into blocks.

    Parameters
    ----------
    weights, gradients
        Of the same device; not empty.
    slots
        For each slot the tensor of each weight.
    whole
        Whether no tensor may be cut.
    in_order
        Whether the pieces of a tensor must follow the order of its indices.
    """
    limit = BLOCK if weights[0].device.type == "cpu" else BLOCK_ELSEWHERE
    first, size = 0, 0
    for index, weight in enumerate(weights):
        count = weight.numel()
        if size and size + count > limit:
            yield _joined(weights, gradients, slots, span=range(first, index))
            first, size = index, 0
        size += count
        if count > limit and not whole:
            tensors = [weight, gradients[index], *(slot[index] for slot in slots)]
            for pieces in _cut(tensors, limit, in_order=in_order):
                of_weight, of_gradient, *of_slots = pieces
                yield Block([of_weight], [of_gradient], [[each] for each in of_slots], [index])
            first, size = index + 1, 0
    if first < len(weights):
        yield _joined(weights, gradients, slots, span=range(first, len(weights)))


def _joined(
    weights: Sequence[Tensor],
    gradients: Sequence[Tensor],
    slots: Sequence[Sequence[Tensor]],
    *,
    span: range,
) -> Block:
    at = slice(span.start, span.stop)
    return Block(
        list(weights[at]), list(gradients[at]), [list(slot[at]) for slot in slots], list(span)
    )


def _cut(tensors: Sequence[Tensor], limit: int, *, in_order: bool) -> Iterator[tuple[Tensor, ...]]:
    """Cut tensors of one shape into pieces of at most so many elements, or of one row."""
    if all(each.is_contiguous() for each in tensors):
        return zip(*(each.view(-1).split(limit) for each in tensors), strict=True)
    first = tensors[0]
    alike = all(each.stride() == first.stride() for each in tensors)
    if alike and not in_order and is_without_gaps(first):
        # In the order of the memory, as in channels_last.
        rows = (each.as_strided((each.numel(),), (1,)) for each in tensors)
        return zip(*(each.split(limit) for each in rows), strict=True)
    count = max(1, limit * len(first) // first.numel())
    return zip(*(each.split(count) for each in tensors), strict=True)


def is_without_gaps(tensor: Tensor) -> bool:
    """Whether the elements of a tensor fill a span of memory, in any order of its axes."""
    step = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1 and stride != step:
            return False
        step *= size
    return True
