"""Programs: each distinct sub-expression once, whatever name it goes by."""

from __future__ import annotations

from evolute.compiler.program import Program, compile_rule
from evolute.lang.registry import Kind
from evolute.lang.rule import Momentum, Rule


def compiled(text: str) -> Program:
    return compile_rule(Rule.parse(text))


def names(program: Program) -> list[str]:
    return [instruction.function.name for instruction in program.instructions]


def test_equal_parts_are_computed_once() -> None:
    assert names(compiled("none: tanh(g)*tanh(g)")) == ["tanh", "mul"]


def test_operands_that_read_the_same_average_share_its_state() -> None:
    assert compiled("none: v*sign_v + qh_g").state_slots == ("ema(g, 0.9)",)
    assert compiled("none: qh_g2 + s").state_slots == ("ema(g*g, 0.99)",)


def test_averages_of_other_coefficients_have_other_states() -> None:
    program = compiled("none: ema(g, 0.9) + ema(g, 0.8) + ema_raw(g, 0.9)")
    assert program.state_slots == ("ema(g, 0.9)", "ema(g, 0.8)", "ema_raw(g, 0.9)")


def test_equal_decays_are_one_curve() -> None:
    program = compiled("none: [tanh(a3)]*g + [tanh(a3)]*v + [a4]*s")
    assert len(program.decays) == 2


def test_equal_constants_are_one_register() -> None:
    assert compiled("none: 2*g + 2*v").constants == (2.0,)


def test_registers_are_written_in_order_after_the_inputs() -> None:
    program = compiled("none: [a3]*g + 2*w")
    first = 2 + len(program.constants) + len(program.decays)
    targets = [instruction.target for instruction in program.instructions]
    assert targets == list(range(first, first + len(targets)))
    for instruction in program.instructions:
        assert max(instruction.arguments) < instruction.target
    assert program.output == targets[-1]


def test_a_rule_of_one_operand_needs_no_instruction() -> None:
    program = compiled("momentum: g")
    assert (program.instructions, program.output, program.momentum) == ((), 0, Momentum.MOMENTUM)


def test_only_decays_and_schedules_need_the_length_of_the_training() -> None:
    assert not compiled("none: g").needs_total_steps
    assert compiled("none: [a3]*g").needs_total_steps
    assert compiled("none: g + [a3]*g").needs_total_steps


def test_noise_is_named_by_its_node() -> None:
    program = compiled("none: dropout(v, 0.5) + g")
    (random,) = [each for each in program.instructions if each.function.kind is Kind.RANDOM]
    assert random.noise == "dropout(ema(g, 0.9), 0.5)"
    assert program.is_random
    assert not compiled("none: g").is_random


def test_the_same_rule_is_compiled_once() -> None:
    assert compiled("none: exp(g)") is compiled("none:   exp( g )")
