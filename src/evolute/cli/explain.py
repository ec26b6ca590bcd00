"""``evolute explain``: what each part of a rule is worth."""

from __future__ import annotations

import click
from rich.console import Console
from rich.text import Text

from evolute.benchmark.explained import ExplainResult
from evolute.benchmark.part_table import PART_COLUMNS, part_table
from evolute.choice import RULE_HELP
from evolute.cli.curves import draw_values
from evolute.cli.display import resumable
from evolute.cli.tables import print_table
from evolute.cli.work import WorkDisplay
from evolute.cli.work_options import Work, preset_option, seed_option, work_options
from evolute.workbench.explain import explain as run_explain

EXAMPLES = """\b
Examples:
  evolute explain best --task digits
  evolute explain opt6 --task digits --seeds 20
  evolute explain "none: [a1]*tanh(2*g) + 1e-6*v" --task digits --csv tables

Running the same command again resumes it: nothing that was scored is trained twice.
"""

SHOWN = PART_COLUMNS[:-1]


@click.command(epilog=EXAMPLES, help=f"""Say what each part of a rule is worth on a task.

Every decay is removed, every function bypassed, every constant halved and doubled, the momentum
type changed; each variant is tuned like the rule and compared with it on the same seeds. Parts
whose removal is not worse are taken out, and the simplest rule is confirmed on fresh seeds.

{RULE_HELP}""")  # fmt: skip
@click.argument("rule")
@click.option(
    "--task",
    required=True,
    help="A task, or path/to/file.py:build, which runs that file. No other file's code is ever "
    "run.",
)
@click.option("--seeds", type=click.IntRange(min=2),
              help="Paired seeds of every comparison.  [default: 10]")  # fmt: skip
@preset_option("Preset of the trainings.")
@seed_option()
@work_options
def explain(
    rule: str,
    task: str,
    seeds: int | None,
    preset: str | None,
    seed: int | None,
    work: Work,
) -> None:
    """Run an ablation and print it."""
    with resumable(WorkDisplay, work.store) as display:
        result = run_explain(
            rule,
            task=task,
            seeds=seeds,
            preset=preset,
            seed=seed,
            config=work.settings(),
            store=work.store,
            workers=work.workers,
            listener=display,
        )
    work.tell(
        result.to_dict(),
        [part_table(result)],
        lambda screen: _print_for_people(screen, result, work),
    )


def _print_for_people(screen: Console, result: ExplainResult, work: Work) -> None:
    screen.print(Text(f"{result.rule}", style="green"))
    screen.print(Text(f"at learning rate {result.learning_rate:.3g}, margin {result.margin:.2g}"))
    print_table(screen, part_table(result), SHOWN)
    if result.effect is not None:
        screen.print(Text("\nWhat the decays together do to the update, like a learning rate"))
        screen.print(Text(draw_values(result.effect)))
    if result.schedule is not None:
        screen.print(Text(f"\nIts schedule works with any optimizer: [{result.schedule}]"))
    screen.print(Text(f"\n{result.sentence}", style="bold"))
    for note in result.notes:
        screen.print(Text(f"note: {note}"))
    screen.print(Text(work.next_report("explain", result.name)), soft_wrap=True)
