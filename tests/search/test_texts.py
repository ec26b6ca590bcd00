"""Texts and digests that a search remembers, a million of them if need be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolute.search.digests import SortedDigests
from evolute.search.texts import Texts


@given(st.sets(st.text()), st.sets(st.text()), st.sets(st.text()))
def test_texts_are_known_before_and_after_they_were_saved(
    first: set[str], second: set[str], others: set[str]
) -> None:
    texts = Texts(first)
    for held, added in ((first, second), (first | second, set[str]())):
        texts = Texts.from_json(texts.to_json())
        assert all(text in texts for text in held)
        assert not any(text in texts for text in others - held)
        texts.add(added)
    assert all(text in texts for text in first | second)


def test_a_text_added_twice_is_kept_once() -> None:
    texts = Texts.from_json(Texts(["one"]).to_json())
    texts.add(["one", "two", "two"])
    assert len(texts.to_json()) == len(Texts(["one", "two"]).to_json())


@pytest.mark.parametrize("data", ["x", "####", "AAAA", 3, None])
def test_what_are_no_texts_is_refused(data: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        Texts.from_json(data)


def test_digests_that_begin_alike_are_told_apart() -> None:
    digests = [b"beginnin" + bytes([number]) * 8 for number in (3, 1, 2)]
    held = SortedDigests(size=16).merged(digests)
    assert sorted(held.find(digest) or 0 for digest in digests) == [0, 1, 2]
    assert all(held[held.find(digest) or 0] == digest for digest in digests)
    assert held.find(b"beginnin" + bytes(8)) is None
    assert held.find(bytes(16)) is None
