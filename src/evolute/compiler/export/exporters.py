"""The forms that a rule can be exported to: one row each."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType

from evolute.compiler.export.keras_file import write_keras
from evolute.compiler.export.optax_file import write_optax
from evolute.compiler.export.subject import DEFAULT_NAME, Subject
from evolute.compiler.export.torch_file import write_torch
from evolute.errors import UnknownNameError
from evolute.lang.latex import rule_to_latex
from evolute.lang.rule import Rule

EXPORTERS: Mapping[str, Callable[[Subject], str]] = MappingProxyType(
    {
        "json": lambda subject: json.dumps(subject.rule.to_json(), indent=2) + "\n",
        "keras": write_keras,
        "latex": lambda subject: rule_to_latex(subject.rule) + "\n",
        "optax": write_optax,
        "text": lambda subject: f"{subject.rule}\n",
        "torch": write_torch,
    }
)
"""What writes each form; every text ends with a new line."""


def export_rule(
    rule: Rule | str, form: str, *, name: str = DEFAULT_NAME, reference: str = ""
) -> str:
    r"""Return a rule as a file for another program.

    Parameters
    ----------
    rule
        A rule, or its text.
    form
        One of :data:`EXPORTERS`.
    name
        Name of the class in a file of code.
    reference
        Where the rule was published, for its docstring.

    Raises
    ------
    UnknownNameError
        If there is no such form.
    InputError
        If the name is no identifier, or the rule cannot be written in this form.
    RuleSyntaxError
        If the text is no rule.

    Examples
    --------
    >>> print(export_rule("none: sign(g)", "latex"), end="")
    u_t = \mathrm{sign}\left(g\right)
    w_{t+1} = w_t - \eta u_t
    """
    if form not in EXPORTERS:
        raise UnknownNameError("form of export", form, EXPORTERS)
    subject = Subject(
        Rule.parse(rule) if isinstance(rule, str) else rule, name=name, reference=reference
    )
    return EXPORTERS[form](subject)
