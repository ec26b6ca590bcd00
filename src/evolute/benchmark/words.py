"""The words of a verdict: one sentence that says what was found, and notes beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from evolute.benchmark.comparison import Comparison, Finding, Measure
from evolute.benchmark.statistics import MOST_SEEDS
from evolute.benchmark.verdict import Finalist, Side, Verdict

_COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def sentence(verdict: Verdict) -> str:
    """Say in one sentence what a verdict found about the discovered rules."""
    champion = verdict.champion(Side.DISCOVERED)
    reference = verdict.champion(Side.HAND_MADE)
    if champion is None or reference is None:
        return _nothing_compared(verdict, champion, reference)
    match verdict.compare(champion, reference).finding:
        case Finding.BETTER:
            return _better(verdict, champion, reference)
        case Finding.WORSE:
            return _worse(verdict, champion, reference)
        case Finding.NO_DIFFERENCE:
            return (
                f"no difference shown between {champion.name} and {reference.name}, the best "
                f"hand-made optimizer in tuning: {_evidence(verdict, champion, reference)}"
            )


def _better(verdict: Verdict, champion: Finalist, reference: Finalist) -> str:
    """Better than the hand-made champion; than all of them only where each comparison shows it."""
    seen = _evidence(verdict, champion, reference)
    hand_made = verdict.of_side(Side.HAND_MADE)
    if len(hand_made) == 1:
        return f"{champion.name} is better than {reference.name} here: {seen}"
    seen += f", compared with {reference.name}, the best of them in tuning"
    unbeaten = [
        other.name
        for other in hand_made
        if verdict.compare(champion, other).finding is not Finding.BETTER
    ]
    if not unbeaten:
        return f"{champion.name} is better than {_all_hand_made(verdict)} here: {seen}"
    return (
        f"{champion.name} is not shown to be better than {_all_hand_made(verdict)} here: {seen}, "
        f"but no gain is shown over {listed(unbeaten)}"
    )


def _worse(verdict: Verdict, champion: Finalist, reference: Finalist) -> str:
    seen = _evidence(verdict, champion, reference)
    named = f"{champion.name}, the best discovered rule in tuning,"
    if any(_ahead_unchosen(verdict)):
        return f"{named} is worse than {reference.name} here: {seen}"
    return f"none beats {reference.name} here: {named} is worse: {seen}"


def _nothing_compared(
    verdict: Verdict, champion: Finalist | None, reference: Finalist | None
) -> str:
    if champion is not None:
        missing, kind, best = "hand-made optimizer", "discovered rule", champion
    elif reference is not None:
        missing, kind, best = "discovered rule", "hand-made optimizer", reference
    else:
        return "neither a discovered rule nor a hand-made optimizer finished here: no comparison"
    found = best.estimate(verdict.measure)
    figure = ""
    if found is not None:
        error = found.standard_error or 0.0
        mean, spread = numbers((found.mean, error), scale=error or abs(found.mean))
        figure = f" ({_label(verdict)} {mean} ± {spread}, {found.runs} seeds)"
    return (
        f"no {missing} finished here, so there is no comparison; the best {kind} in tuning is "
        f"{best.name}{figure}"
    )


def _evidence(verdict: Verdict, first: Finalist, second: Finalist) -> str:
    """Say by how much and how surely two finalists differ on the test split."""
    comparison = verdict.compare(first, second)
    if not comparison.failed and not comparison.other_failed:
        return _gap(verdict, comparison)
    text = (
        f"{comparison.wins} of {len(comparison.differences)} paired seeds won and "
        f"{comparison.losses} lost (sign test p = {comparison.sign_p_value:.2g}; a run without a "
        f"score counts as lost: {comparison.failed} of {first.name}, {comparison.other_failed} of "
        f"{second.name})"
    )
    if comparison.interval is None:
        return text
    return f"{text}; where both have a score, {_gap(verdict, comparison)}"


def _gap(verdict: Verdict, comparison: Comparison) -> str:
    """Say a mean difference with its interval: ``test loss lower by 0.012 (95% interval …)``."""
    interval, label = comparison.interval, _label(verdict)
    seeds = f"{len(comparison.finished)} paired seeds"
    if interval is None:
        return f"{label} too large to average"
    if interval.lower == interval.upper == 0.0:
        return f"the same {label} on all {seeds}"
    bounds = (interval.lower, interval.upper)
    if interval.mean < 0.0:
        bounds = (-interval.upper, -interval.lower)
    half_width = (bounds[1] - bounds[0]) / 2
    mean = abs(interval.mean)
    size, lower, upper = numbers((mean, *bounds), scale=half_width or mean)
    change = f"{label} {'lower' if interval.mean < 0.0 else 'higher'} by {size}"
    if half_width == 0.0:
        return f"{change} on each of {seeds}"
    needed = _seeds_needed(comparison)
    return f"{change} ({100 * verdict.confidence:g}% interval {lower} to {upper}, {seeds}{needed})"


def _seeds_needed(comparison: Comparison) -> str:
    """Say how many seeds a difference would take that the interval did not show."""
    if comparison.finding is not Finding.NO_DIFFERENCE or None in comparison.differences:
        return ""
    needed = comparison.seeds_needed
    count = f"more than {MOST_SEEDS:,}" if needed is None else f"about {needed:,}"
    return f"; {count} seeds would be needed to show the difference seen"


def notes(verdict: Verdict) -> tuple[str, ...]:
    """Say what a reader should know beside the sentence, one sentence each."""
    return (
        *_schedule_notes(verdict),
        *_choice_notes(verdict),
        *(f"{name} is left out: {ending}" for name, ending in verdict.unfinished),
        *_grid_notes(verdict),
        *_run_notes(verdict),
    )


def _schedule_notes(verdict: Verdict) -> Iterator[str]:
    champion = verdict.champion(Side.DISCOVERED)
    if champion is not None and champion.has_schedule:
        yield (
            f"{champion.name} carries a learning-rate schedule factor of its own, which the "
            "hand-made optimizers lack: what helps may be the schedule rather than the equation"
        )


def _choice_notes(verdict: Verdict) -> Iterator[str]:
    for finalist in _ahead_unchosen(verdict):
        yield (
            f"{finalist.name} did better than the best hand-made optimizer on the test split but "
            "was not the one chosen in tuning: no claim rests on it without fresh seeds"
        )


def _grid_notes(verdict: Verdict) -> Iterator[str]:
    for finalist in verdict.finalists:
        tuning, best = finalist.tuning, finalist.tuning.best
        if best is None:
            yield f"{finalist.name} is left out: no rate of its grid finished on all tuning seeds"
        elif tuning.on_edge:
            yield edge_note(finalist.name, best.learning_rate, widenings=tuning.widenings)
        elif tuning.widenings:
            yield (
                f"the grid of {finalist.name} was widened {_times(tuning.widenings)}, as its best "
                "rate was the edge or none finished"
            )


def edge_note(name: str, rate: float, *, widenings: int) -> str:
    """Say that the best rate of something is the edge of its grid, which was widened so often."""
    return (
        f"the best rate of {name}, {rate:.3g}, is the edge of its grid, widened "
        f"{_times(widenings)}: a better one may lie beyond"
    )


def _run_notes(verdict: Verdict) -> Iterator[str]:
    for finalist in verdict.finalists:
        endings = [run.sentence for run in finalist.runs if run.loss is None]
        if endings:
            yield (
                f"{len(endings)} of {len(finalist.runs)} fresh runs of {finalist.name} ended "
                f"without a score; the first: {endings[0]}"
            )


def _ahead_unchosen(verdict: Verdict) -> Iterator[Finalist]:
    """Yield the discovered finalists that beat the hand-made champion but are no champion."""
    champion, reference = verdict.champion(Side.DISCOVERED), verdict.champion(Side.HAND_MADE)
    if reference is None:
        return
    for finalist in verdict.of_side(Side.DISCOVERED):
        if finalist != champion and verdict.compare(finalist, reference).finding is Finding.BETTER:
            yield finalist


def _all_hand_made(verdict: Verdict) -> str:
    """Name the two or more hand-made optimizers compared: ``all five hand-made optimizers``."""
    compared = len(verdict.of_side(Side.HAND_MADE))
    given = sum(f.side is Side.HAND_MADE for f in verdict.finalists) + len(verdict.unfinished)
    finished = "" if compared == given else " that finished"
    count = "both" if compared == 2 else f"all {counted(compared)}"
    return f"{count} hand-made optimizers{finished}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{counted(count)} times"


def counted(count: int) -> str:
    """Write a count: as a word up to ten."""
    return _COUNTS[count] if count < len(_COUNTS) else str(count)


def _label(verdict: Verdict) -> str:
    return "test loss" if verdict.measure is Measure.LOSS else f"test {verdict.metric or 'metric'}"


def listed(names: Sequence[str]) -> str:
    """Join names: ``Adam, AdamW and Lion``."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def numbers(values: Sequence[float], *, scale: float) -> list[str]:
    """Write numbers with as many decimals as give ``scale`` two digits, at most four of the first.

    >>> numbers((0.012345, -0.004321), scale=0.0081)
    ['0.0123', '−0.0043']
    """
    size = max(scale, abs(values[0]) / 100)
    decimals = max(0, 1 - math.floor(math.log10(size))) if size > 0.0 else 0
    return [f"{value:.{decimals}f}".replace("-", "−") for value in values]
