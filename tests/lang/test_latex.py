"""LaTeX: brackets where a reader needs them, every row, and the equations of every momentum."""

from __future__ import annotations

import pytest
from hypothesis import given
from strategies import expressions, rules

from evolute.lang.expression import Call, DecayRef, Expression, OperandRef
from evolute.lang.latex import expression_to_latex, rule_to_latex
from evolute.lang.registry import BASE_DECAYS, FUNCTIONS, OPERANDS
from evolute.lang.rule import Momentum, Rule
from evolute.lang.text import parse_expression


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("g+v-s", r"g+\hat{v}-\hat{s}"),
        ("g-(v-s)", r"g-\left(\hat{v}-\hat{s}\right)"),
        ("g+-v", r"g+\left(-\hat{v}\right)"),
        ("-(g+v)", r"-\left(g+\hat{v}\right)"),
        ("-2*g", r"\left(-2\right) \cdot g"),
        ("(g+v)*s", r"\left(g+\hat{v}\right) \cdot \hat{s}"),
        ("g*v*s", r"g \cdot \hat{v} \cdot \hat{s}"),
        ("w1e_3*g", r"10^{-3} w \cdot g"),
        ("(g+v)/(s-1)", r"\frac{g+\hat{v}}{\hat{s}-1+\epsilon}"),
        ("quotient(v, sqrt(s)+1e-08)", r"\frac{\hat{v}}{\sqrt{|\hat{s}|}+10^{-8}}"),
        ("1.5e-07*w", r"1.5 \cdot 10^{-7} \cdot w"),
        ("exp(g+v)", r"e^{g+\hat{v}}"),
        ("abs(g-v)", r"\left|g-\hat{v}\right|"),
        ("abs_pow(g, -v)", r"\left|g\right|^{-\hat{v}}"),
        ("mix(g+v, s)*g", r"\left(0.95 \cdot \left(g+\hat{v}\right) + 0.05 \cdot \hat{s}\right)"
                          r" \cdot g"),
        ("identity(g+v)*s", r"\left(g+\hat{v}\right) \cdot \hat{s}"),
        ("ema(g, 0.95)", r"\mathrm{ema}_{0.95}\left(g\right)"),
        ("[a13*a2]*g", r"a_{13} \cdot a_{2} \cdot g"),
        ("[1-a3]*(g+v)", r"\left(1-a_{3}\right) \cdot \left(g+\hat{v}\right)"),
    ],
)  # fmt: skip
def test_a_formula_has_brackets_where_a_reader_needs_them(text: str, latex: str) -> None:
    assert expression_to_latex(parse_expression(text)) == latex


@pytest.mark.parametrize(
    ("momentum", "lines"),
    [
        (Momentum.NONE, [r"w_{t+1} = w_t - \eta u_t"]),
        (Momentum.MOMENTUM, [r"m_{t+1} = \mu m_t - \eta u_t", "w_{t+1} = w_t + m_{t+1}"]),
        (
            Momentum.NESTEROV,
            [r"m_{t+1} = \mu m_t - \eta u_t", r"w_{t+1} = w_t + \mu m_{t+1} - \eta u_t"],
        ),
        (
            Momentum.NESTEROV_PUBLISHED,
            [r"m_{t+1} = \mu m_t - \eta u_t", r"w_{t+1} = w_t + m_{t+1} - \eta u_t"],
        ),
    ],
)
def test_every_momentum_type_has_its_equations(momentum: Momentum, lines: list[str]) -> None:
    rule = Rule(OperandRef("g"), momentum)
    assert rule_to_latex(rule).split("\n") == ["u_t = g", *lines]


def test_sign_and_schedule_are_printed() -> None:
    assert rule_to_latex(Rule.parse("none: -[a1+a2]*(g+v)")).split("\n") == [
        r"u_t = -\left(g+\hat{v}\right)",
        r"\eta_t = \eta \cdot \left(a_{1}+a_{2}\right)",
        r"w_{t+1} = w_t - \eta_t u_t",
    ]


def balanced(latex: str) -> bool:
    return (
        latex.count("{") == latex.count("}")
        and latex.count(r"\left(") == latex.count(r"\right)")
        and latex.count(r"\left|") == latex.count(r"\right|")
    )


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_every_function_prints_its_arguments_and_parameters(name: str) -> None:
    row = FUNCTIONS[name]
    arguments = (OperandRef("lam"), OperandRef("w1e_5"))[: row.arity]
    parameters = tuple(0.125 for _ in row.parameters)
    latex = expression_to_latex(Call(name, arguments, parameters))
    assert balanced(latex)
    assert r"\hat{\lambda}" in latex
    assert ("10^{-5} w" in latex) == (row.arity == 2)
    assert ("0.125" in latex) == bool(parameters)


def test_every_operand_and_base_decay_prints() -> None:
    for name in OPERANDS:
        assert expression_to_latex(parse_expression(name)) == OPERANDS[name].latex
    for name in BASE_DECAYS:
        assert expression_to_latex(DecayRef(name)) == BASE_DECAYS[name].latex


@given(expressions())
def test_brackets_of_any_formula_are_balanced(expression: Expression) -> None:
    assert balanced(expression_to_latex(expression))


@given(rules())
def test_any_rule_prints_lines_without_environments(rule: Rule) -> None:
    for line in rule_to_latex(rule).split("\n"):
        assert " = " in line
        assert r"\begin" not in line
        assert balanced(line)
