"""Faults of a user's task, said in one line: which task, what was called, what it raised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from evolute.errors import EvoluteError, TaskError, shorten

LONGEST_QUOTE = 160
"""Characters of the user's own message that are quoted."""


@contextmanager
def naming(task: str) -> Iterator[None]:
    """Say in errors about a task which it is, where they do not yet.

    Parameters
    ----------
    task
        Name of the task.

    Raises
    ------
    TaskError
        In place of one that does not name the task.

    Examples
    --------
    >>> with naming("mine"):
    ...     raise TaskError("no weight: give one")
    Traceback (most recent call last):
    evolute.errors.TaskError: task 'mine': no weight: give one
    """
    try:
        yield
    except TaskError as error:
        if f"task {task!r}" in str(error):
            raise
        raise TaskError(f"task {task!r}: {error}") from error


@contextmanager
def calling(task: str, what: str, *, advice: str = "mend the task") -> Iterator[None]:
    """Turn whatever the user's code inside raises into a TaskError of one line.

    Parameters
    ----------
    task
        Name of the task.
    what
        What is called, in words: ``"the loss"``.
    advice
        What to do about it.

    Raises
    ------
    TaskError
        If the code inside raises. Errors of this package and KeyboardInterrupt pass through.

    Examples
    --------
    >>> with calling("mine", "the loss", advice="see loss="):
    ...     1 / 0
    Traceback (most recent call last):
    evolute.errors.TaskError: task 'mine': the loss raised ZeroDivisionError: division by zero; \
see loss=
    """
    try:
        yield
    except EvoluteError:
        raise
    except (Exception, SystemExit) as error:
        said = shorten(str(error), limit=LONGEST_QUOTE)
        kind = type(error).__name__
        raised = f"{kind}: {said}" if said else kind
        raise TaskError(f"task {task!r}: {what} raised {raised}; {advice}") from error
