"""The verdict of a benchmark: what is shown about each optimizer on each task, in words.

Everything is compared with the best hand-made update under the best hand-made schedule, chosen in
tuning and measured on the same fresh seeds. P-values of all comparisons of the benchmark are
corrected together (Holm 1979). As tuning may have chosen the wrong cell, a discovered rule is
called better only if it beats every hand-made update under every hand-made schedule; each single
comparison must show it, so their number needs no correction (intersection-union test, Berger 1982).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from evolute.benchmark.comparison import Comparison, Finding, Measure, compare
from evolute.benchmark.config import BenchConfig
from evolute.benchmark.findings import EntrantVerdict, schedule_label
from evolute.benchmark.result import TaskResult
from evolute.benchmark.statistics import MOST_SEEDS, holm
from evolute.benchmark.verdict import Side
from evolute.benchmark.words import counted, listed, numbers

MOST_NAMED = 3
"""So many cells, rules or tasks are named in a sentence."""

_UNFINISHED = "unfinished"


@dataclass(frozen=True, slots=True)
class Contender:
    """Fresh runs that are compared, and what they are runs of.

    Parameters
    ----------
    name
        Name of the optimizer, with its schedule where a cross table says it.
    results
        The measure of each run; empty if nothing finished in tuning.
    """

    name: str
    results: tuple[float | None, ...]


def contender(task: TaskResult, name: str) -> Contender:
    """Return the runs of an optimizer as it is: its own cell where there is a cross table.

    Both sides of a comparison are then tuned on the same grid.
    """
    entrant = next(each for each in task.entrants if each.name == name)
    cell = None if task.cross is None else task.cross.own_cell(name)
    if cell is not None and task.cross is not None:
        return Contender(_under(name, cell.schedule), cell.results(task.measure))
    runs = () if entrant.tuned is None else entrant.tuned.results(task.measure)
    return Contender(name, runs)


def reference(task: TaskResult) -> Contender | None:
    """Return the best hand-made cell, or without a cross table the best hand-made optimizer.

    Chosen in tuning, where no test data is read; None if no hand-made optimizer finished.
    """
    if task.cross is not None:
        if task.cross.best_hand_made is None:
            return None
        update, schedule = task.cross.best_hand_made
        cell = task.cross.cell(update, schedule)
        assert cell is not None  # the table says so
        return Contender(_under(update, schedule), cell.results(task.measure))
    best: tuple[float, str] | None = None
    for entrant in task.entrants:
        trial = entrant.tuning.best
        if entrant.side is Side.HAND_MADE and entrant.tuned is not None and trial is not None:
            fitness = trial.fitness or 0.0
            if best is None or fitness > best[0]:
                best = (fitness, entrant.name)
    return None if best is None else contender(task, best[1])


def _under(update: str, schedule: str) -> str:
    own = schedule == schedule_label(update)
    return f"{update} under {'its own schedule' if own else schedule}"


def judge_tasks(tasks: Sequence[TaskResult], config: BenchConfig) -> tuple[TaskResult, ...]:
    """Return the tasks with a verdict for every optimizer, corrected over all of them.

    Parameters
    ----------
    tasks
        The tasks, without verdicts.
    config
        Its confidence is that of the intervals, and 1 minus the level of the tests.
    """
    pairs = [(task, entrant.name) for task in tasks for entrant in task.entrants]
    compared = [_compared(task, name, config) for task, name in pairs]
    tested = [index for index, found in enumerate(compared) if found is not None]
    adjusted = dict(
        zip(tested, holm([found.p_value for found in compared if found is not None]), strict=True)
    )
    verdicts = [
        _verdict(task, name, compared[index], adjusted.get(index), config)
        for index, (task, name) in enumerate(pairs)
    ]
    each = iter(verdicts)
    return tuple(replace(task, verdicts=tuple(next(each) for _ in task.entrants)) for task in tasks)


def _compared(task: TaskResult, name: str, config: BenchConfig) -> Comparison | None:
    """Compare an optimizer with the reference; None for the reference and the unfinished."""
    mine, best = contender(task, name), reference(task)
    if best is None or mine.name == best.name or not mine.results:
        return None
    return compare(mine.results, best.results, measure=task.measure, confidence=config.confidence)


def _verdict(
    task: TaskResult,
    name: str,
    found: Comparison | None,
    adjusted: float | None,
    config: BenchConfig,
) -> EntrantVerdict:
    mine, best = contender(task, name), reference(task)
    against = "" if best is None else best.name
    if found is None or adjusted is None:
        return EntrantVerdict(
            name, against, None, None, None, None, _silent(task, name, mine, best)
        )
    finding = _finding(found, adjusted, task.measure, config)
    sentence = _sentence(task, (mine.name, against), found, finding, adjusted, config)
    unbeaten = _unbeaten(task, name, config) if finding is Finding.BETTER else []
    if unbeaten:
        finding = Finding.NO_DIFFERENCE
        sentence = (
            f"{mine.name} is not shown to be better than every hand-made update and schedule: "
            f"{sentence}, but no gain is shown over {_some(unbeaten)}"
        )
    counted_on = finding is Finding.NO_DIFFERENCE and not (found.failed or found.other_failed)
    needed = found.seeds_needed if counted_on and not unbeaten else None
    return EntrantVerdict(name, against, found, adjusted, finding.value, needed, sentence)


def _some(names: Sequence[str]) -> str:
    """Name up to three of several; say how many more there are."""
    if len(names) <= MOST_NAMED:
        return listed(names)
    return f"{', '.join(names[:MOST_NAMED])} and {len(names) - MOST_NAMED} more"


def _unbeaten(task: TaskResult, name: str, config: BenchConfig) -> list[str]:
    """Return the hand-made cells over which a discovered rule shows no gain."""
    side = next(each.side for each in task.entrants if each.name == name)
    if task.cross is None or side is Side.HAND_MADE:
        return []
    mine = contender(task, name)
    plain = {column.label for column in task.cross.schedules if column.side is Side.HAND_MADE}
    return [
        _under(cell.update, cell.schedule)
        for cell in task.cross.cells
        if cell.side is Side.HAND_MADE and cell.schedule in plain and cell.runs
        if compare(
            mine.results,
            cell.results(task.measure),
            measure=task.measure,
            confidence=config.confidence,
        ).finding
        is not Finding.BETTER
    ]


def _finding(found: Comparison, adjusted: float, measure: Measure, config: BenchConfig) -> Finding:
    """Return what a comparison shows at the corrected level."""
    if adjusted > 1 - config.confidence:
        return Finding.NO_DIFFERENCE
    if found.failed or found.other_failed or found.interval is None:
        return Finding.BETTER if found.wins > found.losses else Finding.WORSE
    lower = found.interval.mean < 0.0
    return Finding.BETTER if lower is (measure is Measure.LOSS) else Finding.WORSE


def _silent(task: TaskResult, name: str, mine: Contender, best: Contender | None) -> str:
    """Say why there is no comparison."""
    if not mine.results:
        entrant = next(each for each in task.entrants if each.name == name)
        ending = entrant.tuning.trials[-1].sentence
        return f"{mine.name} has no result: no setting finished on all tuning seeds ({ending})"
    if best is None:
        return f"{mine.name} is compared with nothing: no hand-made optimizer finished"
    return f"{mine.name} is the best hand-made optimizer in tuning: the others are compared with it"


def _sentence(
    task: TaskResult,
    names: tuple[str, str],
    found: Comparison,
    finding: Finding,
    adjusted: float,
    config: BenchConfig,
) -> str:
    first, second = names
    heads = {
        Finding.BETTER: f"{first} is better than {second}",
        Finding.WORSE: f"{first} is worse than {second}",
        Finding.NO_DIFFERENCE: f"no difference shown between {first} and {second}",
    }
    text = f"{heads[finding]}: {_gap(task, found, config)}, corrected p = {adjusted:.2g}"
    if finding is not Finding.NO_DIFFERENCE or found.failed or found.other_failed:
        return text
    needed = found.seeds_needed
    count = f"more than {MOST_SEEDS:,}" if needed is None else f"about {needed:,}"
    return f"{text}; {count} seeds would show the difference seen in a single test"


def _gap(task: TaskResult, found: Comparison, config: BenchConfig) -> str:
    """Say by how much two optimizers differ: ``test loss lower by 0.012 (95% interval …)``."""
    label = measure_label(task)
    interval, seeds = found.interval, len(found.finished)
    lost = ""
    if found.failed or found.other_failed:
        lost = (
            f"{found.wins} of {len(found.differences)} paired seeds won and {found.losses} lost "
            f"({found.failed} and {found.other_failed} runs without a score)"
        )
    if interval is None:
        return lost or f"{label} cannot be averaged over {seeds} seeds"
    bounds = (interval.lower, interval.upper)
    if interval.mean < 0.0:
        bounds = (-interval.upper, -interval.lower)
    mean = abs(interval.mean)
    half_width = (bounds[1] - bounds[0]) / 2
    size, lower, upper = numbers((mean, *bounds), scale=half_width or mean)
    change = "lower" if interval.mean < 0.0 else "higher"
    figures = (
        f"{label} {change} by {size} ({100 * config.confidence:g}% interval {lower} to {upper}, "
        f"{seeds} paired seeds)"
    )
    return f"{lost}; where both have a score, {figures}" if lost else figures


def measure_label(task: TaskResult) -> str:
    """Return what is compared, in words: ``test loss``, ``test accuracy``."""
    return "test loss" if task.measure is Measure.LOSS else f"test {task.metric or 'metric'}"


def summary(tasks: Sequence[TaskResult]) -> str:
    """Say in a sentence or two what a benchmark found about its discovered rules."""
    discovered = [each.name for each in tasks[0].entrants if each.side is Side.DISCOVERED]
    if not any(each.side is Side.HAND_MADE for each in tasks[0].entrants):
        return "no hand-made optimizer took part, so nothing can be said to be better than one"
    if not discovered:
        return "no discovered rule took part; the hand-made optimizers are compared with each other"
    if len(discovered) == 1:
        return _about(tasks, discovered[0])
    return _about_several(tasks, discovered)


def _better_than(tasks: Sequence[TaskResult]) -> str:
    """Return what better means in a benchmark."""
    if any(task.cross is None for task in tasks):
        return "better than the best hand-made optimizer under the one schedule that was tried"
    return "better than the best hand-made update under the best hand-made schedule"


def _findings(tasks: Sequence[TaskResult], name: str) -> dict[str, list[str]]:
    """Return the tasks on which a rule was found what."""
    found: dict[str, list[str]] = {}
    for task in tasks:
        verdict = next(each for each in task.verdicts if each.entrant == name)
        found.setdefault(verdict.finding or _UNFINISHED, []).append(task.task)
    return found


def _about(tasks: Sequence[TaskResult], name: str) -> str:
    """Say on which tasks a rule is better, worse, or neither."""
    if len(tasks) == 1:
        return next(each for each in tasks[0].verdicts if each.entrant == name).sentence
    found, better = _findings(tasks, name), _better_than(tasks)
    words = {
        Finding.BETTER.value: f"is {better} on",
        Finding.WORSE.value: "is worse on",
        Finding.NO_DIFFERENCE.value: "shows no difference on",
        _UNFINISHED: "has no comparison on",
    }
    said = [
        f"{text} {counted(len(found[kind]))} of {len(tasks)} tasks ({listed(found[kind])})"
        for kind, text in words.items()
        if kind in found
    ]
    if Finding.BETTER.value not in found:
        said.insert(0, f"is not shown to be {better} on any task")
    return f"{name} {', '.join(said)}"


def _about_several(tasks: Sequence[TaskResult], names: Sequence[str]) -> str:
    """Say which of several rules are better and which are worse, each with its tasks."""
    found = {name: _findings(tasks, name) for name in names}
    where = f" on {tasks[0].task}" if len(tasks) == 1 else ""

    def those(kind: str) -> list[str]:
        return [
            name if len(tasks) == 1 else f"{name} ({_some(kinds[kind])})"
            for name, kinds in found.items()
            if kind in kinds
        ]

    better = those(Finding.BETTER.value)
    if better:
        said = [f"{_some(better)} {'is' if len(better) == 1 else 'are'} {_better_than(tasks)}"]
    else:
        any_task = where or " on any task"
        said = [
            f"none of {counted(len(names))} discovered rules is shown to be "
            f"{_better_than(tasks)}{any_task}"
        ]
    if worse := those(Finding.WORSE.value):
        said.append(f"worse: {_some(worse)}")
    if unfinished := those(_UNFINISHED):
        said.append(f"without a comparison: {_some(unfinished)}")
    if any(Finding.NO_DIFFERENCE.value in kinds for kinds in found.values()):
        said.append("else no difference is shown")
    return "; ".join(said)
