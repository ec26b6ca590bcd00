"""Canonical form: one rule for all rules that differ only in how they are written.

A rule is written out in the primitives g and w, rewritten from its leaves to its root, and what is
left is read back into operands. The rewrites, each applied to a node whose parts are canonical:

- signs leave odd functions and bracketed values, and vanish in even ones: f(−x) → −f(x) or f(x);
  −(−x) → x; x + (−y) → x − y; x − (−y) → x + y; in even functions also |x| → x;
- operands of commutative functions stand in the order of their texts, written out, and so do those
  of a difference while it is rewritten: y − x is −(x − y);
- identity(x) → x; x + 0 → x; 1·x → x; x/1 → x; f(f(x)) → f(x) and f(x, x) → x of idempotent f;
- brackets: [a]·([b]·x) → [a·b]·x, the factors in the order of their texts; [1]·x → x. A decay whose
  values lie in [0, 1] keeps them there: its sign stays inside.

Every rewrite preserves every value to the bit, but for the sign of a zero (no function tells it);
only the brackets reorder a product, of numbers in [0, 1], to rounding (1e-12). Noise follows the
language's law: equal expressions are one node. Both passes visit each node once, and the rewrites
of a node call each other only on fewer nodes, so they end. What comes out written out again is the
same primitives, so the canonical form of a canonical form is itself.
"""

from __future__ import annotations

from functools import cache, lru_cache

from evolute.lang.expand import expand
from evolute.lang.expression import (
    Call,
    Constant,
    DecayRef,
    Expression,
    OperandRef,
    Scaled,
    rebuild,
)
from evolute.lang.registry import FUNCTIONS, OPERANDS, Parity
from evolute.lang.rule import Rule
from evolute.lang.text import print_expression

_NEUTRAL = {"mul": (0, 1), "quotient": (1,)}
"""Positions of an argument that leaves the other one as it is when it is 1."""


@lru_cache(maxsize=4096)  # a candidate's is asked for three or four times on its way to a score
def simplify_rule(rule: Rule) -> Rule:
    """Return the canonical form of a rule: equal for rules that differ only as written.

    Rules that descend along +u and −u differ in their sign alone: g − v is −(v − g).

    Raises
    ------
    InputError
        If it reads operands of a user that, written out, make it larger or deeper than allowed.

    Examples
    --------
    >>> print(simplify_rule(Rule.parse("none: identity(-[1*a3]*(tanh(-v)*max(g2, g2)))")))
    none: [a3]*(g2*tanh(v))
    """
    sign, update = _split_sign(_normal(rule.signed_update))
    return Rule(_fold(update), rule.momentum, sign)


def simplify(expression: Expression) -> Expression:
    """Return the canonical form of an expression of either sort.

    User-defined operands come out as what they stand for: the canonical form, which names a trial
    in the store, then changes with their definition.

    Examples
    --------
    >>> from evolute.lang.text import parse_expression
    >>> print_expression(simplify(parse_expression("v - -[identity(a1)]*([a2]*g)*1")))
    '[a1*a2]*g+v'
    """
    return _fold(_normal(expression))


def _normal(expression: Expression) -> Expression:
    """Return the canonical form of an expression, written out in g and w alone."""
    return rebuild(expression, _rewrite)


@cache  # rows are only ever added, so a meaning never changes
def _written_out(operand: str) -> Expression:
    """Return the canonical form of an operand, written out."""
    return rebuild(expand(OperandRef(operand)), _rewrite_primitive)


def _rewrite(node: Expression) -> Expression:
    """Return the canonical form of a node whose parts are canonical and written out."""
    return _written_out(node.name) if isinstance(node, OperandRef) else _rewrite_primitive(node)


def _rewrite_primitive(node: Expression) -> Expression:
    """Return the canonical form of a node without an operand but g and w."""
    match node:
        case Call("identity", (argument,), _):
            return argument
        case Call("neg", (argument,), _):
            return _signed(-1, argument)
        case Call("add" | "sub" as function, (left, right), _):
            return _sum(left, right, 1 if function == "add" else -1)
        case Call():
            return _call(node)
        case Scaled(decay, value):
            return _scaled(decay, value)
        case _:
            return node


def _split_sign(expression: Expression) -> tuple[int, Expression]:
    """Split an expression into its sign, +1 or −1, and the rest."""
    match expression:
        case Call("neg", (argument,), _):
            return -1, argument
        case Constant(value) if value < 0:
            return -1, Constant(-value)
        case _:
            return 1, expression


def _signed(sign: int, expression: Expression) -> Expression:
    """Return sign · expression, without a double negation."""
    own, rest = _split_sign(expression)
    if own * sign == 1:
        return rest
    return Constant(-rest.value) if isinstance(rest, Constant) else Call("neg", (rest,))


