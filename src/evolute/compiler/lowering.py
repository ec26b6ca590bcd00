"""What lowering a program asks first, for whatever machine: whether that knows its functions."""

from __future__ import annotations

from collections.abc import Callable

from evolute.compiler.program import Program


def unknown_function(program: Program, knows: Callable[[str], bool], *, machine: str) -> str | None:
    """Say which function of a program a machine does not know; None where it knows all.

    Parameters
    ----------
    program
        What is to be lowered.
    knows
        Whether the machine knows the function of a name.
    machine
        How the sentence calls it, with its verb.

    Examples
    --------
    >>> from evolute.compiler.program import compile_rule
    >>> from evolute.lang.rule import Rule
    >>> program = compile_rule(Rule.parse("momentum: sqrt(g)"))
    >>> unknown_function(program, lambda name: False, machine="an abacus does")
    "an abacus does not know the function 'sqrt'"
    """
    for instruction in program.instructions:
        name = instruction.function.name
        if not knows(name):
            return f"{machine} not know the function {name!r}"
    return None
