"""The kernels that walk rules on a GPU: one launch moves all lanes, each by a program of its own.

Kernel instances take blocks of the lanes' weights in turns. For each they follow the lane's
instructions, all elements at once, with one branch per instruction that is the same for the whole
block. Kernels know their arguments by the names of the tensors of
:class:`evolute.compiler.triton_tables.Tables`; they allocate nothing and answer nothing, so
that a launch may be captured in a graph.
"""

from __future__ import annotations

from evolute.compiler.triton_language import constexpr, jit, tl
from evolute.compiler.triton_operations import (
    DROPOUT,
    EMA,
    PREVIOUS,
    binary,
    changed_state,
    clipped,
    dropped,
    heavy,
    light,
)
from evolute.compiler.triton_program import (
    ACTIVE,
    BINARY,
    BLOCKS,
    BUFFER,
    COEFFICIENT,
    COLUMNS,
    COUNT,
    FACTOR,
    FIRST,
    FIRST_BLOCK,
    GRADIENTS,
    HEAD,
    HEAVY,
    LIGHT,
    MOMENTA,
    MOMENTUM_TYPE,
    NOISE,
    NORM_AT,
    NORM_COUNT,
    NUMBER,
    OF_GRADIENT,
    OF_WEIGHT,
    OFFSET,
    OPCODE,
    OUTPUT,
    RATE,
    SECOND,
    SHRINK,
    SIZE,
    SLOT,
    STATEFUL,
    STORE,
    TILE,
    WEIGHTS,
)
from evolute.lang.rule import Momentum

FIRST_LIGHT = constexpr(len(BINARY))
FIRST_HEAVY = constexpr(len(BINARY) + len(LIGHT))
FIRST_STATEFUL = constexpr(len(BINARY) + len(LIGHT) + len(HEAVY))
FIRST_OTHER = constexpr(len(BINARY) + len(LIGHT) + len(HEAVY) + len(STATEFUL))
NO_MOMENTUM = constexpr(MOMENTA.index(Momentum.NONE))
MOMENTUM = constexpr(MOMENTA.index(Momentum.MOMENTUM))
NESTEROV = constexpr(MOMENTA.index(Momentum.NESTEROV))
FIRST_NUMBER, FIRST_TILE = constexpr(HEAD), constexpr(TILE)
GRADIENT_OPERAND, WEIGHT_OPERAND = constexpr(OF_GRADIENT), constexpr(OF_WEIGHT)
FIELDS = constexpr(COLUMNS)
AT_OPCODE, AT_FIRST, AT_SECOND, AT_STORE = map(constexpr, (OPCODE, FIRST, SECOND, STORE))
AT_SLOT, AT_NOISE, AT_NUMBER = map(constexpr, (SLOT, NOISE, NUMBER))
AT_ACTIVE, AT_FACTOR, AT_RATE = map(constexpr, (ACTIVE, FACTOR, RATE))
AT_COEFFICIENT, AT_SHRINK = constexpr(COEFFICIENT), constexpr(SHRINK)

INTEGERS = (
    *("width", "longest", "head_width", "most_norms", "tensor_count", "block_count", "items"),
    *("tiles", "pitch", "turn"),
)
"""Arguments that are whole numbers."""

POINTERS = (
    *("numbers", "instructions", "parameters", "heads", "memories", "tensors", "blocks"),
    *("scratch", "partials", "norms"),
)
"""Arguments that are tensors."""

UNSPECIALIZED = [*POINTERS, *INTEGERS]
"""No value of an argument is worth a kernel of its own. Nothing is assumed of where tensors begin
either, so that all accesses of a block have one layout."""

HEAD_COUNT, HEAD_OUTPUT, HEAD_MOMENTUM = map(constexpr, (COUNT, OUTPUT, MOMENTUM_TYPE))
HEAD_BUFFER = constexpr(BUFFER)
HEAD_NORMS, HEAD_NORM_AT = constexpr(NORM_COUNT), constexpr(NORM_AT)
TENSOR_WEIGHTS, TENSOR_GRADIENTS, TENSOR_SIZE = map(constexpr, (WEIGHTS, GRADIENTS, SIZE))
TENSOR_OFFSET, TENSOR_BLOCK, TENSOR_BLOCKS = map(constexpr, (OFFSET, FIRST_BLOCK, BLOCKS))
TENSOR_COLUMNS = constexpr(6)


