"""``evolute doctor``: which fast paths this installation and this machine have, and why."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import click
import torch

from evolute.cli.output import console, format_option, print_json, table
from evolute.compiler.native import NativeStatus, status
from evolute.compiler.triton_lanes import status as kernel_status
from evolute.lanes.native_status import LayersStatus, bf16_status, layers_status
from evolute.lanes.plans import GRAPHED, PLANS
from evolute.lanes.remembered import plans_file

EXAMPLES = """\b
Examples:
  evolute doctor
  evolute doctor --format json
  EVOLUTE_NATIVE_ISA=off evolute doctor     what remains without the native core
"""

_PACKAGE = "evolute"
_FOR_DEVELOPERS = "dev"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    name
        What it is.
    active
        Whether it is there and in use.
    detail
        What was found; where it is not active, why, and what to do.
    """

    name: str
    active: bool
    detail: str


@click.command(epilog=EXAMPLES)
@format_option()
def doctor(output_format: str) -> None:
    """Say which fast paths are active on this machine, and why."""
    findings = examine()
    if output_format == "json":
        rows: list[dict[str, Any]] = [
            {"name": each.name, "active": each.active, "detail": each.detail} for each in findings
        ]
        print_json(rows)
        return
    rows_shown = [(each.name, "yes" if each.active else "no", each.detail) for each in findings]
    console().print(table(["what", "active", "why"], rows_shown))


def examine() -> list[Finding]:
    """Look at the native core, threads, torch, plans, accelerators and optional libraries."""
    kernels = kernel_status()
    threads, cores = torch.get_num_threads(), os.cpu_count() or 1
    return [
        _native("rules", status()),
        _native("layers", layers_status()),
        _native("bf16 convolutions", bf16_status()),
        Finding(
            "threads",
            True,
            f"{threads} of torch, on {cores} cores; OMP_NUM_THREADS sets how many",
        ),
        Finding("python", True, f"{platform.python_version()} on {platform.platform(terse=True)}"),
        Finding("torch", True, str(torch.__version__)),
        Finding("plans for networks", True, f"{', '.join(PLANS)}; vmap is torch.func's"),
        _plans_file(),
        _cuda(),
        _graphs(),
        Finding("kernels for rules on a GPU", kernels.active, kernels.reason),
        *_extras(),
    ]


def _native(part: str, found: NativeStatus | LayersStatus) -> Finding:
    instead = "" if found.active else f"; in its place torch computes {part}"
    return Finding(f"native core: {part}", found.active, f"{found.reason}{instead}")


def _cuda() -> Finding:
    if torch.cuda.is_available():
        return Finding("cuda", True, torch.cuda.get_device_name(0))
    if torch.version.cuda is None:
        return Finding("cuda", False, "this build of torch is without CUDA")
    return Finding("cuda", False, f"torch is built for CUDA {torch.version.cuda}, no device found")


def _graphs() -> Finding:
    if torch.cuda.is_available():
        return Finding("CUDA graphs", True, f"plans {', '.join(GRAPHED)}, and steps of rules")
    return Finding("CUDA graphs", False, "no CUDA device: there is nothing to capture")


def _plans_file() -> Finding:
    """Look where the times of plans are remembered."""
    path = plans_file()
    if path.is_file() and os.access(path, os.R_OK | os.W_OK):
        return Finding("times of plans", True, str(path))
    above = next(each for each in (path, *path.parents) if each.exists())
    if above != path and above.is_dir() and os.access(above, os.W_OK):
        return Finding("times of plans", True, f"{path}, not written yet")
    return Finding(
        "times of plans",
        False,
        f"{path} cannot be written, so every run times plans anew: set XDG_CACHE_HOME to a folder "
        "that can",
    )


def _extras() -> list[Finding]:
    """Look at the optional libraries of each extra of the package, those of developers excepted."""
    needs: dict[str, list[str]] = {}
    for requirement in metadata.requires(_PACKAGE) or ():
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", requirement)
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        if extra is not None and name is not None and extra[1] != _FOR_DEVELOPERS:
            needs.setdefault(extra[1], []).append(name[0])
    return [_extra(extra, names) for extra, names in sorted(needs.items())]


def _extra(extra: str, names: list[str]) -> Finding:
    versions = {name: _version(name) for name in names}
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        detail = f"not installed: {', '.join(missing)}; pip install '{_PACKAGE}[{extra}]'"
    else:
        detail = ", ".join(f"{name} {version}" for name, version in versions.items())
    return Finding(f"extra {extra}", not missing, detail)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
