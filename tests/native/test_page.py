"""The page on the rule machine states the bounds that are tested."""

from __future__ import annotations

import re
from pathlib import Path

from evolute.native.bounds import BOUNDS

PAGE = (Path(__file__).parents[2] / "docs" / "native.md").read_text(encoding="utf-8")


def test_the_page_states_the_bound_of_every_function() -> None:
    stated = {name: float(units) for name, units in re.findall(r"\| `(\w+)` \| ([\d.]+) \|", PAGE)}
    (exact,) = re.findall(r"^These are exact: (.*)$", PAGE, re.MULTILINE)
    stated |= dict.fromkeys(re.findall(r"`(\w+)`", exact), 0.0)
    assert stated == dict(BOUNDS)
