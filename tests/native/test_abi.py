"""What the library refuses: it checks every program, so that none reads memory of others."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_core import require_native

from evolute.compiler.native import BOUNDS
from evolute.errors import InputError
from evolute.native import ABI, Instruction, load

LIBRARY = require_native()
ROOM = 100

Row = tuple[int, int, int, int, int]


def opcode(name: str) -> int:
    return int(LIBRARY.evolute_opcode(name.encode()))


def created(
    rows: list[Row],
    *,
    constants: int = 1,
    decays: int = 0,
    slots: int = 0,
    noise: int = 0,
    output: int = 0,
    momentum: int = 0,
) -> str:
    """Return why a program is refused, nothing where it is made."""
    array = (Instruction * len(rows))()
    for place, (code, first, second, slot, noise_of) in zip(array, rows, strict=True):
        place.opcode, place.first, place.second = code, first, second
        place.slot, place.noise = slot, noise_of
    message = ctypes.create_string_buffer(ROOM)
    numbers = (ctypes.c_double * max(0, min(constants, 10)))()
    address = LIBRARY.evolute_create(
        array, len(rows), numbers, constants, decays, slots, noise, output, momentum, message, ROOM
    )
    if address:
        LIBRARY.evolute_destroy(address)
        return ""
    assert message.value
    return message.value.decode()


def test_the_library_speaks_the_interface_of_its_loader() -> None:
    assert LIBRARY.evolute_abi() == ABI


def test_it_knows_every_function_with_a_bound_and_no_other() -> None:
    assert all(opcode(name) >= 0 for name in BOUNDS)
    assert opcode("cube") == -1


@pytest.mark.parametrize(
    ("rows", "options", "reason"),
    [
        ([(10**6, 0, -1, -1, -1)], {}, "unknown function"),
        ([(-1, 0, -1, -1, -1)], {}, "unknown function"),
        ([(opcode("exp"), 3, -1, -1, -1)], {}, "not yet written"),
        ([(opcode("exp"), -7, -1, -1, -1)], {}, "not yet written"),
        ([(opcode("exp"), 0, 1, -1, -1)], {}, "second argument"),
        ([(opcode("add"), 0, -1, -1, -1)], {}, "second argument"),
        ([(opcode("add"), 0, 3, -1, -1)], {}, "second argument"),
        ([(opcode("ema"), 0, -1, 0, -1)], {"slots": 0}, "slot of its own"),
        ([(opcode("ema"), 0, -1, 0, -1)] * 2, {"slots": 1}, "slot of its own"),
        ([(opcode("exp"), 0, -1, 0, -1)], {"slots": 1}, "names a slot"),
        ([(opcode("dropout"), 0, -1, -1, 5)], {"noise": 1}, "noise of its own"),
        ([(opcode("exp"), 0, -1, -1, 0)], {"noise": 1}, "no noise"),
        ([], {"output": 3}, "output"),
        ([], {"output": -1}, "output"),
        ([], {"momentum": 9}, "momentum"),
        ([], {"decays": -1}, "count"),
        ([], {"slots": 1 << 40}, "count"),
        ([], {"constants": 1 << 40}, "count"),
    ],
)
def test_a_program_that_is_not_well_formed_is_refused(
    rows: list[Row], options: dict[str, int], reason: str
) -> None:
    assert reason in created(rows, **options)


numbers = st.integers(-2, 12) | st.sampled_from((-(2**31), 2**31 - 1))
codes = st.integers(-1, len(BOUNDS)) | numbers


@settings(max_examples=300)
@given(
    st.lists(st.tuples(codes, numbers, numbers, numbers, numbers), max_size=6),
    st.integers(-2, 5),
    st.integers(-2, 5),
    st.integers(-2, 3),
    st.integers(-2, 3),
    numbers,
    numbers,
)
def test_no_array_crashes_the_library(
    rows: list[Row], constants: int, decays: int, slots: int, noise: int, output: int, momentum: int
) -> None:
    created(
        rows,
        constants=constants,
        decays=decays,
        slots=slots,
        noise=noise,
        output=output,
        momentum=momentum,
    )


def test_the_instruction_set_can_be_forced_and_the_library_switched_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = load().instruction_set
    monkeypatch.setenv("EVOLUTE_NATIVE_ISA", "baseline")
    assert load().instruction_set == "baseline"
    monkeypatch.setenv("EVOLUTE_NATIVE_ISA", "off")
    assert load().library is None
    assert "EVOLUTE_NATIVE_ISA=off" in load().reason
    monkeypatch.setenv("EVOLUTE_NATIVE_ISA", "avx1024")
    with pytest.raises(InputError, match="avx1024.*set it to avx512, avx2, baseline or off"):
        load()
    assert before is not None
    LIBRARY.evolute_choose(before.encode())
