"""``evolute show``: one rule as text, LaTeX and drawn decay curves."""

from __future__ import annotations

import click
from rich.text import Text

from evolute.cli.choice import RULE_HELP, Chosen, choose_rule, store_options
from evolute.cli.curves import draw_decay
from evolute.cli.output import cell_text, console, format_option, print_json
from evolute.lang.curve import curve, decays_of
from evolute.lang.latex import rule_to_latex
from evolute.zoo.entry import state_buffers

EXAMPLES = """\b
Examples:
  evolute show best
  evolute show 3 --run digits-quick-0
  evolute show adam
  evolute show "nesterov: bessel_i1e(arctan([a13*a2]*g))"
"""

SHOWN_FACTS = (
    *("learning_rate", "fitness", "loss", "metric", "kind", "origin", "outcome"),
    *("lowest_learning_rate", "highest_learning_rate", "elementwise", "deterministic"),
)
"""Facts of one value that are printed for people, in this order; JSON holds all."""


@click.command(epilog=EXAMPLES, help=f"Show a rule: text, equation, decay curves.\n\n{RULE_HELP}")
@click.argument("rule")
@store_options()
@format_option()
def show(rule: str, store: str, run: str | None, task: str | None, output_format: str) -> None:
    """Print a rule in every form."""
    print_chosen(choose_rule(rule, store=store, run=run, task=task), output_format)


def print_chosen(chosen: Chosen, output_format: str) -> None:
    """Print a rule and what is known of it, as text or as JSON."""
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
        "state_buffers": list(state_buffers(chosen.rule)),
        "decays": {
            name: curve(decay, 100).tolist() for name, decay in decays_of(chosen.rule).items()
        },
        "facts": chosen.facts,
    }


def _print_for_people(chosen: Chosen) -> None:
    screen = console()
    screen.print(Text(chosen.name, style="bold"))
    screen.print(Text(f"\n  {chosen.rule}\n", style="green"))
    for name in SHOWN_FACTS:
        if chosen.facts.get(name) is not None:
            _print_fact(name.replace("_", " "), cell_text(chosen.facts[name]))
    for name, several in (("evidence", "evidence"), ("note", "notes")):
        for sentence in chosen.facts.get(several, ()):
            _print_fact(name, sentence)
    _print_fact("state buffers", ", ".join(state_buffers(chosen.rule)) or "none")
    screen.print(Text("\nLaTeX", style="bold"))
    screen.print(Text(rule_to_latex(chosen.rule)), soft_wrap=True)
    for name, decay in decays_of(chosen.rule).items():
        screen.print(Text(f"\nDecay [{name}]", style="bold"))
        screen.print(Text(draw_decay(decay)))


def _print_fact(name: str, text: str) -> None:
    console().print(Text(f"{name:>22}  {text}"))
