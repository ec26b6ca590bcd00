"""Palette: the colours of pages and figures, light and dark, in one place.

The series colours are those of Okabe and Ito (2008), which people with any common colour vision
tell apart, made lighter for a dark page. Lines also differ in their dashes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Tone(StrEnum):
    """What a colour is for."""

    PAPER = "paper"
    RAISED = "raised"
    INK = "ink"
    MUTED = "muted"
    HAIRLINE = "hairline"
    FAINT = "faint"
    BLUE = "blue"
    VERMILION = "vermilion"
    GREEN = "green"
    ORANGE = "orange"
    PURPLE = "purple"
    SKY = "sky"
    GREY = "grey"


@dataclass(frozen=True, slots=True)
class Shade:
    """A colour on a light and on a dark page, as ``#rrggbb``."""

    light: str
    dark: str


PALETTE: dict[Tone, Shade] = {
    Tone.PAPER: Shade("#fbfaf7", "#14171c"),
    Tone.RAISED: Shade("#ffffff", "#1c2128"),
    Tone.INK: Shade("#1c2330", "#e8eaed"),
    Tone.MUTED: Shade("#5b6472", "#a0a8b5"),
    Tone.HAIRLINE: Shade("#e3e1da", "#313842"),
    Tone.FAINT: Shade("#b7bcc6", "#525b68"),
    Tone.BLUE: Shade("#0068a8", "#58b4f0"),
    Tone.VERMILION: Shade("#bf4a00", "#ff8a4c"),
    Tone.GREEN: Shade("#00805e", "#2fcf9f"),
    Tone.ORANGE: Shade("#b87700", "#f2b632"),
    Tone.PURPLE: Shade("#a84f85", "#e79cc6"),
    Tone.SKY: Shade("#2f8fc8", "#9fd8ff"),
    Tone.GREY: Shade("#7a828f", "#8c95a3"),
}
"""Tones of text stand out from the page by a contrast of 4.5 to 1 or more, those of figures by 3 to
1, as the guidelines of the W3C for accessible pages ask (WCAG 2.2, 2023)."""

TEXT_TONES = (Tone.INK, Tone.MUTED, Tone.BLUE, Tone.VERMILION, Tone.GREEN)
"""Tones in which words are written."""

DISCOVERED_TONES = (Tone.BLUE, Tone.SKY, Tone.GREEN)
"""Discovered rules, the champion first."""

HAND_MADE_TONES = (Tone.VERMILION, Tone.ORANGE, Tone.PURPLE, Tone.GREY, Tone.INK)
"""Hand-made optimizers, the best in tuning first."""

HEAT_LOW, HEAT_HIGH = Shade("#0068a8", "#58b4f0"), Shade("#f4efe2", "#23282f")
"""Ends of the scale of a heat map: the good end, and the other."""
