"""The exported torch file: as RuleOptimizer to the bit, readable, and a good citizen of torch."""

from __future__ import annotations

import ast
import copy
import inspect
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from compiler.export.exported import (
    FUNCTION_ROWS,
    call_of,
    draws,
    exported_class,
    first_difference,
    make,
    parameters,
    rule_optimizer,
    same_bits,
    subject_of_the_zoo,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import rules
from torch.nn import Parameter

from evolute import zoo
from evolute.compiler.export.exporters import EXPORTERS, export_rule
from evolute.compiler.export.subject import Subject
from evolute.errors import InputError
from evolute.lang import decays, functions
from evolute.lang.registry import BASE_DECAYS, FUNCTIONS, BaseDecay, Function
from evolute.lang.rule import Rule

DTYPES = (torch.float32, torch.float64)
BASE_DECAY_NAMES = tuple(BASE_DECAYS)
EVERYTHING = "nesterov: -([a3]*(v/(sqrt(s)+1e-08)+dropout(delta(g), 0.3)+[a4*a2]*clip_norm(w)))"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", zoo.names())
def test_every_known_optimizer_moves_as_rule_optimizer_to_the_bit(
    name: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    assert first_difference(subject_of_the_zoo(name), tmp_path, dtype=dtype, steps=100) is None


@given(rule=rules(), dtype=st.sampled_from(DTYPES))
@settings(max_examples=100)
def test_every_rule_moves_as_rule_optimizer_to_the_bit(rule: Rule, dtype: torch.dtype) -> None:
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"dtype": dtype, "steps": 6, "total_steps": 5}
        try:
            difference = first_difference(Subject(rule), Path(folder), **options)
        except RuntimeError as error:  # torch refuses a rate beyond the largest float32
            if "overflow" not in str(error):
                raise
            return
    assert difference is None


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("row", FUNCTION_ROWS, ids=lambda row: row.name)
def test_the_formula_of_every_function_is_what_its_row_computes(
    row: Function, dtype: torch.dtype, tmp_path: Path
) -> None:
    special = [0.0, 1.0, -1.0, 0.5, -3.75, 1e-30, 88.0, -1e30, float("inf"), float("nan")]
    weights = [Parameter(torch.tensor(special, dtype=dtype)) for _ in range(2)]
    rule = Rule.parse(call_of(row))
    exported = make(exported_class(Subject(rule), tmp_path), weights[:1])
    judge = rule_optimizer(rule, weights[1:])
    for step in range(4):
        for weight in weights:
            weight.grad = torch.tensor(special, dtype=dtype).roll(step)
            with torch.no_grad():
                weight.copy_(weight.roll(3))
        exported.step()
        judge.step()
        assert same_bits(weights[:1], weights[1:])


@pytest.mark.parametrize("total_steps", [1, 2, 7, 100])
@pytest.mark.parametrize("name", BASE_DECAY_NAMES)
def test_the_formula_of_every_base_decay_is_what_its_row_computes(
    name: str, total_steps: int, tmp_path: Path
) -> None:
    subject = Subject(Rule.parse(f"none: [{name}]*g+w"))
    assert (
        first_difference(
            subject, tmp_path, dtype=torch.float64, steps=total_steps + 2, total_steps=total_steps
        )
        is None
    )


def test_a_schedule_that_is_infinite_at_first_gives_the_published_rate(tmp_path: Path) -> None:
    subject = Subject(Rule.parse("none: -([quotient(1, a2)]*g)"))
    assert "schedule in" in EXPORTERS["torch"](subject)
    assert first_difference(subject, tmp_path, dtype=torch.float64, steps=3) is None


@given(rule=rules())
@settings(max_examples=30)
def test_the_docstring_holds_the_rule(rule: Rule) -> None:
    text = EXPORTERS["torch"](Subject(rule, notes=('no """ can end the docstring',)))
    documentation = ast.get_docstring(_class_of(text))
    assert documentation is not None
    code = documentation.split("As a rule of evolute::\n\n")[1].split("\n\n")[0]
    assert Rule.parse(code) == rule


def _class_of(text: str) -> ast.ClassDef:
    (found,) = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every exported file of code: of the zoo, of each function, and of drawn rules."""
    place = tmp_path_factory.mktemp("exports")
    subjects = [subject_of_the_zoo(name) for name in zoo.names()]
    subjects += [Subject(Rule.parse(call_of(row))) for row in FUNCTION_ROWS]
    subjects += drawn_subjects()
    subjects += [Subject(Rule.parse(f"none: {noisy(depth)}")) for depth in range(10)]
    for at, subject in enumerate(subjects):
        for form in ("torch", "optax", "keras"):
            if form == "torch" or not subject.program.is_random:
                path = place / f"{form}_{at}.py"
                path.write_text(EXPORTERS[form](subject), encoding="utf-8")
    return place


def noisy(depth: int) -> str:
    """Dropout of an expression, its text of any length about that of a line and longer."""
    return f"dropout(0.{'7' * depth}3*{'tanh(' * 9}arctan(g{'+v' * depth}){')' * 9}, 0.5)"


def drawn_subjects() -> list[Subject]:
    drawn: list[Subject] = [Subject(Rule.parse(EVERYTHING))]

    @given(rule=rules(max_leaves=30))
    @settings(max_examples=40, database=None)
    def draw(rule: Rule) -> None:
        drawn.append(Subject(rule))

    draw()
    return drawn


def test_every_file_is_formatted(folder: Path) -> None:
    assert _ruff("format", "--check", "--line-length", "100", folder) == ""


def test_every_file_passes_the_linter(folder: Path) -> None:
    chosen = ["--isolated", "--select", "E,F,W,I,UP,B,PIE,RET", "--ignore", "B905"]
    assert _ruff("check", *chosen, "--line-length", "100", folder) == ""


def _ruff(*arguments: str | Path) -> str:
    """What ruff finds fault with; empty if nothing."""
    ruff = shutil.which("ruff", path=Path(sys.executable).parent) or "ruff"
    ran = subprocess.run([ruff, *arguments], capture_output=True, text=True)
    return "" if ran.returncode == 0 else ran.stdout + ran.stderr


def test_a_file_needs_torch_alone() -> None:
    tree = ast.parse(EXPORTERS["torch"](Subject(Rule.parse(EVERYTHING))))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported - set(sys.stdlib_module_names) == {"torch"}


def test_the_class_has_the_name_of_the_optimizer_and_only_the_options_it_needs() -> None:
    def options(text: str) -> list[str]:
        (init,) = [
            node
            for node in _class_of(text).body
            if isinstance(node, ast.FunctionDef) and node.name == "__init__"
        ]
        return [argument.arg for argument in init.args.args][2:]

    opt6 = EXPORTERS["torch"](subject_of_the_zoo("opt6"))
    assert _class_of(opt6).name == "Opt6"
    assert options(opt6) == ["lr", "total_steps"]
    assert options(EXPORTERS["torch"](subject_of_the_zoo("lion"))) == ["lr"]
    assert options(export_rule("momentum: g", "torch")) == ["lr", "momentum"]
    assert options(export_rule(EVERYTHING, "torch")) == ["lr", "total_steps", "momentum", "seed"]
    assert _class_of(export_rule("none: g", "torch", name="Mine")).name == "Mine"


def test_a_state_that_is_saved_and_loaded_continues_to_the_bit(tmp_path: Path) -> None:
    optimizer = exported_class(Subject(Rule.parse(EVERYTHING)), tmp_path)
    values = draws(0, torch.float32)
    first = parameters(next(values))
    going_on = make(optimizer, first)
    gradients = [next(values) for _ in range(6)]
    take_steps(going_on, first, gradients[:3])
    torch.save(going_on.state_dict(), tmp_path / "state.pt")
    second = parameters([each.detach() for each in first])
    resumed = make(optimizer, second, lr=9.0, momentum=0.1, total_steps=4, seed=0)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    copied_weights, copied = copy.deepcopy((first, going_on))
    for one, weights in ((going_on, first), (resumed, second), (copied, copied_weights)):
        take_steps(one, weights, gradients[3:])
    assert same_bits(first, second)
    assert same_bits(first, copied_weights)


def take_steps(optimizer: Any, weights: list[Parameter], gradients: list[Any]) -> None:
    for of_step in gradients:
        for weight, gradient in zip(weights, of_step, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()


def test_state_is_plain_and_per_parameter(tmp_path: Path) -> None:
    weights = parameters(next(draws(0, torch.float32)))
    optimizer = make(exported_class(Subject(Rule.parse("nesterov: v")), tmp_path), weights)
    take_steps(optimizer, weights, [next(draws(1, torch.float32))] * 2)
    for weight in weights:
        state = optimizer.state[weight]
        assert state["step"] == 2
        shapes = {name: each.shape for name, each in state.items() if name != "step"}
        assert shapes == {"gradient_average": weight.shape, "momentum_buffer": weight.shape}


@pytest.mark.parametrize(
    "options",
    [
        {"lr": -0.1},
        {"lr": float("nan")},
        {"total_steps": 0},
        {"total_steps": None},
        {"momentum": 1.0},
        {"momentum": -0.1},
    ],
    ids=str,
)
def test_bad_arguments_are_refused_by_name(options: dict[str, Any], tmp_path: Path) -> None:
    optimizer = exported_class(Subject(Rule.parse(EVERYTHING)), tmp_path)
    name = {"lr": "learning rate"}.get(*options, *options)
    with pytest.raises(ValueError, match=f"Invalid {name}"):
        make(optimizer, parameters(next(draws(0, torch.float32))), **options)


def test_groups_have_options_of_their_own_and_a_closure_is_evaluated(tmp_path: Path) -> None:
    optimizer = exported_class(Subject(Rule.parse("none: g")), tmp_path)
    slow, fast = Parameter(torch.ones(2)), Parameter(torch.ones(2))
    idle = Parameter(torch.ones(2))
    groups = make(optimizer, [{"params": [slow]}, {"params": [fast, idle], "lr": 0.5}], lr=0.25)

    def closure() -> float:
        loss = slow.sum() + fast.sum()
        loss.backward()
        return loss.item()

    assert groups.step(closure) == 4.0
    assert [slow.tolist(), fast.tolist(), idle.tolist()] == [[0.75] * 2, [0.5] * 2, [1.0] * 2]


def test_sparse_and_complex_gradients_are_refused(tmp_path: Path) -> None:
    optimizer = exported_class(Subject(Rule.parse("none: g"), name="Plain"), tmp_path)
    sparse, number = Parameter(torch.ones(2)), Parameter(torch.ones(2, dtype=torch.complex64))
    sparse.grad, number.grad = torch.ones(2).to_sparse(), torch.ones_like(number)
    for weight in (sparse, number):
        with pytest.raises(RuntimeError, match="Plain needs dense real gradients"):
            make(optimizer, [weight]).step()


def test_what_a_user_registers_is_exported_by_its_formula(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _forget_after(monkeypatch)

    @functions.function(latex="({0})^3", formula="x * x * x", noun="cube")
    def exported_cube(x: torch.Tensor) -> torch.Tensor:
        return x * x * x

    @decays.base_decay(latex="(1-t/T)^2", formula="(1 - t / total_steps) ** 2")
    def exported_fall(t: torch.Tensor, total_steps: int) -> torch.Tensor:
        return (1 - t / total_steps) ** 2

    subject = Subject(Rule.parse("none: [exported_fall]*exported_cube(v)+g"))
    assert first_difference(subject, tmp_path, dtype=torch.float64, steps=5) is None


def test_what_has_no_formula_is_refused_with_what_to_add(monkeypatch: pytest.MonkeyPatch) -> None:
    _forget_after(monkeypatch)
    FUNCTIONS.add(Function("unsaid", 1, "u", torch.sin))
    FUNCTIONS.add(Function("misread", 1, "u", torch.sin, formula="z + 1"))
    FUNCTIONS.add(Function("unsafe", 1, "u", torch.sin, formula="x.sin()"))
    FUNCTIONS.add(Function("broken", 1, "u", torch.sin, formula="x +"))
    FUNCTIONS.add(Function("misnamed", 1, "u", torch.sin, formula="exp(x)", noun="a cube"))
    BASE_DECAYS.add(BaseDecay("unsaid_decay", "u", lambda t, T: t))
    for rule, line in {
        "none: unsaid(g)": r"function 'unsaid' has no formula.*add formula=\"…\"",
        "none: misread(g)": "reads 'z'",
        "none: unsafe(g)": r"has 'x.sin\(\)': write one expression",
        "none: broken(g)": "is no expression",
        "none: misnamed(g)": "has the noun 'a cube': give a Python identifier",
        "none: [unsaid_decay]*g+w": r"base decay 'unsaid_decay' has no formula.*add formula=\"…\"",
    }.items():
        with pytest.raises(InputError, match=line):
            export_rule(rule, "torch")


def _forget_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the rows that a test adds away after it."""
    for registry in (FUNCTIONS, BASE_DECAYS):
        monkeypatch.setattr(registry, "_rows", dict(registry._rows))


@pytest.mark.parametrize("name", ["", "1st", "class", "has space", "_Hidden", "Größe"])
def test_what_cannot_name_a_class_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="cannot name a class"):
        export_rule("none: g", "torch", name=name)


@pytest.mark.parametrize("name", ["Tensor", "Optimizer", "Any", "Callable", "ParamsT"])
def test_a_name_that_the_file_uses_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="the file uses the name"):
        export_rule("none: g", "torch", name=name)


def test_signatures_can_be_inspected(tmp_path: Path) -> None:
    optimizer = exported_class(Subject(Rule.parse("none: g")), tmp_path)
    assert list(inspect.signature(optimizer).parameters) == ["params", "lr"]
    assert inspect.getdoc(optimizer)
