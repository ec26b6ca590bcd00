"""Drives exported files of JAX or Keras: ``python follow.py optax|keras FOLDER``.

A process of its own, since JAX starts threads and Keras picks its backend once. It reads
``cases.json`` and ``values.npz`` of the folder (first weights, then the gradients of each step),
and writes the weights after each step of each case to ``followed.npz``.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Arrays = list[Any]
Follow = Callable[[Any, dict[str, Any], Arrays, Sequence[Arrays]], list[Arrays]]


def follow_optax(
    make: Any, options: dict[str, Any], start: Arrays, gradients: Sequence[Arrays]
) -> list[Arrays]:
    """The weights after each step of a gradient transformation."""
    import jax.numpy as jnp
    import optax

    transformation = make(options.pop("lr"), **options)
    weights = [jnp.asarray(each) for each in start]
    state = transformation.init(weights)
    path = []
    for of_step in gradients:
        updates, state = transformation.update([jnp.asarray(g) for g in of_step], state, weights)
        weights = optax.apply_updates(weights, updates)
        path.append([np.asarray(each) for each in weights])
    return path


def follow_jitted(
    make: Any, options: dict[str, Any], start: Arrays, gradients: Sequence[Arrays]
) -> list[Arrays]:
    """The same, compiled by JAX, under a schedule instead of a constant rate."""
    import jax
    import optax

    rate = options.pop("lr")
    transformation = make(optax.constant_schedule(rate), **options)
    compiled = transformation._replace(update=jax.jit(transformation.update))
    return follow_optax(lambda lr: compiled, {"lr": rate}, start, gradients)


def follow_keras(
    make: Any, options: dict[str, Any], start: Arrays, gradients: Sequence[Arrays]
) -> list[Arrays]:
    """The weights after each step of a Keras optimizer made again from its configuration."""
    import keras

    made = make(learning_rate=options.pop("lr"), **options)
    optimizer = type(made).from_config(made.get_config())
    weights = [keras.Variable(each) for each in start]
    optimizer.build(weights)
    path = []
    for of_step in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in of_step], weights)
        path.append([np.array(keras.ops.convert_to_numpy(each)) for each in weights])
    return path


FOLLOW: dict[str, Follow] = {
    "optax": follow_optax,
    "jitted": follow_jitted,
    "keras": follow_keras,
}


def main(library: str, folder: Path) -> None:
    """Follow every case of a folder."""
    with np.load(folder / "values.npz") as arrays:
        count = 1 + max(int(name.split("_")[1]) for name in arrays.files)
        values = [
            [arrays[f"{step}_{at}"] for at in range(count)]
            for step in range(len(arrays.files) // count)
        ]
    followed: dict[str, Any] = {}
    for case in json.loads((folder / "cases.json").read_text()):
        spec = importlib.util.spec_from_file_location(case["module"], folder / case["file"])
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        make = getattr(module, case["name"])
        kind = "jitted" if case.get("jitted") else library
        gradients = values[1 : case["steps"] + 1]
        path = FOLLOW[kind](make, dict(case["options"]), values[0], gradients)
        for step, weights in enumerate(path):
            for at, weight in enumerate(weights):
                followed[f"{case['id']}/{step}/{at}"] = weight
    np.savez(folder / "followed.npz", **followed)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
