"""Writes the tables of docs/language.md from the registries.

Run it as ``python docs/build_language_page.py`` after a change of a table. The text between the
tables is written by hand and left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from evolute.lang.curve import curve
from evolute.lang.expression import DecayRef
from evolute.lang.registry import (
    BASE_DECAYS,
    FUNCTIONS,
    OPERANDS,
    BaseDecay,
    Function,
    Kind,
    Operand,
)

PAGE = Path(__file__).parent / "language.md"
TABLE = re.compile(r"(?<=<!-- table: )(?P<name>\w+) -->\n.*?(?=<!-- end -->)", re.DOTALL)
CURVE_STEPS = 1000
QUARTERS = (0, 250, 500, 750, CURVE_STEPS - 1)


def build(page: str) -> str:
    """Return the page with every table written anew."""
    tables = {
        "operands": operand_table(row for row in OPERANDS.values()),
        "unary": function_table(row for row in FUNCTIONS.values() if row.arity == 1),
        "binary": function_table(row for row in FUNCTIONS.values() if row.arity == 2),
        "decays": decay_table(BASE_DECAYS.values()),
    }
    return TABLE.sub(lambda found: f"{found['name']} -->\n{tables[found['name']]}", page)


def operand_table(rows: Iterable[Operand]) -> str:
    """One line per operand: name, symbol, meaning in the language, whether the search draws it."""
    head = ("operand", "symbol", "meaning in the language", "drawn by the search")
    return table(
        head,
        (
            (code(row.name), math(row.latex), code(row.definition or row.name), yes(row.searched))
            for row in rows
        ),
    )


def function_table(rows: Iterable[Function]) -> str:
    """One line per function: how it is written, its equation, what it needs, where it is drawn."""
    head = ("written", "equation", "needs", "drawn in updates", "drawn in decays")
    return table(
        head,
        (
            (
                code(written(row)),
                math(equation(row)),
                "" if row.kind is Kind.ELEMENTWISE else NEEDS[row.kind],
                drawn(row),
                yes(row.searched_in_decay),
            )
            for row in rows
        ),
    )


NEEDS = {
    Kind.PER_TENSOR: "a whole weight tensor",
    Kind.STATEFUL: "state",
    Kind.RANDOM: "noise",
}


def decay_table(rows: Iterable[BaseDecay]) -> str:
    """One line per base decay: its values at the start, each quarter and the end of a run."""
    head = ("base decay", "symbol", "start", "¼", "½", "¾", "end", "drawn by the search")
    return table(
        head,
        (
            (
                code(row.name),
                math(row.latex),
                *(f"{value:.2f}" for value in curve(DecayRef(row.name), CURVE_STEPS)[[*QUARTERS]]),
                yes(row.searched),
            )
            for row in rows
        ),
    )


def written(row: Function) -> str:
    """How a rule spells the function: as an infix operator or as a call."""
    if row.infix is not None:
        return f"x {row.infix} y"
    if row.name == "neg":
        return "-x"
    return f"{row.name}({', '.join((*('x', 'y')[: row.arity], *parameters(row)))})"


def equation(row: Function) -> str:
    """Its LaTeX, of arguments x and y and with its parameters by name."""
    names = [rf"\mathrm{{{name}}}" for name in parameters(row)]
    return row.latex.format(*("x", "y")[: row.arity], *names)


def parameters(row: Function) -> tuple[str, ...]:
    """Names of the numbers that follow the arguments."""
    return tuple(parameter.name for parameter in row.parameters)


def drawn(row: Function) -> str:
    """Whether the default search draws the function in an update, and with which parameters."""
    numbers = [", ".join(f"{number:g}" for number in numbers) for numbers in row.searched]
    return "with " + " or ".join(numbers) if any(numbers) else yes(bool(row.searched))


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Write a Markdown table, a blank line around it."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def code(text: str) -> str:
    """Write a text in the fixed-width face."""
    return f"`{text}`"


def math(latex: str) -> str:
    """Write an equation; a bar would end the cell of a table."""
    return f"${latex.replace('|', chr(92) + 'vert ')}$"


def yes(true: bool) -> str:
    """Write a truth value; an empty cell reads faster than a column of no."""
    return "yes" if true else ""


if __name__ == "__main__":
    PAGE.write_text(build(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
