"""Where data sets lie on disk, and what is said when they do not.

A file of the data set NAME is looked for, in this order, in ``FOLDER/NAME`` and ``FOLDER``, where
FOLDER is the data folder given (``--data-dir``, or the environment variable EVOLUTE_DATA); where
none is given, in the folder that ``evolute data fetch`` fills and in those of Debian's packages.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

from evolute.errors import TaskError

DATA_VARIABLE = "EVOLUTE_DATA"
"""Environment variable that names the data folder; worker processes inherit it."""

SYSTEM_FOLDER = Path("/usr/share/datasets")
"""Where Debian's packages of data sets put them."""


def data_folder() -> Path | None:
    """Return the folder that the environment names, or None."""
    named = os.environ.get(DATA_VARIABLE, "")
    return Path(named).expanduser() if named else None


def download_folder() -> Path:
    """Return the folder that downloads go to where none is named: the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if cache else Path.home() / ".cache") / "evolute" / "data"


def places(data_set: str, data_dir: Path | None) -> list[Path]:
    """Return the folders in which a data set is looked for, in order.

    Parameters
    ----------
    data_set
        Name of its folder.
    data_dir
        The folder given; None: the package's own places.
    """
    if data_dir is not None:
        return [data_dir / data_set, data_dir]
    return [download_folder() / data_set, SYSTEM_FOLDER / data_set]


def find(
    data_set: str, names: Sequence[str], *, data_dir: Path | None, archive_folder: str = ""
) -> list[Path] | None:
    """Return the files of these names in the first folder that has one of them; None if none has.

    Parameters
    ----------
    data_set
        Name of the data set.
    names
        Names of its files; each may be there with ``.gz`` behind it instead.
    data_dir
        The folder given, or None.
    archive_folder
        Folder in which the published archive holds them: they may lie in it too.

    Raises
    ------
    TaskError
        If a folder has some of them, but not all.
    """
    for folder in places(data_set, data_dir):
        found = {name: _file_in(folder, name, archive_folder) for name in names}
        missing = [name for name, path in found.items() if path is None]
        if not missing:
            return [path for path in found.values() if path is not None]
        if len(missing) < len(names):
            raise TaskError(
                f"the data set {data_set!r} in {str(folder)!r} is not whole: "
                f"{', '.join(missing)} is missing; put all its files there"
            )
    return None


def no_data(data_set: str, wanted: str, *, data_dir: Path | None, advice: str) -> TaskError:
    """Return the error for a data set that is nowhere.

    Parameters
    ----------
    data_set
        Its name.
    wanted
        Which files are read, in words.
    data_dir
        The folder given, or None.
    advice
        How to get them.
    """
    looked = ", ".join(str(place) for place in places(data_set, data_dir))
    return TaskError(
        f"the data set {data_set!r} is not on this machine: looked for {wanted} in {looked}; "
        f"{advice}, or name the folder that holds them with --data-dir or {DATA_VARIABLE}"
    )


def read_bytes(path: Path) -> bytes:
    """Return the content of a file, unpacked if it is compressed with gzip.

    Raises
    ------
    TaskError
        If it cannot be read, or its compressed content is corrupt or cut off.
    """
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except EOFError:
        raise TaskError(
            f"the file {str(path)!r} is cut off: it ends inside its compressed content; get it anew"
        ) from None
    except (OSError, zlib.error) as error:
        raise TaskError(f"the file {str(path)!r} cannot be read ({error}); get it anew") from None


def _file_in(folder: Path, name: str, archive_folder: str) -> Path | None:
    """Return the file of that name, plain before compressed, or None."""
    for inside in (folder, folder / archive_folder):
        for candidate in (inside / name, inside / f"{name}.gz"):
            if candidate.is_file():
                return candidate
    return None
