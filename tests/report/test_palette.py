"""Colours can be read, and told apart by people who see few of them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from evolute.report.palette import (
    DISCOVERED_TONES,
    HAND_MADE_TONES,
    PALETTE,
    TEXT_TONES,
    Tone,
)

GROUNDS = (Tone.PAPER, Tone.RAISED)

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
DEFICIENCIES = {
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
}


def linear(color: str) -> Any:
    parts = np.array([int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def contrast(first: str, second: str) -> float:
    light, dark = sorted(
        (float(linear(color) @ (0.2126, 0.7152, 0.0722)) for color in (first, second)),
        reverse=True,
    )
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("tone", sorted({*TEXT_TONES, *DISCOVERED_TONES, *HAND_MADE_TONES}))
def test_words_and_lines_stand_out_from_the_page(tone: Tone, theme: str) -> None:
    wanted = 4.5 if tone in TEXT_TONES else 3.0
    for ground in GROUNDS:
        assert contrast(getattr(PALETTE[tone], theme), getattr(PALETTE[ground], theme)) >= wanted


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("deficiency", sorted(DEFICIENCIES))
def test_the_champion_differs_from_every_hand_made_colour_for_every_eye(
    deficiency: str, theme: str
) -> None:
    matrix = np.array(DEFICIENCIES[deficiency])

    def seen(tone: Tone) -> Any:
        return np.cbrt(np.clip(matrix @ linear(getattr(PALETTE[tone], theme)), 0, 1))

    for ours, theirs in itertools.product(DISCOVERED_TONES[:1], HAND_MADE_TONES):
        assert float(np.abs(seen(ours) - seen(theirs)).max()) > 0.1, theirs
