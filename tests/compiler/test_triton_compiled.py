"""The kernels as they are compiled for GPUs, which needs none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kernel_lanes import require_triton

require_triton()

COMPILE = """
import re, sys
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from evolute.compiler import triton_kernel
from evolute.compiler.triton_lanes import BLOCK, CHUNK, OPTIONS

POINTERS = {
    "numbers": "*fp32", "instructions": "*i32", "parameters": "*fp64", "heads": "*i32",
    "memories": "*i64", "tensors": "*i64", "blocks": "*i64", "scratch": "*fp32",
    "partials": "*fp64", "norms": "*fp64",
}
KERNELS = (
    ("step_lanes", {"elements": BLOCK, "finds_norm": False}),
    ("step_lanes", {"elements": BLOCK, "finds_norm": True}),
    ("finish_norms", {"chunk": CHUNK}),
)
for name, constants in KERNELS:
    kernel = getattr(triton_kernel, name)
    kinds = {each: POINTERS.get(each, "i32") for each in kernel.arg_names}
    kinds |= dict.fromkeys(constants, "constexpr")
    source = ASTSource(kernel, kinds, constexprs=constants)
    made = compile(source, target=GPUTarget("cuda", int(sys.argv[1]), 32), options=OPTIONS)
    assert made.asm["cubin"]
    print("\\n".join(re.findall(r"^\\s*(?:@!?%p\\d+ )?([a-z][\\w.]+)", made.asm["ptx"], re.M)))
"""


@pytest.mark.parametrize("capability", ["90"])
def test_compiled_kernels_round_every_operation_as_ieee_754_says(
    capability: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, capability],
        env=os.environ | {"TRITON_CACHE_DIR": str(tmp_path), "TRITON_INTERPRET": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    instructions = set(done.stdout.split())
    assert {"div.rn.f32", "sqrt.rn.f32", "mul.rn.f64"} <= instructions
    # No fused multiply-add, no denormals flushed to zero, no approximation of the hardware's.
    loose = {each for each in instructions if {"fma", "ftz", "approx", "ex2"} & {*each.split(".")}}
    assert not loose
    # Threads that store a tile and read it wait for each other.
    assert "bar.sync" in instructions
