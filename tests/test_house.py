"""How the house is kept: what no linter checks."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import evolute

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src" / "evolute").rglob("*.py"))
FACE = ROOT / "src" / "evolute" / "__init__.py"
MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 50

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT / "src"))


def imported_from_the_face(tree: ast.AST) -> Iterator[str]:
    """Names that a module takes from ``evolute`` itself rather than from the room they live in."""
    submodules = {module.name for module in pkgutil.iter_modules(evolute.__path__)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name == "evolute")
        if isinstance(node, ast.ImportFrom) and node.module == "evolute":
            yield from (alias.name for alias in node.names if alias.name not in submodules)


def is_a_table(function: FunctionNode) -> bool:
    """Whether all a function does is to return rows: a table may be longer than a screen."""
    *setting, last = function.body
    return isinstance(last, ast.Return) and all(isinstance(line, ast.Assign) for line in setting)


def lines_of_code(function: FunctionNode) -> int:
    """Lines from the first statement after the docstring to the last."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    end = function.end_lineno or function.lineno
    return end - body[0].lineno + 1 if body else 0


def public_things() -> Iterator[tuple[str, object]]:
    """Every public class, function and method that a module of the package defines."""
    for module_info in pkgutil.walk_packages(evolute.__path__, "evolute."):
        if ".migrations" in module_info.name or module_info.name.endswith("__main__"):
            continue
        if ".native.lib" in module_info.name:  # a library of the core, no module of Python
            continue
        module = importlib.import_module(module_info.name)
        for name, value in vars(module).items():
            ours = getattr(value, "__module__", None) == module.__name__
            if name.startswith("_") or not ours or not hasattr(value, "__qualname__"):
                continue
            yield f"{module.__name__}.{name}", value
            if inspect.isclass(value):
                yield from public_methods(f"{module.__name__}.{name}", value)


def public_methods(prefix: str, owner: type) -> Iterator[tuple[str, object]]:
    fields = getattr(owner, "__dataclass_fields__", {})  # documented on the class
    for name, value in vars(owner).items():
        if name.startswith(("_", "test_")) or name in fields:
            continue
        if inspect.isfunction(value) or isinstance(value, property):
            yield f"{prefix}.{name}", getattr(owner, name)


@pytest.mark.parametrize("path", [path for path in SOURCES if path != FACE], ids=name_of)
def test_inner_code_never_imports_the_face(path: Path) -> None:
    assert not list(imported_from_the_face(ast.parse(path.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_and_functions_fit_what_a_reader_can_hold(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES_OF_A_FILE
    long = {
        node.name: lines_of_code(node)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, FunctionNode)
        and lines_of_code(node) > MOST_LINES_OF_A_FUNCTION
        and not is_a_table(node)
    }
    assert not long


def loads_that_may_run_code(tree: ast.AST) -> list[int]:
    """Lines that call ``torch.load`` without ``weights_only=True``."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"torch.load", "torch.hub.load", "load_state_dict_from_url"}
        and "weights_only=True" not in {ast.unparse(each) for each in node.keywords}
    ]


@pytest.mark.parametrize("folder", ["src", "tests", "perf", "examples"])
def test_torch_loads_weights_only(folder: str) -> None:
    paths = sorted((ROOT / folder).rglob("*.py"))
    assert paths
    assert {
        str(path): lines
        for path in paths
        if (lines := loads_that_may_run_code(ast.parse(path.read_text(encoding="utf-8"))))
    } == {}


def test_a_load_that_may_run_code_is_seen() -> None:
    assert loads_that_may_run_code(ast.parse("torch.load(f)\ntorch.load(f, weights_only=False)"))
    assert not loads_that_may_run_code(ast.parse("torch.load(f, weights_only=True)"))


def test_every_public_thing_has_a_docstring_of_its_own_or_an_inherited_one() -> None:
    assert [name for name, thing in public_things() if not inspect.getdoc(thing)] == []


def test_the_import_contract_sees_through_a_face_import() -> None:
    assert list(imported_from_the_face(ast.parse("from evolute import Rule, seeds"))) == ["Rule"]
    assert list(imported_from_the_face(ast.parse("import evolute"))) == ["evolute"]
