"""SortedDigests: a million digests as one text of bytes, found by halving."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

HEAD_BYTES = 8


class SortedDigests:
    """Digests of one length that do not change, in rising order.

    Made from bytes without a copy or a loop, so that a million of them are at hand in milliseconds.

    Parameters
    ----------
    content
        The digests, one after the other; of those with equal first 8 bytes, in any order.
    size
        Bytes of each, a multiple of 8.

    Raises
    ------
    ValueError
        If these are no digests in rising order.

    Examples
    --------
    >>> digests = SortedDigests(size=16).merged([b"b" * 16, b"a" * 16])
    >>> digests.find(b"b" * 16), digests.find(b"c" * 16)
    (1, None)
    """

    def __init__(self, content: bytes = b"", *, size: int) -> None:
        self.content = content
        self._size = size
        self._rows = np.frombuffer(content, dtype=np.uint8).reshape(-1, size)
        # The first eight bytes of each as a number: no two of a million digests are likely to agree
        # in these, and what does is compared in full.
        self._heads = _heads(self._rows)
        if not (self._heads[1:] >= self._heads[:-1]).all():
            raise ValueError("digests that do not rise")

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, position: int) -> bytes:
        return self.content[position * self._size : (position + 1) * self._size]

    def find(self, digest: bytes) -> int | None:
        """Return the position of a digest; None if it is not here."""
        head = np.uint64(int.from_bytes(digest[:HEAD_BYTES], "big"))
        at = int(np.searchsorted(self._heads, head))
        while at < len(self) and self._heads[at] == head:
            if self[at] == digest:
                return at
            at += 1
        return None

    def merged(self, added: Iterable[bytes]) -> SortedDigests:
        """Return these digests and others that are not among them."""
        content = self.content + b"".join(added)
        rows = np.frombuffer(content, dtype=np.uint8).reshape(-1, self._size)
        order = np.argsort(_heads(rows), kind="stable")
        return SortedDigests(rows[order].tobytes(), size=self._size)


def _heads(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    heads = np.ascontiguousarray(rows[:, :HEAD_BYTES]).view(">u8")
    return heads.reshape(-1).astype(np.uint64)
