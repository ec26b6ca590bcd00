"""The table of forms: text and JSON read back, LaTeX can be set."""

from __future__ import annotations

import io
import json

import pytest
from optional_library import require_library

from evolute import zoo
from evolute.compiler.export.exporters import EXPORTERS, export_rule
from evolute.compiler.export.formula import PRIMITIVES
from evolute.compiler.export.keras_file import UPDATE as KERAS
from evolute.compiler.export.optax_file import UPDATE as OPTAX
from evolute.compiler.export.subject import identifier_of
from evolute.compiler.export.torch_file import UPDATE as TORCH
from evolute.errors import UnknownNameError
from evolute.lang.latex import rule_to_latex
from evolute.lang.rule import Rule


@pytest.mark.parametrize("name", zoo.names())
def test_text_and_json_read_back(name: str) -> None:
    rule = zoo.load(name).rule
    assert Rule.parse(export_rule(rule, "text")) == rule
    assert Rule.from_json(json.loads(export_rule(rule, "json"))) == rule


@pytest.mark.parametrize("form", sorted(EXPORTERS))
def test_every_form_ends_with_a_new_line(form: str) -> None:
    text = export_rule("momentum: [a1]*g", form)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_an_unknown_form_says_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown form of export 'pytorch'.*torch"):
        export_rule("none: g", "pytorch")


@pytest.mark.parametrize("dialect", [TORCH, OPTAX, KERAS], ids=lambda each: each.library)
def test_every_library_spells_every_primitive(dialect: object) -> None:
    assert set(dialect.spelling) == set(PRIMITIVES)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", zoo.names())
def test_the_equation_of_every_known_optimizer_can_be_set(name: str) -> None:
    require_library("matplotlib", extra="dev")
    from matplotlib import mathtext

    for line in rule_to_latex(zoo.load(name).rule).splitlines():
        picture = io.BytesIO()
        mathtext.math_to_image(f"${line}$", picture, format="svg")
        assert picture.getvalue().startswith(b"<?xml")


@pytest.mark.parametrize("name", zoo.names())
def test_the_title_of_every_known_optimizer_names_a_class(name: str) -> None:
    assert identifier_of(zoo.load(name).title).isidentifier()


def test_the_names_of_classes_are_distinct() -> None:
    names = [identifier_of(zoo.load(name).title) for name in zoo.names()]
    assert len(set(names)) == len(names)


def test_a_missing_library_fails_in_ci_and_is_said_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"nowhere is not installed: pip install"):
        require_library("nowhere", extra="export")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="nowhere is not installed"):
        require_library("nowhere", extra="export")
