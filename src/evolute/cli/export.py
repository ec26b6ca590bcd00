"""``evolute export``: one rule as a file for other programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click

from evolute.cli.choice import RULE_HELP, choose_rule, store_options
from evolute.errors import InputError
from evolute.lang.latex import rule_to_latex
from evolute.lang.rule import Rule

EXPORTERS: dict[str, Callable[[Rule], str]] = {
    "json": lambda rule: json.dumps(rule.to_json(), indent=2),
    "latex": rule_to_latex,
    "text": str,
}
"""One row per form that a rule can be exported to."""

EXAMPLES = """\b
Examples:
  evolute export best --to json --output best.json
  evolute export opt10 --to latex
  evolute export 2 --to text
"""


@click.command(epilog=EXAMPLES, help=f"Export a rule to another form.\n\n{RULE_HELP}")
@click.argument("rule")
@click.option("--to", "form", type=click.Choice(sorted(EXPORTERS)), required=True, help="The form.")
@click.option("--output", type=click.Path(path_type=Path), help="File; standard output by default.")
@store_options()
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="Print the export itself, or a JSON object that holds it.",
)
def export(
    rule: str,
    form: str,
    output: Path | None,
    store: str,
    run: str | None,
    task: str | None,
    output_format: str,
) -> None:
    """Write a rule in the form asked for."""
    chosen = choose_rule(rule, store=store, run=run, task=task)
    text = EXPORTERS[form](chosen.rule)
    if output_format == "json":
        text = json.dumps({"name": chosen.name, "form": form, "export": text}, indent=2)
    if output is None:
        click.echo(text)
        return
    try:
        output.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror}") from None
    click.echo(f"wrote {output}", err=True)
