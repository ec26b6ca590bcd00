"""The cross table: every update under every schedule, each cell with a learning rate of its own.

A rule that carries a schedule, compared with optimizers that only have warm-up cosine, may win by
its schedule alone. So each update is also tried under the others' schedules, and each cell is tuned
on the same grid of quarter decades, on the tuning seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from evolute.benchmark.config import BenchConfig, VerdictConfig
from evolute.benchmark.entrants import Entrant, has_inner_decays, without_decays, without_schedule
from evolute.benchmark.findings import Cell, CrossTable, ScheduleColumn, schedule_label
from evolute.benchmark.measured import Setting
from evolute.benchmark.statistics import estimate
from evolute.benchmark.tuning import Evaluate, Tuning, tune
from evolute.benchmark.verdict import FreshRun, Side
from evolute.lang.curve import curve
from evolute.lang.rule import Rule
from evolute.lang.text import parse_schedule, print_expression
from evolute.runs.executors.base import TrialRequest
from evolute.schedules import Shape, base_schedule
from evolute.train.protocol import Protocol, Training
from evolute.trial import Trial

PLAIN: dict[Shape, str] = {
    "cosine": "warm-up cosine",
    "linear": "warm-up linear",
    "stable": "warm-up stable decay",
    "constant": "warm-up constant",
}
"""The hand-made schedules and how the table calls them."""

WITHOUT_DECAYS = "{} without decays"


@dataclass(frozen=True, slots=True)
class _Plan:
    """One cell before it is trained."""

    update: str
    own: ScheduleColumn
    column: ScheduleColumn
    side: Side
    rule: Rule
    rate: float


def columns_of(rules: Sequence[tuple[Entrant, Rule]]) -> tuple[ScheduleColumn, ...]:
    """Return the schedules of a table: each that a rule carries, once, then the hand-made ones."""
    found: dict[str, ScheduleColumn] = {}
    for entrant, rule in rules:
        if rule.schedule is not None:
            text = print_expression(rule.schedule)
            column = ScheduleColumn(schedule_label(entrant.name), "cosine", text, entrant.side)
            found.setdefault(text, column)
    plain = (ScheduleColumn(PLAIN[shape], shape, None, Side.HAND_MADE) for shape in PLAIN)
    return (*found.values(), *plain)


def own_column(rule: Rule, columns: Sequence[ScheduleColumn]) -> ScheduleColumn:
    """Return the column under which a rule stands as it is."""
    factor = None if rule.schedule is None else print_expression(rule.schedule)
    return next(each for each in columns if (each.shape, each.factor) == ("cosine", factor))


def cross_table(
    tuned: Sequence[tuple[Entrant, Setting]],
    *,
    evaluate: Evaluate,
    protocol: Protocol,
    tuning_seeds: Sequence[int],
    seeds: Sequence[int],
    config: BenchConfig,
) -> CrossTable:
    """Tune and measure every update under every schedule.

    Parameters
    ----------
    tuned
        The optimizers with their tuned settings, whose hyper-parameters every cell of theirs keeps.
    evaluate
        What scores trials.
    protocol
        The protocol of the benchmark.
    tuning_seeds
        Seeds on which a cell's learning rate is chosen, on the validation split.
    seeds
        Fresh seeds, on which the cells are measured on the test split.
    config
        The width of the grids.
    """
    rules = [(entrant, Rule.parse(setting.rule)) for entrant, setting in tuned]
    columns = columns_of(rules)
    plans = [
        plan
        for (entrant, rule), (_, setting) in zip(rules, tuned, strict=True)
        for plan in _row(entrant, rule, setting.learning_rate, columns, protocol.training)
    ]
    tunings = _tune(plans, evaluate, protocol, tuning_seeds, config)
    cells = _measure(plans, tunings, evaluate, protocol, seeds)
    return CrossTable(
        updates=tuple(dict.fromkeys(plan.update for plan in plans)),
        schedules=columns,
        own_schedules={plan.update: plan.own.label for plan in plans},
        cells=cells,
        best_hand_made=_best_hand_made(cells, columns),
    )


def _row(
    entrant: Entrant,
    rule: Rule,
    rate: float,
    columns: Sequence[ScheduleColumn],
    training: Training,
) -> list[_Plan]:
    """Plan an update under every schedule; a discovered one also without its inner decays."""
    own = own_column(rule, columns)
    plans = [
        _Plan(
            entrant.name,
            own,
            column,
            entrant.side,
            _under(rule, column),
            _same_peak(rate, own, column, training),
        )
        for column in columns
    ]
    if entrant.side is Side.DISCOVERED and has_inner_decays(rule):
        bare = without_decays(rule)
        plans.append(
            _Plan(WITHOUT_DECAYS.format(entrant.name), own, own, Side.DISCOVERED, bare, rate)
        )
    return plans


def _under(rule: Rule, column: ScheduleColumn) -> Rule:
    """Return the update of a rule under the factor of a column."""
    factor = None if column.factor is None else parse_schedule(column.factor)
    return replace(without_schedule(rule), schedule=factor)


def _same_peak(
    rate: float, own: ScheduleColumn, column: ScheduleColumn, training: Training
) -> float:
    """Return the rate whose largest value over the training is that of ``rate`` under its own."""
    scaled = rate * peak(own, training) / peak(column, training)
    return float(f"{scaled:.6g}") if math.isfinite(scaled) and scaled > 0 else rate


def peak(column: ScheduleColumn, training: Training) -> float:
    """Return the largest size of a schedule over a training of peak learning rate 1."""
    steps = training.steps
    shape: Shape = next(shape for shape in PLAIN if shape == column.shape)
    factors = [1.0] * steps
    if column.factor is not None:
        factors = curve(parse_schedule(column.factor), steps).tolist()
    base = (
        base_schedule(
            step,
            steps,
            warmup_steps=training.warmup_steps,
            hold_steps=training.hold_steps,
            shape=shape,
        )[0]
        for step in range(steps)
    )
    sizes = [abs(value * factor) for value, factor in zip(base, factors, strict=True)]
    return max((size for size in sizes if math.isfinite(size)), default=0.0)


def _tune(
    plans: Sequence[_Plan],
    evaluate: Evaluate,
    protocol: Protocol,
    tuning_seeds: Sequence[int],
    config: BenchConfig,
) -> list[Tuning]:
    """Tune every cell's learning rate on its own grid, the cells of one base schedule together."""
    grid = VerdictConfig(grid_half_width=config.grid_half_width, widenings=config.widenings)
    tunings: dict[int, Tuning] = {}
    for shape in PLAIN:
        chosen = [index for index, plan in enumerate(plans) if plan.column.shape == shape]
        found = tune(
            [(plans[index].rule, plans[index].rate) for index in chosen],
            evaluate=evaluate,
            protocol=_shaped(protocol, shape),
            seeds=tuning_seeds,
            config=grid,
        )
        tunings |= zip(chosen, found, strict=True)
    return [tunings[index] for index in range(len(plans))]


