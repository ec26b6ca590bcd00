"""Decay functions and schedules as small functions of (t, total_steps)."""

from __future__ import annotations

import ast
import math
import textwrap
from collections import Counter
from collections.abc import Iterable

from evolute.compiler.export.dialect import Dialect
from evolute.compiler.export.formula import occurrences, read_formula
from evolute.compiler.export.subject import wrap_code
from evolute.compiler.export.update import formula_of
from evolute.compiler.export.writer import Term, Writer, number
from evolute.compiler.program import Program
from evolute.errors import InputError
from evolute.lang.curve import curve
from evolute.lang.expression import Call, Constant, DecayRef, Expression, children, walk
from evolute.lang.registry import BASE_DECAYS, FUNCTIONS
from evolute.lang.text import print_expression

_NAMES = frozenset({"t", "total_steps", "pi", "epsilon"})
_LENGTHS_TRIED = (*range(1, 65), 100, 1_000, 10_000)


def decay_names(program: Program) -> tuple[str, ...]:
    """Return a name for the value of each inner decay."""
    if len(program.decays) == 1:
        return ("decay",)
    return tuple(f"decay_{at}" for at in range(1, len(program.decays) + 1))


def write_decays(program: Program, dialect: Dialect, *, tensor: str) -> str:
    """Return the functions of a rule's decays, and of the base decays in them.

    Parameters
    ----------
    program
        The compiled rule.
    dialect
        The library's spelling for schedules.
    tensor
        Type of a step t.

    Raises
    ------
    InputError
        If a base decay or a function has no formula.
    """
    schedules = dict(zip(decay_names(program), program.decays, strict=True))
    if program.schedule is not None:
        schedules = {"schedule": program.schedule, **schedules}
    functions = [_base_decay(name, dialect, tensor) for name in _base_names(schedules.values())]
    functions += [
        _schedule(name, schedule, dialect, tensor) for name, schedule in schedules.items()
    ]
    return "\n\n\n".join(functions)


def _base_names(schedules: Iterable[Expression]) -> list[str]:
    used = {
        node.name for schedule in schedules for node in walk(schedule) if isinstance(node, DecayRef)
    }
    return [name for name in BASE_DECAYS if name in used]


def _base_decay(name: str, dialect: Dialect, tensor: str) -> str:
    text = BASE_DECAYS[name].formula
    if text is None:
        raise InputError(
            f"the base decay {name!r} has no formula, which code outside evolute needs: add "
            'formula="…" where it is registered, such as formula="1 - t / total_steps"'
        )
    writer = _writer(dialect)
    formula = read_formula(text, _NAMES)
    tree = writer.combine(formula, {}, {})
    if not occurrences(formula, "t"):
        tree = dialect.fill(dialect.filled, tree)
    return _function(f"_{name}", f"Base decay {name}.", writer, tree, tensor)


def _schedule(name: str, schedule: Expression, dialect: Dialect, tensor: str) -> str:
    writer = _writer(dialect)
    uses = Counter(child for node in set(walk(schedule)) for child in children(node))
    term = _term(schedule, writer, uses, {})
    tree = writer.filled(term).tree if term.is_number else term.tree
    factor = "of the learning rate" if name == "schedule" else "inside the update"
    title = f"Factor {factor}: {print_expression(schedule)}."
    return _function(f"_{name}", title, writer, tree, tensor)


def _term(
    node: Expression, writer: Writer, uses: Counter[Expression], known: dict[Expression, Term]
) -> Term:
    """Write a node of a schedule; return its value, named if it is read more than once."""
    if node in known:
        return known[node]
    match node:
        case Constant(value):
            term = number(value)
        case DecayRef(name):
            term = Term(ast.parse(f"_{name}(t, total_steps)", mode="eval").body, name)
        case Call(function, parts, parameters):
            row = FUNCTIONS[function]
            names = (parameter.name for parameter in row.parameters)
            fixed = {
                name: number(value).tree for name, value in zip(names, parameters, strict=True)
            }
            terms = [_term(part, writer, uses, known) for part in parts]
            arguments = dict(zip(("x", "y"), terms, strict=False))
            term = writer.term(formula_of(row), arguments, fixed, row.noun or row.name)
        case _:
            raise TypeError(f"{node} is no schedule")
    if uses[node] > 1 and not term.is_simple:
        term = writer.assign(term)
    known[node] = term
    return term


def _writer(dialect: Dialect) -> Writer:
    return Writer(dialect, {"t", "total_steps", *dialect.modules}, indent=4)


def _function(name: str, title: str, writer: Writer, tree: ast.expr, tensor: str) -> str:
    writer.statement("return ", tree)
    wrapped = wrap_code(title, 90)
    closing = '"""' if len(wrapped) == 1 else '\n"""'
    documentation = '"""' + "\n".join(wrapped) + closing
    body = "\n".join((documentation, *writer.lines))
    return f"def {name}(t: {tensor}, total_steps: int) -> {tensor}:\n" + textwrap.indent(
        body, "    "
    )


def is_infinite_at_the_start(schedule: Expression) -> bool:
    """Say whether a schedule is infinite at t = 0 for some length of training.

    At t = 0 base decays depend on T little or not at all, so the lengths tried speak for all.
    """
    return any(math.isinf(float(curve(schedule, total_steps)[0])) for total_steps in _LENGTHS_TRIED)