def _sum(left: Expression, right: Expression, sign: int) -> Expression:
    """Return left + sign · right."""
    left_sign, left = _split_sign(left)
    right_sign, right = _split_sign(right)
    right_sign *= sign
    if right == Constant(0):
        return _signed(left_sign, left)
    if left == Constant(0):
        return _signed(right_sign, right)
    if left_sign == right_sign:
        return _signed(left_sign, Call("add", _in_order(left, right)))
    first, second = _in_order(left, right)
    return _signed(left_sign if first == left else right_sign, Call("sub", (first, second)))


def _call(call: Call) -> Expression:
    """Return the canonical form of a call of any function but identity, neg, add and sub."""
    row = FUNCTIONS[call.function]
    sign = 1
    arguments = list(call.arguments)
    for position, parity in enumerate((row.parity, row.second_parity)[: row.arity]):
        if parity is Parity.ODD:
            own, arguments[position] = _split_sign(arguments[position])
            sign *= own
        elif parity is Parity.EVEN:
            arguments[position] = _without_sign(arguments[position])
    for position in _NEUTRAL.get(call.function, ()):
        if arguments[position] == Constant(1):
            return _signed(sign, arguments[1 - position])
    if row.idempotent and _is_repeated(call, arguments):
        return _signed(sign, arguments[0])
    if row.commutative:
        arguments = list(_in_order(*arguments))
    return _signed(sign, Call(call.function, tuple(arguments), call.parameters))


def _without_sign(expression: Expression) -> Expression:
    """Drop the signs and absolute values around the argument of an even function."""
    _, rest = _split_sign(expression)
    match rest:
        case Call("abs", (argument,), _):
            return argument  # canonical, so it holds neither a sign nor another abs
        case _:
            return rest


def _is_repeated(call: Call, arguments: list[Expression]) -> bool:
    """Tell f(f(x)), and f(x, x), of an idempotent f."""
    if len(arguments) == 2:
        return arguments[0] == arguments[1]
    match arguments[0]:
        case Call(function, _, parameters):
            return function == call.function and parameters == call.parameters
        case _:
            return False


def _scaled(decay: Expression, value: Expression) -> Expression:
    """Return [decay] · value; a decay in [0, 1] stays there, so its sign stays with it."""
    value_sign, value = _split_sign(value)
    decay_sign, factors = _factors(decay)
    if isinstance(value, Scaled):
        inner_sign, inner = _factors(value.decay)
        decay_sign *= inner_sign
        factors += inner
        value = value.value
    factors = sorted((factor for factor in factors if factor != Constant(1)), key=print_expression)
    if not factors:
        return _signed(decay_sign * value_sign, value)
    product = factors[0]
    for factor in factors[1:]:
        product = Call("mul", (product, factor))
    return _signed(value_sign, Scaled(_signed(decay_sign, product), value))


def _factors(decay: Expression) -> tuple[int, list[Expression]]:
    """Return the sign of a canonical schedule and the factors of the product it is."""
    sign, rest = _split_sign(decay)
    factors, left = [], [rest]
    while left:
        match left.pop():
            case Call("mul", arguments, _):
                left.extend(arguments)
            case factor:
                factors.append(factor)
    return sign, factors


def _in_order(left: Expression, right: Expression) -> tuple[Expression, Expression]:
    """Put two expressions in the order of their texts."""
    return (left, right) if print_expression(left) <= print_expression(right) else (right, left)


def _fold(expression: Expression) -> Expression:
    """Read what is written out in primitives back into published operands, largest first."""
    meanings = _meanings()
    match expression:
        case OperandRef() | DecayRef() | Constant():
            return expression
        case Scaled(decay, value):
            return Scaled(_fold(decay), _fold(value))
        case Call(function, arguments, parameters):
            if expression in meanings:
                return meanings[expression]
            if function == "neg":
                return _negated(arguments[0])
            return Call(function, tuple(_fold(part) for part in arguments), parameters)


def _negated(expression: Expression) -> Expression:
    """Return minus an expression, read back; −(x − y) is written y − x."""
    match expression:
        case Call("sub", (left, right), _) if expression not in _meanings():
            return Call("sub", (_fold(right), _fold(left)))
        case _:
            return Call("neg", (_fold(expression),))


@cache  # the published rows are there from the start
def _meanings() -> dict[Expression, OperandRef]:
    """Return the published operands by the canonical form of what they stand for.

    Operands of a user are left out: a canonical text then reads the same without their file.
    """
    return {
        _written_out(name): OperandRef(name)
        for name, row in OPERANDS.items()
        if row.definition is not None and row.published is not None and not name.isdigit()
    }
