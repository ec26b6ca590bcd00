"""Findings: what a comparison shows, as the badge and the colour of a headline."""

from __future__ import annotations

from evolute.benchmark.comparison import Finding
from evolute.report.page import Tendency

FINDINGS = {
    Finding.BETTER: ("Better than hand-made", Tendency.GOOD),
    Finding.NO_DIFFERENCE: ("No difference shown", Tendency.OPEN),
    Finding.WORSE: ("Worse than hand-made", Tendency.BAD),
}
"""Badge and tendency of each finding about discovered rules."""
