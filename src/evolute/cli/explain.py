"""``evolute explain``: what each part of a rule is worth."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from evolute.benchmark.explained import ExplainResult, PartResult
from evolute.benchmark.tables import ResultTable
from evolute.choice import RULE_HELP
from evolute.cli.bench import say_how_to_resume
from evolute.cli.curves import draw_values
from evolute.cli.output import console, format_option, print_json
from evolute.cli.tables import print_table, write_csv, write_json
from evolute.cli.work import WorkDisplay
from evolute.discover import DEFAULT_PRESET, DEFAULT_STORE
from evolute.settings import read_toml
from evolute.workbench.explain import explain as run_explain

EXAMPLES = """\b
Examples:
  evolute explain best --task digits
  evolute explain opt6 --task digits --seeds 20
  evolute explain "none: [a1]*tanh(2*g) + 1e-6*v" --task digits --csv tables

Running the same command again resumes it: nothing that was scored is trained twice.
"""

COLUMNS = (
    *("part", "kind", "difference#", "lower#", "upper#", "corrected p#", "finding", "not worse"),
    *("rate#", "rule"),
)
SHOWN = COLUMNS[:-1]


@click.command(epilog=EXAMPLES, help=f"""Say what each part of a rule is worth on a task.

Every decay is removed, every function bypassed, every constant halved and doubled, the momentum
type changed; each variant is tuned like the rule and compared with it on the same seeds. Parts
whose removal is not worse are taken out, and the simplest rule is confirmed on fresh seeds.

{RULE_HELP}""")  # fmt: skip
@click.argument("rule")
@click.option(
    "--task", required=True, help="A task, or path/to/file.py:build, which runs the file."
)
@click.option("--seeds", type=click.IntRange(min=2),
              help="Paired seeds of every comparison.  [default: 10]")  # fmt: skip
@click.option("--preset", help=f"Preset of the trainings.  [default: {DEFAULT_PRESET}]")
@click.option("--seed", type=click.IntRange(min=0), help="Seed of everything random.  [default: 0]")
@click.option("--config", type=click.Path(path_type=Path), help="TOML file of settings.")
@click.option("--store", default=DEFAULT_STORE, show_default=True,
              help="File in which trials and results are remembered.")  # fmt: skip
@click.option("--workers", type=click.IntRange(min=1), help="Processes that train; one per core.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="File for the result.")
@click.option("--csv", type=click.Path(path_type=Path), help="Folder for the table as CSV.")
@format_option()
def explain(
    rule: str,
    task: str,
    seeds: int | None,
    preset: str | None,
    seed: int | None,
    config: Path | None,
    store: str,
    workers: int | None,
    json_file: Path | None,
    csv: Path | None,
    output_format: str,
) -> None:
    """Run an ablation and print it."""
    errors = Console(stderr=True)
    try:
        with WorkDisplay(errors) as display:
            result = run_explain(
                rule,
                task=task,
                seeds=seeds,
                preset=preset,
                seed=seed,
                config=read_toml(config) if config else {},
                store=store,
                workers=workers,
                listener=display,
            )
    except KeyboardInterrupt:
        say_how_to_resume(errors)
        raise
    if csv is not None:
        write_csv([part_table(result)], csv)
    if json_file is not None:
        write_json(result.to_dict(), json_file)
    if output_format == "json":
        print_json(result.to_dict())
    else:
        _print_for_people(result)


def part_table(result: ExplainResult) -> ResultTable:
    """Return one row per part, those that cost most first."""
    sign = -1.0 if result.measure == "loss" else 1.0

    def place(part: PartResult) -> tuple[bool, float]:
        interval = None if part.comparison is None else part.comparison.interval
        return interval is not None, 0.0 if interval is None else sign * interval.mean

    title = (
        f"{result.task}: each part changed, {result.measure} beside the rule's own "
        f"{result.own.mean:.4g} on {result.own.runs} seeds (validation split)"
    )
    rows = tuple(_row(part) for part in sorted(result.parts, key=place))
    return ResultTable(f"{result.task}-parts", title, COLUMNS, rows)


def _row(part: PartResult) -> tuple[object, ...]:
    found = part.comparison
    interval = None if found is None else found.interval
    bounds = (None,) * 3 if interval is None else (interval.mean, interval.lower, interval.upper)
    return (
        part.part,
        part.kind.value,
        *bounds,
        part.adjusted_p_value,
        "finishes nowhere" if found is None else found.finding.value,
        "yes" if part.not_worse else "no",
        part.learning_rate,
        part.rule,
    )


def _print_for_people(result: ExplainResult) -> None:
    screen = console()
    screen.print(Text(f"{result.rule}", style="green"))
    screen.print(Text(f"at learning rate {result.learning_rate:.3g}, margin {result.margin:.2g}"))
    print_table(screen, part_table(result), SHOWN)
    if result.effect is not None:
        screen.print(Text("\nWhat the decays together do to the update, like a learning rate"))
        screen.print(Text(draw_values(result.effect)))
    if result.schedule is not None:
        screen.print(Text(f"\nIts schedule works with any optimizer: [{result.schedule}]"))
    screen.print(Text(f"\n{result.sentence}", style="bold"))
    screen.print(Text(f"Stored as {result.name}."))
