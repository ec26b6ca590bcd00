"""Looks: the colour and dash of each optimizer, the same in every figure of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evolute.report.palette import DISCOVERED_TONES, HAND_MADE_TONES, Tone
from evolute.report.pictures import Dash

_DASHES = (Dash.DASHED, Dash.DOTTED, Dash.MIXED, Dash.SOLID)


@dataclass(frozen=True, slots=True)
class Look:
    """How a series is drawn, the same in every figure of a page."""

    tone: Tone
    dash: Dash
    width: float


def looks(sides: Sequence[tuple[str, bool]]) -> Mapping[str, Look]:
    """Give each optimizer its look.

    Parameters
    ----------
    sides
        Name and whether it is discovered, in the order of importance.
    """
    found: dict[str, Look] = {}
    discovered = hand_made = 0
    for name, is_discovered in sides:
        if is_discovered:
            turn, place = divmod(discovered, len(DISCOVERED_TONES))
            dash = Dash.SOLID if turn == 0 else _DASHES[(turn - 1) % len(_DASHES)]
            found[name] = Look(DISCOVERED_TONES[place], dash, 3.0 if discovered == 0 else 2.2)
            discovered += 1
        else:
            tone = HAND_MADE_TONES[hand_made % len(HAND_MADE_TONES)]
            found[name] = Look(tone, _DASHES[hand_made % len(_DASHES)], 1.9)
            hand_made += 1
    return found
