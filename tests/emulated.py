"""The native libraries as built for AArch64, run by an emulator: its memory and its functions."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

COMPILER = "aarch64-linux-gnu-g++"
EMULATORS = ("qemu-aarch64-static", "qemu-aarch64")
SYSTEM = "/usr/aarch64-linux-gnu"
"""Where the cross compiler keeps the libraries of the other machine."""

SOURCES = Path(__file__).parents[1] / "src" / "evolute" / "native"
SERVER = Path(__file__).parent / "native" / "remote.cpp"

Array = npt.NDArray[np.generic]


def emulator() -> str:
    """Return the emulator; skip where it or the compiler is lacking, but fail in CI."""
    found = [shutil.which(name) for name in EMULATORS]
    path = next((each for each in found if each is not None), None)
    if path is not None and shutil.which(COMPILER) is not None and cmake() is not None:
        return path
    reason = f"needs {COMPILER}, one of {', '.join(EMULATORS)}, and cmake"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def cmake() -> str | None:
    """Return CMake: that beside this Python, else the system's."""
    return shutil.which("cmake", path=str(Path(sys.executable).parent)) or shutil.which("cmake")


def build(folder: Path, target: str) -> None:
    """Build a library for AArch64 as its own build does, and the server of calls."""
    maker = cmake()
    assert maker is not None
    options = {
        "CMAKE_SYSTEM_NAME": "Linux",
        "CMAKE_SYSTEM_PROCESSOR": "aarch64",
        "CMAKE_CXX_COMPILER": COMPILER,
    }
    flags = [f"-D{name}={value}" for name, value in options.items()]
    commands = [
        [maker, "-S", str(SOURCES), "-B", str(folder), *flags],
        [maker, "--build", str(folder), "--target", target],
        [COMPILER, "-O1", "-Wall", "-Wextra", str(SERVER), "-o", str(folder / "remote"), "-ldl"],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def started(folder: Path, target: str) -> Iterator[Emulated]:
    """Build a library and serve it until the iterator is closed."""
    emulator()
    build(folder, target)
    library = Emulated(folder, target)
    yield library
    library.close()


class Emulated:
    """A library in a process of the emulator, which serves its memory and its functions.

    Parameters
    ----------
    folder
        Where :func:`build` put it.
    target
        Its name in the build.
    """

    def __init__(self, folder: Path, target: str) -> None:
        library = folder / f"lib{target}.so"
        command = [emulator(), "-L", SYSTEM, str(folder / "remote"), str(library)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def place(self, array: Array) -> int:
        """Return the address of a copy of an array in the other machine's memory."""
        data = np.ascontiguousarray(array).tobytes()
        address = self._number(b"A" + struct.pack("q", max(1, len(data))))
        self._send(b"W" + struct.pack("qq", address, len(data)) + data)
        return address

    def fetch(self, address: int, count: int) -> npt.NDArray[np.float32]:
        """Return so many floats from an address."""
        self._send(b"R" + struct.pack("qq", address, 4 * count))
        return np.frombuffer(self._take(4 * count), np.float32).copy()

    def call(self, name: str, arguments: Sequence[int], *, number: float = 0.0) -> int:
        """Return what a function returns, called with these and at most one double."""
        text = name.encode()
        return self._number(
            b"C"
            + struct.pack("q", len(text))
            + text
            + struct.pack(f"dq{len(arguments)}q", number, len(arguments), *arguments)
        )

    def _send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    def _take(self, size: int) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.flush()
        data = self._process.stdout.read(size)
        assert len(data) == size, f"the emulated process ended with {self._process.poll()}"
        return data

    def _number(self, request: bytes) -> int:
        self._send(request)
        return int(struct.unpack("q", self._take(8))[0])
