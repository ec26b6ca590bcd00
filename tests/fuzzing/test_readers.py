"""Whatever a stranger hands in is read or refused with one line: nothing else happens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzzing.readers import ALLOWED, READERS, Reader


def attempt(reader: Reader, data: bytes) -> None:
    """Feed a reader; what it refuses, it refuses in one line."""
    refusal = "read"
    try:
        reader.read(data)
    except ALLOWED as error:
        refusal = str(error)
    assert len(refusal.splitlines()) == 1


def mutants(reader: Reader) -> st.SearchStrategy[bytes]:
    """Valid inputs with pieces cut out, doubled, or replaced by words and noise."""

    @st.composite
    def mutant(draw: st.DrawFn) -> bytes:
        data = draw(st.sampled_from(reader.examples))
        for _ in range(draw(st.integers(1, 4))):
            start, end = sorted(draw(st.tuples(*[st.integers(0, len(data))] * 2)))
            piece = draw(
                st.sampled_from((*reader.words, b"", data[start:end] * 2)) | st.binary(max_size=6)
            )
            data = data[:start] + piece + data[draw(st.sampled_from((start, end))) :]
        return data

    return mutant()


@pytest.mark.parametrize("name", READERS)
def test_every_example_is_read(name: str) -> None:
    for example in READERS[name].examples:
        READERS[name].read(example)


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
def test_mutants_of_valid_input_are_read_or_refused(name: str, data: st.DataObject) -> None:
    attempt(READERS[name], data.draw(mutants(READERS[name])))


@pytest.mark.parametrize("name", READERS)
@given(data=st.binary(max_size=60))
def test_noise_is_read_or_refused(name: str, data: bytes) -> None:
    attempt(READERS[name], data)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("opening", [b"[", b"(", b'{"a":', b"a = [", b"-", b"a.", b"~", b"[a."])
def test_depth_is_read_or_refused(name: str, opening: bytes) -> None:
    attempt(READERS[name], opening * 100_000)
