"""The package's face: what a user may rely on, name by name."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
import types

import evolute

PUBLIC_NAMES = {
    "EvoluteError",
    "InputError",
    "RayCluster",
    "Rule",
    "RuleOptimizer",
    "SearchResult",
    "StoreError",
    "Task",
    "base_decay",
    "bench",
    "eliminate",
    "explain",
    "export_rule",
    "function",
    "operand",
    "report",
    "search",
}


def face() -> set[str]:
    return {
        name
        for name, value in vars(evolute).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }


NO_MODULES = ("__main__", ".env", ".versions.", ".native.lib")
"""What runs when it is imported, or is a library of the native core."""


def test_the_public_names_are_exactly_these() -> None:
    assert face() == PUBLIC_NAMES


def test_importing_every_room_hides_no_public_name() -> None:
    before = {name: getattr(evolute, name) for name in PUBLIC_NAMES}
    for module in pkgutil.walk_packages(evolute.__path__, "evolute."):
        if not any(part in module.name for part in NO_MODULES):
            importlib.import_module(module.name)
    assert {name: getattr(evolute, name) for name in PUBLIC_NAMES} == before


def test_importing_the_package_leaves_torch_as_it_was() -> None:
    program = """
import torch
def settings():
    return (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(), torch.get_rng_state().tolist())
before = settings()
import evolute
assert settings() == before
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_importing_the_package_imports_what_is_slow_only_where_it_is_needed() -> None:
    """Each of the two takes a second, in every command and every worker process."""
    program = """
import sys, evolute.cli.app
assert not {"torch._dynamo", "scipy.stats"} & set(sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
