"""The IDX format of MNIST and Fashion-MNIST: a magic number, the sizes, then the bytes.

Source: Y. LeCun, C. Cortes, C. Burges, *The MNIST database of handwritten digits* (1998). Two zero
bytes, one for the type (8: unsigned byte), one for the number of dimensions; each size as a
big-endian integer of four bytes; the values in row-major order.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from evolute.errors import TaskError
from evolute.tasks.files import read_bytes

UNSIGNED_BYTE = 8


def read_idx(path: Path, *, dimensions: int) -> Tensor:
    """Return the values of an IDX file of unsigned bytes.

    Parameters
    ----------
    path
        The file, as it is or compressed with gzip.
    dimensions
        How many it must have: 1 for labels, 3 for grey images, 4 for coloured ones.

    Raises
    ------
    TaskError
        If it cannot be read, is no such file, or is longer or shorter than it says.
    """
    content = read_bytes(path)
    head = 4 + 4 * dimensions
    magic = bytes((0, 0, UNSIGNED_BYTE, dimensions))
    if content[:4] != magic or len(content) < head:
        raise TaskError(
            f"the file {str(path)!r} is no IDX file of bytes in {dimensions} dimensions: it begins "
            f"with {content[:4].hex(' ') or 'nothing'}, not {magic.hex(' ')}; get it anew"
        )
    shape = tuple(np.frombuffer(content, ">u4", count=dimensions, offset=4).tolist())
    expected, found = math.prod(shape), len(content) - head
    if found != expected:
        raise TaskError(
            f"the file {str(path)!r} is {'cut off' if found < expected else 'too long'}: it says "
            f"{'×'.join(map(str, shape))} = {expected} bytes and holds {found}; get it anew"
        )
    values = np.frombuffer(content, np.uint8, offset=head).reshape(shape)
    return torch.from_numpy(values.copy())
