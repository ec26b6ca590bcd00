"""The tables of a benchmark, as plain rows: for the terminal, for CSV files, for a report."""

from __future__ import annotations

from dataclasses import dataclass

from evolute.benchmark.comparison import Measure
from evolute.benchmark.findings import Cell
from evolute.benchmark.measured import EntrantResult, Measurement
from evolute.benchmark.result import BenchResult, TaskResult
from evolute.benchmark.statistics import Estimate, Interval

Row = tuple[object, ...]

OPTIMIZER_COLUMNS = (
    *("optimizer", "side", "rate#", "test loss#", "± s.e.#", "test metric#"),
    *("loss at defaults#", "steps to target#", "seconds to target#", "good rates, decades#"),
    *("diverged#", "diverged in tuning#", "step µs#", "state bytes#"),
)
VERDICT_COLUMNS = (
    *("optimizer", "finding", "compared with", "difference#", "lower#", "upper#"),
    *("corrected p#", "seeds for a single test#"),
)
RANGE_COLUMNS = (
    *("optimizer", "hyper-parameter", "default#", "lowest#", "highest#", "scale"),
    *("lowest searched#", "highest searched#", "chosen#", "on the edge"),
)
GAIN_COLUMNS = ("rule", "over", "part", "gain#", "lower#", "upper#")