@jit()
def _operand(
    code: tl.tensor,
    running: tl.tensor,
    gradient: tl.tensor,
    weight: tl.tensor,
    row: tl.tensor,
    own: tl.tensor,
    offsets: tl.tensor,
    elements: tl.constexpr,
) -> tl.tensor:
    """Return the value that an operand names."""
    is_number = (code >= FIRST_NUMBER) & (code < FIRST_TILE)
    number = tl.load(row + code, mask=is_number, other=0.0)
    value = tl.where(code == WEIGHT_OPERAND, weight, running)
    value = tl.where(code == GRADIENT_OPERAND, gradient, value)
    value = tl.where(is_number, number, value)
    tile = own + (code - FIRST_TILE) * elements
    return tl.load(tile + offsets, mask=code >= FIRST_TILE, other=value)


@jit()
def _floats(address: tl.tensor) -> tl.tensor:
    return address.to(tl.pointer_type(tl.float32))


@jit()
def _walk(
    stop: tl.tensor,
    instruction: tl.tensor,
    parameter: tl.tensor,
    row: tl.tensor,
    state: tl.tensor,
    noise: tl.tensor,
    norm: tl.tensor,
    pitch: tl.tensor,
    tensor_count: tl.tensor,
    own: tl.tensor,
    gradient: tl.tensor,
    weight: tl.tensor,
    offsets: tl.tensor,
    inside: tl.tensor,
    keep: tl.constexpr,
    elements: tl.constexpr,
) -> tl.tensor:
    """Return the value of the last of the first ``stop`` instructions."""
    value = gradient
    for at in range(stop):
        here = instruction + at * FIELDS
        opcode = tl.load(here + AT_OPCODE)
        first, second = tl.load(here + AT_FIRST), tl.load(here + AT_SECOND)
        x = _operand(first, value, gradient, weight, row, own, offsets, elements)
        y = _operand(second, value, gradient, weight, row, own, offsets, elements)
        if opcode < FIRST_LIGHT:
            value = binary(opcode, x, y)
        elif opcode < FIRST_HEAVY:
            value = light(opcode, x)
        elif opcode < FIRST_STATEFUL:
            value = heavy(opcode, x)
        elif opcode < FIRST_OTHER:
            place = state + tl.load(here + AT_SLOT).to(tl.int64) * pitch + offsets
            old = tl.load(place, mask=inside, other=0.0)
            changed = changed_state(opcode, x, y, old, tl.load(parameter + at))
            if keep:
                tl.store(place, changed, mask=inside)
            is_ema = opcode == EMA
            correction = tl.load(row + tl.load(here + AT_NUMBER), mask=is_ema, other=1.0)
            value = tl.where(is_ema, changed * correction, changed)
            value = tl.where(opcode == PREVIOUS, old, value)
        elif opcode == DROPOUT:
            drawn = noise + tl.load(here + AT_NOISE).to(tl.int64) * pitch + offsets
            value = dropped(x, tl.load(drawn, mask=inside, other=0.0), tl.load(parameter + at))
        else:
            value = clipped(x, tl.load(norm + tl.load(here + AT_NUMBER) * tensor_count))
        store = tl.load(here + AT_STORE)
        if store >= 0:
            tl.debug_barrier()  # threads may read what others wrote
            tl.store(own + store * elements + offsets, value)
            tl.debug_barrier()
    return value


@jit()
def _apply(
    momentum: tl.tensor,
    update: tl.tensor,
    weight: tl.tensor,
    buffer: tl.tensor,
    row: tl.tensor,
    inside: tl.tensor,
) -> tl.tensor:
    """Return the new weight by the four equations of Momentum; the buffer m changes in place."""
    rate = tl.load(row + AT_RATE)  # minus the signed learning rate
    coefficient = tl.load(row + AT_COEFFICIENT)
    change = update * rate
    if momentum == NO_MOMENTUM:
        moved = change + weight
    else:
        m = change + tl.load(buffer, mask=inside, other=0.0) * coefficient
        tl.store(buffer, m, mask=inside)
        if momentum == NESTEROV:
            moved = m * coefficient + weight
        else:
            moved = weight + m
        if momentum != MOMENTUM:
            moved = change + moved
    return moved


@jit()
def _elements(
    tensor: tl.tensor, column: tl.constexpr, lane: tl.tensor, start: tl.tensor
) -> tl.tensor:
    """Return where a lane's elements of a stacked tensor begin, and of them a block."""
    begin = _floats(tl.load(tensor + column))
    return begin + lane.to(tl.int64) * tl.load(tensor + TENSOR_SIZE) + start