def _shaped(protocol: Protocol, shape: str) -> Protocol:
    known: Shape = next(each for each in PLAIN if each == shape)
    return replace(protocol, training=replace(protocol.training, schedule=known))


def _measure(
    plans: Sequence[_Plan],
    tunings: Sequence[Tuning],
    evaluate: Evaluate,
    protocol: Protocol,
    seeds: Sequence[int],
) -> tuple[Cell, ...]:
    """Train every cell at its best rate on the fresh seeds, all in one batch."""
    requests = [
        TrialRequest(
            plan.rule,
            _shaped(protocol, plan.column.shape).at_rate(best.learning_rate, split="test"),
            seed,
        )
        for plan, tuning in zip(plans, tunings, strict=True)
        if (best := tuning.best) is not None
        for seed in seeds
    ]
    trials = iter(evaluate(requests) if requests else ())
    cells = []
    for plan, tuning in zip(plans, tunings, strict=True):
        runs = tuple(_fresh_run(next(trials)) for _ in seeds) if tuning.best is not None else ()
        cells.append(
            Cell(
                update=plan.update,
                schedule=plan.column.label,
                side=plan.side,
                rule=str(plan.rule),
                tuning=tuning,
                runs=runs,
                loss=estimate([run.loss for run in runs if run.loss is not None]),
                metric=estimate([run.metric for run in runs if run.metric is not None]),
            )
        )
    return tuple(cells)


def _fresh_run(trial: Trial) -> FreshRun:
    score = trial.score
    return FreshRun(
        seed=trial.key.seed,
        loss=None if score is None else score.loss,
        metric=None if score is None else score.metric,
        sentence=trial.outcome.sentence,
    )


def _best_hand_made(
    cells: Sequence[Cell], columns: Sequence[ScheduleColumn]
) -> tuple[str, str] | None:
    """Return the cell, hand-made in update and schedule, that did best in tuning."""
    plain = {column.label for column in columns if column.side is Side.HAND_MADE}
    best: tuple[float, str, str] | None = None
    for cell in cells:
        point = cell.tuning.best
        if cell.side is not Side.HAND_MADE or cell.schedule not in plain or point is None:
            continue
        assert point.fitness is not None  # what makes it the best
        if best is None or point.fitness > best[0]:
            best = (point.fitness, cell.update, cell.schedule)
    return None if best is None else best[1:]
