"""The canonical form keeps every value, forgets every disguise, and is its own canonical form."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import base_decays, decays, expressions, rules, schedules, searched_rules
from torch import Tensor

from evolute.lang.curve import curve
from evolute.lang.expand import expand
from evolute.lang.expression import (
    Call,
    Constant,
    DecayRef,
    Expression,
    OperandRef,
    Scaled,
    rebuild,
    walk,
)
from evolute.lang.registry import BASE_DECAYS, FUNCTIONS, Kind
from evolute.lang.rule import Rule
from evolute.lang.simplify import simplify
from evolute.lang.text import parse_expression, print_expression

STEPS = 4


def exact_decays() -> st.SearchStrategy[Expression]:
    """Products of base decays, with signs and ones: exact where each decay is a power of two."""
    return st.recursive(
        base_decays() | st.sampled_from([1.0, -1.0]).map(Constant),
        lambda inner: (
            st.builds(lambda x, y: Call("mul", (x, y)), inner, inner)
            | st.builds(lambda x: Call("identity", (x,)), inner)
            | st.builds(lambda x: Call("neg", (x,)), inner)
        ),
        max_leaves=3,
    )


class Evaluator:
    """Values of an expression over a few steps, float64; one state for all equal parts.

    A base decay is a power of two of its own, so that reordering a product is exact. All noise of
    a step is one draw, so that a rewrite which moves a dropout meets the same noise.
    """

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.states: dict[Expression, Tensor] = {}

    def run(self, expression: Expression) -> list[Tensor]:
        expanded = expand(expression)
        return [self.step(expanded, step) for step in range(STEPS)]

    def step(self, expression: Expression, step: int) -> Tensor:
        shape = (2, 4)
        telling = torch.tensor([0.0, -1e-9, 1e4, 1.0], dtype=torch.float64)
        drawn = torch.randn(shape, generator=self.generator, dtype=torch.float64)
        values: dict[Expression, Tensor] = {
            OperandRef("g"): torch.cat([drawn, telling.roll(step)[None]]),
            OperandRef("w"): torch.cat([drawn.flip(0), telling[None]]),
        }
        uniform = torch.rand((3, 4), generator=self.generator, dtype=torch.float64)
        for order, name in enumerate(BASE_DECAYS):
            value = 2.0 ** -((order + step) % 3)
            values[DecayRef(name)] = torch.full((3, 4), value, dtype=torch.float64)
        return self.value(expression, values, uniform, step)

    def value(
        self, node: Expression, values: dict[Expression, Tensor], uniform: Tensor, step: int
    ) -> Tensor:
        if node not in values:
            match node:
                case Constant(number):
                    values[node] = torch.full((3, 4), number, dtype=torch.float64)
                case Scaled(decay, scaled):
                    values[node] = self.value(decay, values, uniform, step) * self.value(
                        scaled, values, uniform, step
                    )
                case Call(function, arguments, parameters):
                    parts = [self.value(part, values, uniform, step) for part in arguments]
                    values[node] = self.call(node, function, [*parts, *parameters], uniform, step)
                case _:
                    raise AssertionError(node)
        return values[node]

    def call(
        self,
        node: Expression,
        function: str,
        inputs: list[Tensor | float],
        uniform: Tensor,
        step: int,
    ) -> Tensor:
        row = FUNCTIONS[function]
        if row.kind is Kind.STATEFUL:
            state = self.states.get(node, torch.zeros(3, 4, dtype=torch.float64))
            value, self.states[node] = row.compute(*inputs, state=state, step=step)  # type: ignore[misc]
        elif row.kind is Kind.RANDOM:
            value = row.compute(*inputs, uniform=uniform)
        elif row.kind is Kind.PER_TENSOR:
            value = row.compute(*inputs, dims=(0, 1))
        else:
            value = row.compute(*inputs)
        assert isinstance(value, Tensor)
        return value


def assert_same(before: list[Tensor], after: list[Tensor]) -> None:
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one.nan_to_num(nan=7.25e77), other.nan_to_num(nan=7.25e77)), (one, other)


@given(expressions(decays=exact_decays(), max_leaves=10), st.integers(0, 1000))
def test_every_rewrite_of_an_expression_preserves_every_value(
    expression: Expression, seed: int
) -> None:
    before = Evaluator(seed).run(expression)
    assert_same(before, Evaluator(seed).run(simplify(expression)))


@given(rules(decays=exact_decays(), max_leaves=10), st.integers(0, 1000))
def test_the_canonical_rule_moves_every_weight_as_the_rule_does(rule: Rule, seed: int) -> None:
    canonical = rule.canonical()
    assert canonical.momentum is rule.momentum
    before = Evaluator(seed).run(rule.signed_update)
    assert_same(before, Evaluator(seed).run(canonical.signed_update))


@given(schedules())
def test_simplifying_a_schedule_preserves_its_curve(schedule: Expression) -> None:
    before, after = curve(schedule, 23), curve(simplify(schedule), 23)
    assert torch.equal(before.nan_to_num(nan=7.25e77), after.nan_to_num(nan=7.25e77))


@given(st.lists(decays(), min_size=1, max_size=5))
def test_doubled_brackets_keep_their_product_to_rounding(brackets: list[Expression]) -> None:
    nested: Expression = OperandRef("g")
    product = torch.ones(50, dtype=torch.float64)
    for bracket in brackets:
        nested = Scaled(bracket, nested)
        product = product * curve(bracket, 50)
    merged = simplify(nested)
    assert isinstance(merged, Scaled)
    assert merged.value == OperandRef("g")
    torch.testing.assert_close(curve(merged.decay, 50), product, rtol=1e-12, atol=0)


@given(decays(max_leaves=6), decays(max_leaves=6))
def test_a_valid_decay_stays_valid_in_the_canonical_form(
    outer: Expression, inner: Expression
) -> None:
    rule = Rule(Scaled(outer, Scaled(inner, OperandRef("g")))).canonical()
    if rule.schedule is not None:
        values = curve(rule.schedule, 100)
        assert ((values >= 0) & (values <= 1)).all()


@given(rules())
def test_the_canonical_form_is_its_own_canonical_form(rule: Rule) -> None:
    canonical = rule.canonical()
    assert canonical.canonical() == canonical
    assert Rule.parse(str(canonical)) == canonical


@given(searched_rules())
def test_the_canonical_form_of_a_searched_rule_is_no_larger(rule: Rule) -> None:
    def nodes(of: Rule) -> list[Expression]:
        return list(walk(of.signed_update))

    differences = sum(isinstance(node, Call) and node.function == "sub" for node in nodes(rule))
    assert len(nodes(rule.canonical())) <= len(nodes(rule)) + differences


@given(st.data(), rules(decays=decays()))
def test_no_disguise_changes_the_canonical_form(data: st.DataObject, rule: Rule) -> None:
    def disguise(node: Expression) -> Expression:
        match node:
            case Call(function, (x, y), parameters) if FUNCTIONS[function].commutative:
                if data.draw(st.booleans()):
                    node = Call(function, (y, x), parameters)
            case Scaled(Call("mul", (first, second), _), value):
                node = Scaled(second, Scaled(first, value))
            case _:
                pass
        disguised: Expression = data.draw(st.sampled_from(_DISGUISES))(node)
        return disguised

    dressed = Rule(rebuild(rule.update, disguise), rule.momentum, rule.sign, rule.schedule)
    assert dressed.canonical() == rule.canonical()


def _negated_twice(node: Expression) -> Expression:
    return Call("neg", (Call("neg", (node,)),))


_DISGUISES = (
    lambda node: node,
    lambda node: node,
    _negated_twice,
    lambda node: Call("identity", (node,)),
)


@given(expressions())
def test_operands_of_a_commutative_function_stand_in_one_order(expression: Expression) -> None:
    other = parse_expression("tanh(w)")
    for function in ("add", "mul", "max", "min"):
        one = simplify(Call(function, (expression, other)))
        assert one == simplify(Call(function, (other, expression)))
        assert print_expression(one) == print_expression(simplify(one))