@dataclass(frozen=True, slots=True)
class ResultTable:
    """A table.

    Parameters
    ----------
    name
        Stem of its file.
    title
        For people.
    columns
        Names; those that end in ``#`` hold numbers.
    rows
        A cell is None where there is nothing.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def tables(result: BenchResult) -> tuple[ResultTable, ...]:
    """Return all tables of a benchmark: those of each task, then the scores over all tasks."""
    return (
        *(table for task in result.tasks for table in task_tables(task)),
        score_table(result),
    )


def task_tables(task: TaskResult) -> tuple[ResultTable, ...]:
    """Return the tables of one task."""
    found = [optimizer_table(task), verdict_table(task)]
    if task.cross is not None:
        found += [cross_table_of(task), gain_table(task)]
    return (*found, range_table(task), budget_table(task))


def optimizer_table(task: TaskResult) -> ResultTable:
    """Return one row per optimizer, best first; the last is the best at its defaults."""
    sign = 1.0 if task.measure is Measure.LOSS else -1.0

    def place(entrant: EntrantResult) -> tuple[bool, float]:
        mean = None if entrant.tuned is None else _mean(_of_measure(entrant.tuned, task.measure))
        return mean is None, sign * (mean or 0.0)

    rows = [_optimizer_row(entrant) for entrant in sorted(task.entrants, key=place)]
    champion = task.best_at_defaults
    if champion is not None:
        name = f"best hand-made at defaults ({champion.name})"
        measured = champion.measurement
        times = (measured.steps_to_target, measured.seconds_to_target)
        known = (*_measured(measured), _mean(measured.loss), *times, None)
        rows.append((name, "hand-made", *known, measured.divergence_rate, None, None, None))
    return ResultTable(
        f"{task.task}-optimizers",
        f"{task.task}: optimizers on fresh seeds, all tuned alike (test split)",
        OPTIMIZER_COLUMNS,
        tuple(rows),
    )


def _optimizer_row(entrant: EntrantResult) -> Row:
    tuned, swept = entrant.tuned, entrant.sensitivity
    return (
        entrant.name,
        entrant.side.value,
        *((None,) * 4 if tuned is None else _measured(tuned)),
        None if entrant.defaults is None else _mean(entrant.defaults.loss),
        None if tuned is None else tuned.steps_to_target,
        None if tuned is None else tuned.seconds_to_target,
        None if swept is None else swept.decades,
        None if tuned is None else tuned.divergence_rate,
        entrant.tuning_divergence_rate,
        1e6 * entrant.cost.step_seconds,
        entrant.cost.state_bytes,
    )


def _measured(measured: Measurement) -> Row:
    """Return rate, loss, its standard error and metric."""
    loss = measured.loss
    return (
        measured.setting.learning_rate,
        _mean(loss),
        None if loss is None else loss.standard_error,
        _mean(measured.metric),
    )


def _of_measure(measured: Measurement, measure: Measure) -> Estimate | None:
    return measured.loss if measure is Measure.LOSS else measured.metric


def _mean(found: Estimate | None) -> float | None:
    return None if found is None else found.mean


def verdict_table(task: TaskResult) -> ResultTable:
    """Return one row per optimizer: what is shown about it."""
    rows = []
    for verdict in task.verdicts:
        found = verdict.comparison
        rows.append(
            (
                verdict.entrant,
                verdict.finding,
                verdict.reference,
                *interval_cells(None if found is None else found.interval),
                verdict.adjusted_p_value,
                verdict.seeds_needed,
            )
        )
    title = f"{task.task}: verdicts, p-values corrected over the whole benchmark"
    return ResultTable(f"{task.task}-verdicts", title, VERDICT_COLUMNS, tuple(rows))


def interval_cells(interval: Interval | None) -> Row:
    """Return mean, lower and upper end of an interval, three empty cells for none."""
    if interval is None:
        return (None, None, None)
    return (interval.mean, interval.lower, interval.upper)


def cross_table_of(task: TaskResult) -> ResultTable:
    """Return the cross table: rows are updates, columns are schedules."""
    cross = task.cross
    assert cross is not None  # asked for by the caller only where there is one
    labels = [column.label for column in cross.schedules]
    rows = [
        (update, *(_cell(cross.cell(update, label), task) for label in labels))
        for update in cross.updates
    ]
    best = "" if cross.best_hand_made is None else " under ".join(cross.best_hand_made)
    title = f"{task.task}: every update under every schedule"
    title += f" (best hand-made in tuning: {best})" if best else ""
    columns = ("update", *(f"{label}#" for label in labels))
    return ResultTable(f"{task.task}-cross", title, columns, tuple(rows))


def _cell(cell: Cell | None, task: TaskResult) -> float | None:
    if cell is None:
        return None
    return _mean(cell.loss if task.measure is Measure.LOSS else cell.metric)


def gain_table(task: TaskResult) -> ResultTable:
    """Return how the gain of each discovered rule splits up."""
    rows = [
        (each.entrant, f"{each.reference} under warm-up cosine", part, *interval_cells(interval))
        for each in task.attributions
        for part, interval in (
            ("total", each.total),
            ("equation", each.equation),
            ("schedule", each.schedule),
            ("inner decays, part of the equation", each.decays),
        )
    ]
    title = f"{task.task}: how much is the equation, how much the schedule"
    return ResultTable(f"{task.task}-gains", title, GAIN_COLUMNS, tuple(rows))


def range_table(task: TaskResult) -> ResultTable:
    """Return the ranges that were tuned, and what was chosen in them."""
    rows: list[Row] = []
    for entrant in task.entrants:
        record, best = entrant.tuning, entrant.tuning.best
        for first, last in zip(record.ranges, record.searched, strict=True):
            chosen = None
            if best is not None:
                values = {"learning_rate": best.setting.learning_rate}
                chosen = (values | dict(best.setting.hyperparameters))[first.name]
            edge = "yes" if first.name in record.on_edge else "no"
            known = (first.default, first.lowest, first.highest, first.scale.value)
            rows.append((entrant.name, first.name, *known, last.lowest, last.highest, chosen, edge))
    title = f"{task.task}: ranges of the tuning, {len(task.entrants[0].tuning.trials)} trials each"
    return ResultTable(f"{task.task}-ranges", title, RANGE_COLUMNS, tuple(rows))


def budget_table(task: TaskResult) -> ResultTable:
    """Return the expected best fitness against the number of tuning trials."""
    count = max(len(entrant.tuning.trials) for entrant in task.entrants)
    rows = [
        (budget, *(_expected(entrant, budget) for entrant in task.entrants))
        for budget in range(1, count + 1)
    ]
    columns = ("trials#", *(f"{entrant.name}#" for entrant in task.entrants))
    title = f"{task.task}: expected best fitness in tuning against the number of trials"
    return ResultTable(f"{task.task}-budget", title, columns, tuple(rows))


def _expected(entrant: EntrantResult, budget: int) -> float | None:
    return None if entrant.expected_best is None else entrant.expected_best[budget - 1]


def score_table(result: BenchResult) -> ResultTable:
    """Return the scores over all tasks."""
    names = [task.task for task in result.tasks]
    rows = [
        (
            score.entrant,
            score.side.value,
            score.area,
            score.area_by_seconds,
            score.speed_up,
            *interval_cells(score.relative),
            *interval_cells(score.probability_of_improvement),
            *score.ratios,
        )
        for score in sorted(result.scores, key=lambda score: -score.area)
    ]
    columns = (
        *("optimizer", "side", "area, steps#", "area, seconds#", "speed-up over adamw#"),
        *("relative#", "relative lower#", "relative upper#"),
        *("P(better)#", "P(better) lower#", "P(better) upper#"),
        *(f"ratio on {name}#" for name in names),
    )
    return ResultTable("scores", "Scores over all tasks", columns, tuple(rows))
