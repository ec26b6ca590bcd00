"""MathML is well formed, says what the LaTeX says, and lets no markup through."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from report.places import HOSTILE

from evolute import zoo
from evolute.lang.expression import Call, OperandRef
from evolute.lang.registry import BASE_DECAYS, FUNCTIONS, OPERANDS
from evolute.lang.rule import Rule
from evolute.report.mathml import latex_to_mathml, rule_to_mathml, update_to_mathml


def tags(mathml: str) -> list[str]:
    return [element.tag for element in ElementTree.fromstring(mathml).iter()]


def text(mathml: str) -> str:
    return "".join(ElementTree.fromstring(mathml).itertext())


def test_a_prime_stands_on_the_line_behind_its_function() -> None:
    """Raised like an exponent it vanishes in fonts without a table of mathematics."""
    written = latex_to_mathml(r"\tanh'\left(x\right)")
    assert 'tanh</mi><mo lspace="0" rspace="0">′</mo></mrow>' in written
    assert "<msup>" not in written
    assert "′</mo></mrow><mn>2</mn></msup>" in latex_to_mathml(r"f'^{2}")


@pytest.mark.parametrize("name", zoo.names())
def test_every_optimizer_of_the_zoo_is_well_formed_and_wholly_known(name: str) -> None:
    lines = rule_to_mathml(zoo.load(name).rule).splitlines()
    assert lines
    for line in lines:
        assert "mtext" not in tags(line)
        assert "\\" not in text(line)


@pytest.mark.parametrize("row", [*OPERANDS.values(), *BASE_DECAYS.values()], ids=lambda r: r.name)
def test_every_operand_and_decay_is_typeset(row: object) -> None:
    latex = getattr(row, "latex", "")
    assert "mtext" not in tags(latex_to_mathml(latex))


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_is_typeset(name: str) -> None:
    row = FUNCTIONS[name]
    holes = ["x", "y", "0.5"][: row.arity] + ["0.5"] * len(row.parameters)
    assert "mtext" not in tags(latex_to_mathml(row.latex.format(*holes)))


def test_fractions_roots_scripts_and_brackets_keep_their_parts() -> None:
    mathml = latex_to_mathml(r"\frac{\hat{v}_t^2}{\sqrt{\left|g\right|}+\epsilon}")
    assert tags(mathml) == [
        *("math", "mfrac", "msubsup", "mover", "mi", "mo", "mi", "mn"),
        *("mrow", "msqrt", "mrow", "mo", "mi", "mo", "mo", "mi"),
    ]
    assert text(mathml) == "v^t2|g|+ϵ"


def test_brackets_stretch_over_tall_contents_alone() -> None:
    assert 'stretchy="false"' in latex_to_mathml(r"\left(g\right)")
    assert 'stretchy="true"' in latex_to_mathml(r"\left(\frac{g}{2}\right)")


def test_the_update_alone_leaves_out_how_weights_move() -> None:
    rule = Rule.parse("nesterov: [a3]*g")
    assert len(update_to_mathml(rule).splitlines()) == 2
    assert len(rule_to_mathml(rule).splitlines()) == 4


@pytest.mark.parametrize("attack", HOSTILE)
def test_no_markup_of_a_users_own_operation_passes(attack: str) -> None:
    for latex in (attack, rf"\mathrm{{{attack}}}", rf"\left{attack}\right{attack}", rf"\{attack}"):
        allowed = {"math", "mrow", "mi", "mo", "mn", "mtext", "msup", "msub", "msubsup"}
        assert set(tags(latex_to_mathml(latex))) <= allowed


@pytest.mark.parametrize("latex", ["}", "{", r"\left(", r"\right)", "^", "_", r"\frac", "'", ""])
def test_broken_latex_is_still_well_formed(latex: str) -> None:
    assert tags(latex_to_mathml(latex))[0] == "math"


def test_the_deepest_rule_is_typeset_or_left_out_but_never_fails() -> None:
    deep = OperandRef("g")
    nested: Call | OperandRef = deep
    for _ in range(60):
        nested = Call("dsoftsign", (nested,))
    for line in rule_to_mathml(Rule(nested)).splitlines():
        assert not line or tags(line)
    assert latex_to_mathml("{" * 50 + "}" * 50)
