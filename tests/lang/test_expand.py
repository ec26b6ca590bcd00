"""Expansion leaves no operand but the two primitives."""

from __future__ import annotations

import pytest

from evolute.lang.expand import expand
from evolute.lang.expression import OperandRef, Scaled, walk
from evolute.lang.registry import OPERANDS
from evolute.lang.text import parse_expression, print_expression


@pytest.mark.parametrize("name", [name for name in OPERANDS if not name.isdigit()])
def test_every_operand_expands_to_the_primitives(name: str) -> None:
    expanded = expand(OperandRef(name))
    assert {node.name for node in walk(expanded) if isinstance(node, OperandRef)} <= {"g", "w"}


def test_equal_operands_expand_to_one_shared_object() -> None:
    assert expand(OperandRef("s")) is expand(OperandRef("s"))


def test_expansion_keeps_all_else() -> None:
    expanded = expand(parse_expression("[a3]*max(qh_g, 2)"))
    assert isinstance(expanded, Scaled)
    assert print_expression(expanded) == "[a3]*max(0.3*g+0.7*ema(g, 0.9), 2)"
