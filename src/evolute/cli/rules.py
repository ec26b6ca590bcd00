"""``evolute rules``: known optimizers, and the building blocks that rules are made of."""

from __future__ import annotations

from typing import Any

import click

from evolute.cli.output import format_option
from evolute.cli.zoo import optimizer_rows, print_rows
from evolute.lang.registry import BASE_DECAYS, FUNCTIONS, OPERANDS

EXAMPLES = """\b
Examples:
  evolute rules                       known optimizers, hand-made and published
  evolute rules --blocks              operands, functions and base decays
  evolute show lion                   one of them, with equation and decay curves
  evolute show "none: v/(sqrt(s)+1e-08)"
"""


@click.command(epilog=EXAMPLES)
@click.option("--blocks", is_flag=True, help="List operands, functions and base decays instead.")
@format_option()
def rules(blocks: bool, output_format: str) -> None:
    """List known optimizers as rules, or the building blocks of rules."""
    print_rows(_blocks() if blocks else optimizer_rows(), output_format)


def _blocks() -> list[dict[str, Any]]:
    """One row per operand, function and base decay, read from the registries."""
    rows = [("operand", row.name, row.definition or "", row.searched) for row in OPERANDS.values()]
    for function in FUNCTIONS.values():
        names = ["x", "y"][: function.arity] + [row.name for row in function.parameters]
        drawn = bool(function.searched) or function.searched_in_decay
        text = f"{function.name}({', '.join(names)})"
        if function.infix:
            text += f"  or  {' '.join(('x', function.infix, 'y'))}"
        rows.append(("function", function.name, text, drawn))
    rows += [
        ("base decay", row.name, f"[{row.name}]*x", row.searched) for row in BASE_DECAYS.values()
    ]
    columns = ("kind", "name", "meaning or use", "searched")
    return [dict(zip(columns, row, strict=True)) for row in rows]
