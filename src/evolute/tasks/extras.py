"""Optional libraries: imported when a task needs one, with a clear line where it is missing."""

from __future__ import annotations

import importlib
import warnings
from types import ModuleType

from evolute.errors import TaskError, shorten


def optional_module(module: str, *, extra: str, what: str) -> ModuleType:
    """Return an optional library.

    Parameters
    ----------
    module
        What is imported.
    extra
        The extra of this package that installs it.
    what
        What it is needed for, in words: the subject of the message.

    Raises
    ------
    TaskError
        If it is not installed, or cannot be imported.
    """
    library = module.partition(".")[0]
    try:
        # Warnings of a library at its import are its authors' affair; made errors, as tests make
        # them, they end the process inside Box2D 2.3.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or library
        raise TaskError(
            f"{what} needs the library {library!r}, and {missing!r} is not installed: run "
            f"pip install 'evolute[{extra}]'"
        ) from None
    except Exception as error:  # a library that does not fit its neighbours
        raise TaskError(
            f"{what} needs the library {library!r}, which cannot be imported "
            f"({type(error).__name__}: {shorten(str(error))}): install it anew"
        ) from error
