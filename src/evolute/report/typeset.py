"""Typeset: rules from a store as equations; a text that is no rule here stays a text."""

from __future__ import annotations

from evolute.errors import InputError
from evolute.lang.rule import Rule
from evolute.report.mathml import rule_to_mathml, schedule_to_mathml, update_to_mathml
from evolute.report.page import Typeset


def parse_or_none(text: str) -> Rule | None:
    """Read a rule; None if it is none here, as with an operation of a user's that is not loaded."""
    try:
        return Rule.parse(text)
    except InputError:
        return None


def typeset(text: str, *, whole: bool = False) -> Typeset:
    """Return a rule's text with its MathML: the update alone, or the whole step."""
    rule = parse_or_none(text)
    if rule is None:
        return Typeset(text, "")
    return Typeset(text, rule_to_mathml(rule) if whole else update_to_mathml(rule))


def typeset_schedule(text: str) -> Typeset:
    """Return a schedule's text in its brackets with its MathML."""
    rule = parse_or_none(f"none: [{text}]*g")
    return Typeset(f"[{text}]", "" if rule is None else schedule_to_mathml(rule))
