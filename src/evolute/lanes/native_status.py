"""Which native layers this installation and this machine have, and why not the others."""

from __future__ import annotations

from dataclasses import dataclass

from evolute.lanes.native_layers import open_layers

_AVX2, _AVX512, _BUILT_FOR_BF16 = 1, 2, 4  # bits of evolute_layers_paths


@dataclass(frozen=True)
class LayersStatus:
    """Whether something of the native layers is in use.

    Parameters
    ----------
    active
        Whether networks may run on it.
    reason
        Why it is active, or why not, in one sentence.
    """

    active: bool
    reason: str


def layers_status() -> LayersStatus:
    """Say whether the native layers are in use, and by which instructions."""
    found = open_layers()
    if found.library is None:
        return LayersStatus(False, found.reason)
    paths = found.library.evolute_layers_paths()
    name = "avx512" if paths & _AVX512 else "avx2" if paths & _AVX2 else "baseline"
    return LayersStatus(True, f"{name}, the widest that this machine has")


def bf16_status() -> LayersStatus:
    """Say whether convolutions under ``--precision bf16`` are native, and by which instructions."""
    library = open_layers().library
    if library is None:
        return LayersStatus(False, "part of the native layers, which are not in use")
    if library.evolute_paired_is_fast():
        return LayersStatus(True, "AVX512_BF16, which multiplies pairs of bfloat16")
    if library.evolute_layers_paths() & _BUILT_FOR_BF16:
        return LayersStatus(False, "this processor has no AVX512_BF16")
    why = "built without AVX512_BF16, which GCC knows from version 10 on, Clang from 9, for x86-64"
    return LayersStatus(False, why)
