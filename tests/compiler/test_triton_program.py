"""Rules as the tables of numbers that kernels walk; needs no Triton."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from strategies import rules, searched_rules

from evolute.compiler.program import GRADIENT, WEIGHT, compile_rule
from evolute.compiler.triton_coefficients import COEFFICIENTS
from evolute.compiler.triton_program import (
    FIRST,
    HEAD,
    NUMBER,
    OF_GRADIENT,
    OF_WEIGHT,
    OPCODE,
    OPCODES,
    RUNNING,
    SECOND,
    SLOT,
    STORE,
    TILE,
    lower,
    why_not,
)
from evolute.lang.functions import function
from evolute.lang.registry import FUNCTIONS
from evolute.lang.rule import Rule

ROOT = Path(__file__).parent.parent.parent


@given(searched_rules() | rules(max_leaves=30))
def test_every_operand_names_the_register_that_the_instruction_reads(rule: Rule) -> None:
    program = compile_rule(rule)
    lowered = lower(program)
    assert lowered is not None
    tiles: dict[int, int] = {}
    running = -1

    def register(code: int) -> int:
        if code >= TILE:
            return tiles[code - TILE]
        known = {RUNNING: running, OF_GRADIENT: GRADIENT, OF_WEIGHT: WEIGHT}
        return known[code] if code < HEAD else code - HEAD + 2

    for row, each in zip(lowered.instructions, program.instructions, strict=True):
        codes = (row[FIRST], row[SECOND])[: len(each.arguments)]
        assert tuple(map(register, map(int, codes))) == each.arguments
        assert OPCODES[row[OPCODE]] == each.function.name
        assert row[SLOT] == (-1 if each.slot is None else each.slot)
        running = each.target
        if row[STORE] >= 0:
            assert row[STORE] < lowered.tiles
            tiles[int(row[STORE])] = running
    assert register(lowered.output) == program.output


def test_tiles_are_used_again_and_a_running_value_needs_none() -> None:
    chain = lower(compile_rule(Rule.parse("none: tanh(exp(abs(g*w)))")))
    assert chain is not None
    assert chain.tiles == 0
    long = lower(compile_rule(Rule.parse("none: " + "+".join(f"tanh(g*{n})" for n in range(2, 9)))))
    assert long is not None
    assert long.tiles <= 2


def test_places_of_numbers_are_constants_then_decays_then_bias_corrections() -> None:
    lowered = lower(
        compile_rule(Rule.parse("none: ema(g, 0.9)*3+ema(w, 0.5)*([a3]*w)+clip_norm(g)"))
    )
    assert lowered is not None
    assert lowered.constants.tolist() == [3.0]
    assert lowered.first_decay == HEAD + 1
    assert lowered.betas == (0.9, 0.5)
    of_ema = lowered.instructions[:, OPCODE] == OPCODES.index("ema")
    assert lowered.instructions[of_ema, NUMBER].tolist() == [HEAD + 2, HEAD + 3]
    assert lowered.width == HEAD + 4
    (norm,) = lowered.norms
    assert lowered.instructions[norm, OPCODE] == OPCODES.index("clip_norm")


def test_a_function_of_the_users_own_is_not_lowered() -> None:
    try:

        @function(latex="{0}", searched=())
        def half_as_much(x: object) -> object:
            return x

        program = compile_rule(Rule.parse("none: half_as_much(g)"))
        assert lower(program) is None
        assert "half_as_much" in str(why_not(program))
    finally:
        del FUNCTIONS._rows["half_as_much"]


def test_polynomials_are_those_of_the_native_core() -> None:
    text = (ROOT / "src/evolute/native/core/coefficients.h").read_text(encoding="utf-8")
    found = {
        name: tuple(float(each.strip().rstrip("f")) for each in body.split(",") if each.strip())
        for name, body in re.findall(r"constexpr \w+ (\w+)\[\] = \{([^}]*)\}", text)
    }
    assert found == COEFFICIENTS
