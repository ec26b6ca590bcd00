"""What is fixed or spared while trials are made, and put back at the end."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from evolute.train.environment import kept_objects


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    frozen = gc.get_freeze_count()
    gc.unfreeze()
    yield
    gc.unfreeze()
    if frozen:
        gc.freeze()


class Ring:
    """Refers to itself, so that only the collector ends it."""

    def __init__(self) -> None:
        self.itself = self


def test_objects_that_are_there_are_not_looked_at_until_the_end() -> None:
    before = [Ring()]
    seen = weakref.ref(before[0])
    with kept_objects():
        assert gc.get_freeze_count() > 1000
        before.clear()
        gc.collect()
        assert seen() is not None
        later = weakref.ref(Ring())
        gc.collect()
        assert later() is None, "what comes later is collected as ever"
    assert not gc.get_freeze_count()
    gc.collect()
    assert seen() is None


def test_garbage_that_has_grown_old_is_given_back_before_the_next_time() -> None:
    rings = []
    for _ in range(2):
        with kept_objects():
            ring = Ring()
            gc.collect()
            rings.append(weakref.ref(ring))
            del ring
    assert [each() is None for each in rings] == [True, False]
    gc.collect()
    assert rings[1]() is None


def test_what_a_program_has_frozen_itself_stays_so() -> None:
    gc.freeze()
    count = gc.get_freeze_count()
    with kept_objects():
        assert gc.get_freeze_count() == count
    assert gc.get_freeze_count() == count
