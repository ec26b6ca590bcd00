"""Subject: what is exported, and what a file says about it in words."""

from __future__ import annotations

import keyword
import re
import textwrap
from collections.abc import Collection
from dataclasses import dataclass, field

from evolute.compiler.program import Program, compile_rule
from evolute.errors import InputError, shorten
from evolute.lang.latex import rule_to_latex
from evolute.lang.rule import Momentum, Rule

DEFAULT_NAME = "DiscoveredOptimizer"
"""Class of a rule that has no name."""

WIDTH = 92
"""Longest line of a docstring, before its indentation."""

_BREAK = re.compile(r"(?<=[-+*/,(\[ ])")


@dataclass(frozen=True)
class Subject:
    """A rule to be exported.

    Parameters
    ----------
    rule
        The rule.
    name
        Name of the class in files of code.
    title
        What the literature or the user calls it.
    reference
        Where it was published; empty if nowhere.
    notes
        Sentences to be told with it.

    Raises
    ------
    InputError
        If the name is no identifier.
    """

    rule: Rule
    name: str = DEFAULT_NAME
    title: str = ""
    reference: str = ""
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        normal = self.name.isascii() and self.name.isidentifier()
        if not normal or self.name[0] in "_" or keyword.iskeyword(self.name):
            raise InputError(
                f"{shorten(self.name)!r} cannot name a class: use a Python identifier of ASCII "
                "letters and digits, such as MyOptimizer"
            )

    @property
    def program(self) -> Program:
        """The compiled rule."""
        return compile_rule(self.rule)

    @property
    def snake_name(self) -> str:
        """The name as functions and modules are called.

        >>> Subject(Rule.parse("none: g"), name="AdaBelief").snake_name
        'ada_belief'
        """
        return re.sub(r"(?<=[a-z]{2})(?=[A-Z][a-z])", "_", self.name).lower()

    def describe(self) -> str:
        """Return the equation, the rule and the reference, as the middle of a docstring."""
        equation = [
            part
            for line in rule_to_latex(self.rule).splitlines()
            for part in textwrap.wrap(line, WIDTH - 4, break_long_words=False)
        ]
        has_momentum = self.rule.momentum is not Momentum.NONE
        momentum = ", mu the momentum coefficient" if has_momentum else ""
        paragraphs = [
            f"u is the update, eta the learning rate{momentum}::",
            textwrap.indent("\n".join(equation), "    "),
            "As a rule of evolute::",
            textwrap.indent("\n".join(wrap_code(str(self.rule), WIDTH - 4)), "    "),
        ]
        if self.reference:
            paragraphs += ["\n".join(textwrap.wrap(f"Reference: {self.reference}.", WIDTH))]
        paragraphs += ["\n".join(textwrap.wrap(f"Note: {note}", WIDTH)) for note in self.notes]
        return "\n\n".join(paragraphs).replace('"""', "'" * 3)

    def require_unused(self, name: str, used: Collection[str]) -> None:
        """Raise InputError if a file that is to define this name has another use for it."""
        if name in used:
            raise InputError(f"the file uses the name {name!r} itself: choose another name")

    @property
    def headline(self) -> str:
        """The first line about it."""
        return self.title or self.name


def wrap_code(text: str, width: int) -> list[str]:
    """Break an expression into lines after an operator, a comma or a bracket.

    >>> wrap_code("none: clip(v, sqrt(s)+1e-07)", 20)
    ['none: clip(v, sqrt(', 's)+1e-07)']
    """
    lines = [""]
    for piece in _pieces(text):
        if lines[-1] and len(lines[-1] + piece.rstrip()) > width:
            lines[-1] = lines[-1].rstrip()
            lines.append("")
        lines[-1] += piece
    return lines


def _pieces(text: str) -> list[str]:
    """Split where a line may end: never inside a number such as 1e-07."""
    pieces: list[str] = []
    for piece in _BREAK.split(text):
        if pieces and re.search(r"\de-$", pieces[-1]):
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return pieces


def identifier_of(title: str) -> str:
    """Return a title as the name of a class.

    >>> identifier_of("SGD with momentum"), identifier_of("Found 9"), identifier_of("Opt6")
    ('SGDWithMomentum', 'Found9', 'Opt6')
    """
    words = re.findall(r"[A-Za-z0-9]+", title)
    joined = "".join(word[0].upper() + word[1:] for word in words)
    return joined if joined and not joined[0].isdigit() else DEFAULT_NAME


def require_no_noise(program: Program, library: str) -> None:
    """Raise InputError if a rule draws noise.

    The noise of a rule is drawn by torch; another library draws other numbers from the same seed.
    """
    for instruction in program.instructions:
        if instruction.noise is not None:
            raise InputError(
                f"{instruction.function.name} draws its noise with torch, and {library} would draw "
                "other noise from the same seed: export the rule to torch"
            )
