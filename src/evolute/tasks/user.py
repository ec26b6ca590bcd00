"""Loading a task by its name, or from a file of the user's own: ``path/to/file.py:build``."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from evolute.errors import TaskError, UnknownNameError
from evolute.tasks.adverse import split_conditions, under_conditions
from evolute.tasks.base import Task
from evolute.tasks.faults import calling
from evolute.tasks.files import data_folder
from evolute.tasks.registry import TASKS


def load_task(text: str, *, data_dir: Path | None = None) -> Task:
    """Return the task of that name, or the one that a user's own file builds.

    Behind either, adverse conditions may be written (:mod:`evolute.tasks.adverse`):
    ``digits+label-noise=0.2+batch=4``.

    ``path/to/file.py:build`` **runs the user's file** and then calls ``build()`` in it: the one
    place in this package where code that a user names is executed, with all the rights of the
    process. Name only files that you would run yourself. The folder of the file is put on
    ``sys.path`` so that it can import its neighbours; a file is run once per process and again
    after it changed.

    Parameters
    ----------
    text
        A name in :data:`evolute.tasks.registry.TASKS`, or ``path/to/file.py:function``.
    data_dir
        Folder in which data sets are looked for; None: the one that the environment variable
        EVOLUTE_DATA names, or else the package's own places (:mod:`evolute.tasks.files`).

    Raises
    ------
    UnknownNameError
        If it is no path and no task, or no condition, has that name.
    TaskError
        If the data cannot be read; if the file or the function is missing, raises, or returns no
        Task; if a condition does not fit the task.

    Examples
    --------
    >>> load_task("digits").metric
    'accuracy'
    """
    name, conditions = split_conditions(text)
    return under_conditions(_load(name, data_dir or data_folder()), conditions)


def _load(text: str, data_dir: Path | None) -> Task:
    if text in TASKS:
        return TASKS[text].build(data_dir)
    file, colon, function = text.rpartition(":")
    if not colon:
        if text.endswith(".py"):
            raise TaskError(
                f"the task {text!r} names a file but no function in it: write {text}:build"
            )
        raise UnknownNameError("task", text, [*TASKS, "path/to/file.py:build"])
    return _build(text, _load_module(text, Path(file)), function)


def _load_module(text: str, path: Path) -> ModuleType:
    """Run the file, unless this process has run it as it is."""
    if path.suffix != ".py" or not path.is_file():
        raise TaskError(
            f"the task {text!r} names the file {str(path)!r}, which is no Python file that exists: "
            "write path/to/file.py:build"
        )
    path = path.resolve()
    state = f"{path}\n{path.stat().st_mtime_ns}"
    name = f"evolute_user_task_{hashlib.sha256(state.encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    sys.modules[name] = module  # dataclasses in the file look their module up here
    try:
        with calling(text, "running the file", advice="mend the file"):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _build(text: str, module: ModuleType, function: str) -> Task:
    build = getattr(module, function, None)
    if not callable(build):
        found = sorted(
            name
            for name, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", None) == module.__name__
        )
        raise TaskError(
            f"the task {text!r} names the function {function!r}, which the file does not define: "
            f"it defines {', '.join(found) or 'no function'}"
        )
    with calling(text, f"{function}()", advice="mend that function"):
        task: object = build()
    if not isinstance(task, Task):
        raise TaskError(
            f"the task {text!r}: {function}() returned {type(task).__name__}, not an evolute.Task"
        )
    return task
