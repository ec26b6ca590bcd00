"""``evolute show``: one rule as text, LaTeX and drawn decay curves."""

from __future__ import annotations

import click
from rich.text import Text

from evolute.cli.choice import RULE_HELP, Chosen, choose_rule, store_options
from evolute.cli.curves import decays_of, draw_decay
from evolute.cli.output import cell_text, console, format_option, print_json
from evolute.compiler.program import compile_rule
from evolute.lang.curve import curve
from evolute.lang.latex import rule_to_latex

EXAMPLES = """\b
Examples:
  evolute show best
  evolute show 3 --run digits-quick-0
  evolute show adam
  evolute show "nesterov: bessel_i1e(arctan([a13*a2]*g))"
"""


@click.command(epilog=EXAMPLES, help=f"Show a rule: text, equation, decay curves.\n\n{RULE_HELP}")
@click.argument("rule")
@store_options()
@format_option()
def show(rule: str, store: str, run: str | None, task: str | None, output_format: str) -> None:
    """Print a rule in every form."""
    chosen = choose_rule(rule, store=store, run=run, task=task)
    if output_format == "json":
        print_json(_as_data(chosen))
    else:
        _print_for_people(chosen)


def _as_data(chosen: Chosen) -> dict[str, object]:
    return {
        "name": chosen.name,
        "text": str(chosen.rule),
        "rule": chosen.rule.to_json(),
        "canonical": str(chosen.rule.canonical()),
        "latex": rule_to_latex(chosen.rule),
        "state_buffers": list(compile_rule(chosen.rule).state_slots),
        "decays": {
            name: curve(decay, 100).tolist() for name, decay in decays_of(chosen.rule).items()
        },
        "facts": chosen.facts,
    }


def _print_for_people(chosen: Chosen) -> None:
    screen = console()
    program = compile_rule(chosen.rule)
    screen.print(Text(chosen.name, style="bold"))
    screen.print(Text(f"\n  {chosen.rule}\n", style="green"))
    for name in ("learning_rate", "fitness", "loss", "metric", "kind", "origin", "outcome"):
        if chosen.facts.get(name) is not None:
            screen.print(Text(f"{name.replace('_', ' '):>16}  {cell_text(chosen.facts[name])}"))
    for note in chosen.facts.get("notes", ()):
        screen.print(Text(f"{'note':>16}  {note}"))
    buffers = ", ".join(program.state_slots) or "none"
    screen.print(Text(f"{'state buffers':>16}  {buffers}"))
    screen.print(Text("\nLaTeX", style="bold"))
    screen.print(Text(rule_to_latex(chosen.rule)), soft_wrap=True)
    for name, decay in decays_of(chosen.rule).items():
        screen.print(Text(f"\nDecay [{name}]", style="bold"))
        screen.print(Text(draw_decay(decay)))
