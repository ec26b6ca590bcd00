"""Wording: the short texts that several parts of a report share."""

from __future__ import annotations

import textwrap
from importlib import metadata

_HOVER_WIDTH = 64
_MOST_HOVER_LINES = 6


def wrapped(text: str) -> str:
    """Break a text into lines for a pointer's label; a very long one is cut.

    >>> wrapped("ab " * 40).count(chr(10))
    1
    """
    lines = textwrap.wrap(text, _HOVER_WIDTH, max_lines=_MOST_HOVER_LINES, placeholder=" …")
    return "\n".join(lines)


def seconds_text(seconds: float) -> str:
    """Write a duration in the unit that people would use.

    >>> [seconds_text(seconds) for seconds in (0.25, 42, 600, 20_000, 400_000)]
    ['0.25 s', '42 s', '10 min', '5.6 h', '4.6 days']
    """
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    for unit, name, most in ((60, "min", 90 * 60), (3600, "h", 48 * 3600)):
        if seconds < most:
            count = seconds / unit
            return f"{count:.0f} {name}" if count >= 10 else f"{count:.1f} {name}"
    return f"{seconds / 86_400:.1f} days"


def count_text(count: int) -> str:
    """Write a count with commas, from a million on in millions.

    >>> count_text(12_345), count_text(3_400_000)
    ('12,345', '3.4 million')
    """
    return f"{count:,}" if count < 1_000_000 else f"{count / 1e6:.1f} million"


def plural(count: int, noun: str) -> str:
    """Write a count and its noun.

    >>> plural(1, "seed"), plural(3, "seed")
    ('1 seed', '3 seeds')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def sentence_case(text: str) -> str:
    """Write a text as a sentence: a capital first, a full stop last; nothing stays nothing.

    >>> sentence_case("none beats Lion here")
    'None beats Lion here.'
    """
    if not text:
        return ""
    return f"{capitalised(text)}{'' if text.endswith(('.', '!', '?')) else '.'}"


def capitalised(text: str) -> str:
    """Write a text with a capital first letter.

    >>> capitalised("discovered #4")
    'Discovered #4'
    """
    return text[:1].upper() + text[1:]


def version() -> str:
    """Return the version of this package."""
    return metadata.version("evolute")