@jit(do_not_specialize=UNSPECIALIZED)
def step_lanes(
    numbers: tl.tensor, instructions: tl.tensor, parameters: tl.tensor, heads: tl.tensor,
    memories: tl.tensor, tensors: tl.tensor, blocks: tl.tensor, scratch: tl.tensor,
    partials: tl.tensor, norms: tl.tensor, width: tl.tensor, longest: tl.tensor,
    head_width: tl.tensor, most_norms: tl.tensor, tensor_count: tl.tensor,
    block_count: tl.tensor, items: tl.tensor, tiles: tl.tensor, pitch: tl.tensor,
    turn: tl.tensor, elements: tl.constexpr, finds_norm: tl.constexpr,
) -> None:  # fmt: skip
    """Move the lanes that take part by one step.

    Where it ``finds_norm``, nothing moves: each block adds up the squares of what the instruction
    number ``turn`` among those that clip by the norm is given.
    """
    offsets = tl.arange(0, elements)
    own = scratch + tl.program_id(0).to(tl.int64) * tiles * elements
    for item in range(tl.program_id(0), items, tl.num_programs(0)):
        lane, block = item // block_count, item % block_count
        row, head = numbers + lane * width, heads + lane * head_width
        takes_part = tl.load(row + AT_ACTIVE) != 0.0
        if finds_norm:
            takes_part = takes_part & (turn < tl.load(head + HEAD_NORMS))
        if takes_part:
            number, start = tl.load(blocks + 2 * block), tl.load(blocks + 2 * block + 1)
            tensor = tensors + number * TENSOR_COLUMNS
            inside = offsets < tl.load(tensor + TENSOR_SIZE) - start
            weights = _elements(tensor, TENSOR_WEIGHTS, lane, start) + offsets
            weight = tl.load(weights, mask=inside, other=0.0) * tl.load(row + AT_SHRINK)
            slope = _elements(tensor, TENSOR_GRADIENTS, lane, start) + offsets
            gradient = tl.load(slope, mask=inside, other=0.0) * tl.load(row + AT_FACTOR)
            begin = tl.load(tensor + TENSOR_OFFSET) + start
            state = _floats(tl.load(memories + 2 * lane)) + begin
            noise = tl.load(memories + 2 * lane + 1).to(tl.pointer_type(tl.float64)) + begin
            norm = norms + lane * most_norms * tensor_count + number
            program = instructions + lane * longest * FIELDS
            own_parameters = parameters + lane * longest
            count = tl.load(head + HEAD_COUNT)
            if finds_norm:
                count = tl.load(head + HEAD_NORM_AT + turn)
            value = _walk(
                count, program, own_parameters, row, state, noise, norm, pitch, tensor_count, own,
                gradient, weight, offsets, inside, not finds_norm, elements,
            )  # fmt: skip
            output = tl.load(head + HEAD_OUTPUT)
            if finds_norm:
                output = tl.load(program + count * FIELDS + AT_FIRST)
            value = _operand(output, value, gradient, weight, row, own, offsets, elements)
            if finds_norm:
                wide = tl.where(inside, value, 0.0).to(tl.float64)
                tl.store(partials + lane * block_count + block, tl.sum(wide * wide, axis=0))
            else:
                kind = tl.load(head + HEAD_MOMENTUM)
                slot = tl.load(head + HEAD_BUFFER).to(tl.int64)
                buffer = state + slot * pitch + offsets
                moved = _apply(kind, value, weight, buffer, row, inside)
                tl.store(weights, moved, mask=inside)


@jit(do_not_specialize=UNSPECIALIZED)
def finish_norms(
    numbers: tl.tensor, heads: tl.tensor, tensors: tl.tensor, partials: tl.tensor,
    norms: tl.tensor, width: tl.tensor, head_width: tl.tensor, most_norms: tl.tensor,
    tensor_count: tl.tensor, block_count: tl.tensor, turn: tl.tensor, chunk: tl.constexpr,
) -> None:  # fmt: skip
    """Add up the blocks of each tensor of each lane, always in one order; keep max(norm, 1)."""
    lane, number = tl.program_id(0), tl.program_id(1)
    head = heads + lane * head_width
    if (tl.load(numbers + lane * width + AT_ACTIVE) != 0.0) & (turn < tl.load(head + HEAD_NORMS)):
        tensor = tensors + number * TENSOR_COLUMNS
        first, count = tl.load(tensor + TENSOR_BLOCK), tl.load(tensor + TENSOR_BLOCKS)
        places = tl.arange(0, chunk)
        sums = tl.zeros([chunk], tl.float64)
        for at in range(0, count, chunk):
            here = partials + lane * block_count + first + at + places
            sums += tl.load(here, mask=at + places < count, other=0.0)
        norm = tl.sqrt(tl.sum(sums, axis=0))
        norm = tl.where(norm <= 1.0, 1.0, norm)  # NaN stays
        tl.store(norms + (lane * most_norms + turn) * tensor_count + number, norm)
