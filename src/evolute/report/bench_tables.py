"""Tables of a benchmark: verdicts, scores over tasks, and for each task results and tuning."""

from __future__ import annotations

from evolute.benchmark.comparison import Measure as Compared
from evolute.benchmark.measured import EntrantResult, Measurement
from evolute.benchmark.result import BenchResult, TaskResult
from evolute.benchmark.statistics import Estimate, Interval
from evolute.report.page import Between, Cell, Table
from evolute.zoo.hyperparameters import HyperParameter


def verdicts_table(result: BenchResult) -> Table:
    """Return a line for each optimizer and task: what is shown, and how surely."""
    rows: list[tuple[Cell, ...]] = []
    for task in result.tasks:
        for verdict in task.verdicts:
            comparison = verdict.comparison
            rows.append((
                task.task,
                verdict.entrant,
                verdict.finding,
                *_with_interval(None if comparison is None else comparison.interval),
                None if comparison is None else comparison.wins,
                None if comparison is None else comparison.losses,
                verdict.adjusted_p_value,
                verdict.seeds_needed,
                verdict.reference,
            ))  # fmt: skip
    return Table(
        name="verdicts",
        caption="What is shown about each optimizer on each task",
        columns=(
            *("task", "optimizer", "finding", "difference#", "interval#", "won#", "lost#"),
            *("corrected p#", "seeds needed#", "compared with"),
        ),
        rows=tuple(rows),
    )


def scores_table(result: BenchResult) -> Table:
    """Return a line for each optimizer over all tasks."""
    rows: list[tuple[Cell, ...]] = [
        (
            score.entrant,
            str(score.side),
            score.area,
            score.area_by_seconds,
            score.speed_up,
            *_with_interval(score.relative),
            *_with_interval(score.probability_of_improvement),
        )
        for score in result.scores
    ]
    return Table(
        name="scores",
        caption="Over all tasks",
        columns=(
            *("optimizer", "origin", "profile area#", "by seconds#", "speed-up over AdamW#"),
            *("relative to reference#", "its interval#", "P(improvement)#", "interval#"),
        ),
        rows=tuple(rows),
    )


def results_table(task: TaskResult, name: str) -> Table:
    """Return a line for each optimizer of a task: what it measured, tuned and at its defaults."""
    other = "metric" if task.metric is None else task.metric
    main, second = ("loss", other) if task.measure is Compared.LOSS else (other, "loss")
    return Table(
        name=f"{name}-results",
        caption=f"On fresh seeds and test data of {task.task}",
        columns=(
            *("optimizer", f"test {main}#", "± s.e.#", f"test {second}#", f"{main} at defaults#"),
            *("steps to target#", "seconds to target#", "good rates, decades#", "diverged, %#"),
            *("µs a step#", "state bytes#"),
        ),
        rows=tuple(_result_row(entrant, task) for entrant in task.entrants),
    )


def _result_row(entrant: EntrantResult, task: TaskResult) -> tuple[Cell, ...]:
    tuned, by_loss = entrant.tuned, task.measure is Compared.LOSS
    own = _estimate(tuned, by_loss=by_loss)
    other = _estimate(tuned, by_loss=not by_loss)
    defaults = _estimate(entrant.defaults, by_loss=by_loss)
    return (
        entrant.name,
        None if own is None else own.mean,
        None if own is None else own.standard_error,
        None if other is None else other.mean,
        None if defaults is None else defaults.mean,
        None if tuned is None else tuned.steps_to_target,
        None if tuned is None else tuned.seconds_to_target,
        None if entrant.sensitivity is None else entrant.sensitivity.decades,
        None if tuned is None else 100 * tuned.divergence_rate,
        1e6 * entrant.cost.step_seconds,
        entrant.cost.state_bytes,
    )


def tuning_table(task: TaskResult, name: str) -> Table:
    """Return a line for each thing tuned: its range as stated, as searched, and what was best."""
    rows: list[tuple[Cell, ...]] = []
    for entrant in task.entrants:
        record = entrant.tuning
        best = record.best
        for stated, searched in zip(record.ranges, record.searched, strict=True):
            rows.append((
                entrant.name,
                stated.name,
                _span(stated),
                _span(searched),
                None if best is None else _chosen(stated.name, best.setting.learning_rate,
                                                  best.setting.hyperparameters),
                "yes" if stated.name in record.on_edge else "no",
                len(record.trials),
                100 * entrant.tuning_divergence_rate,
            ))  # fmt: skip
    return Table(
        name=f"{name}-tuning-table",
        caption="How each optimizer was tuned: the same number of quasi-random trials",
        columns=(
            *("optimizer", "tuned", "range stated#", "range searched#", "best#", "on the edge"),
            *("trials#", "diverged, %#"),
        ),
        rows=tuple(rows),
    )


def _span(range_: HyperParameter) -> Between:
    return Between(range_.lowest, range_.highest, digits=6)


def _chosen(name: str, rate: float, others: object) -> Cell:
    if name == "learning_rate":
        return rate
    value = others.get(name) if isinstance(others, dict) else None
    return value if isinstance(value, float) else None


def _estimate(measurement: Measurement | None, *, by_loss: bool) -> Estimate | None:
    if measurement is None:
        return None
    return measurement.loss if by_loss else measurement.metric


def _with_interval(interval: Interval | None) -> tuple[Cell, Cell]:
    if interval is None:
        return (None, None)
    return (interval.mean, Between(interval.lower, interval.upper))
