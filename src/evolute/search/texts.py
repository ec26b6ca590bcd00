"""Texts: which rules a search has proposed, by a digest of each."""

from __future__ import annotations

import base64
from collections.abc import Container, Iterable
from hashlib import blake2b

from evolute.search.digests import SortedDigests

DIGEST_BYTES = 16
"""At 128 bits, two of a million texts share a digest once in 10**27 searches."""


class Texts(Container[str]):
    """Texts that can be added and asked for, but not read again.

    Of each only a digest is kept, :data:`DIGEST_BYTES` long: a search of a million proposals is
    so saved in 16 MB, and goes on without making a million texts anew.

    Examples
    --------
    >>> texts = Texts(["none: g"])
    >>> texts.add(["none: v"])
    >>> "none: v" in texts, "none: m" in Texts.from_json(texts.to_json())
    (True, False)
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._earlier = SortedDigests(size=DIGEST_BYTES)
        self._added = set(map(_digest, texts))

    def __contains__(self, text: object) -> bool:
        if not isinstance(text, str):
            return False
        digest = _digest(text)
        return digest in self._added or self._earlier.find(digest) is not None

    def add(self, texts: Iterable[str]) -> None:
        """Add texts, whether they are here or not."""
        self._added |= {_digest(text) for text in texts if text not in self}

    def to_json(self) -> str:
        """Return what is kept, in base 64; :meth:`from_json` reverses it."""
        content = self._earlier.merged(sorted(self._added)).content
        return base64.b64encode(content).decode("ascii")

    @classmethod
    def from_json(cls, data: str) -> Texts:
        """Read what :meth:`to_json` wrote; ValueError or TypeError if it is anything else."""
        texts = cls()
        texts._earlier = SortedDigests(base64.b64decode(data, validate=True), size=DIGEST_BYTES)
        return texts


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()
