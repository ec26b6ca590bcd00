"""The text form: what it reads, how it refuses, and that it never executes anything."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from evolute.errors import InputError, RuleSyntaxError
from evolute.lang import text as text_module
from evolute.lang.expression import Call, Constant, DecayRef, Expression, OperandRef, Scaled
from evolute.lang.text import (
    MAX_DEPTH,
    MAX_LENGTH,
    MAX_NODES,
    check_size,
    parse_expression,
    parse_schedule,
    print_expression,
    print_number,
)

G, V, S = OperandRef("g"), OperandRef("v"), OperandRef("s")


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("g", G),
        ("1", Constant(1)),
        ("-2.5e-3", Constant(-0.0025)),
        ("-0.0", Constant(0)),
        ("-g", Call("neg", (G,))),
        ("v/sqrt(s)", Call("div", (V, Call("sqrt", (S,))))),
        ("g-v-s", Call("sub", (Call("sub", (G, V)), S))),
        ("g-(v-s)", Call("sub", (G, Call("sub", (V, S))))),
        ("-g*v", Call("mul", (Call("neg", (G,)), V))),
        ("ema(g, 0.9)", Call("ema", (G,), (0.9,))),
        ("[a3]*g", Scaled(DecayRef("a3"), G)),
        ("g*[a3]", Scaled(DecayRef("a3"), G)),
        ("-[a3]*g", Call("neg", (Scaled(DecayRef("a3"), G),))),
        ("g*v*[a3]", Scaled(DecayRef("a3"), Call("mul", (G, V)))),
        ("[1-a3]*g", Scaled(Call("sub", (Constant(1), DecayRef("a3"))), G)),
        ("  g +\n\tv ", Call("add", (G, V))),
    ],
)
def test_a_text_reads_as_the_expression_it_says(text: str, expression: Expression) -> None:
    assert parse_expression(text) == expression


@pytest.mark.parametrize(
    ("text", "said", "at"),
    [
        ("", "an expression is missing", 0),
        ("   ", "an expression is missing", 0),
        ("g+", "it ends too early", 2),
        ("g*" + "1" * 5000, "a number of 5000 digits is too long: at most 1100 are read", 2),
        ("g+0." + "0" * 5000, "a number of 5000 digits is too long", 4),
        ("g v", "not an expression", 2),
        ("g)", "not an expression", 1),
        ("g+gg", "unknown operand 'gg'", 2),
        ("g + tanhh(v)", "did you mean 'tanh'", 4),
        ("é+1*gg", "unknown operand 'é'", 0),
        ("max(g,\n  λ)", "unknown operand 'λ'", 9),
        ("[a33]*g", "did you mean 'a3'", 1),
        ("a3*g", "stands outside brackets: write [a3]*x", 0),
        ("[g]*v", "unknown base decay 'g'", 1),
        ("[[a1]*a2]*v", "a decay function cannot carry a decay", 1),
        ("[delta(a1)]*v", "delta is stateful and cannot stand in a decay function", 1),
        ("[a1, a2]*v", "brackets hold one decay function, got 2", 0),
        ("[]*v", "brackets hold one decay function, got 0", 0),
        ("v+[a1]", "a decay in brackets multiplies a value", 2),
        ("tanh(g, v)", "tanh takes 1 argument, got 2", 0),
        ("ema(g)", "ema takes 1 argument and the parameter beta, got 1", 0),
        ("ema(g, v)", "a parameter is a number", 7),
        ("ema(g, -g)", "a parameter is a number", 7),
        ("ema(g, 1)", "at least 0 and less than 1", 0),
        ("g**2", "write x*x, square(x) or abs_pow(x, y)", 1),
        ("g//2", "write x/y", 1),
        ("+g", "'+g' is not allowed", 0),
        ("g.real", "'g.real' is not allowed", 0),
        ("(g, v)", "is not allowed", 0),
        ("tanh(*g)", "'*g' is not allowed", 5),
        ("(g)(v)", "unknown function 'g'", 0),
        ("g[0]", "is not allowed", 0),
        ("2j*g", "2j is no number", 0),
        ("1e999", "finite", 0),
        ("g if g else v", "'if' is not allowed", 2),
        ("g and v", "'and' is not allowed", 2),
        ("None", "'None' is not allowed", 0),
        ("g # v", "the character '#' is not allowed", 2),
        ("g + é;", "the character ';' is not allowed", 5),
        ("'g'", 'the character "\'" is not allowed', 0),
    ],
)
def test_a_fault_is_named_with_its_place_and_what_is_allowed(text: str, said: str, at: int) -> None:
    with pytest.raises(RuleSyntaxError) as caught:
        parse_expression(text)
    assert said in str(caught.value)
    assert caught.value.position == at
    assert f"(at character {at + 1} of " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", ["{}*(ö+1)", "ö+({}*g)", "max(g, [{}]*ö)", "ö*[{}]"])
def test_a_place_counts_characters_where_letters_take_several_bytes(place: str) -> None:
    text = "none: tanh(g) + " + place.format("a3*λλ") if "[" in place else place.format("λλ")
    with pytest.raises(RuleSyntaxError) as caught:
        parse_expression(text.removeprefix("none: "), offset=6, whole="none: " + text)
    found = caught.value.position - 6
    assert text.removeprefix("none: ")[found] in "λö"


HOSTILE = [
    "__import__('os').system('touch {trap}')",
    "open('{trap}', 'w')",
    "exec(g)",
    "eval(g)",
    "().__class__.__bases__[0].__subclasses__()",
    "g.__class__",
    "lambda: g",
    "[x for x in g]",
    "(yield)",
    "(g := v)",
    "f'{{open(1)}}'",
    "print(g)",
    "max(g, v, key=exec)",
    "g@v",
    "g<v",
    "~g",
    "not g",
    "await g",
    "...",
    "{{g}}",
    "g;v",
    "g\x00",
    "\ud800",
    "\\\ng",
    "9" * 5000,
    "0x" + "f" * 400,
    "1_0j",
    "(" * 50_000,
    "[" * 50_000,
    "-" * 50_000 + "g",
    "- " * 40_000 + "g",
    "+-" * 40_000 + "g",
    "g+" * 40_000 + "g",
    "g*" * 3_000 + "g",
    "g**" * 30_000 + "g",
    "not " * 20_000 + "g",
    "g." * 40_000 + "g",
    "tanh(" * 20_000 + "g" + ")" * 20_000,
    "max(" + "g," * 49_000 + "g)",
    "[" + "a1*" * 5_000 + "a1]*g",
    "g" * 90_000,
    "a" * 90_000 + "(g)",
    "g" * (MAX_LENGTH + 1),
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:20].encode("ascii", "replace"))
def test_a_hostile_text_is_refused_in_one_short_line(text: str, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    with pytest.raises(RuleSyntaxError) as caught:
        parse_expression(text.replace("{trap}", str(trap)))
    assert not trap.exists()
    assert len(str(caught.value)) < 900
    assert str(caught.value).isprintable()


def chain(levels: int) -> Expression:
    expression: Expression = G
    for _ in range(levels - 1):
        expression = Call("tanh", (expression,))
    return expression


def wide(nodes: int) -> Expression:
    """A balanced sum of a given odd number of nodes."""
    if nodes == 1:
        return G
    left = (nodes - 1) // 2 | 1
    return Call("add", (wide(left), wide(nodes - 1 - left)))


def test_the_deepest_expression_reads_and_one_deeper_does_not() -> None:
    deepest = print_expression(chain(MAX_DEPTH))
    assert parse_expression(deepest) == chain(MAX_DEPTH)
    with pytest.raises(RuleSyntaxError, match=f"at most {MAX_DEPTH} levels"):
        parse_expression(f"tanh({deepest})")
    with pytest.raises(RuleSyntaxError, match=f"at most {MAX_DEPTH} levels"):
        parse_expression("g+" * MAX_DEPTH + "g")


def test_the_largest_expression_reads_and_a_larger_does_not() -> None:
    assert parse_expression(print_expression(wide(MAX_NODES - 1))) == wide(MAX_NODES - 1)
    with pytest.raises(RuleSyntaxError, match=f"at most {MAX_NODES} nodes"):
        parse_expression(print_expression(wide(MAX_NODES + 1)))


def test_brackets_signs_and_decays_reach_the_full_depth() -> None:
    for level in ("-(", "[-(", "[a1]*("):
        body, close = ("a1", ")]*g") if level == "[-(" else ("g", ")")
        count = MAX_DEPTH - 2 if level == "[-(" else MAX_DEPTH - 1
        opened = level.replace("[", "") * count if level == "[-(" else level * count
        text = (
            f"[{opened}{body}{')' * count}]*g"
            if level == "[-("
            else f"{opened}{body}{close * count}"
        )
        assert print_expression(parse_expression(text))


def test_an_expression_built_far_too_deep_is_refused_without_recursion() -> None:
    with pytest.raises(InputError, match="too large"):
        check_size(chain(10_000))


def test_a_shared_part_counts_each_time_it_is_read() -> None:
    expression: Expression = G
    for _ in range(40):
        expression = Call("add", (expression, expression))
    with pytest.raises(InputError, match="too large"):
        check_size(expression)


@pytest.mark.parametrize(
    ("value", "text"), [(2.0, "2"), (-3.0, "-3"), (0.5, "0.5"), (1e-8, "1e-08"), (1e300, "1e+300")]
)
def test_a_number_prints_short_and_reads_back(value: float, text: str) -> None:
    assert print_number(value) == text
    assert float(print_number(value)) == value


@pytest.mark.parametrize("value", [5e-324, 2.225073858507201e-308, 1.7976931348623157e308])
def test_every_double_written_out_in_full_is_read(value: float) -> None:
    assert parse_expression(f"{Decimal(value):f}") == Constant(value)


def test_a_schedule_reads_as_inside_its_brackets() -> None:
    assert Scaled(parse_schedule("a13*a2"), G) == parse_expression("[a13*a2]*g")
    with pytest.raises(RuleSyntaxError, match="unknown base decay 'g'"):
        parse_schedule("a1+g")


def test_nothing_in_the_reader_can_execute() -> None:
    assert text_module.__file__ is not None
    source = Path(text_module.__file__).read_text(encoding="utf-8")
    for name in ("eval(", "exec(", "compile(", "getattr(", "literal_eval("):
        assert name not in source.replace("re.compile(", "")
