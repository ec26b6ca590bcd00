"""The update of a program as statements of a library."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass, replace

from evolute.compiler.export.formula import occurrences, read_formula
from evolute.compiler.export.writer import MAX_NAME, Term, Writer, number
from evolute.compiler.program import Instruction, Program
from evolute.errors import InputError
from evolute.lang.registry import Function, Kind

_ARGUMENTS = ("x", "y")
_EXTRA_NAMES: dict[Kind, tuple[str, ...]] = {
    Kind.ELEMENTWISE: (),
    Kind.PER_TENSOR: (),
    Kind.STATEFUL: ("state", "new", "step"),
    Kind.RANDOM: ("uniform",),
}


@dataclass(frozen=True, slots=True)
class Update:
    """What was written of an update.

    Parameters
    ----------
    term
        The update u.
    states
        Name of each state, in the order of the program's slots.
    """

    term: Term
    states: tuple[str, ...]


def write_update(
    program: Program, writer: Writer, *, decays: tuple[str, ...], uniform: str = ""
) -> Update:
    """Write the statements that compute the update of ``gradient`` and ``weight``.

    Parameters
    ----------
    program
        The compiled rule.
    writer
        Takes the statements.
    decays
        Name of the value of each inner decay at this step.
    uniform
        Expression of fresh uniform numbers, with ``{node}`` for a name of the random node's text.

    Raises
    ------
    InputError
        If a function of the rule has no formula, or none in this library.
    """
    return _UpdateWriter(program, writer, decays, uniform).write()


def name_update(update: Update, writer: Writer) -> Update:
    """Give the update a line and a name of its own, unless it has a name already."""
    if isinstance(update.term.tree, ast.Name):
        return update
    writer.taken.discard("update")
    return replace(update, term=writer.assign(replace(update.term, noun="update")))


def formula_of(row: Function) -> ast.expr:
    """Return the formula of a function's value.

    Raises
    ------
    InputError
        If it has none, or one that cannot be read.
    """
    return _read(row, row.formula, "formula")


class _UpdateWriter:
    def __init__(
        self, program: Program, writer: Writer, decays: tuple[str, ...], uniform: str
    ) -> None:
        self.program, self.writer, self.uniform = program, writer, uniform
        self.terms = [
            Term(ast.Name("gradient"), "gradient"),
            Term(ast.Name("weight"), "weight"),
            *(number(value) for value in program.constants),
            *(Term(ast.Name(name), name, is_number=True, is_shapeless=True) for name in decays),
        ]
        first_decay = len(self.terms) - len(decays)
        self.decay_registers = range(first_decay, len(self.terms))
        self.states: list[str] = []
        self.uses = Counter(at for each in program.instructions for at in each.arguments)

    def write(self) -> Update:
        for instruction in self.program.instructions:
            self.terms.append(self._instruction(instruction))
        update = self.writer.scalar(self.terms[self.program.output])
        return Update(update, tuple(self.states))

    def _instruction(self, instruction: Instruction) -> Term:
        """Write one instruction; return its value, named if it is read more than once."""
        row, terms = instruction.function, self._arguments(instruction)
        noun = self._noun(instruction)
        if row.kind is Kind.STATEFUL:
            term = self._stateful(instruction, terms, noun)
        else:
            fixed = _parameters(instruction)
            if instruction.noise is not None:
                fixed["uniform"] = self._noise(instruction.noise)
            term = self.writer.term(formula_of(row), terms, fixed, noun)
        if row.kind is Kind.ELEMENTWISE and all(each.is_shapeless for each in terms.values()):
            term = replace(term, is_shapeless=True)
        if self.uses[instruction.target] > 1 and not term.is_simple:
            term = self.writer.assign(term)
        return term

    def _noise(self, node: str) -> ast.expr:
        """Write the uniform numbers of a random node; return their name."""
        name = self.writer.text("node", node)
        call = ast.parse(self.uniform.format(node=name), mode="eval").body
        return self.writer.assign(Term(call), wanted="uniform").tree

    def _arguments(self, instruction: Instruction) -> dict[str, Term]:
        terms = [self.terms[at] for at in instruction.arguments]
        if instruction.expanded:
            terms = [self.writer.filled(term) for term in terms]
        return dict(zip(_ARGUMENTS, terms, strict=False))

    def _stateful(self, instruction: Instruction, terms: dict[str, Term], noun: str) -> Term:
        """Write the new state of an instruction and return its value."""
        row, writer, dialect = instruction.function, self.writer, self.writer.dialect
        formula, change = formula_of(row), _read(row, row.new_state, "new_state")
        name = writer.name(noun)
        self.states.append(name)
        state = ast.parse(dialect.read.format(name=name), mode="eval").body
        fixed = {**_parameters(instruction), "step": ast.Name("step"), "state": state}
        if occurrences(formula, "state"):
            kept = writer.assign(Term(dialect.fill(dialect.kept, state), "earlier"))
            fixed["state"] = kept.tree
        tree = writer.combine(change, terms, fixed)
        self._store(name, tree, is_argument=isinstance(change, ast.Name))
        if isinstance(formula, ast.Name):
            return Term(ast.Name(name), name) if formula.id == "new" else kept
        fixed["new"] = ast.Name(name)
        return Term(writer.combine(formula, terms, fixed), f"corrected_{name}")

    def _store(self, name: str, tree: ast.expr, *, is_argument: bool) -> None:
        """Write the new state, a copy where it is a value that may change in place."""
        writer, dialect = self.writer, self.writer.dialect
        if is_argument:
            tree = dialect.fill(dialect.copy, tree)
        writer.statement(f"{name} = ", tree)
        if dialect.store:
            writer.lines.append(dialect.store.format(name=name, value=name))

    def _noun(self, instruction: Instruction) -> str:
        """Say in a word or three what an instruction computes."""
        row = instruction.function
        noun = row.noun or row.name
        if not noun.isidentifier():
            raise InputError(
                f"the function {row.name!r} has the noun {noun!r}: give a Python identifier, such "
                "as 'cube'"
            )
        nouns = [self.terms[at].noun for at in instruction.arguments]
        if row.infix == "*" and nouns[0]:
            if instruction.arguments[0] == instruction.arguments[1]:
                noun = f"squared_{nouns[0]}"
            elif nouns[0] == f"squared_{nouns[1]}":
                noun = f"cubed_{nouns[1]}"
            elif instruction.arguments[1] in self.decay_registers:
                noun = f"decayed_{nouns[0]}"
        elif row.arity == 1 and nouns[0]:
            noun = f"{nouns[0]}_{noun}"
        return noun if len(noun) <= MAX_NAME else row.noun or row.name


def _parameters(instruction: Instruction) -> dict[str, ast.expr]:
    names = (parameter.name for parameter in instruction.function.parameters)
    return {
        name: number(value).tree for name, value in zip(names, instruction.parameters, strict=True)
    }


def _read(row: Function, text: str | None, field: str) -> ast.expr:
    if text is None:
        raise InputError(
            f"the function {row.name!r} has no {field}, which code outside evolute needs: add "
            f'{field}="…" where it is registered, such as formula="x * x" for its square'
        )
    parameters = (parameter.name for parameter in row.parameters)
    names = (*_ARGUMENTS[: row.arity], *parameters, *_EXTRA_NAMES[row.kind], "epsilon")
    return read_formula(text, frozenset(names))
