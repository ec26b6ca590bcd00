"""The tree of errors: each message says what was given, what is allowed and what to do.

::

    EvoluteError
    ├── InputError            a value, name or file that a user gave cannot be used
    │   ├── UnknownNameError  a name that is not in a registry (says the nearest ones)
    │   ├── RuleSyntaxError   a text that is not a rule (says where)
    │   ├── ConfigError       a configuration key or value that is not allowed
    │   └── TaskError         a task that raises, or returns what the interface does not allow
    └── StoreError            a store that cannot be opened, read or written

The command line prints the message of any of these as one line and exits with status 2.
A candidate that diverges is no error: it is a typed :class:`evolute.trial.Outcome`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EvoluteError(Exception):
    """Root of everything this package raises on purpose."""


class InputError(EvoluteError):
    """A value, name or file given by the user cannot be used."""


class UnknownNameError(InputError):
    """A name is in no registry; the message holds the nearest known names.

    Parameters
    ----------
    kind
        What was looked for, in words: ``"task"``, ``"operand"``.
    name
        What was given.
    known
        Every allowed name.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind = kind
        self.name = name
        self.known = tuple(sorted(known))
        super().__init__(f"unknown {kind} {name!r}: {did_you_mean(name, self.known)}")


class RuleSyntaxError(InputError):
    """A text cannot be read as a rule; the message names the position.

    Parameters
    ----------
    message
        What was found and what is allowed.
    text
        The whole text given.
    position
        Zero-based character offset of the fault in ``text``.
    """

    def __init__(self, message: str, text: str, position: int) -> None:
        self.text = text
        self.position = position
        super().__init__(f"{message} (at character {position + 1} of {shorten(text)!r})")


class ConfigError(InputError):
    """A configuration key or value is not allowed."""


class TaskError(InputError):
    """A task raises, or returns what the Task interface does not allow."""


class StoreError(EvoluteError):
    """A store cannot be opened, read or written; what it holds is left as it was."""


def did_you_mean(name: str, known: Iterable[str], *, most: int = 3) -> str:
    """Say the nearest of the known names, whatever their case, or all of them where none is near.

    >>> did_you_mean("Adm", ["adam", "lion"])
    "did you mean 'adam'? (known: adam, lion)"
    """
    names = sorted(known)
    # Two names may differ in case alone.
    folded = sorted({each.casefold() for each in names})
    close = difflib.get_close_matches(name.casefold(), folded, n=most, cutoff=0.5)
    near = [each for fold in close for each in names if each.casefold() == fold]
    listing = f"known: {', '.join(names)}" if names else "none is known"
    if not near:
        return listing
    return f"did you mean {' or '.join(repr(match) for match in near)}? ({listing})"


def shorten(text: str, *, limit: int = 80) -> str:
    """Cut a text for use inside a one-line message.

    >>> shorten("x" * 100, limit=10)
    'xxxxxxxxx…'
    """
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
